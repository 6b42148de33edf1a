//! What was taken of a request.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The headers in which 2.0 wants to hear it.
const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// What was taken of a request, and what was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::source::http) struct Written {
    /// Samples that are events.
    pub(in crate::source::http) samples: u64,
    /// Samples that say that a series has ended. They are understood, and no values.
    pub(in crate::source::http) stale: u64,
    /// Native histograms, which are left out.
    pub(in crate::source::http) histograms: u64,
    /// Exemplars, which are left out.
    pub(in crate::source::http) exemplars: u64,
}

impl Written {
    /// Says in an answer what was written.
    pub(in crate::source::http) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(SAMPLES, HeaderValue::from(self.samples + self.stale));
        headers.insert(HISTOGRAMS, HeaderValue::from_static("0"));
        headers.insert(EXEMPLARS, HeaderValue::from_static("0"));
    }
}
