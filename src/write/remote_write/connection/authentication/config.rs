//! The keys of `remote_write` that say who we are and how the connection is made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::HeaderValue;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::{is_region, prometheus_region};
use crate::model::Secret;

use crate::write::remote_write::config::{Problems, RemoteWriteConfig};

/// What every receiver's path of Amazon Managed Prometheus ends in.
const AMAZON_PATH: &str = "/api/v1/remote_write";

/// Parameters of a request for a token that have keys of their own.
const OWN_PARAMETERS: [&str; 4] = ["client_id", "client_secret", "grant_type", "scope"];

/// A user name with a password, which is given or read from a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Option<Secret>,
    /// The file that holds the password; it is read again for every request.
    pub password_file: Option<PathBuf>,
}

/// A token of an authorization server, for client credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2Config {
    /// Who asks for a token.
    pub client_id: String,
    /// The secret of who asks.
    pub client_secret: Option<Secret>,
    /// The file that holds the secret; it is read again for every token.
    pub client_secret_file: Option<PathBuf>,
    /// Where tokens are given: an address over HTTP.
    pub token_url: String,
    /// What the token is to be good for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Further parameters of the request for a token, such as audience.
    #[serde(default)]
    pub endpoint_params: BTreeMap<String, Secret>,
    /// TLS to the authorization server.
    pub tls_config: Option<TlsSettings>,
}

/// Requests signed for Amazon (AWS Signature Version 4). Without access_key and profile, credentials
/// are looked for in the environment, the shared files, a web identity, a container and the machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigV4Config {
    /// The region; that of the URL where it is Amazon Managed Prometheus.
    pub region: Option<String>,
    /// The access key; better, leave it out.
    pub access_key: Option<String>,
    /// The secret key of access_key.
    pub secret_key: Option<Secret>,
    /// A profile of the shared files of AWS, to be used alone.
    pub profile: Option<String>,
    /// A role to take on, such as arn:aws:iam::123456789012:role/metrics.
    pub role_arn: Option<String>,
    /// What the role's owner asks for.
    pub external_id: Option<Secret>,
    /// What the role's owner sees in his logs; weir where it is left out.
    pub session_name: Option<String>,
    /// The service that signatures are for.
    #[serde(default = "default_service")]
    pub service: String,
}

/// TLS, with files in PEM form. Changed files are taken within half a minute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain, where the server asks for one.
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate.
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate is for, where it is not that of the URL.
    pub server_name: Option<String>,
    /// Takes any certificate. Whoever is on the way can then read and change everything.
    pub insecure_skip_verify: bool,
}

fn default_service() -> String {
    "aps".to_owned()
}

/// What is wrong with any of these keys.
pub(in crate::write::remote_write) fn check(config: &RemoteWriteConfig, found: &mut Problems) {
    check_one_kind(config, found);
    check_bearer(config, found);
    if let Some(basic) = &config.basic_auth {
        check_basic(basic, &["basic_auth"], found);
    }
    if let Some(oauth2) = &config.oauth2 {
        check_oauth2(oauth2, found);
    }
    check_amazon(config, found);
    if let Some(tls) = &config.tls_config {
        check_tls(tls, &config.url, &["tls_config"], found);
    }
    check_proxy(config, found);
    check_tenant(config, found);
}

/// How a request says who we are; the first one counts.
fn kinds(config: &RemoteWriteConfig) -> Vec<(&'static str, &'static str)> {
    let bearer = match (&config.bearer_token, &config.bearer_token_file) {
        (None, None) => None,
        (None, Some(_)) => Some(("bearer_token_file", "a bearer token")),
        (Some(_), _) => Some(("bearer_token", "a bearer token")),
    };
    let basic = config.basic_auth.as_ref();
    let oauth2 = config.oauth2.as_ref();
    let sigv4 = config.sigv4.as_ref();
    let kinds = [
        bearer,
        basic.map(|_| ("basic_auth", "basic_auth")),
        oauth2.map(|_| ("oauth2", "oauth2")),
        sigv4.map(|_| ("sigv4", "sigv4")),
    ];
    kinds.into_iter().flatten().collect()
}

fn check_one_kind(config: &RemoteWriteConfig, found: &mut Problems) {
    let kinds = kinds(config);
    let Some((_, first)) = kinds.first() else {
        return;
    };
    for (key, _) in kinds.iter().skip(1) {
        let message = format!("is given together with {first}; remove one of them");
        found.add(&[key], message);
    }
    for name in config.headers.keys() {
        let path = ["headers", name.as_str()];
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            let message = format!("'{name}' is given together with other credentials; remove one");
            found.add(&path, message);
        }
        if config.sigv4.is_some() && lower.starts_with("x-amz-") {
            let message = format!("'{name}' belongs to the signature; remove it");
            found.add(&path, message);
        }
    }
}

fn check_bearer(config: &RemoteWriteConfig, found: &mut Problems) {
    if config.bearer_token.is_some() && config.bearer_token_file.is_some() {
        found.add(
            &["bearer_token_file"],
            "is given together with bearer_token; remove one of them",
        );
    }
    let token = config.bearer_token.as_ref();
    if token.is_some_and(|token| HeaderValue::from_str(token.reveal()).is_err()) {
        found.add(
            &["bearer_token"],
            "holds characters that a header cannot carry",
        );
    }
}

fn check_basic(basic: &BasicAuth, path: &[&str], found: &mut Problems) {
    if basic.username.contains(':') {
        found.add(
            &[path, &["username"]].concat(),
            format!("'{}' holds a colon, which ends a user name", basic.username),
        );
    }
    match (&basic.password, &basic.password_file) {
        (Some(_), Some(_)) => found.add(
            &[path, &["password_file"]].concat(),
            "is given together with password; remove one of them",
        ),
        (None, None) => found.add(
            path,
            "has neither password nor password_file; give one of them",
        ),
        _ => {}
    }
}

fn check_oauth2(oauth2: &OAuth2Config, found: &mut Problems) {
    if oauth2.client_id.is_empty() {
        found.add(&["oauth2", "client_id"], "is empty; give who asks");
    }
    match (&oauth2.client_secret, &oauth2.client_secret_file) {
        (Some(_), Some(_)) => found.add(
            &["oauth2", "client_secret_file"],
            "is given together with client_secret; remove one of them",
        ),
        (None, None) => found.add(
            &["oauth2"],
            "has neither client_secret nor client_secret_file; give one of them",
        ),
        _ => {}
    }
    found.check_url(&["oauth2", "token_url"], &oauth2.token_url, "client_secret");
    for scope in &oauth2.scopes {
        if scope.is_empty() || scope.contains(char::is_whitespace) {
            let message = format!("'{scope}' is no scope; write one without spaces an item");
            found.add(&["oauth2", "scopes"], message);
        }
    }
    for name in oauth2.endpoint_params.keys() {
        if OWN_PARAMETERS.contains(&name.as_str()) {
            let message = format!("'{name}' has a key of its own or is always the same; remove it");
            found.add(&["oauth2", "endpoint_params", name], message);
        }
    }
    if let Some(tls) = &oauth2.tls_config {
        check_tls(tls, &oauth2.token_url, &["oauth2", "tls_config"], found);
    }
}

fn check_amazon(config: &RemoteWriteConfig, found: &mut Problems) {
    let url = Url::parse(&config.url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    let of_url = host.and_then(prometheus_region);
    if let (Some(url), Some(_)) = (&url, of_url) {
        if url.scheme() != "https" {
            found.add(&["url"], "is not https, which Amazon asks for");
        }
        if !url.path().trim_end_matches('/').ends_with(AMAZON_PATH) {
            let message = format!(
                "has path '{}'; that of Amazon Managed Prometheus ends in {AMAZON_PATH}",
                url.path()
            );
            found.add(&["url"], message);
        }
        let authorized = |name: &String| name.eq_ignore_ascii_case("authorization");
        if kinds(config).is_empty() && !config.headers.keys().any(authorized) {
            found.add(
                &["url"],
                "is of Amazon Managed Prometheus, which takes signed requests only; add sigv4",
            );
        }
    }
    let Some(sigv4) = &config.sigv4 else { return };
    match (&sigv4.region, of_url) {
        (Some(region), _) if !is_region(region) => {
            let message = format!("'{region}' is not a region; write one such as eu-central-1");
            found.add(&["sigv4", "region"], message);
        }
        (Some(region), Some(of_url)) if region != of_url => {
            let message = format!(
                "is '{region}', but the url is of {of_url}; leave region out, or correct one of them"
            );
            found.add(&["sigv4", "region"], message);
        }
        (None, None) => found.add(
            &["sigv4"],
            "has no region, and the url tells none; give region, such as eu-central-1",
        ),
        _ => {}
    }
    check_identity(sigv4, found);
}

fn check_identity(sigv4: &SigV4Config, found: &mut Problems) {
    match (&sigv4.access_key, &sigv4.secret_key) {
        (Some(_), None) => found.add(
            &["sigv4", "access_key"],
            "is given without secret_key; give both, or none",
        ),
        (None, Some(_)) => found.add(
            &["sigv4", "secret_key"],
            "is given without access_key; give both, or none",
        ),
        (Some(_), Some(_)) if sigv4.profile.is_some() => found.add(
            &["sigv4", "profile"],
            "is given together with access_key; remove one of them",
        ),
        _ => {}
    }
    match &sigv4.role_arn {
        Some(arn) if !(arn.starts_with("arn:") && arn.contains(":role/")) => {
            let message = format!(
                "'{arn}' is no role; write one such as arn:aws:iam::123456789012:role/name"
            );
            found.add(&["sigv4", "role_arn"], message);
        }
        Some(_) => {}
        None => {
            for (key, given) in [
                ("external_id", sigv4.external_id.is_some()),
                ("session_name", sigv4.session_name.is_some()),
            ] {
                if given {
                    found.add(&["sigv4", key], "needs role_arn beside it");
                }
            }
        }
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if let Some(name) = &sigv4.session_name
        && !((2..=64).contains(&name.len()) && name.chars().all(allowed))
    {
        let message =
            format!("'{name}' is no name of a session; use 2 to 64 letters, digits and _+=,.@-");
        found.add(&["sigv4", "session_name"], message);
    }
    if sigv4.service.is_empty() {
        found.add(
            &["sigv4", "service"],
            "is empty; leave it out, or write aps",
        );
    }
}

fn check_tls(tls: &TlsSettings, url: &str, path: &[&str], found: &mut Problems) {
    if Url::parse(url).is_ok_and(|url| url.scheme() == "http") {
        found.add(
            path,
            "is for https, and the url is http; remove it, or use https",
        );
    }
    for (key, given, other, missing) in [
        ("cert_file", &tls.cert_file, "key_file", &tls.key_file),
        ("key_file", &tls.key_file, "cert_file", &tls.cert_file),
    ] {
        if given.is_some() && missing.is_none() {
            let message = format!("is given without {other}; give both, or none");
            found.add(&[path, &[key]].concat(), message);
        }
    }
    if let Some(name) = &tls.server_name
        && !matches!(
            ServerName::try_from(name.as_str()),
            Ok(ServerName::DnsName(_))
        )
    {
        let message =
            format!("'{name}' is not the name of a host; write one such as db.example.org");
        found.add(&[path, &["server_name"]].concat(), message);
    }
}

fn check_proxy(config: &RemoteWriteConfig, found: &mut Problems) {
    let Some(proxy) = &config.proxy_url else {
        if config.proxy_auth.is_some() {
            found.add(&["proxy_auth"], "needs proxy_url beside it");
        }
        return;
    };
    found.check_url(&["proxy_url"], proxy, "proxy_auth");
    if let Some(login) = &config.proxy_auth {
        check_basic(login, &["proxy_auth"], found);
    }
    let renamed = |tls: &Option<TlsSettings>| {
        let tls = tls.as_ref();
        tls.is_some_and(|tls| tls.server_name.is_some())
    };
    let of_tokens = config.oauth2.as_ref();
    if renamed(&config.tls_config) || of_tokens.is_some_and(|oauth2| renamed(&oauth2.tls_config)) {
        let message = "is given together with server_name, which a proxy would look up; remove one";
        found.add(&["proxy_url"], message);
    }
}

fn check_tenant(config: &RemoteWriteConfig, found: &mut Problems) {
    let Some(tenant) = &config.tenant else { return };
    if tenant.is_empty() || HeaderValue::from_str(tenant).is_err() {
        let message = format!(
            "'{}' is no tenant; use letters and digits",
            tenant.escape_debug()
        );
        found.add(&["tenant"], message);
    }
    let mut names = config.headers.keys();
    if let Some(name) = names.find(|name| name.eq_ignore_ascii_case("x-scope-orgid")) {
        found.add(
            &["tenant"],
            format!("is given together with the header {name}; remove one of them"),
        );
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
