//! What the HTTP side counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::Registry;

use super::remote_write::Written;

/// Every status that requests are answered with, so that all counters are there from the start.
const CODES: [u16; 14] = [
    202, 204, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 503, 507,
];

/// What is left out of Remote-Write requests.
const STALE: &str = "stale_marker";
const HISTOGRAM: &str = "histogram";
const EXEMPLAR: &str = "exemplar";

/// The metrics of a pipeline's HTTP source.
#[derive(Debug, Clone)]
pub(super) struct HttpMetrics {
    requests: IntCounterVec,
    skipped: IntCounterVec,
    /// Bytes of bodies as they were sent.
    pub(super) bytes: IntCounter,
    /// Connections that are open.
    pub(super) connections: IntGauge,
    /// Handshakes of TLS that failed.
    pub(super) handshakes_failed: IntCounter,
}

impl HttpMetrics {
    /// The metrics in a registry.
    pub(super) fn new(registry: &Registry) -> Self {
        let metrics = Self {
            requests: registry.counters(
                "weir_http_requests_total",
                "Requests by the status that they were answered with.",
                &["code"],
            ),
            skipped: registry.counters(
                "weir_http_skipped_total",
                "What of Remote-Write requests is no event, by kind.",
                &["kind"],
            ),
            bytes: registry.counter(
                "weir_http_received_bytes_total",
                "Bytes of the bodies of requests, as they were sent.",
            ),
            connections: registry.int_gauge("weir_http_connections", "Open connections."),
            handshakes_failed: registry.counter(
                "weir_http_tls_failures_total",
                "Connections that were closed because their TLS handshake failed.",
            ),
        };
        for code in CODES {
            metrics.requests.with_label_values(&[&code.to_string()]);
        }
        for kind in [STALE, HISTOGRAM, EXEMPLAR] {
            metrics.skipped.with_label_values(&[kind]);
        }
        metrics
    }

    /// Counts what was left out of a request that was taken.
    pub(super) fn wrote(&self, written: Written) {
        for (kind, count) in [
            (STALE, written.stale),
            (HISTOGRAM, written.histograms),
            (EXEMPLAR, written.exemplars),
        ] {
            self.skipped.with_label_values(&[kind]).inc_by(count);
        }
    }

    /// Counts a request that was answered.
    pub(super) fn answered(&self, code: u16) {
        self.requests.with_label_values(&[&code.to_string()]).inc();
    }
}
