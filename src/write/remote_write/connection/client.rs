//! One HTTP client for all shards.

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Response, StatusCode};

use crate::model::{Clock, parse_retry_after};
use crate::telemetry::with_causes;
use crate::write::WriteError;

use super::authentication::{Authenticator, Used};
use super::clock_skew;
use crate::write::remote_write::config::RemoteWriteConfig;
use crate::write::remote_write::connection::Connection;
use crate::write::remote_write::delivery::failure::Failure;
use crate::write::remote_write::delivery::reply::{Reply, Written};
use crate::write::remote_write::protocol::encode::Body;
use crate::write::remote_write::shard::Transport;

/// How much of an answer is read and logged, in bytes.
const MAX_BODY_BYTES: usize = 1_024;

const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// Posts requests to one receiver.
#[derive(Debug)]
pub(in crate::write::remote_write) struct HttpTransport {
    connection: Connection,
    authenticator: Authenticator,
    clock: Clock,
}

impl HttpTransport {
    /// A client by its configuration, which is expected to be valid.
    ///
    /// # Errors
    /// The URL or a header is invalid, a password, token or certificate file cannot be read, or TLS
    /// cannot be set up.
    pub(in crate::write::remote_write) fn new(
        config: &RemoteWriteConfig,
    ) -> Result<Self, WriteError> {
        let connection = Connection::to_receiver(config, headers(config)?)?;
        let authenticator = Authenticator::new(config)?;
        if let Some(path) = authenticator.file() {
            std::fs::read(&path).map_err(|error| WriteError::Credentials { path, error })?;
        }
        Ok(Self {
            connection,
            authenticator,
            clock: Clock::System,
        })
    }

    async fn send(&self, body: Body, attempt: u32) -> Result<(Response, Used), Failure> {
        let mut request = self
            .connection
            .post()
            .await
            .header(CONTENT_TYPE, body.protocol.content_type())
            .header(VERSION, body.protocol.version())
            .body(body.bytes);
        if attempt > 0 {
            request = request.header(RETRY_ATTEMPT, attempt);
        }
        let now_ms = self.clock.now_ms();
        let (request, used) = self.authenticator.authenticate(request, now_ms).await?;
        let response = self.connection.execute(request).await;
        Ok((response.map_err(network)?, used))
    }

    /// Sends a request, and reads what the receiver says it has written.
    async fn exchange(
        &self,
        body: Body,
        attempt: u32,
        written: &mut Option<Written>,
    ) -> Result<u16, Failure> {
        let (mut response, used) = self.send(body, attempt).await?;
        let status = response.status();
        let date = header(&response, &DATE);
        let retry_after = header(&response, &RETRY_AFTER);
        let location = header(&response, &LOCATION);
        *written = Written::of(|name| response.headers().get(name)?.to_str().ok());
        // Also after a success: a connection is used again only when its answer was read.
        let mut body = beginning_of(&mut response).await;
        let (code, now_ms) = (status.as_u16(), self.clock.now_ms());
        let remedy = clock_skew::remedy(code, &body, date.as_deref(), now_ms);
        let is_expired = remedy.is_none() && self.authenticator.refused(&used, status, &body);
        if let Some(remedy) = remedy {
            body = format!("{remedy}: {body}");
        }
        if let Some(id) = header(&response, &REQUEST_ID) {
            // What Amazon's support asks for.
            body = format!("{body} (request {id})");
        }
        if is_expired {
            return Err(Failure::Expired { status: code, body });
        }
        classify(status, body, retry_after, location, now_ms)
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
    if let Some(tenant) = &config.tenant {
        let tenant = HeaderValue::from_str(tenant).map_err(|_| WriteError::Invalid {
            path: "remote_write.tenant".to_owned(),
            message: "is no value of a header".to_owned(),
        })?;
        headers.insert(TENANT, tenant);
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    Ok(headers)
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
    let is_timeout = error.is_timeout();
    let words = with_causes(&error.without_url());
    match is_timeout {
        true => Failure::TimedOut(words),
        false => Failure::Network(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::remote_write::delivery::failure::Course;

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
}
