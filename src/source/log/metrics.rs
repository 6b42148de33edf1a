//! What the log counts.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::telemetry::Registry;

/// Upper bounds of how long a sync takes, seconds.
const SYNC_SECONDS: [f64; 10] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// The metrics of a pipeline's log; of all its logs together, where it has several.
#[derive(Debug, Clone)]
pub(in crate::source) struct LogMetrics {
    bytes: IntGauge,
    records: IntGauge,
    oldest_seconds: IntGauge,
    /// How each of the logs stands.
    standing: Arc<Mutex<Vec<Standing>>>,
    /// Which of them this is.
    own: usize,
    pub(in crate::source) appended: IntCounter,
    pub(in crate::source) repeated: IntCounter,
    pub(in crate::source) full: IntCounter,
    pub(in crate::source) dropped: IntCounter,
    pub(in crate::source) torn_bytes: IntCounter,
    pub(in crate::source) sync_seconds: Histogram,
}

/// How a log stands.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    bytes: u64,
    records: u64,
    oldest_seconds: i64,
}

impl LogMetrics {
    /// The same metrics for one more log.
    #[cfg(feature = "mqtt")]
    pub(in crate::source) fn another(&self) -> Self {
        let mut all = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Standing::default());
        Self {
            own: all.len() - 1,
            ..self.clone()
        }
    }

    /// Says how the log stands.
    pub(in crate::source) fn show(&self, bytes: u64, records: u64, oldest_seconds: i64) {
        let mut all = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(self.own) {
            *own = Standing {
                bytes,
                records,
                oldest_seconds,
            };
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (bytes, records) = all.iter().fold((0, 0), |(bytes, records), log| {
            (bytes + log.bytes, records + log.records)
        });
        self.bytes.set(number(bytes));
        self.records.set(number(records));
        let oldest = all.iter().map(|log| log.oldest_seconds).max();
        self.oldest_seconds.set(oldest.unwrap_or_default());
    }

    /// The metrics in a registry.
    pub(in crate::source) fn new(registry: &Registry) -> Self {
        Self {
            standing: Arc::new(Mutex::new(vec![Standing::default()])),
            own: 0,
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
                "How often the log or its disk was full and nothing more was received.",
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

#[cfg(all(test, feature = "mqtt"))]
mod tests {
    use super::*;

    #[test]
    fn several_logs_are_shown_together() {
        let registry = Registry::new("test");
        let first = LogMetrics::new(&registry);
        let second = first.another();
        first.show(100, 10, 7);
        second.show(50, 5, 9);
        first.show(200, 20, 3);
        let text = Registry::text([&registry]);
        for line in [
            "weir_log_bytes{pipeline=\"test\"} 250\n",
            "weir_log_records{pipeline=\"test\"} 25\n",
            "weir_log_oldest_seconds{pipeline=\"test\"} 9\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
