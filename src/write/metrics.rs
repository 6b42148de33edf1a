//! What every writer counts.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use crate::telemetry::Registry;

/// Why a sample was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropReason {
    /// A label value is longer than the receiver takes.
    LabelValueTooLong,
    /// A label name is longer than the receiver takes.
    LabelNameTooLong,
    /// The series has more labels than the receiver takes.
    TooManyLabels,
    /// A label is there twice.
    DuplicateLabel,
    /// The name of the metric or of a label is none in Prometheus' data model.
    InvalidName,
    /// It is older than the receiver takes.
    TooOld,
    /// It is further ahead of the clock than the receiver takes.
    TooFarAhead,
    /// The value is NaN, or the sum of a histogram is.
    NotANumber,
    /// A histogram that contradicts itself.
    InvalidHistogram,
    /// A sample of the series with this or a later timestamp was sent before.
    OutOfOrder,
    /// Another sample of the same series and time came after it, before either was sent.
    Duplicate,
    /// The receiver refused the request.
    Rejected,
    /// There was no room for it while the receiver was throttling or away.
    QueueFull,
    /// It was sent before a restart, and formed again after it.
    AlreadySent,
    /// Relabelling keeps it from the receiver, as it should.
    Filtered,
}

impl DropReason {
    const ALL: [Self; 15] = [
        Self::LabelValueTooLong,
        Self::LabelNameTooLong,
        Self::TooManyLabels,
        Self::DuplicateLabel,
        Self::InvalidName,
        Self::TooOld,
        Self::TooFarAhead,
        Self::NotANumber,
        Self::InvalidHistogram,
        Self::OutOfOrder,
        Self::Duplicate,
        Self::Rejected,
        Self::QueueFull,
        Self::AlreadySent,
        Self::Filtered,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::LabelValueTooLong => "label_value_too_long",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::TooManyLabels => "too_many_labels",
            Self::DuplicateLabel => "duplicate_label",
            Self::InvalidName => "invalid_name",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
            Self::NotANumber => "not_a_number",
            Self::InvalidHistogram => "invalid_histogram",
            Self::OutOfOrder => "out_of_order",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::QueueFull => "queue_full",
            Self::AlreadySent => "already_sent",
            Self::Filtered => "filtered",
        }
    }
}

/// The samples' book-keeping: what was taken is written, dropped or still waiting.
#[derive(Debug)]
pub(super) struct Metrics {
    taken: AtomicU64,
    written: IntCounter,
    /// By [`DropReason::ALL`], so that every reason is exported before it first happens.
    dropped: [(DropReason, IntCounter); DropReason::ALL.len()],
    queue_bytes: IntGaugeVec,
    queue_samples: IntGaugeVec,
    already_sent_series: IntGauge,
    collisions: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> Self {
        let dropped = registry.counters(
            "weir_samples_dropped_total",
            "Samples that were not written, by reason",
            &["reason"],
        );
        Self {
            taken: AtomicU64::new(0),
            written: registry.counter(
                "weir_samples_written_total",
                "Samples that the receiver acknowledged or the file took",
            ),
            dropped: DropReason::ALL
                .map(|reason| (reason, dropped.with_label_values(&[reason.label()]))),
            queue_bytes: registry.int_gauges(
                "weir_queue_bytes",
                "Bytes of samples that wait to be written",
                &["queue"],
            ),
            queue_samples: registry.int_gauges(
                "weir_queue_samples",
                "Samples that wait to be written",
                &["queue"],
            ),
            collisions: registry.counter(
                "weir_relabelling_collisions_total",
                "Series that have become one with another series by relabelling",
            ),
            already_sent_series: registry.int_gauge(
                "weir_already_sent_series",
                "Series of which is known up to when they were sent before the restart",
            ),
        }
    }

    /// How many series have a mark of the time before the start.
    pub(super) fn already_sent_series(&self) -> IntGauge {
        self.already_sent_series.clone()
    }

    /// Samples came in.
    pub(super) fn take(&self, samples: usize) {
        self.taken.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// Samples went out.
    pub(super) fn write(&self, samples: usize) {
        self.written.inc_by(samples as u64);
    }

    /// Samples will never go out.
    pub(super) fn drop_samples(&self, reason: DropReason, samples: usize) {
        if let Some((_, counter)) = self.dropped.iter().find(|(known, _)| *known == reason) {
            counter.inc_by(samples as u64);
        }
    }

    /// Series have become one with others.
    pub(super) fn collide(&self, series: u64) {
        self.collisions.inc_by(series);
    }

    /// How many samples went out.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// How many samples were dropped for whatever reason. Those that were sent before, or are not for this
    /// destination, are not lost.
    pub(super) fn dropped(&self) -> u64 {
        let losses = self.dropped.iter();
        let losses = losses.filter(|(reason, _)| {
            !matches!(reason, DropReason::AlreadySent | DropReason::Filtered)
        });
        losses.map(|(_, counter)| counter.get()).sum()
    }

    /// How many samples still wait.
    pub(super) fn waiting(&self) -> u64 {
        let done = self.written() + self.dropped();
        self.taken.load(Ordering::Relaxed).saturating_sub(done)
    }

    /// The gauges of a queue.
    pub(super) fn queue(&self, name: &str) -> QueueGauges {
        QueueGauges {
            bytes: self.queue_bytes.with_label_values(&[name]),
            samples: self.queue_samples.with_label_values(&[name]),
        }
    }
}

/// What waits in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub(super) samples: usize,
    pub(super) bytes: usize,
}

/// How full a queue is.
#[derive(Debug, Clone)]
pub(super) struct QueueGauges {
    bytes: IntGauge,
    samples: IntGauge,
}

impl QueueGauges {
    /// Sets both.
    pub(super) fn set(&self, bytes: usize, samples: usize) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.samples.set(i64::try_from(samples).unwrap_or(i64::MAX));
    }

    /// A part of what both count has changed.
    pub(super) fn change(&self, before: Extent, after: Extent) {
        let change = |before: usize, after: usize| {
            let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
            number(after) - number(before)
        };
        self.bytes.add(change(before.bytes, after.bytes));
        self.samples.add(change(before.samples, after.samples));
    }
}
