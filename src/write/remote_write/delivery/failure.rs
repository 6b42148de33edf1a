//! Why a request did not go through, and what is to be done about it.

use std::path::PathBuf;
use std::time::Duration;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub(in crate::write::remote_write) enum Failure {
    /// 429: the receiver takes less than it is given.
    #[error("the receiver answered {status}: {body}")]
    Throttled {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
    },
    /// 5xx, or the receiver was too slow: it may take the same request later.
    #[error("the receiver answered {status}: {body}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
    },
    /// No complete answer: refused, reset, not resolved.
    #[error("no answer: {0}")]
    Network(String),
    /// No complete answer in time.
    #[error("no answer: {0}")]
    TimedOut(String),
    /// A password or token file cannot be read, so no request was made.
    #[error("cannot read {path}: {error}", path = path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: String,
    },
    /// Nobody gives us credentials now, so no request was made.
    #[error("{0}")]
    NoCredentials(String),
    /// The receiver refused credentials in place of which the next attempt will have others.
    #[error("the receiver refused the credentials with {status}, others are fetched: {body}")]
    Expired {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// 401, 403, 404 and their like: nothing of the request is to blame, but the address or the
    /// credentials, which may be mended.
    #[error("the receiver answered {status}: {body}; {remedy}", remedy = remedy(*status))]
    Misconfigured {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// A success of a request of 2.0 without a word on what was written: the receiver has read an empty
    /// request of 1.0.
    #[error(
        "the receiver answered {status} and does not say what it has written, so it does not understand \
         2.0; set protocol to 1.0 or auto"
    )]
    NotUnderstood {
        /// The HTTP status.
        status: u16,
    },
    /// Following a redirect could hand the samples and the credentials to somebody else.
    #[error("the receiver redirected with {status} to {location}; set url to where it really is")]
    Redirected {
        /// The HTTP status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// 413: the receiver takes smaller requests only.
    #[error("the receiver refused with {status}, because the request is too large: {body}")]
    TooLarge {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// Any other 4xx: the receiver will never take this request.
    #[error("the receiver refused with {status}: {body}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// A status that no specification gives a meaning here.
    #[error("the receiver answered {status}, which is no answer to remote write: {body}")]
    Unknown {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// The request cannot be put into snappy's format, which ends at 4 GiB.
    #[error("the request cannot be compressed: {0}")]
    Unencodable(#[from] snap::Error),
}

/// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::write::remote_write) enum Course {
    /// The same request again, after a while.
    Repeat,
    /// The same request again, after a while; and somebody has to mend something.
    Hold,
    /// Its halves.
    Split,
    /// Without the samples that are to blame.
    Isolate,
}

/// The status of a receiver that fails at what it was given, or for itself: nobody knows which.
const INTERNAL_ERROR: u16 = 500;

/// Request Timeout and Gateway Timeout.
const TIMEOUTS: [u16; 2] = [408, 504];

impl Failure {
    /// What an answer that is no success means.
    pub(in crate::write::remote_write) fn of_answer(
        status: u16,
        body: String,
        retry_after: Option<Duration>,
    ) -> Self {
        match status {
            429 => Self::Throttled {
                status,
                body,
                retry_after,
            },
            // Request Timeout and Too Early ask for a repetition in spite of their number.
            408 | 425 | 500..600 => Self::Unavailable {
                status,
                body,
                retry_after,
            },
            401..=407 | 415 | 421 | 426 => Self::Misconfigured { status, body },
            413 => Self::TooLarge { status, body },
            400..500 => Self::Rejected { status, body },
            _ => Self::Unknown { status, body },
        }
    }

    /// What is to be done about it.
    pub(in crate::write::remote_write) fn course(&self) -> Course {
        match self {
            Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Network(_)
            | Self::TimedOut(_)
            | Self::Expired { .. } => Course::Repeat,
            Self::Credentials { .. }
            | Self::NoCredentials(_)
            | Self::Misconfigured { .. }
            | Self::NotUnderstood { .. }
            | Self::Redirected { .. }
            | Self::Unknown { .. } => Course::Hold,
            Self::TooLarge { .. } | Self::Unencodable(_) => Course::Split,
            Self::Rejected { .. } => Course::Isolate,
        }
    }

    /// Whether the request itself may be the cause, though the receiver says that it has failed.
    /// Prometheus before 2.50 answers samples that are too old so, and 2.42 labels that come twice.
    pub(in crate::write::remote_write) fn may_be_content(&self) -> bool {
        matches!(self, Self::Unavailable { status, .. } if *status == INTERNAL_ERROR)
    }

    /// Whether the request may have been too much for the time that it had.
    pub(in crate::write::remote_write) fn is_too_slow(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Unavailable { status, .. } => TIMEOUTS.contains(status),
            _ => false,
        }
    }

    /// How long the receiver asks to wait.
    pub(in crate::write::remote_write) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    /// The HTTP status; `None` where there was no answer.
    pub(in crate::write::remote_write) fn status(&self) -> Option<u16> {
        match self {
            Self::Throttled { status, .. }
            | Self::Unavailable { status, .. }
            | Self::Misconfigured { status, .. }
            | Self::NotUnderstood { status }
            | Self::Redirected { status, .. }
            | Self::TooLarge { status, .. }
            | Self::Rejected { status, .. }
            | Self::Expired { status, .. }
            | Self::Unknown { status, .. } => Some(*status),
            Self::Network(_)
            | Self::TimedOut(_)
            | Self::Credentials { .. }
            | Self::NoCredentials(_)
            | Self::Unencodable(_) => None,
        }
    }

    /// What the receiver said, or what is wrong where it was not asked.
    pub(in crate::write::remote_write) fn words(&self) -> String {
        match self {
            Self::Throttled { body, .. }
            | Self::Unavailable { body, .. }
            | Self::Expired { body, .. }
            | Self::Misconfigured { body, .. }
            | Self::TooLarge { body, .. }
            | Self::Rejected { body, .. }
            | Self::Unknown { body, .. } => body.clone(),
            other => other.to_string(),
        }
    }

    /// The label `code` of the requests' metric; `None` where no request was made.
    pub(in crate::write::remote_write) fn code(&self) -> Option<String> {
        match self {
            Self::Network(_) | Self::TimedOut(_) => Some("network".to_owned()),
            other => other.status().map(|status| status.to_string()),
        }
    }

    /// The label `reason` of the failures' metric.
    pub(in crate::write::remote_write) fn reason(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } | Self::Network(_) | Self::TimedOut(_) => "unavailable",
            Self::Credentials { .. }
            | Self::NoCredentials(_)
            | Self::Expired { .. }
            | Self::Misconfigured { .. }
            | Self::NotUnderstood { .. }
            | Self::Redirected { .. } => "misconfigured",
            Self::TooLarge { .. } | Self::Unencodable(_) => "too_large",
            Self::Rejected { .. } => "rejected",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// All values of [`reason`](Self::reason).
    pub(in crate::write::remote_write) const REASONS: [&'static str; 6] = [
        "throttled",
        "unavailable",
        "misconfigured",
        "too_large",
        "rejected",
        "unknown",
    ];
}

/// What somebody can do about it.
fn remedy(status: u16) -> &'static str {
    match status {
        401 => "the credentials are missing or wrong",
        403 => "the credentials do not allow it, or the clock of this machine is wrong",
        404 => "url may name another place than the receiver's",
        405 => "url does not take POST; is its path right?",
        407 => "the proxy wants credentials",
        415 => "the receiver does not know this version of the protocol",
        _ => "the address or the account has to be mended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16) -> Failure {
        Failure::of_answer(status, "no".to_owned(), Some(Duration::from_secs(7)))
    }

    #[test]
    fn every_status_has_a_course() {
        let cases = [
            (
                Course::Repeat,
                &[408, 425, 429, 500, 502, 503, 504, 599][..],
            ),
            (
                Course::Hold,
                &[304, 401, 402, 403, 404, 405, 407, 415, 600, 999],
            ),
            (Course::Split, &[413]),
            (Course::Isolate, &[400, 409, 410, 414, 422, 451, 499]),
        ];
        for (course, statuses) in cases {
            for status in statuses {
                assert_eq!(of(*status).course(), course, "{status}");
                assert_eq!(of(*status).code(), Some(status.to_string()));
                assert_eq!(of(*status).words(), "no");
                assert!(Failure::REASONS.contains(&of(*status).reason()));
            }
        }
    }

    #[test]
    fn only_who_may_come_back_says_when() {
        assert_eq!(of(429).retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(of(503).retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(of(400).retry_after(), None);
        assert_eq!(of(403).retry_after(), None);
    }

    #[test]
    fn a_500_alone_may_be_about_the_samples() {
        assert!(of(500).may_be_content());
        for status in [400, 429, 502, 503] {
            assert!(!of(status).may_be_content(), "{status}");
        }
    }

    #[test]
    fn a_request_that_was_not_done_in_time_is_too_slow() {
        assert!(Failure::TimedOut("30s".to_owned()).is_too_slow());
        assert!(!Failure::Network("reset".to_owned()).is_too_slow());
        for (status, expected) in [(408, true), (504, true), (429, false), (503, false)] {
            assert_eq!(of(status).is_too_slow(), expected, "{status}");
        }
    }

    #[test]
    fn a_remedy_is_named() {
        assert_eq!(
            of(404).to_string(),
            "the receiver answered 404: no; url may name another place than the receiver's"
        );
    }
}
