//! One HTTP client for all shards.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect, retry};

use crate::model::{Clock, Secret, install_tls, parse_retry_after};
use crate::telemetry::with_causes;
use crate::write::WriteError;

use super::config::RemoteWriteConfig;
use super::encode::Body;
use super::failure::Failure;
use super::reply::{Reply, Written};
use super::shard::Transport;

/// How much of an answer is read and logged, in bytes.
const MAX_BODY_BYTES: usize = 1_024;

const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const USER_AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// Posts requests to one receiver.
#[derive(Debug)]
pub(super) struct HttpTransport {
    client: Client,
    url: Url,
    credentials: Credentials,
    clock: Clock,
}

#[derive(Debug)]
enum Credentials {
    None,
    Basic {
        username: String,
        password: SecretSource,
    },
    Bearer(SecretSource),
}

#[derive(Debug)]
enum SecretSource {
    Value(Secret),
    /// Read again for every request: tokens of service accounts are replaced every hour.
    File(PathBuf),
}

impl HttpTransport {
    /// A client by its configuration, which is expected to be valid.
    ///
    /// # Errors
    /// The URL or a header is invalid, a password or token file cannot be read, or TLS cannot be
    /// set up.
    pub(super) fn new(config: &RemoteWriteConfig) -> Result<Self, WriteError> {
        install_tls();
        let url = Url::parse(&config.url).map_err(|error| WriteError::Invalid {
            path: "remote_write.url".to_owned(),
            message: format!("is not a URL: {error}"),
        })?;
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers(config)?)
            .timeout(config.timeout.to_std())
            .redirect(redirect::Policy::none())
            // The shard repeats requests itself; a hidden second attempt would not be counted.
            .retry(retry::never())
            .tcp_nodelay(true);
        if is_loopback(&url) {
            // A proxy from the environment cannot reach this machine's own loopback address.
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // Without TLS the machine's certificates are not needed; a bare container has none,
            // and loading them would fail.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(WriteError::Client)?;
        let credentials = Credentials::new(config);
        if let Some(path) = credentials.file() {
            std::fs::read(path).map_err(|error| WriteError::Credentials {
                path: path.to_owned(),
                error,
            })?;
        }
        Ok(Self {
            client,
            url,
            credentials,
            clock: Clock::System,
        })
    }

    async fn send(&self, body: Body, attempt: u32) -> Result<Response, Failure> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, body.protocol.content_type())
            .header(VERSION, body.protocol.version())
            .body(body.bytes);
        if attempt > 0 {
            request = request.header(RETRY_ATTEMPT, attempt);
        }
        let request = self.credentials.add_to(request).await?;
        request.send().await.map_err(network)
    }

    /// Sends a request, and reads what the receiver says it has written.
    async fn exchange(
        &self,
        body: Body,
        attempt: u32,
        written: &mut Option<Written>,
    ) -> Result<u16, Failure> {
        let mut response = self.send(body, attempt).await?;
        let status = response.status();
        let retry_after = header(&response, &RETRY_AFTER);
        let location = header(&response, &LOCATION);
        *written = Written::of(|name| response.headers().get(name)?.to_str().ok());
        // Also after a success: a connection is used again only when its answer was read.
        let body = beginning_of(&mut response).await;
        classify(status, body, retry_after, location, self.clock.now_ms())
    }
}

impl Transport for HttpTransport {
    async fn post(&self, body: Body, attempt: u32) -> Reply {
        let mut written = None;
        let result = self.exchange(body, attempt, &mut written).await;
        Reply { result, written }
    }
}

fn classify(
    status: StatusCode,
    body: String,
    retry_after: Option<String>,
    location: Option<String>,
    now_ms: i64,
) -> Result<u16, Failure> {
    if status.is_success() {
        return Ok(status.as_u16());
    }
    if status.is_redirection()
        && let Some(location) = location
    {
        return Err(Failure::Redirected {
            status: status.as_u16(),
            location,
        });
    }
    let retry_after = retry_after.and_then(|text| parse_retry_after(&text, now_ms));
    Err(Failure::of_answer(status.as_u16(), body, retry_after))
}

/// The user's headers with that of the compression; a request's own headers win over all of these.
fn headers(config: &RemoteWriteConfig) -> Result<HeaderMap, WriteError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let invalid = || WriteError::Invalid {
            path: format!("remote_write.headers.{name}"),
            message: "is no valid header".to_owned(),
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    Ok(headers)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl Credentials {
    fn new(config: &RemoteWriteConfig) -> Self {
        if let Some(basic) = &config.basic_auth
            && let Some(password) = SecretSource::new(&basic.password, &basic.password_file)
        {
            return Self::Basic {
                username: basic.username.clone(),
                password,
            };
        }
        match SecretSource::new(&config.bearer_token, &config.bearer_token_file) {
            Some(token) => Self::Bearer(token),
            None => Self::None,
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::Basic {
                password: SecretSource::File(path),
                ..
            }
            | Self::Bearer(SecretSource::File(path)) => Some(path),
            _ => None,
        }
    }

    async fn add_to(&self, request: RequestBuilder) -> Result<RequestBuilder, Failure> {
        Ok(match self {
            Self::None => request,
            Self::Basic { username, password } => {
                request.basic_auth(username, Some(password.read().await?.reveal()))
            }
            Self::Bearer(token) => request.bearer_auth(token.read().await?.reveal()),
        })
    }
}

impl SecretSource {
    fn new(value: &Option<Secret>, file: &Option<PathBuf>) -> Option<Self> {
        match (value, file) {
            (Some(value), _) => Some(Self::Value(value.clone())),
            (None, Some(path)) => Some(Self::File(path.clone())),
            (None, None) => None,
        }
    }

    async fn read(&self) -> Result<Secret, Failure> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path) => match tokio::fs::read_to_string(path).await {
                // Editors end a file with a newline, which no header can carry.
                Ok(text) => Ok(Secret::new(text.trim_end())),
                Err(error) => Err(Failure::Credentials {
                    path: path.clone(),
                    error: error.to_string(),
                }),
            },
        }
    }
}

fn header(response: &Response, name: &HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(value.to_str().ok()?.to_owned())
}

/// The answer up to a limit. What breaks off is cut short: the status has been received.
async fn beginning_of(response: &mut Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_BODY_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(MAX_BODY_BYTES);
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// The URL is left out of the words, because its query may hold a token.
fn network(error: reqwest::Error) -> Failure {
    Failure::Network(with_causes(&error.without_url()))
}

#[cfg(test)]
mod tests {
    use super::super::failure::Course;
    use super::*;

    fn outcome(status: u16) -> Result<u16, Failure> {
        let status = StatusCode::from_u16(status).unwrap();
        classify(status, "no".to_owned(), Some("7".to_owned()), None, 0)
    }

    #[test]
    fn tells_what_is_worth_repeating() {
        for status in [200, 202, 204] {
            assert!(matches!(outcome(status), Ok(code) if code == status));
        }
        for status in [429, 500, 502, 503, 599] {
            let failure = outcome(status).unwrap_err();
            assert_eq!(failure.course(), Course::Repeat, "{status}");
            assert_eq!(failure.retry_after().map(|wait| wait.as_secs()), Some(7));
            assert_eq!(failure.code(), Some(status.to_string()));
        }
        for status in [301, 308, 400, 401, 403, 404, 409, 413, 415] {
            let failure = outcome(status).unwrap_err();
            assert_ne!(failure.course(), Course::Repeat, "{status}");
            assert_eq!(failure.code(), Some(status.to_string()));
        }
    }

    #[test]
    fn knows_this_machine() {
        for (url, expected) in [
            ("http://127.0.0.1:9090/", true),
            ("http://127.9.9.9/", true),
            ("http://localhost/", true),
            ("http://[::1]:9090/", true),
            ("http://10.0.0.1/", false),
            ("http://localhost.example.org/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
