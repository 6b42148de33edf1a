//! Why a request is not taken, and what its client is told.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};

use super::budget::Exhausted;
use super::encoding::ExpandError;
use super::records::Malformed;
use super::remote_write::Unusable;

/// After how long a client is asked to come back, seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// How long a message is at most, bytes: it may have parts of the request, and stands in the log.
const MESSAGE_BYTES: usize = 500;

/// Why a request was not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// With a status and a message.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
            message.push('…');
        }
        Self {
            status,
            message,
            header: None,
        }
    }

    /// The same with a header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The body cannot be read.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is too much of something.
    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// There is no room now.
    pub(super) fn busy(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).with(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// The pipeline takes nothing now.
    pub(super) fn behind() -> Self {
        Self::busy("the pipeline is behind; send it again later")
    }

    /// The log's disk is full.
    pub(super) fn disk_full() -> Self {
        let message = "the disk of the log is full; send it again later";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, message).with(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// We take no more.
    pub(super) fn stopping() -> Self {
        let message = "weir is stopping or restarting; send it again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Whether it would be the same at another time.
    pub(super) fn is_for_good(&self) -> bool {
        self.status.is_client_error()
            && self.status != StatusCode::TOO_MANY_REQUESTS
            && self.status != StatusCode::REQUEST_TIMEOUT
    }

    /// The same for an agent. What is to be sent again is 503: Prometheus throws away what is answered
    /// with 429, unless `retry_on_http_429` is set, and what is answered with 408 in any case. The
    /// specification has 5xx sent again always, and 429 where the sender likes.
    pub(super) fn for_remote_write(self) -> Self {
        if self.is_for_good() {
            return self;
        }
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..self
        }
        .with(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// What the client is told.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(format!("{}\n", self.message)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, text);
        headers.extend(self.header);
        response
    }
}

impl From<Unusable> for Refusal {
    fn from(error: Unusable) -> Self {
        match error {
            Unusable::Exhausted(exhausted) => exhausted.into(),
            Unusable::TooLarge { .. } | Unusable::TooManyBytes(_) | Unusable::TooManyTexts(_) => {
                Self::too_large(error.to_string())
            }
            _ => Self::bad(error.to_string()),
        }
    }
}

impl From<Exhausted> for Refusal {
    fn from(error: Exhausted) -> Self {
        Self::busy(&error.to_string())
    }
}

impl From<ExpandError> for Refusal {
    fn from(error: ExpandError) -> Self {
        match error {
            ExpandError::Exhausted(exhausted) => exhausted.into(),
            ExpandError::TooLarge(_) => Self::too_large(error.to_string()),
            ExpandError::Damaged(..) => Self::bad(error.to_string()),
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Self {
        match error {
            Malformed::TooMany => Self::too_large(error.to_string()),
            _ => Self::bad(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_short_whatever_the_request_has() {
        let refusal = Refusal::bad(format!("{}é{}", "a".repeat(499), "b".repeat(60_000)));
        assert_eq!(refusal.message(), format!("{}…", "a".repeat(499)));
        assert_eq!(Refusal::bad("short").message(), "short");
    }

    #[test]
    fn an_agent_is_told_503_where_it_is_to_come_back() {
        for (refusal, expected) in [
            (Refusal::busy(""), 503),
            (Refusal::disk_full(), 503),
            (Refusal::stopping(), 503),
            (Refusal::new(StatusCode::REQUEST_TIMEOUT, ""), 503),
            (Refusal::bad(""), 400),
            (Refusal::too_large(""), 413),
        ] {
            let is_for_good = refusal.is_for_good();
            let response = refusal.for_remote_write().into_response();
            assert_eq!(response.status(), expected);
            let comes_back = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(comes_back, !is_for_good, "{expected}");
        }
    }
}
