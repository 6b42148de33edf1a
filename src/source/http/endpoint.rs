//! A request, from its first line to its answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_TYPE, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use prometheus::IntCounter;
use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::model::{Clock, Secret};
use crate::telemetry::LogLimit;

use super::super::handover::Producer;
use super::Protocol;
use super::budget::{Budget, Held};
use super::encoding::Encoding;
use super::intake::{MAX_KEYED_RECORDS, Outcome, Push};
use super::key::RequestKey;
use super::layouts::Bodies;
use super::metrics::HttpMetrics;
use super::records::{Layout, Records};
use super::refusal::Refusal;
use super::remote_write::{self, Version, Written};

/// By which a client marks what it may send again.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest such key, bytes.
const MAX_KEY_BYTES: usize = 255;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) path: String,
    pub(super) protocol: Protocol,
    pub(super) token: Option<Secret>,
    pub(super) bodies: Bodies,
    pub(super) limits: Limits,
    pub(super) request_timeout: Duration,
    /// How long a request may wait for the pipeline. Nothing where there is a log, which does not depend on it.
    pub(super) patience: Option<Duration>,
    pub(super) budget: Budget,
    pub(super) producer: Producer<Push>,
    pub(super) clock: Clock,
    pub(super) metrics: HttpMetrics,
    /// Counts records that are left out because they are too large.
    pub(super) too_large: IntCounter,
    /// Whether we take no more.
    pub(super) closing: AtomicBool,
    pub(super) log: Mutex<LogLimit>,
}

/// How large something may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A body, as it is sent and once it is expanded.
    pub(super) body: usize,
    /// A record.
    pub(super) record: usize,
}

/// What the head of a request says.
#[derive(Debug)]
struct Head {
    content: Content,
    /// Its `Idempotency-Key`.
    name: Option<Vec<u8>>,
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
    Records { records: usize, too_large: usize },
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
        let mut response = refusal.into_response();
        if self.protocol == Protocol::RemoteWrite {
            Written::default().tell(response.headers_mut());
        }
        response
    }

    /// Tells of requests that no agent sends again: their samples are lost.
    fn log_lost(&self, refusal: &Refusal) {
        if self.protocol == Protocol::Records || !refusal.is_for_good() {
            return;
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = log.admit() {
            let (status, error) = (refusal.status().as_u16(), refusal.message());
            tracing::warn!(
                status,
                error,
                held_back,
                "a Remote-Write request is refused"
            );
        }
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Taken, Refusal> {
        let received_ms = self.clock.now_ms();
        let head = self.head(&request)?;
        let body = timeout(self.request_timeout, self.read(request.into_body())).await;
        let (body, mut held) = body.map_err(|_| {
            let message = format!("the body was not there within {:?}", self.request_timeout);
            Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
        })??;
        let (content, limits) = (head.content, self.limits);
        // Many of a megabyte would keep other connections waiting. What is held goes along: the client may
        // be gone before the end.
        let opened = tokio::task::spawn_blocking(move || {
            let opened = content.open(body, limits, head.name.as_deref(), &mut held)?;
            held.settle(opened.records.held())?;
            Ok::<_, Refusal>((opened, held))
        });
        let (opened, held) = opened.await.map_err(|_| Refusal::stopping())??;
        let Opened {
            records,
            written,
            key,
            too_large,
        } = opened;
        let taken = match content {
            Content::Records(..) => Taken::Records {
                records: records.len(),
                too_large,
            },
            Content::RemoteWrite(version) => Taken::RemoteWrite(version, written),
        };
        let (answer, answered) = oneshot::channel();
        let size = records.held();
        let push = Push {
            records,
            key,
            received_ms,
            answer,
            _held: held,
        };
        self.producer
            .push(push, size)
            .map_err(|_| Refusal::stopping())?;
        match self.outcome(answered).await? {
            Outcome::Taken => {
                self.metrics.wrote(written);
                self.too_large.inc_by(too_large as u64);
                Ok(taken)
            }
            Outcome::Full => Err(Refusal::busy("the log is full; send it again later")),
            Outcome::DiskFull => Err(Refusal::disk_full()),
            Outcome::OtherContent => {
                let message = "the Idempotency-Key was that of a request with another body; a new \
                               request needs a new one";
                Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message))
            }
        }
    }

    /// What becomes of a request that was pushed. It is no longer taken where nobody has begun with it in time.
    async fn outcome(&self, mut answered: oneshot::Receiver<Outcome>) -> Result<Outcome, Refusal> {
        let Some(patience) = self.patience else {
            return answered.await.map_err(|_| Refusal::stopping());
        };
        match timeout(patience, &mut answered).await {
            Ok(outcome) => outcome.map_err(|_| Refusal::stopping()),
            Err(_) => {
                // It may have been taken at this very moment; from now on it cannot be.
                answered.close();
                answered.try_recv().map_err(|_| Refusal::behind())
            }
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
        let content = match self.protocol {
            Protocol::Records => {
                Content::Records(layout(self.bodies, headers)?, encoding(headers)?)
            }
            Protocol::RemoteWrite => Content::RemoteWrite(remote_write_version(headers)?),
        };
        let name = name(headers)?;
        let declared = headers.get(CONTENT_LENGTH).and_then(|length| {
            let text = length.to_str().ok()?;
            text.parse::<u64>().ok()
        });
        if declared.is_some_and(|length| length > self.limits.body as u64) {
            return Err(self.body_too_large());
        }
        if !self.producer.has_room(Duration::ZERO) {
            return Err(Refusal::behind());
        }
        Ok(Head { content, name })
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
            self.limits.body
        ))
    }

    /// Reads a body, within its limit and that of all requests together.
    async fn read(&self, body: Incoming) -> Result<(Vec<u8>, Held), Refusal> {
        let mut held = self.budget.hold();
        let mut bytes = Vec::new();
        let mut stream = Body::new(body).into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| {
                Refusal::bad(format!("the body did not come to its end: {error}"))
            })?;
            self.metrics.bytes.inc_by(chunk.len() as u64);
            if bytes.len() + chunk.len() > self.limits.body {
                return Err(self.body_too_large());
            }
            held.extend(&mut bytes, &chunk)?;
        }
        Ok((bytes, held))
    }
}

/// A body, opened.
#[derive(Debug)]
struct Opened {
    records: Records,
    written: Written,
    /// By what it is known when it comes again.
    key: Option<RequestKey>,
    /// How many records are left out because they are too large.
    too_large: usize,
}

impl Content {
    /// Opens the body of a request with this `Idempotency-Key`. What grows with it is held before.
    fn open(
        self,
        body: Vec<u8>,
        limits: Limits,
        name: Option<&[u8]>,
        held: &mut Held,
    ) -> Result<Opened, Refusal> {
        let (mut records, written, key_of_body) = match self {
            Self::Records(layout, encoding) => {
                let body = encoding.expand(body, limits.body, held)?;
                (Records::of(body, layout)?, Written::default(), None)
            }
            Self::RemoteWrite(version) => {
                let (records, written) = remote_write::read(&body, version, limits.body, held)?;
                // An agent that gets no answer sends the same bytes again. Another request with the same
                // bytes has the same samples.
                (records, written, Some(RequestKey::of_body(&body)))
            }
        };
        let largest = records.iter().map(<[u8]>::len).max();
        let too_large = records.leave_out_larger(limits.record);
        // The headers of an agent's answer say nothing of samples that are left out.
        let must_have_all = matches!(self, Self::RemoteWrite(_));
        if too_large > 0 && (must_have_all || records.len() == 0) {
            return Err(Refusal::too_large(format!(
                "a record has {} bytes; max_record_bytes of the pipeline is {}",
                largest.unwrap_or_default(),
                limits.record
            )));
        }
        let key = match name {
            Some(name) => Some(RequestKey::named(name, &records)),
            None => key_of_body,
        };
        if key.is_some() && records.len() > MAX_KEYED_RECORDS {
            return Err(Refusal::too_large(format!(
                "a request with Idempotency-Key may have {MAX_KEYED_RECORDS} records; it has {}",
                records.len()
            )));
        }
        Ok(Opened {
            records,
            written,
            key,
            too_large,
        })
    }
}

impl Taken {
    fn into_response(self) -> Response<Body> {
        match self {
            Self::Records { records, too_large } => {
                let text = match too_large {
                    0 => format!("{{\"records\":{records}}}\n"),
                    _ => format!("{{\"records\":{records},\"too_large\":{too_large}}}\n"),
                };
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

fn layout(bodies: Bodies, headers: &HeaderMap) -> Result<Layout, Refusal> {
    let given = headers.get(CONTENT_TYPE);
    let given = given.map_or("", |value| value.to_str().unwrap_or("?"));
    let essence = given.split(';').next().unwrap_or_default().trim();
    match bodies.layout(essence) {
        Some(layout) => Ok(layout),
        None => {
            let found = if essence.is_empty() {
                "there is no Content-Type".to_owned()
            } else {
                format!("the Content-Type is '{essence}'")
            };
            let message = format!("{found}; send {}", bodies.list());
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

fn name(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes) else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let message = format!(
            "the Idempotency-Key has {} bytes; from 1 to {MAX_KEY_BYTES}, such as a UUID",
            key.len()
        );
        return Err(Refusal::bad(message));
    }
    Ok(Some(key.to_vec()))
}
