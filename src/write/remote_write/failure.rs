//! Why a request did not go through, and whether it is worth repeating.

use std::path::PathBuf;
use std::time::Duration;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// 5xx or 429: the receiver may take the same request later.
    #[error("the receiver answered {status}: {body}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
    },
    /// No complete answer: refused, reset, timed out, not resolved.
    #[error("no answer: {0}")]
    Network(String),
    /// A password or token file cannot be read, so no request was made.
    #[error("cannot read {path}: {error}", path = path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: String,
    },
    /// Any other 4xx: the receiver will never take this request.
    #[error("the receiver refused with {status}: {body}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// Following a redirect could hand the samples and the credentials to somebody else.
    #[error("the receiver redirected with {status} to {location}; set url to where it really is")]
    Redirected {
        /// The HTTP status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// The request cannot be put into snappy's format.
    #[error("the request cannot be compressed: {0}")]
    Unencodable(#[from] snap::Error),
}

impl Failure {
    /// Whether the same request may go through later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Network(_) | Self::Credentials { .. } => true,
            Self::Rejected { .. } | Self::Redirected { .. } | Self::Unencodable(_) => false,
        }
    }

    /// How long the receiver asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The label `code` of the requests' metric; `None` where no request was made.
    pub(super) fn code(&self) -> Option<String> {
        match self {
            Self::Unavailable { status, .. }
            | Self::Rejected { status, .. }
            | Self::Redirected { status, .. } => Some(status.to_string()),
            Self::Network(_) => Some("network".to_owned()),
            Self::Credentials { .. } | Self::Unencodable(_) => None,
        }
    }
}
