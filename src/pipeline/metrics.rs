//! What a pipeline counts between its stages.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::telemetry::Registry;

/// The metrics of a pipeline's workers, windows and watermarks.
#[derive(Debug, Clone)]
pub struct PipelineMetrics {
    late: IntCounterVec,
    unusable: IntCounterVec,
    held_refused: IntCounterVec,
    folded: IntCounterVec,
    over: IntGaugeVec,
    label_values: IntGaugeVec,
    samples: IntCounterVec,
    markers: IntCounterVec,
    queue_bytes: IntGaugeVec,
    open_windows: IntGaugeVec,
    window_groups: IntGaugeVec,
    state_bytes: IntGaugeVec,
    stored_bytes: IntGaugeVec,
    interned_texts: IntGaugeVec,
    interned_bytes: IntGaugeVec,
    /// How long workers have stood still to let go of texts, seconds.
    pub(super) compactions: Histogram,
    splits: IntGaugeVec,
    /// How often a split was paused because it ran ahead.
    pub(super) split_pauses: IntCounter,
    /// How far the highest active split is ahead of the others, seconds.
    pub(super) drift: Gauge,
    peak_windows: IntGaugeVec,
    /// The watermark, seconds since the epoch; 0 before the first.
    pub(super) watermark: Gauge,
    /// How far the watermark is behind the clock, seconds; 0 before the first.
    pub(super) watermark_lag: Gauge,
}

/// The counters of one metric of the pipeline file.
#[derive(Debug, Clone)]
pub(super) struct MetricCounters {
    pub(super) late: IntCounter,
    pub(super) late_after_idle: IntCounter,
    pub(super) already_written: IntCounter,
    pub(super) null_key: IntCounter,
    pub(super) held_refused: IntCounter,
    pub(super) budget: BudgetMetrics,
    pub(super) samples: IntCounter,
    /// How many of the samples say that a series has ended.
    pub(super) markers: IntCounter,
}

/// What the budget of a metric's series counts.
#[derive(Debug, Clone)]
pub(super) struct BudgetMetrics {
    pub(super) folded: IntCounter,
    pub(super) over: IntGauge,
    metric: String,
    label_values: IntGaugeVec,
}

impl BudgetMetrics {
    /// How many values a label has.
    pub(super) fn values_of(&self, label: &str) -> IntGauge {
        self.label_values.with_label_values(&[&self.metric, label])
    }
}

/// The gauges of one metric on one worker. Workers add what changed, so that the gauge is the sum.
#[derive(Debug)]
pub(super) struct StateGauges {
    windows: Share,
    peak: Share,
    groups: Share,
    bytes: Share,
    stored: Share,
}

/// One worker's part of a gauge.
#[derive(Debug)]
struct Share {
    gauge: IntGauge,
    value: i64,
}

impl Share {
    fn set(&mut self, value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.gauge.add(value - self.value);
        self.value = value;
    }
}

impl StateGauges {
    /// Notes how many windows are open behind a batch.
    pub(super) fn saw(&mut self, windows: usize) {
        if i64::try_from(windows).is_ok_and(|windows| windows > self.peak.value) {
            self.peak.set(windows);
        }
    }

    pub(super) fn set(&mut self, windows: usize, groups: usize, bytes: usize) {
        self.windows.set(windows);
        self.groups.set(groups);
        self.bytes.set(bytes);
    }

    /// Notes how many bytes are not in memory.
    pub(super) fn set_stored(&mut self, bytes: usize) {
        self.stored.set(bytes);
    }
}

impl PipelineMetrics {
    /// The metrics in a registry.
    pub fn new(registry: &Registry) -> Self {
        let build = registry.int_gauges(
            "weir_build_info",
            "Always 1; the version is in the label.",
            &["version"],
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            late: registry.counters(
                "weir_late_events_total",
                "Events that came after their window had closed, by metric and reason.",
                &["metric", "reason"],
            ),
            unusable: registry.counters(
                "weir_unusable_events_total",
                "Events that a metric could not use, by metric and reason.",
                &["metric", "reason"],
            ),
            held_refused: registry.counters(
                "weir_held_keys_refused_total",
                "Keys that hold did not remember because there were too many, once a window, by metric.",
                &["metric"],
            ),
            folded: registry.counters(
                "weir_series_folded_total",
                "Groups beyond max_series that went into the group other, once a window, by metric.",
                &["metric"],
            ),
            over: registry.int_gauges(
                "weir_series_over_budget",
                "Groups beyond max_series in the last window, by metric.",
                &["metric"],
            ),
            label_values: registry.int_gauges(
                "weir_label_values",
                "Values of each label in the last window that had more groups than max_series.",
                &["metric", "label"],
            ),
            samples: registry.counters(
                "weir_samples_total",
                "Samples formed, by metric.",
                &["metric"],
            ),
            markers: registry.counters(
                "weir_staleness_markers_total",
                "Samples that say that a series has ended, by metric.",
                &["metric"],
            ),
            queue_bytes: registry.int_gauges(
                "weir_inbox_bytes",
                "Bytes of records waiting for a worker.",
                &["worker"],
            ),
            open_windows: registry.int_gauges(
                "weir_open_windows",
                "Open windows of all workers, by metric.",
                &["metric"],
            ),
            window_groups: registry.int_gauges(
                "weir_window_groups",
                "Groups in the open windows of all workers, by metric.",
                &["metric"],
            ),
            state_bytes: registry.int_gauges(
                "weir_state_bytes",
                "Bytes that open windows take, by metric.",
                &["metric"],
            ),
            stored_bytes: registry.int_gauges(
                "weir_state_disk_bytes",
                "Bytes of open windows that are on disk and not in memory, by metric.",
                &["metric"],
            ),
            interned_texts: registry.int_gauges(
                "weir_interned_texts",
                "Distinct texts that a worker knows.",
                &["worker"],
            ),
            interned_bytes: registry.int_gauges(
                "weir_interned_bytes",
                "Bytes that the texts of a worker take.",
                &["worker"],
            ),
            compactions: registry.histogram(
                "weir_interner_compaction_seconds",
                "How long a worker's thread stood still to let go of texts that nothing needs any more.",
                &[0.001, 0.004, 0.016, 0.064, 0.256, 1.024, 4.096, 16.384],
            ),
            splits: registry.int_gauges(
                "weir_splits",
                "Splits of the source, by state (active, paused, idle, finished).",
                &["state"],
            ),
            split_pauses: registry.counter(
                "weir_split_pauses_total",
                "How often a split was paused because it was too far ahead of the others.",
            ),
            drift: registry.gauge(
                "weir_drift_seconds",
                "How far the highest active split is ahead of where the others stand.",
            ),
            peak_windows: registry.int_gauges(
                "weir_open_windows_peak",
                "The most windows that were open at once on each worker, of all workers, by metric.",
                &["metric"],
            ),
            watermark: registry.gauge(
                "weir_watermark_timestamp_seconds",
                "The watermark: up to which event time everything has been seen.",
            ),
            watermark_lag: registry.gauge(
                "weir_watermark_lag_seconds",
                "How far the watermark is behind the clock.",
            ),
        }
    }

    pub(super) fn of_metric(&self, metric: &str) -> MetricCounters {
        MetricCounters {
            late: self.late.with_label_values(&[metric, "late"]),
            late_after_idle: self.late.with_label_values(&[metric, "late_after_idle"]),
            already_written: self
                .unusable
                .with_label_values(&[metric, "already_written"]),
            null_key: self.unusable.with_label_values(&[metric, "null_key"]),
            held_refused: self.held_refused.with_label_values(&[metric]),
            budget: BudgetMetrics {
                folded: self.folded.with_label_values(&[metric]),
                over: self.over.with_label_values(&[metric]),
                metric: metric.to_owned(),
                label_values: self.label_values.clone(),
            },
            samples: self.samples.with_label_values(&[metric]),
            markers: self.markers.with_label_values(&[metric]),
        }
    }

    pub(super) fn state_of(&self, metric: &str) -> StateGauges {
        let share = |gauges: &IntGaugeVec| Share {
            gauge: gauges.with_label_values(&[metric]),
            value: 0,
        };
        StateGauges {
            windows: share(&self.open_windows),
            peak: share(&self.peak_windows),
            groups: share(&self.window_groups),
            bytes: share(&self.state_bytes),
            stored: share(&self.stored_bytes),
        }
    }

    pub(super) fn inbox_bytes(&self, worker: usize) -> IntGauge {
        self.queue_bytes.with_label_values(&[&worker.to_string()])
    }

    pub(super) fn interner(&self, worker: usize) -> [IntGauge; 2] {
        let worker = worker.to_string();
        [&self.interned_texts, &self.interned_bytes]
            .map(|gauges| gauges.with_label_values(&[&worker]))
    }

    pub(super) fn splits(&self, state: &str) -> IntGauge {
        self.splits.with_label_values(&[state])
    }
}
