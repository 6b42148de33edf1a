//! A service that answers over HTTP with JSON.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url, redirect};
use serde_json::{Map, Value};

use super::super::config::AddedColumn;
use super::super::http_client;
use super::super::json_path::JsonPath;
use super::answer::{Answer, RequestError, field_values};
use super::config::HttpService;
use crate::model::{Clock, parse_retry_after};
use crate::telemetry::with_causes;

/// What stands for the key in a URL.
pub(super) const KEY: &str = "{key}";

/// The greatest answer that is read, bytes.
const MAX_BODY_BYTES: usize = 1 << 20;

/// How much of an answer goes into a message, bytes.
const MAX_QUOTED_BYTES: usize = 200;

/// All but the unreserved characters, which mean nothing in any part of a URL
/// (<https://www.rfc-editor.org/rfc/rfc3986#section-2.3>).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Asks one URL for each key.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Client,
    url: String,
    /// How many parts the path of the URL has.
    segments: usize,
    add: Vec<AddedColumn>,
    clock: Clock,
}

impl HttpClient {
    pub(super) fn build(
        config: &HttpService,
        add: &[AddedColumn],
        clock: Clock,
    ) -> Result<Self, String> {
        let example = parse(&config.url.replace(KEY, "key"))?;
        let mut headers = http_client::headers(&config.headers)?;
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("application/json"));
        let client = builder(&example)
            .default_headers(headers)
            .timeout(config.timeout.to_std())
            .build()
            .map_err(|error| with_causes(&error))?;
        Ok(Self {
            client,
            url: config.url.clone(),
            segments: segments(&example),
            add: add.to_vec(),
            clock,
        })
    }

    pub(super) async fn ask(&self, key: &str) -> Result<Answer, RequestError> {
        let Some(url) = self.url_of(key) else {
            return Ok(Answer::Missing);
        };
        let response = self.client.get(url).send().await.map_err(network)?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(Answer::Missing);
        }
        let retry_after = retry_after(&response, &self.clock);
        let body = body_of(response).await?;
        if !status.is_success() {
            return Err(RequestError {
                message: format!("status {}: {}", status.as_u16(), quoted(&body)),
                is_repeatable: is_repeatable(status),
                retry_after,
            });
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|error| {
            RequestError::fatal(format!("not JSON: {error}: {}", quoted(&body)))
        })?;
        let Some(object) = answer.as_object() else {
            let message = format!("expected a JSON object, found {}", quoted(&body));
            return Err(RequestError::fatal(message));
        };
        let found = field_values(&self.add, |path| at_path(object, path))?;
        Ok(Answer::Found(found))
    }

    /// The URL of a key. A key of dots would name another place (`..` is the folder above, also
    /// where it is encoded); no service knows it.
    fn url_of(&self, key: &str) -> Option<Url> {
        let encoded = utf8_percent_encode(key, ENCODED).to_string();
        let url = Url::parse(&self.url.replace(KEY, &encoded)).ok()?;
        (segments(&url) == self.segments).then_some(url)
    }
}

/// A client that asks once and follows no redirection.
pub(super) fn builder(url: &Url) -> ClientBuilder {
    http_client::builder(url).redirect(redirect::Policy::none())
}

pub(super) fn parse(url: &str) -> Result<Url, String> {
    Url::parse(url).map_err(|error| format!("'{url}' is not a URL: {error}"))
}

fn segments(url: &Url) -> usize {
    url.path_segments().map_or(0, Iterator::count)
}

/// Whether the same request may succeed later.
pub(super) fn is_repeatable(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

pub(super) fn retry_after(response: &Response, clock: &Clock) -> Option<std::time::Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(text, clock.now_ms())
}

/// A whole answer, unless it is too long.
pub(super) async fn body_of(mut response: Response) -> Result<Vec<u8>, RequestError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            let message = format!("the answer has more than {MAX_BODY_BYTES} bytes");
            return Err(RequestError::fatal(message));
        }
    }
    Ok(body)
}

/// The beginning of an answer, for a message.
pub(super) fn quoted(body: &[u8]) -> String {
    let beginning = body.get(..MAX_QUOTED_BYTES).unwrap_or(body);
    String::from_utf8_lossy(beginning).trim_end().to_owned()
}

/// A value by its path; null where there is none.
pub(super) fn at_path(object: &Map<String, Value>, path: &str) -> Value {
    let found = JsonPath::new(path).find(object);
    found.cloned().unwrap_or(Value::Null)
}

pub(super) fn network(error: reqwest::Error) -> RequestError {
    RequestError::repeatable(with_causes(&error.without_url()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client(url: &str) -> HttpClient {
        let config = serde_json::from_value(json!({ "url": url })).unwrap();
        HttpClient::build(&config, &[], Clock::System).unwrap()
    }

    #[test]
    fn a_key_cannot_leave_its_place_in_the_url() {
        let client = client("http://db/api/{key}/info?v={key}");
        for (key, url) in [
            ("V1", Some("http://db/api/V1/info?v=V1")),
            (
                "a/b?c#d",
                Some("http://db/api/a%2Fb%3Fc%23d/info?v=a%2Fb%3Fc%23d"),
            ),
            (
                "ä &",
                Some("http://db/api/%C3%A4%20%26/info?v=%C3%A4%20%26"),
            ),
            ("%2e", Some("http://db/api/%252e/info?v=%252e")),
            ("..", None),
            (".", None),
        ] {
            let found = client.url_of(key);
            assert_eq!(found.as_ref().map(Url::as_str), url, "{key}");
        }
    }
}
