//! How librdkafka is told who we are and how connections are protected.

use std::fs;

use rdkafka::ClientConfig;

use super::super::config::{KafkaConfig, SaslConfig, SaslMechanism};

/// Librdkafka's setting for whether there is TLS, and whether there is SASL.
const PROTOCOL: &str = "security.protocol";

/// Sets what follows from the keys `tls` and `sasl`. What the properties say of the one is kept where the
/// other is a key: nobody who writes `ssl.ca.location` wants to send a password in plain text.
///
/// # Errors
/// The password's file cannot be read; the message names it.
pub(super) fn apply(config: &KafkaConfig, client: &mut ClientConfig) -> Result<(), String> {
    let written = client.get(PROTOCOL).unwrap_or_default().to_lowercase();
    let has_tls = config.tls.is_some()
        || written.ends_with("ssl")
        || config.properties.keys().any(|key| key.starts_with("ssl."));
    let has_sasl = config.sasl.is_some() || written.starts_with("sasl_");
    let protocol = match (has_tls, has_sasl) {
        // What is written in the properties counts.
        _ if config.tls.is_none() && config.sasl.is_none() => return Ok(()),
        (true, true) => "sasl_ssl",
        (true, false) => "ssl",
        (false, _) => "sasl_plaintext",
    };
    client.set(PROTOCOL, protocol);
    if let Some(tls) = &config.tls {
        for (property, file) in [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ] {
            if let Some(file) = file {
                client.set(property, file);
            }
        }
    }
    if let Some(sasl) = &config.sasl {
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            // Amazon's is a token as well: its brokers read the signature out of it.
            SaslMechanism::Oauthbearer | SaslMechanism::AwsMskIam => "OAUTHBEARER",
        };
        client.set("sasl.mechanism", mechanism);
        if let Some(username) = &sasl.username {
            client.set("sasl.username", username);
            client.set("sasl.password", password(sasl)?);
        }
    }
    Ok(())
}

fn password(sasl: &SaslConfig) -> Result<String, String> {
    let Some(path) = &sasl.password_file else {
        let password = sasl.password.as_ref();
        return Ok(password.map_or_else(String::new, |password| password.reveal().to_owned()));
    };
    let text = fs::read_to_string(path)
        .map_err(|error| format!("password_file {path} cannot be read: {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
