//! What is counted of checkpoints.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use crate::state::Committed;
use crate::telemetry::Registry;

/// The metrics of a pipeline's checkpoints.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct CheckpointMetrics {
    sync: Histogram,
    alignment: Histogram,
    asynchronous: Histogram,
    bytes: IntGauge,
    new_bytes: IntGauge,
    number: IntGauge,
    timestamp: Gauge,
    completed: IntCounter,
    /// Checkpoints that failed or were not whole in time.
    pub(in crate::pipeline) failures: IntCounter,
}

impl CheckpointMetrics {
    /// The metrics in a registry.
    pub(in crate::pipeline) fn new(registry: &Registry) -> Self {
        let seconds = |name: &str, help: &str, first: f64| {
            // From the first bound in steps of four.
            let bounds: Vec<f64> = (0..8).map(|step| first * 4_f64.powi(step)).collect();
            registry.histogram(name, help, &bounds)
        };
        Self {
            sync: seconds(
                "weir_checkpoint_sync_seconds",
                "How long a worker's thread stood still for a checkpoint, once for its windows and once for its series.",
                0.000_1,
            ),
            alignment: seconds(
                "weir_checkpoint_alignment_seconds",
                "From the beginning of a checkpoint until all workers had frozen their state.",
                0.001,
            ),
            asynchronous: seconds(
                "weir_checkpoint_async_seconds",
                "How long a checkpoint was encoded and stored, while events were processed.",
                0.001,
            ),
            bytes: registry.int_gauge(
                "weir_checkpoint_bytes",
                "Bytes of the last checkpoint, with what it shares with earlier ones.",
            ),
            new_bytes: registry.int_gauge(
                "weir_checkpoint_new_bytes",
                "Bytes that were stored for the last checkpoint: what had changed.",
            ),
            number: registry.int_gauge("weir_checkpoint_number", "The number of the last checkpoint."),
            timestamp: registry.gauge(
                "weir_checkpoint_timestamp_seconds",
                "When the last checkpoint was durable, seconds since the epoch; its age is time() minus this.",
            ),
            completed: registry.counter("weir_checkpoints_total", "Checkpoints that are durable."),
            failures: registry.counter(
                "weir_checkpoint_failures_total",
                "Checkpoints that failed or were not whole in time.",
            ),
        }
    }

    /// A thread stood still for so long.
    pub(super) fn froze(&self, took: Duration) {
        self.sync.observe(took.as_secs_f64());
    }

    /// All barriers have met.
    pub(super) fn aligned(&self, took: Duration) {
        self.alignment.observe(took.as_secs_f64());
    }

    /// A checkpoint is durable, at `now_ms` by the clock.
    pub(super) fn stored(&self, committed: &Committed, took: Duration, now_ms: i64) {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.asynchronous.observe(took.as_secs_f64());
        self.bytes.set(whole(committed.bytes));
        self.new_bytes.set(whole(committed.new_bytes));
        self.number.set(whole(committed.number));
        self.timestamp.set(now_ms as f64 / 1e3);
        self.completed.inc();
    }
}
