//! Where schemas are registered, and who asks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Duration, Secret, TlsConfig};

/// A registry of schemas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Its address: `http://` or `https://`.
    pub url: String,
    /// The user name.
    #[serde(default)]
    pub username: Option<String>,
    /// The password. Better: `password_file`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file with the password.
    #[serde(default)]
    pub password_file: Option<String>,
    /// A bearer token. Better: `token_file`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file with the token.
    #[serde(default)]
    pub token_file: Option<String>,
    /// TLS.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// How long an answer may take.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// For how long it is believed that a schema does not exist.
    #[serde(default = "missing_ttl")]
    pub missing_ttl: Duration,
}

fn timeout() -> Duration {
    Duration::from_millis(10_000)
}

fn missing_ttl() -> Duration {
    Duration::from_millis(60_000)
}

impl RegistryConfig {
    /// What is wrong: the path of a key within the registry, and the message.
    pub(in crate::decode) fn validate(&self) -> Vec<(Vec<&'static str>, String)> {
        let mut found: Vec<(Vec<&'static str>, String)> = Vec::new();
        let mut wrong = |path: &[&'static str], message: &str| {
            found.push((path.to_vec(), message.to_owned()));
        };
        let url = reqwest::Url::parse(&self.url);
        let is_http = url.is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        if !is_http {
            // It may hold a password.
            wrong(
                &["url"],
                "is not an address of a server without credentials; write one such as \
                 https://registry.example.org",
            );
        }
        if self.password.is_some() && self.password_file.is_some() {
            wrong(
                &["password"],
                "is given twice; write it or password_file, not both",
            );
        }
        if self.token.is_some() && self.token_file.is_some() {
            wrong(
                &["token"],
                "is given twice; write it or token_file, not both",
            );
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        if self.username.is_some() && !has_password {
            wrong(&["username"], "needs password_file or password beside it");
        }
        if has_password && self.username.is_none() {
            let key = if self.password.is_some() {
                "password"
            } else {
                "password_file"
            };
            wrong(&[key], "needs username beside it");
        }
        if self.username.is_some() && (self.token.is_some() || self.token_file.is_some()) {
            wrong(
                &["username"],
                "'username' does not go with a token; remove one of them",
            );
        }
        if let Some(tls) = &self.tls {
            match (&tls.cert_file, &tls.key_file) {
                (Some(_), None) => wrong(&["tls", "cert_file"], "needs key_file beside it"),
                (None, Some(_)) => wrong(&["tls", "key_file"], "needs cert_file beside it"),
                _ => {}
            }
        }
        if self.timeout.as_millis() == 0 {
            wrong(&["timeout"], "must be longer than 0s");
        }
        if self.missing_ttl.as_millis() == 0 {
            wrong(&["missing_ttl"], "must be longer than 0s");
        }
        found
    }
}
