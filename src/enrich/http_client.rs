//! What all clients over HTTP have in common.

use std::net::IpAddr;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Url, retry};

use crate::model::{Secret, install_tls};

const USER_AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// A client that asks once, and needs no certificates without TLS.
pub(super) fn builder(url: &Url) -> ClientBuilder {
    install_tls();
    let mut builder = Client::builder()
        .http1_only()
        .user_agent(USER_AGENT)
        // Attempts are repeated and counted where they are made; a hidden second one would not be.
        .retry(retry::never())
        .tcp_nodelay(true);
    if is_loopback(url) {
        // A proxy from the environment cannot reach this machine's own loopback address.
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        // Without TLS the machine's certificates are not needed; a bare container has none, and
        // loading them would fail.
        builder = builder.tls_certs_only([]);
    }
    builder
}

/// Headers whose values are never shown.
pub(super) fn headers<'a>(
    given: impl IntoIterator<Item = (&'a String, &'a Secret)>,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value.reveal());
        let (Ok(parsed), Ok(mut value)) = (parsed, value) else {
            return Err(format!("the header '{name}' is not one"));
        };
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}

/// What is wrong with a header; nothing where it is one.
pub(super) fn check_header(name: &str, value: &Secret) -> Option<String> {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        Some(format!(
            "'{name}' is no header name; use letters, digits and hyphens"
        ))
    } else if HeaderValue::from_str(value.reveal()).is_err() {
        Some("holds characters that a header cannot carry".to_owned())
    } else {
        None
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
