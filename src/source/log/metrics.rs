//! What the log counts.

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::telemetry::Registry;

/// Upper bounds of how long a sync takes, seconds.
const SYNC_SECONDS: [f64; 10] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// The metrics of a pipeline's log.
#[derive(Debug, Clone)]
pub(in crate::source) struct LogMetrics {
    pub(in crate::source) bytes: IntGauge,
    pub(in crate::source) records: IntGauge,
    pub(in crate::source) oldest_seconds: IntGauge,
    pub(in crate::source) appended: IntCounter,
    pub(in crate::source) repeated: IntCounter,
    pub(in crate::source) full: IntCounter,
    pub(in crate::source) dropped: IntCounter,
    pub(in crate::source) torn_bytes: IntCounter,
    pub(in crate::source) sync_seconds: Histogram,
}

impl LogMetrics {
    /// The metrics in a registry.
    pub(in crate::source) fn new(registry: &Registry) -> Self {
        Self {
            bytes: registry.int_gauge("weir_log_bytes", "Bytes that the log takes on the disk."),
            records: registry.int_gauge(
                "weir_log_records",
                "Records that the log has, of which some may be processed already.",
            ),
            oldest_seconds: registry.int_gauge(
                "weir_log_oldest_seconds",
                "Time since the log's oldest record was received.",
            ),
            appended: registry.counter("weir_log_appended_total", "Records appended to the log."),
            repeated: registry.counter(
                "weir_log_repeated_total",
                "Messages that came again though they were in the log, and were not appended.",
            ),
            full: registry.counter(
                "weir_log_full_total",
                "How often the log was full and nothing more was received.",
            ),
            dropped: registry.counter(
                "weir_log_dropped_records_total",
                "Records thrown away before they were processed: the log was full or they were old.",
            ),
            torn_bytes: registry.counter(
                "weir_log_torn_bytes_total",
                "Bytes cut off the log's end at the start, because a crash had torn the last record.",
            ),
            sync_seconds: registry.histogram(
                "weir_log_sync_seconds",
                "How long it took to sync the log to the disk.",
                &SYNC_SECONDS,
            ),
        }
    }
}
