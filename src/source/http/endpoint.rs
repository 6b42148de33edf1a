//! A request, from its first line to its answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::model::Secret;
use crate::model::hash::WideStableHash;
use crate::telemetry::LogLimit;

use super::super::handover::Producer;
use super::Protocol;
use super::budget::{Budget, Exhausted, Held};
use super::encoding::{Encoding, ExpandError};
use super::intake::{MAX_KEYED_RECORDS, Outcome, Push};
use super::metrics::HttpMetrics;
use super::records::{Layout, Records};
use super::remote_write::{self, Unusable, Version, Written};

/// By which a client marks what it may send again.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest such key, bytes.
const MAX_KEY_BYTES: usize = 255;

/// After how long a client is asked to come back, seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What all requests share.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) path: String,
    pub(super) protocol: Protocol,
    pub(super) token: Option<Secret>,
    pub(super) max_body_bytes: usize,
    pub(super) request_timeout: Duration,
    pub(super) budget: Budget,
    pub(super) producer: Producer<Push>,
    pub(super) metrics: HttpMetrics,
    /// Whether we take no more.
    pub(super) closing: AtomicBool,
    pub(super) log: Mutex<LogLimit>,
}

/// Why a request was not taken.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            header: None,
        }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    fn busy(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).with(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// The same for an agent. What is to be sent again is 503: Prometheus throws away what is answered
    /// with 429, unless `retry_on_http_429` is set, and what is answered with 408 in any case. The
    /// specification has 5xx sent again always, and 429 where the sender likes.
    fn for_remote_write(self) -> Self {
        let is_passing = matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
        match is_passing {
            true => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..self
            }
            .with(RETRY_AFTER, RETRY_AFTER_SECONDS),
            false => self,
        }
    }

    fn stopping() -> Self {
        let message = "weir is stopping or restarting; send it again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }
}

impl From<Unusable> for Refusal {
    fn from(error: Unusable) -> Self {
        match error {
            Unusable::TooLarge { .. } | Unusable::TooManyLabelBytes(_) => {
                Self::too_large(error.to_string())
            }
            _ => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
}

impl From<Exhausted> for Refusal {
    fn from(_: Exhausted) -> Self {
        Self::busy("other requests hold all memory there is for them; send it again")
    }
}

impl From<ExpandError> for Refusal {
    fn from(error: ExpandError) -> Self {
        match error {
            ExpandError::TooLarge(_) => Self::too_large(error.to_string()),
            ExpandError::Damaged(..) => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
}

/// What the head of a request says.
#[derive(Debug)]
struct Head {
    content: Content,
    key: Option<Vec<u8>>,
}

/// What a body is.
#[derive(Debug, Clone, Copy)]
enum Content {
    Records(Layout, Encoding),
    RemoteWrite(Version),
}

/// A request that was taken.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Records(usize),
    RemoteWrite(Version, Written),
}

impl Endpoint {
    /// Whether nobody takes what comes.
    pub(super) fn is_abandoned(&self) -> bool {
        self.producer.is_abandoned()
    }

    /// Says that nothing more comes.
    pub(super) fn finish(&self) {
        self.producer.finish();
    }

    /// The answer to a request: 202, or 204 to Remote-Write, once its records are taken.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let mut response = match self.take(request).await {
            Ok(taken) => taken.into_response(),
            Err(refusal) => {
                self.log_lost(&refusal);
                self.refused(refusal)
            }
        };
        self.metrics.answered(response.status().as_u16());
        let headers = response.headers_mut();
        if self.closing.load(Ordering::Acquire) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn refused(&self, refusal: Refusal) -> Response<Body> {
        let refusal = match self.protocol {
            Protocol::Records => refusal,
            Protocol::RemoteWrite => refusal.for_remote_write(),
        };
        let mut response = Response::new(Body::from(format!("{}\n", refusal.message)));
        *response.status_mut() = refusal.status;
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, text);
        headers.extend(refusal.header);
        if self.protocol == Protocol::RemoteWrite {
            Written::default().tell(headers);
        }
        response
    }

    /// Tells of requests that no agent sends again: their samples are lost.
    fn log_lost(&self, refusal: &Refusal) {
        let is_lost = refusal.status.is_client_error()
            && refusal.status != StatusCode::TOO_MANY_REQUESTS
            && refusal.status != StatusCode::REQUEST_TIMEOUT;
        if self.protocol == Protocol::Records || !is_lost {
            return;
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = log.admit() {
            let (status, error) = (refusal.status.as_u16(), &refusal.message);
            tracing::warn!(
                status,
                error,
                held_back,
                "a Remote-Write request is refused"
            );
        }
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Taken, Refusal> {
        let head = self.head(&request)?;
        let body = timeout(self.request_timeout, self.read(request.into_body())).await;
        let (body, mut held) = body.map_err(|_| {
            let message = format!("the body was not there within {:?}", self.request_timeout);
            Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
        })??;
        let limit = self.max_body_bytes;
        // Many of a megabyte would keep other connections waiting.
        let content = head.content;
        let opened = tokio::task::spawn_blocking(move || content.open(body, limit));
        let Opened {
            records,
            written,
            key,
        } = opened.await.map_err(|_| Refusal::stopping())??;
        let key = key.or(head.key);
        held.grow(records.held())?;
        let count = records.len();
        let taken = match content {
            Content::Records(..) => Taken::Records(count),
            Content::RemoteWrite(version) => Taken::RemoteWrite(version, written),
        };
        if key.is_some() && count > MAX_KEYED_RECORDS {
            let message = format!(
                "a request with Idempotency-Key may have {MAX_KEYED_RECORDS} records; it has {count}"
            );
            return Err(Refusal::too_large(message));
        }
        let (answer, answered) = oneshot::channel();
        let size = records.held();
        let push = Push {
            records,
            key,
            answer,
        };
        self.producer
            .push(push, size)
            .map_err(|_| Refusal::stopping())?;
        match answered.await {
            Ok(Outcome::Taken) => {
                self.metrics.wrote(written);
                Ok(taken)
            }
            Ok(Outcome::Full) => Err(Refusal::busy("the log is full; send it again later")),
            Err(_) => Err(Refusal::stopping()),
        }
    }

    /// Looks at everything but the body.
    fn head(&self, request: &Request<Incoming>) -> Result<Head, Refusal> {
        let headers = request.headers();
        if request.uri().path() != self.path {
            let message = format!("nothing is here; records are taken at {}", self.path);
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
        if self.closing.load(Ordering::Acquire) {
            return Err(Refusal::stopping());
        }
        if request.method() != Method::POST {
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "records come with POST");
            return Err(refusal.with(ALLOW, HeaderValue::from_static("POST")));
        }
        self.authenticate(headers)?;
        let head = match self.protocol {
            Protocol::Records => Head {
                content: Content::Records(layout(headers)?, encoding(headers)?),
                key: key(headers)?,
            },
            Protocol::RemoteWrite => Head {
                content: Content::RemoteWrite(remote_write_version(headers)?),
                key: None,
            },
        };
        let declared = headers.get(CONTENT_LENGTH).and_then(|length| {
            let text = length.to_str().ok()?;
            text.parse::<u64>().ok()
        });
        if declared.is_some_and(|length| length > self.max_body_bytes as u64) {
            return Err(self.body_too_large());
        }
        if !self.producer.has_room(Duration::ZERO) {
            return Err(Refusal::busy("the pipeline is behind; send it again later"));
        }
        Ok(head)
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| {
            let (scheme, rest) = value.split_at_checked(7)?;
            let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
            is_bearer.then(|| rest.trim_ascii())
        });
        let Some(given) = given else {
            let message = "a token is needed; send it as Authorization: Bearer TOKEN";
            let challenge = HeaderValue::from_static("Bearer");
            return Err(
                Refusal::new(StatusCode::UNAUTHORIZED, message).with(WWW_AUTHENTICATE, challenge)
            );
        };
        if !bool::from(given.ct_eq(token.reveal().as_bytes())) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "the token is a wrong one",
            ));
        }
        Ok(())
    }

    fn body_too_large(&self) -> Refusal {
        Refusal::too_large(format!(
            "the body has more than {} bytes; send smaller ones",
            self.max_body_bytes
        ))
    }

    /// Reads a body, within its limit and that of all requests together.
    async fn read(&self, body: Incoming) -> Result<(Vec<u8>, Held), Refusal> {
        let mut held = self.budget.hold();
        let mut bytes = Vec::new();
        let mut stream = Body::new(body).into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| {
                let message = format!("the body did not come to its end: {error}");
                Refusal::new(StatusCode::BAD_REQUEST, message)
            })?;
            self.metrics.bytes.inc_by(chunk.len() as u64);
            if bytes.len() + chunk.len() > self.max_body_bytes {
                return Err(self.body_too_large());
            }
            held.grow(chunk.len())?;
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes, held))
    }
}

/// A body, opened.
#[derive(Debug)]
struct Opened {
    records: Records,
    written: Written,
    /// A key that follows from the body.
    key: Option<Vec<u8>>,
}

impl Content {
    /// Opens a body, which may have `limit` bytes then.
    fn open(self, body: Vec<u8>, limit: usize) -> Result<Opened, Refusal> {
        match self {
            Self::Records(layout, encoding) => {
                let body = encoding.expand(body, limit)?;
                let records = Records::of(body, layout)
                    .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
                Ok(Opened {
                    records,
                    written: Written::default(),
                    key: None,
                })
            }
            Self::RemoteWrite(version) => {
                let (records, written) = remote_write::read(&body, version, limit)?;
                // An agent that gets no answer sends the same bytes again. Another request with the same
                // bytes has the same samples.
                let key = WideStableHash::default().bytes(&body).finish();
                Ok(Opened {
                    records,
                    written,
                    key: Some(key.to_le_bytes().to_vec()),
                })
            }
        }
    }
}

impl Taken {
    fn into_response(self) -> Response<Body> {
        match self {
            Self::Records(records) => {
                let text = format!("{{\"records\":{records}}}\n");
                let mut response = Response::new(Body::from(text));
                *response.status_mut() = StatusCode::ACCEPTED;
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Self::RemoteWrite(version, written) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                if version == Version::V2 {
                    written.tell(response.headers_mut());
                }
                response
            }
        }
    }
}

fn remote_write_version(headers: &HeaderMap) -> Result<Version, Refusal> {
    if !remote_write::is_snappy(headers) {
        let message = "the Content-Encoding is not snappy, in which Remote-Write requests are";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    remote_write::version(headers).ok_or_else(|| {
        let message = "the Content-Type is none of Remote-Write; send application/x-protobuf, with \
                       proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request";
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    })
}

fn layout(headers: &HeaderMap) -> Result<Layout, Refusal> {
    let given = headers.get(CONTENT_TYPE);
    let given = given.map_or("", |value| value.to_str().unwrap_or("?"));
    let essence = given.split(';').next().unwrap_or_default().trim();
    match Layout::named(essence) {
        Some(layout) => Ok(layout),
        None => {
            let found = if essence.is_empty() {
                "there is no Content-Type".to_owned()
            } else {
                format!("the Content-Type is '{essence}'")
            };
            let message = format!(
                "{found}; send application/x-ndjson (a record a line), application/json (an array \
                 of records, or one) or application/octet-stream (one record)"
            );
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    let given = all.next().map_or("", |value| value.to_str().unwrap_or("?"));
    match Encoding::named(given) {
        Some(encoding) if all.next().is_none() => Ok(encoding),
        _ => {
            let message = format!("the Content-Encoding is '{given}'; send gzip, zstd or none");
            let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            let known = HeaderValue::from_static("gzip, zstd");
            Err(refusal.with(ACCEPT_ENCODING, known))
        }
    }
}

fn key(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes) else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let message = format!(
            "the Idempotency-Key has {} bytes; from 1 to {MAX_KEY_BYTES}, such as a UUID",
            key.len()
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    Ok(Some(key.to_vec()))
}
