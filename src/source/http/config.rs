//! The `http` section of a pipeline file.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Duration, Secret};

use super::super::config::Findings;
use super::layouts::Bodies;

/// The smallest and greatest limit of a body, bytes.
const BODY_BYTES: (u32, u32) = (1_024, 268_435_456);

/// The shortest and longest time that a client may take.
const REQUEST_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// An address that clients send records to with POST. All of them together are one split.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The address and port to listen on, such as `127.0.0.1:8080` or `[::]:8080`. Each pipeline needs
    /// one of its own.
    pub listen: String,
    /// The path that records are sent to; `/ingest/` and the pipeline's name where it is left out.
    #[serde(default)]
    pub path: Option<String>,
    /// What a client must send as `Authorization: Bearer TOKEN`. Better: `token_file`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file with the token, read at the start; a line end at its end does not count.
    #[serde(default)]
    pub token_file: Option<String>,
    /// Our certificate, for HTTPS.
    #[serde(default)]
    pub tls: Option<ServerTlsConfig>,
    /// The greatest body of a request, in bytes, as it is sent and as it is once it is expanded.
    #[serde(default = "default_max_body_bytes")]
    #[schemars(range(min = 1_024, max = 268_435_456))]
    pub max_body_bytes: u32,
    /// How long a client may take for the head of a request, for its body, or to send another one.
    #[serde(default = "default_request_timeout")]
    pub request_timeout: Duration,
    /// How many connections there may be; more of them wait until one is closed.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1))]
    pub max_connections: u16,
    /// Which bodies there are, by the rest of the pipeline's file.
    #[serde(skip)]
    pub bodies: Bodies,
}

/// The certificates of a server as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTlsConfig {
    /// Our certificate, with its chain.
    pub cert_file: String,
    /// The key of our certificate.
    pub key_file: String,
    /// Certificate authorities of clients. With it, a client needs a certificate of one of them.
    #[serde(default)]
    pub client_ca_file: Option<String>,
}

/// 16 MiB.
fn default_max_body_bytes() -> u32 {
    16 * 1_024 * 1_024
}

fn default_request_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_max_connections() -> u16 {
    1_024
}

impl HttpConfig {
    /// Checks what the types cannot.
    pub(in crate::source) fn check(&self, section: &str, found: &mut Findings) {
        if self.listen.parse::<SocketAddr>().is_err() {
            let message = format!(
                "'{}' is no address to listen on; write 127.0.0.1:8080, or 0.0.0.0:8080 for all",
                self.listen
            );
            found.add(&[section, "listen"], message);
        }
        if let Some(path) = self.path.as_ref().filter(|path| !is_path(path)) {
            let message = format!(
                "'{path}' is no path; write one that begins with '/', of letters, digits and -_.~/"
            );
            found.add(&[section, "path"], message);
        }
        if self.token.is_some() && self.token_file.is_some() {
            found.add(
                &[section, "token"],
                "is given twice; write it or token_file, not both",
            );
        }
        if let Some(token) = &self.token {
            found.not_blank(&[section, "token"], token.reveal(), "a long random text");
        }
        let (least, most) = BODY_BYTES;
        if !(least..=most).contains(&self.max_body_bytes) {
            let message = format!(
                "{} is out of range; from {least} to {most}",
                self.max_body_bytes
            );
            found.add(&[section, "max_body_bytes"], message);
        }
        let (least, most) = REQUEST_TIMEOUT;
        if !(least..=most).contains(&self.request_timeout) {
            let message = format!(
                "{} is out of range; from {least} to {most}",
                self.request_timeout
            );
            found.add(&[section, "request_timeout"], message);
        }
        if self.max_connections == 0 {
            found.add(&[section, "max_connections"], "is 0; at least 1");
        }
    }
}

/// Whether a request's path can be this one, byte for byte.
fn is_path(path: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~/".contains(c);
    path.starts_with('/') && path.chars().all(allowed)
}
