//! A broker that wants to know who connects: with passwords, tokens and certificates.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::{Kafka, address, format_storage, launch, properties};
use crate::support::certificates::Certificates;
use crate::support::files::{temporary_folder, write};
use crate::support::ports::on_free_ports;

/// Who may connect with a password, and the password of each mechanism.
pub(crate) const USER: &str = "fleet";
pub(crate) const PLAIN_PASSWORD: &str = "plain secret";
pub(crate) const SCRAM_PASSWORD: &str = "scram-secret";

/// The numbers of requests that change rights.
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;

/// What may be done with a topic, and whether it may.
const READ: u8 = 3;
const DESCRIBE: u8 = 8;
const DENY: u8 = 2;
const ALLOW: u8 = 3;

/// A broker with a listener for each way; topics are made through the plain one.
#[derive(Debug)]
pub(crate) struct SecuredKafka {
    /// Without security.
    pub(crate) kafka: Kafka,
    /// What the TLS listeners and their clients use.
    pub(crate) certificates: Certificates,
    ports: [u16; 3],
}

impl SecuredKafka {
    /// Starts it: about four seconds.
    ///
    /// # Errors
    /// As for [`Kafka::start`].
    pub(crate) fn start() -> Result<Self> {
        on_free_ports(|[port, controller_port, sasl, tls, sasl_tls]| {
            let folder = temporary_folder()?;
            let certificates = Certificates::create(folder.path())?;
            let mut text = properties(&folder, port, controller_port);
            let all = [port, controller_port, sasl, tls, sasl_tls];
            text.push_str(&security(&folder, &certificates, all)?);
            write(folder.path(), "server.properties", &text)?;
            let scram = |mechanism| format!("{mechanism}=[name={USER},password={SCRAM_PASSWORD}]");
            let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(scram);
            let [first, second] = &scram;
            format_storage(&folder, &["--add-scram", first, "--add-scram", second])?;
            let process = launch(&folder, port)?;
            Ok(Self {
                kafka: Kafka {
                    process,
                    port,
                    folder,
                },
                certificates,
                ports: [sasl, tls, sasl_tls],
            })
        })
    }

    /// Starts it again with the server's certificate of another authority.
    ///
    /// # Errors
    /// It had ended before, or does not come up.
    pub(crate) fn present(&mut self, certificates: &Certificates) -> Result<()> {
        store(&self.kafka.folder, certificates)?;
        self.kafka.stop()?;
        self.kafka.restart()
    }

    /// Takes the right to read a topic from [`USER`].
    ///
    /// # Errors
    /// The broker refuses or does not answer.
    pub(crate) fn forbid(&self, topic: &str) -> Result<()> {
        self.change_acl(CREATE_ACLS, topic, [READ, DENY])
    }

    /// Gives back what [`Self::forbid`] took.
    ///
    /// # Errors
    /// The broker refuses or does not answer.
    pub(crate) fn allow(&self, topic: &str) -> Result<()> {
        self.change_acl(DELETE_ACLS, topic, [READ, DENY])
    }

    /// Lets [`USER`] see that there is a topic, and do nothing else with it.
    ///
    /// # Errors
    /// The broker refuses or does not answer.
    pub(crate) fn show(&self, topic: &str) -> Result<()> {
        self.change_acl(CREATE_ACLS, topic, [DESCRIBE, ALLOW])
    }

    /// Lets [`USER`] read a topic besides.
    ///
    /// # Errors
    /// The broker refuses or does not answer.
    pub(crate) fn show_all(&self, topic: &str) -> Result<()> {
        self.change_acl(CREATE_ACLS, topic, [READ, ALLOW])
    }

    /// Asks in Kafka's own protocol, which no client of ours has the words for: both requests say in
    /// version 1 the same of one entry.
    fn change_acl(&self, api: i16, topic: &str, what: [u8; 2]) -> Result<()> {
        let mut request = Vec::new();
        let text = |request: &mut Vec<u8>, text: &str| {
            request.extend(i16::try_from(text.len()).unwrap_or(0).to_be_bytes());
            request.extend(text.as_bytes());
        };
        request.extend([api.to_be_bytes(), 1_i16.to_be_bytes()].concat());
        request.extend(7_i32.to_be_bytes());
        text(&mut request, "weir");
        request.extend(1_i32.to_be_bytes());
        let [topics, literal] = [2, 3];
        request.push(topics);
        text(&mut request, topic);
        request.push(literal);
        text(&mut request, &format!("User:{USER}"));
        text(&mut request, "*");
        request.extend(what);
        let mut connection = TcpStream::connect(self.kafka.address())?;
        connection.write_all(&i32::try_from(request.len())?.to_be_bytes())?;
        connection.write_all(&request)?;
        // Its length, the number of the request, the time of throttling, how many results, and the error.
        let mut answer = [0; 18];
        connection.read_exact(&mut answer)?;
        ensure!(answer[12..] == [0, 0, 0, 1, 0, 0], "{answer:?}");
        Ok(())
    }

    /// The address where one of the SASL mechanisms is wanted, without TLS.
    pub(crate) fn sasl(&self) -> String {
        address(self.ports[0])
    }

    /// The address where TLS with a client's certificate is wanted.
    pub(crate) fn tls(&self) -> String {
        address(self.ports[1])
    }

    /// The address where TLS and SCRAM are wanted.
    pub(crate) fn sasl_tls(&self) -> String {
        address(self.ports[2])
    }
}

/// The server's certificate with its key, as Kafka wants it.
fn store(folder: &TempDir, certificates: &Certificates) -> Result<PathBuf> {
    let read = |path: &Path| fs::read_to_string(path);
    let store = read(&certificates.server_key)? + &read(&certificates.server)?;
    write(folder.path(), "store.pem", &store)
}

/// Kafka takes the last of equal keys.
fn security(folder: &TempDir, certificates: &Certificates, ports: [u16; 5]) -> Result<String> {
    let [port, controller, sasl, tls, sasl_tls] = ports;
    let store = store(folder, certificates)?;
    let modules = "org.apache.kafka.common.security";
    let clients = format!(
        "PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls},\
         BOTH://127.0.0.1:{sasl_tls}"
    );
    Ok(format!(
        "
listeners={clients},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={clients}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,BOTH:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.both.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{USER}=\"{PLAIN_PASSWORD}\";
listener.name.sasl.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.both.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
# Takes tokens without a signature.
listener.name.sasl.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";
# Whoever is not forbidden something may do it.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
# Whoever has a token has to show a good one every few seconds.
listener.name.sasl.oauthbearer.connections.max.reauth.ms=3000
ssl.keystore.type=PEM
ssl.keystore.location={store}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.tls.ssl.client.auth=required
",
        store = store.display(),
        authority = certificates.ca.display(),
    ))
}
