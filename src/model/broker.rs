//! How a section of a pipeline file says who we are to Kafka's brokers, and with what protection.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, TimestampMs, TlsConfig};

/// Who we are to the brokers (SASL).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslConfig {
    /// How we prove it.
    pub mechanism: SaslMechanism,
    /// The user name, for plain and scram.
    #[serde(default)]
    pub username: Option<String>,
    /// The password of username. Better: `password_file`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file with the password; a line end at its end does not count.
    #[serde(default)]
    pub password_file: Option<String>,
    /// Where tokens come from, for oauthbearer.
    #[serde(default)]
    pub oauth2: Option<TokenConfig>,
    /// Who signs, for aws-msk-iam.
    #[serde(default)]
    pub sigv4: Option<SignerConfig>,
}

/// How we prove who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// With a password, which the broker gets to see.
    Plain,
    /// With a password that is not sent, by SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// With a password that is not sent, by SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// With a token of an authorization server.
    Oauthbearer,
    /// With a signature of AWS, for Amazon MSK.
    AwsMskIam,
}

/// A token of an authorization server, for client credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Who asks for a token.
    pub client_id: String,
    /// The secret of who asks. Better: `client_secret_file`.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// A file with the secret; it is read again for every token.
    #[serde(default)]
    pub client_secret_file: Option<String>,
    /// Where tokens are given: an address over HTTP.
    pub token_url: String,
    /// What the token is to be good for.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// Whose signature it is. Without profile, credentials are looked for in the environment, the shared
/// files, a web identity, a container and the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// The region of the cluster.
    pub region: String,
    /// A profile of the shared files of AWS, to be used alone.
    #[serde(default)]
    pub profile: Option<String>,
    /// A role to take on, such as arn:aws:iam::123456789012:role/metrics.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// What the role's owner asks for.
    #[serde(default)]
    pub external_id: Option<Secret>,
}

impl SaslMechanism {
    /// Its name in the pipeline file.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::ScramSha256 => "scram-sha-256",
            Self::ScramSha512 => "scram-sha-512",
            Self::Oauthbearer => "oauthbearer",
            Self::AwsMskIam => "aws-msk-iam",
        }
    }
}

/// A token for brokers that take SASL's mechanism OAUTHBEARER.
#[derive(Debug, Clone)]
pub struct BrokerToken {
    /// The token.
    pub value: String,
    /// Whose it is.
    pub principal: String,
    /// Until when it is good, ms since the epoch.
    pub end_ms: TimestampMs,
}

/// Who gives such tokens.
pub trait BrokerTokens: fmt::Debug + Send + Sync {
    /// The token of now; waits for whoever gives it.
    ///
    /// # Errors
    /// There is none; the message says why and never holds a secret.
    fn token(&self) -> Result<BrokerToken, String>;
}

/// Takes a key's path within the section, and what is wrong with its value.
pub type Found<'a> = dyn FnMut(&[&str], String) + 'a;

/// What a section says of who we are to brokers, and of how connections are protected.
#[derive(Debug, Clone, Copy)]
pub struct BrokerSecurity<'a> {
    /// The key `tls`.
    pub tls: Option<&'a TlsConfig>,
    /// The key `sasl`.
    pub sasl: Option<&'a SaslConfig>,
    /// The key `properties`: settings of librdkafka, which counts where the other two are not given.
    pub properties: &'a BTreeMap<String, Secret>,
}

impl BrokerSecurity<'_> {
    /// Reports what the types cannot check. `is_region` knows the regions of AWS.
    pub fn check(self, is_region: fn(&str) -> bool, found: &mut Found<'_>) {
        if let Some(tls) = self.tls {
            check_tls(tls, found);
        }
        if let Some(sasl) = self.sasl {
            check_sasl(sasl, is_region, found);
            if sasl.mechanism == SaslMechanism::AwsMskIam && self.tls.is_none() {
                let message = "is missing; aws-msk-iam needs it: write {} where the system knows the \
                               authority";
                add(found, &["tls"], message);
            }
        }
        for property in self.properties.keys() {
            if let Some(key) = self.key_of(property) {
                let message =
                    format!("'{property}' is given together with {key}; remove one of them");
                add(found, &["properties", property], message);
            }
        }
    }

    /// The key that says the same as a property.
    fn key_of(self, property: &str) -> Option<&'static str> {
        let (has_tls, has_sasl) = (self.tls.is_some(), self.sasl.is_some());
        match property {
            "security.protocol" => (has_tls || has_sasl).then_some("tls and sasl"),
            "ssl.ca.location" | "ssl.ca.pem" => has_tls.then_some("tls.ca_file"),
            "ssl.certificate.location" | "ssl.certificate.pem" => {
                has_tls.then_some("tls.cert_file")
            }
            "ssl.key.location" | "ssl.key.pem" => has_tls.then_some("tls.key_file"),
            "sasl.mechanism" | "sasl.mechanisms" | "sasl.username" | "sasl.password" => {
                has_sasl.then_some("sasl")
            }
            _ => None,
        }
    }

    /// The properties of librdkafka that say the same as `tls` and `sasl`. Without either there are none:
    /// what is written in the properties counts. What they say of the one is kept where the other is a key:
    /// nobody who writes `ssl.ca.location` wants to send a password in plain text.
    ///
    /// # Errors
    /// The password's file cannot be read; the message names it.
    pub fn properties(self) -> Result<Vec<(&'static str, Secret)>, String> {
        if self.tls.is_none() && self.sasl.is_none() {
            return Ok(Vec::new());
        }
        let writes = |prefix: &str| self.properties.keys().any(|key| key.starts_with(prefix));
        let written = self.properties.get("security.protocol");
        let written = written.map_or_else(String::new, |value| value.reveal().to_lowercase());
        let has_tls = self.tls.is_some() || written.ends_with("ssl") || writes("ssl.");
        let has_sasl = self.sasl.is_some() || written.starts_with("sasl") || writes("sasl.");
        let protocol = match (has_tls, has_sasl) {
            (true, true) => "sasl_ssl",
            (true, false) => "ssl",
            (false, _) => "sasl_plaintext",
        };
        let mut properties = vec![("security.protocol", Secret::new(protocol))];
        if let Some(tls) = self.tls {
            for (property, file) in [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.cert_file),
                ("ssl.key.location", &tls.key_file),
            ] {
                properties.extend(file.as_ref().map(|file| (property, Secret::new(file))));
            }
        }
        if let Some(sasl) = self.sasl {
            let mechanism = match sasl.mechanism {
                SaslMechanism::Plain => "PLAIN",
                SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
                // Amazon's is a token as well: its brokers read the signature out of it.
                SaslMechanism::Oauthbearer | SaslMechanism::AwsMskIam => "OAUTHBEARER",
            };
            properties.push(("sasl.mechanism", Secret::new(mechanism)));
            if let Some(username) = &sasl.username {
                properties.push(("sasl.username", Secret::new(username)));
                properties.push(("sasl.password", sasl.password()?));
            }
        }
        Ok(properties)
    }
}

impl SaslConfig {
    fn password(&self) -> Result<Secret, String> {
        match &self.password_file {
            Some(path) => Secret::read("password_file", path),
            None => Ok(self.password.clone().unwrap_or_else(|| Secret::new(""))),
        }
    }
}

fn add(found: &mut Found<'_>, path: &[&str], message: impl Into<String>) {
    found(path, message.into());
}

fn check_tls(tls: &TlsConfig, found: &mut Found<'_>) {
    for (key, given, other, missing) in [
        ("cert_file", &tls.cert_file, "key_file", &tls.key_file),
        ("key_file", &tls.key_file, "cert_file", &tls.cert_file),
    ] {
        if given.is_some() && missing.is_none() {
            let message = format!("is missing; {key} needs it");
            add(found, &["tls", other], message);
        }
    }
}

fn check_sasl(sasl: &SaslConfig, is_region: fn(&str) -> bool, found: &mut Found<'_>) {
    let name = sasl.mechanism.name();
    let (password, token, signer) = match sasl.mechanism {
        SaslMechanism::Oauthbearer => (false, true, false),
        SaslMechanism::AwsMskIam => (false, false, true),
        _ => (true, false, false),
    };
    for (key, given, wanted) in [
        ("username", sasl.username.is_some(), password),
        ("password", sasl.password.is_some(), password),
        ("password_file", sasl.password_file.is_some(), password),
        ("oauth2", sasl.oauth2.is_some(), token),
        ("sigv4", sasl.sigv4.is_some(), signer),
    ] {
        if given && !wanted {
            let message = format!("is given, but {name} does not use it; remove it");
            add(found, &["sasl", key], message);
        }
        if !given && wanted && !key.starts_with("password") {
            let message = format!("is missing; {name} needs it");
            add(found, &["sasl", key], message);
        }
    }
    if password {
        match (&sasl.password, &sasl.password_file) {
            (Some(_), Some(_)) => add(
                found,
                &["sasl", "password"],
                "is given twice; write it or password_file, not both",
            ),
            (None, None) => add(
                found,
                &["sasl", "password_file"],
                format!("is missing; {name} needs it, or password"),
            ),
            _ => {}
        }
    }
    if let Some(token) = &sasl.oauth2 {
        check_token(token, found);
    }
    if let Some(signer) = &sasl.sigv4 {
        signer.check(&["sasl", "sigv4"], is_region, found);
    }
}

fn check_token(token: &TokenConfig, found: &mut Found<'_>) {
    let path = |key| ["sasl", "oauth2", key];
    if token.client_id.trim().is_empty() {
        add(
            found,
            &path("client_id"),
            "is empty; write who asks for a token",
        );
    }
    match (&token.client_secret, &token.client_secret_file) {
        (Some(_), Some(_)) => add(
            found,
            &path("client_secret"),
            "is given twice; write it or client_secret_file, not both",
        ),
        (None, None) => add(
            found,
            &path("client_secret_file"),
            "is missing; write it, or client_secret",
        ),
        _ => {}
    }
    let url = reqwest::Url::parse(&token.token_url);
    let is_http = url.is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
    });
    if !is_http {
        // It may hold a password.
        let message = "is not an address of a server without credentials; write one such as \
                       https://login.example.org/token";
        add(found, &path("token_url"), message);
    }
    for scope in &token.scopes {
        if scope.is_empty() || scope.contains(char::is_whitespace) {
            let message = format!("'{scope}' is no scope; write one without spaces an item");
            add(found, &path("scopes"), message);
        }
    }
}

impl SignerConfig {
    /// Reports what is wrong with a signer that stands at a place.
    pub fn check(&self, at: &[&str], is_region: fn(&str) -> bool, found: &mut Found<'_>) {
        let path = |key| [at, &[key]].concat();
        if !is_region(&self.region) {
            let message = format!(
                "'{}' is not a region; write one such as eu-central-1",
                self.region
            );
            add(found, &path("region"), message);
        }
        match &self.role_arn {
            Some(arn) if !(arn.starts_with("arn:") && arn.contains(":role/")) => {
                let message = format!(
                    "'{arn}' is no role; write one such as arn:aws:iam::123456789012:role/name"
                );
                add(found, &path("role_arn"), message);
            }
            None if self.external_id.is_some() => {
                add(found, &path("external_id"), "needs role_arn beside it");
            }
            _ => {}
        }
    }
}
