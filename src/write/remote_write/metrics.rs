//! What the remote-write sender counts besides samples.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::model::TimestampMs;
use crate::telemetry::Registry;

use super::delivery::failure::Failure;
use super::partitions::Partitions;

/// Upper bounds for the duration of a request, in seconds.
const DURATION_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The metrics of all shards together.
#[derive(Debug)]
pub(super) struct RequestMetrics {
    retried: IntCounter,
    requests: IntCounterVec,
    duration: Histogram,
    bytes: IntCounter,
    failures: IntCounterVec,
    isolated: IntCounter,
    kept: IntCounter,
    gone: IntCounter,
    open: IntGauge,
    healthy: IntGauge,
    highest: Mutex<TimestampMs>,
    highest_seconds: Gauge,
}

impl RequestMetrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> Self {
        let healthy = registry.int_gauge(
            "weir_remote_write_healthy",
            "1 unless the last request of any shard failed",
        );
        healthy.set(1);
        let failures = registry.counters(
            "weir_remote_write_failures_total",
            "Requests that have not gone through, by reason",
            &["reason"],
        );
        for reason in Failure::REASONS {
            failures.with_label_values(&[reason]);
        }
        Self {
            failures,
            isolated: registry.counter(
                "weir_remote_write_isolations_total",
                "Requests that were sent again in pieces, because they were refused as a whole",
            ),
            kept: registry.counter(
                "weir_rejected_samples_kept_total",
                "Samples that the receiver does not take and that were written down",
            ),
            gone: registry.counter(
                "weir_rejected_samples_gone_total",
                "Rejected samples that were written down and had to give way to later ones",
            ),
            open: registry.int_gauge(
                "weir_remote_write_circuit_open",
                "1 while one shard alone asks a receiver that has not taken five requests in a row",
            ),
            retried: registry.counter(
                "weir_samples_retried_total",
                "Samples in requests that were repeated, for each repetition",
            ),
            requests: registry.counters(
                "weir_remote_write_requests_total",
                "Requests by HTTP status, or network where there was no answer",
                &["code"],
            ),
            duration: registry.histogram(
                "weir_remote_write_request_duration_seconds",
                "How long requests took",
                &DURATION_BUCKETS,
            ),
            bytes: registry.counter(
                "weir_remote_write_bytes_total",
                "Compressed bytes of all requests",
            ),
            healthy,
            highest: Mutex::new(TimestampMs::MIN),
            highest_seconds: registry.gauge(
                "weir_remote_write_highest_timestamp_seconds",
                "The latest sample that the receiver acknowledged, seconds since the epoch",
            ),
        }
    }

    /// A request has ended one way or the other.
    pub(super) fn request(&self, result: &Result<u16, Failure>, bytes: usize, took: Duration) {
        self.healthy.set(i64::from(result.is_ok()));
        if let Err(failure) = result {
            self.failures.with_label_values(&[failure.reason()]).inc();
        }
        let code = match result {
            Ok(status) => Some(status.to_string()),
            Err(failure) => failure.code(),
        };
        let Some(code) = code else { return };
        self.requests.with_label_values(&[code.as_str()]).inc();
        self.duration.observe(took.as_secs_f64());
        self.bytes.inc_by(bytes as u64);
    }

    /// Tells whether one shard alone asks.
    pub(super) fn circuit_open(&self) -> IntGauge {
        self.open.clone()
    }

    /// A refused request is sent again in pieces.
    pub(super) fn isolated(&self) {
        self.isolated.inc();
    }

    /// Rejected samples were written down, and earlier ones had to go.
    pub(super) fn kept(&self, samples: usize, gone: u64) {
        self.kept.inc_by(samples as u64);
        self.gone.inc_by(gone);
    }

    /// A request will be repeated.
    pub(super) fn retry(&self, samples: usize) {
        self.retried.inc_by(samples as u64);
    }

    /// Samples up to this timestamp (ms since the epoch) were acknowledged.
    pub(super) fn acknowledge(&self, timestamp: TimestampMs) {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        if timestamp > *highest {
            *highest = timestamp;
            self.highest_seconds.set(timestamp as f64 / 1_000.0);
        }
    }
}

/// How many shards there are.
#[derive(Debug)]
pub(super) struct ShardGauges {
    pub(super) wanted: Gauge,
    pub(super) running: IntGauge,
}

impl ShardGauges {
    /// Registers the gauges; at first as few run as may.
    pub(super) fn new(registry: &Registry, min: usize, max: usize) -> Self {
        let number = |shards: usize| i64::try_from(shards).unwrap_or(i64::MAX);
        let bounds = [
            ("weir_remote_write_shards_min", "min_shards", min),
            ("weir_remote_write_shards_max", "max_shards", max),
        ];
        for (name, key, shards) in bounds {
            let help = format!("{key} of the pipeline file");
            registry.int_gauge(name, &help).set(number(shards));
        }
        let gauges = Self {
            wanted: registry.gauge(
                "weir_remote_write_shards_wanted",
                "How many shards it would take to send what comes in, by the delay of the receiver",
            ),
            running: registry.int_gauge(
                "weir_remote_write_shards_running",
                "How many shards send, so how many requests may be in flight",
            ),
        };
        gauges.wanted.set(min as f64);
        gauges.running.set(number(min));
        gauges
    }
}

/// Registers the age of the oldest sample that is not acknowledged, which is computed at every scrape.
pub(super) fn register_oldest(registry: &Registry, partitions: &Arc<Partitions>) {
    let partitions = Arc::downgrade(partitions);
    registry.computed_gauge(
        "weir_remote_write_oldest_unsent_seconds",
        "For how long the oldest sample has waited that the receiver has not acknowledged",
        move || {
            let partitions = partitions.upgrade();
            partitions.map_or(0.0, |partitions| partitions.oldest().as_secs_f64())
        },
    );
}
