//! What the Kinesis source counts, beside what all sources do.

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec};

use crate::telemetry::Registry;

use super::shards::{Progress, Shards};

/// Why a subscription began anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// It has ended, as it does every five minutes.
    Ended,
    /// Nothing came of it.
    Stalled,
    /// It has failed.
    Failed,
    /// It had to be given up, because the pipeline took nothing.
    Paused,
}

impl Restart {
    const ALL: [Self; 4] = [Self::Ended, Self::Stalled, Self::Failed, Self::Paused];

    fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Stalled => "stalled",
            Self::Failed => "failed",
            Self::Paused => "paused",
        }
    }
}

/// The metrics of a pipeline's Kinesis source.
#[derive(Debug, Clone)]
pub(super) struct KinesisMetrics {
    millis_behind: IntGaugeVec,
    age: GaugeVec,
    shards: IntGaugeVec,
    subscriptions: IntCounterVec,
    pub(super) throttled: IntCounter,
    pub(super) expired_iterators: IntCounter,
    /// Parts of aggregated records.
    pub(super) outside_shard: IntCounter,
    /// Shards that were split or merged and are read to their end.
    pub(super) closed_shards: IntCounter,
}

impl KinesisMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let metrics = Self {
            millis_behind: registry.int_gauges(
                "weir_kinesis_millis_behind_latest",
                "How far the last answer was behind the end of the shard, ms, by split.",
                &["split"],
            ),
            age: registry.gauges(
                "weir_kinesis_iterator_age_seconds",
                "How long ago the last record that was read had arrived, when it was read, by split.",
                &["split"],
            ),
            shards: registry.int_gauges(
                "weir_kinesis_shards",
                "Shards of this instance by state.",
                &["state"],
            ),
            subscriptions: registry.counters(
                "weir_kinesis_subscriptions_restarted_total",
                "How often a subscription of enhanced fan-out began anew, by reason.",
                &["reason"],
            ),
            throttled: registry.counter(
                "weir_kinesis_throttled_total",
                "Requests that were refused because there were too many.",
            ),
            expired_iterators: registry.counter(
                "weir_kinesis_expired_iterators_total",
                "Iterators that had expired when they were used.",
            ),
            outside_shard: registry.counter(
                "weir_kinesis_outside_shard_total",
                "Parts of aggregated records whose key is not in the range of their shard.",
            ),
            closed_shards: registry.counter(
                "weir_kinesis_closed_shards_total",
                "Shards that were split or merged and are read to their end.",
            ),
        };
        for reason in Restart::ALL {
            metrics.subscriptions.with_label_values(&[reason.name()]);
        }
        metrics
    }

    pub(super) fn restarted(&self, reason: Restart) {
        self.subscriptions.with_label_values(&[reason.name()]).inc();
    }

    pub(super) fn behind(&self, split: &str, millis: i64) {
        self.millis_behind.with_label_values(&[split]).set(millis);
    }

    pub(super) fn age(&self, split: &str, millis: i64) {
        self.age
            .with_label_values(&[split])
            .set(millis.max(0) as f64 / 1e3);
    }

    /// A split has ended: what is said of it would stand there for ever.
    pub(super) fn ended(&self, split: &str) {
        // What was never set is not there.
        drop(self.millis_behind.remove_label_values(&[split]));
        drop(self.age.remove_label_values(&[split]));
    }

    pub(super) fn shards(&self, shards: &Shards) {
        for (state, progress) in [
            ("waiting", Progress::Waiting),
            ("reading", Progress::Reading),
            ("ended", Progress::Ended),
        ] {
            let count = i64::try_from(shards.count(progress)).unwrap_or(i64::MAX);
            self.shards.with_label_values(&[state]).set(count);
        }
    }
}
