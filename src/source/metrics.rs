//! What sources count.

#[cfg(feature = "kafka")]
use prometheus::IntGaugeVec;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::model::RecordBatch;
use crate::telemetry::Registry;

/// Why a source dropped a record before anybody looked into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// It has more bytes than a record may have.
    TooLarge,
    /// It has no content: a Kafka tombstone, or an MQTT message that clears a retained one.
    Tombstone,
    /// The MQTT broker had kept it for those who subscribe, and such messages are not wanted.
    Retained,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::TooLarge, Self::Tombstone, Self::Retained];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Tombstone => "tombstone",
            Self::Retained => "retained",
        }
    }
}

/// The metrics of a pipeline's source.
#[derive(Debug, Clone)]
pub struct SourceMetrics {
    records: IntCounterVec,
    bytes: IntCounterVec,
    dropped: IntCounterVec,
    /// 1 while the source is connected (a file: while it is read), else 0.
    pub connected: IntGauge,
    /// How often a lost connection came back.
    pub reconnects: IntCounter,
    /// How often a split could not be read on from where it was read to, because the records are no
    /// longer there.
    pub positions_lost: IntCounter,
    /// How often reading stopped because the pipeline took no more.
    pub buffer_full: IntCounter,
}

impl SourceMetrics {
    /// The metrics in a registry.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self {
            records: registry.counters(
                "weir_source_records_total",
                "Records handed over by the source, by split.",
                &["split"],
            ),
            bytes: registry.counters(
                "weir_source_bytes_total",
                "Bytes handed over by the source, by split.",
                &["split"],
            ),
            dropped: registry.counters(
                "weir_source_dropped_total",
                "Records dropped by the source, by reason.",
                &["reason"],
            ),
            connected: registry.int_gauge(
                "weir_source_connected",
                "Whether the source is connected: 1 or 0.",
            ),
            reconnects: registry.counter(
                "weir_source_reconnects_total",
                "How often the source's lost connection came back.",
            ),
            positions_lost: registry.counter(
                "weir_source_positions_lost_total",
                "How often a split could not be read on from where it was: the records are gone.",
            ),
            buffer_full: registry.counter(
                "weir_source_buffer_full_total",
                "How often the source stopped reading because the pipeline took no more.",
            ),
        };
        // All reasons are there from the start, at 0: a rate misses the first step of a new series.
        for reason in DropReason::ALL {
            metrics.dropped(reason);
        }
        metrics
    }

    /// The counter of records dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> IntCounter {
        self.dropped.with_label_values(&[reason.name()])
    }

    /// The counters of a split.
    pub fn split(&self, name: &str) -> SplitMetrics {
        SplitMetrics {
            records: self.records.with_label_values(&[name]),
            bytes: self.bytes.with_label_values(&[name]),
        }
    }
}

/// The counters of one split, looked up once.
#[derive(Debug, Clone)]
pub struct SplitMetrics {
    records: IntCounter,
    bytes: IntCounter,
}

impl SplitMetrics {
    /// Counts what a batch holds.
    pub fn count(&self, batch: &RecordBatch) {
        self.records.inc_by(batch.len() as u64);
        self.bytes.inc_by(batch.byte_len() as u64);
    }
}

/// How many Kafka partitions are ours.
#[cfg(feature = "kafka")]
pub(super) fn kafka_partitions(registry: &Registry) -> IntGauge {
    registry.int_gauge(
        "weir_kafka_assigned_partitions",
        "Kafka partitions that this instance reads.",
    )
}

/// How often Kafka told of an error after which weir goes on trying.
#[cfg(feature = "kafka")]
pub(super) fn kafka_errors(registry: &Registry) -> IntCounterVec {
    registry.counters(
        "weir_kafka_errors_total",
        "Errors that Kafka has told and after which it is tried again, by kind.",
        &["error"],
    )
}

/// How many records each Kafka partition is ahead of us.
#[cfg(feature = "kafka")]
pub(super) fn kafka_lag(registry: &Registry) -> IntGaugeVec {
    registry.int_gauges(
        "weir_kafka_lag_records",
        "Records in the Kafka partition that were not handed over yet, by split.",
        &["split"],
    )
}
