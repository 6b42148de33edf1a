//! The keys of `source.kafka` that say who we are, and how connections are protected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Findings, KafkaConfig, TlsConfig};
use crate::auth::is_region;
use crate::model::Secret;

/// Who we are to the brokers (SASL).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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

/// What is wrong with the keys `tls` and `sasl`.
pub(super) fn check(config: &KafkaConfig, found: &mut Findings) {
    if let Some(tls) = &config.tls {
        check_tls(tls, found);
    }
    if let Some(sasl) = &config.sasl {
        check_sasl(sasl, found);
        if sasl.mechanism == SaslMechanism::AwsMskIam && config.tls.is_none() {
            found.add(
                &["kafka", "tls"],
                "is missing; aws-msk-iam needs it: write {} where the system knows the authority",
            );
        }
    }
    for property in config.properties.keys() {
        let instead = match property.as_str() {
            "security.protocol" if config.tls.is_some() || config.sasl.is_some() => "tls and sasl",
            property if property.starts_with("ssl.") && config.tls.is_some() => match property {
                "ssl.ca.location" | "ssl.ca.pem" => "tls.ca_file",
                "ssl.certificate.location" | "ssl.certificate.pem" => "tls.cert_file",
                "ssl.key.location" | "ssl.key.pem" => "tls.key_file",
                _ => continue,
            },
            "sasl.mechanism" | "sasl.mechanisms" | "sasl.username" | "sasl.password"
                if config.sasl.is_some() =>
            {
                "sasl"
            }
            _ => continue,
        };
        let message = format!("'{property}' is given together with {instead}; remove one of them");
        found.add(&["kafka", "properties", property], message);
    }
}

fn check_tls(tls: &TlsConfig, found: &mut Findings) {
    for (key, given, other, missing) in [
        ("cert_file", &tls.cert_file, "key_file", &tls.key_file),
        ("key_file", &tls.key_file, "cert_file", &tls.cert_file),
    ] {
        if given.is_some() && missing.is_none() {
            let message = format!("is missing; {key} needs it");
            found.add(&["kafka", "tls", other], message);
        }
    }
}

fn check_sasl(sasl: &SaslConfig, found: &mut Findings) {
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
            found.add(&["kafka", "sasl", key], message);
        }
        if !given && wanted && !key.starts_with("password") {
            let message = format!("is missing; {name} needs it");
            found.add(&["kafka", "sasl", key], message);
        }
    }
    if password {
        match (&sasl.password, &sasl.password_file) {
            (Some(_), Some(_)) => found.add(
                &["kafka", "sasl", "password"],
                "is given twice; write it or password_file, not both",
            ),
            (None, None) => found.add(
                &["kafka", "sasl", "password_file"],
                format!("is missing; {name} needs it, or password"),
            ),
            _ => {}
        }
    }
    if let Some(token) = &sasl.oauth2 {
        check_token(token, found);
    }
    if let Some(signer) = &sasl.sigv4 {
        check_signer(&["kafka", "sasl", "sigv4"], signer, found);
    }
}

fn check_token(token: &TokenConfig, found: &mut Findings) {
    let path = |key| ["kafka", "sasl", "oauth2", key];
    found.not_blank(&path("client_id"), &token.client_id, "who asks for a token");
    match (&token.client_secret, &token.client_secret_file) {
        (Some(_), Some(_)) => found.add(
            &path("client_secret"),
            "is given twice; write it or client_secret_file, not both",
        ),
        (None, None) => found.add(
            &path("client_secret_file"),
            "is missing; write it, or client_secret",
        ),
        _ => {}
    }
    let url = reqwest::Url::parse(&token.token_url);
    let is_http =
        url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.username().is_empty());
    if !is_http {
        // It may hold a password.
        let message = "is not an address of a server without credentials; write one such as \
                       https://login.example.org/token";
        found.add(&path("token_url"), message);
    }
    for scope in &token.scopes {
        if scope.is_empty() || scope.contains(char::is_whitespace) {
            let message = format!("'{scope}' is no scope; write one without spaces an item");
            found.add(&path("scopes"), message);
        }
    }
}

/// What is wrong with a signer that stands at a place.
pub(super) fn check_signer(at: &[&str], signer: &SignerConfig, found: &mut Findings) {
    let path = |key| [at, &[key]].concat();
    if !is_region(&signer.region) {
        let message = format!(
            "'{}' is not a region; write one such as eu-central-1",
            signer.region
        );
        found.add(&path("region"), message);
    }
    match &signer.role_arn {
        Some(arn) if !(arn.starts_with("arn:") && arn.contains(":role/")) => {
            let message = format!(
                "'{arn}' is no role; write one such as arn:aws:iam::123456789012:role/name"
            );
            found.add(&path("role_arn"), message);
        }
        None if signer.external_id.is_some() => {
            found.add(&path("external_id"), "needs role_arn beside it");
        }
        _ => {}
    }
}
