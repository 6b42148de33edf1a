//! A blocking HTTP client for servers on the loopback address.
//!
//! It speaks HTTP/1.0, where a response is never chunked and ends with the connection.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail};

use super::LIMIT;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The headers, their names in lowercase.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub(crate) body: String,
}

/// Fetches `url`, `http://host:port/path?query`.
///
/// # Errors
/// The server cannot be reached or does not answer in HTTP; any status is an answer.
pub(crate) fn get(url: &str) -> Result<Response> {
    exchange("GET", url, &[], b"").with_context(|| format!("GET {url}"))
}

/// Posts `body` to `url` with the given headers; `Host` and `Content-Length` are added.
///
/// # Errors
/// As for [`get`].
pub(crate) fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    exchange("POST", url, headers, body).with_context(|| format!("POST {url}"))
}

/// `text` as a value in a query string.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    let rest = url
        .strip_prefix("http://")
        .context("the URL must begin with http://")?;
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, "/".to_owned()),
    };

    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {authority}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if method != "GET" {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");

    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    stream.write_all(body)?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    parse(&response)
}

fn parse(response: &[u8]) -> Result<Response> {
    let blank = response.windows(4).position(|window| window == b"\r\n\r\n");
    let Some((head, body)) = blank.and_then(|end| response.split_at_checked(end)) else {
        bail!("no complete header in {} bytes", response.len());
    };
    let head = String::from_utf8_lossy(head);
    let body = body.strip_prefix(b"\r\n\r\n").unwrap_or(body);

    let mut lines = head.lines();
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status code in {status_line:?}"))?;
    let mut headers = BTreeMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
        if name.eq_ignore_ascii_case("content-length") && value.trim() != body.len().to_string() {
            bail!(
                "{} of {} bytes of the body arrived",
                body.len(),
                value.trim()
            );
        }
    }
    Ok(Response {
        status,
        headers,
        body: String::from_utf8_lossy(body).into_owned(),
    })
}

#[test]
fn a_query_value_is_percent_encoded() {
    assert_eq!(
        encode("up{a=\"b c\"}[5m]"),
        "up%7Ba%3D%22b%20c%22%7D%5B5m%5D"
    );
}

#[test]
fn a_response_is_its_status_and_its_body() {
    let answer = parse(b"HTTP/1.0 404 Not Found\r\nContent-Length: 5\r\n\r\nno\r\n\r").unwrap();
    assert_eq!(
        answer,
        Response {
            status: 404,
            headers: BTreeMap::from([("content-length".to_owned(), "5".to_owned())]),
            body: "no\r\n\r".to_owned()
        }
    );
}

#[test]
fn a_body_that_is_cut_off_is_an_error() {
    let error = parse(b"HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nhalf").unwrap_err();
    assert_eq!(error.to_string(), "4 of 9 bytes of the body arrived");
}

#[test]
fn a_connection_that_closes_at_once_is_an_error() {
    assert_eq!(
        parse(b"").unwrap_err().to_string(),
        "no complete header in 0 bytes"
    );
}
