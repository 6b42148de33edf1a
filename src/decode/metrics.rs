//! What decoding counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntCounterVec};

use crate::telemetry::Registry;

/// Why an event was dropped, or a field of it taken as NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bytes are not UTF-8.
    InvalidUtf8,
    /// The text is not JSON.
    MalformedJson,
    /// The bytes are not what the format says; for JSON, [`MalformedJson`](Self::MalformedJson).
    Malformed,
    /// Its schema does not exist, or cannot be used.
    UnknownSchema,
    /// A number that no birth of Sparkplug B has said the name of.
    UnknownAlias,
    /// More names than are kept.
    TooManyNames,
    /// JSON, but no object.
    NotAnObject,
    /// What is around the record is not what the pipeline says.
    CannotUnwrap,
    /// What is in the record is longer than a record may be.
    ExpandsTooFar,
    /// What is to give several events is no array.
    NotAnArray,
    /// More events in a record than a record may have.
    TooManyEvents,
    /// No event time.
    MissingTime,
    /// An event time of another type or notation than the pipeline says.
    TimeUnreadable,
    /// A time that no working clock says: before 2000 or after 2199.
    TimeOutOfRange,
    /// A time further ahead of our clock than `max_ahead`.
    TooFarAhead,
    /// A required field is missing.
    MissingField,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 16] = [
        Self::InvalidUtf8,
        Self::MalformedJson,
        Self::Malformed,
        Self::UnknownSchema,
        Self::UnknownAlias,
        Self::TooManyNames,
        Self::NotAnObject,
        Self::CannotUnwrap,
        Self::ExpandsTooFar,
        Self::NotAnArray,
        Self::TooManyEvents,
        Self::MissingTime,
        Self::TimeUnreadable,
        Self::TimeOutOfRange,
        Self::TooFarAhead,
        Self::MissingField,
    ];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::MalformedJson => "malformed_json",
            Self::Malformed => "malformed",
            Self::UnknownSchema => "unknown_schema",
            Self::UnknownAlias => "unknown_alias",
            Self::TooManyNames => "too_many_names",
            Self::NotAnObject => "not_an_object",
            Self::CannotUnwrap => "cannot_unwrap",
            Self::ExpandsTooFar => "expands_too_far",
            Self::NotAnArray => "not_an_array",
            Self::TooManyEvents => "too_many_events",
            Self::MissingTime => "missing_time",
            Self::TimeUnreadable => "time_unreadable",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::TooFarAhead => "too_far_ahead",
            Self::MissingField => "missing_field",
        }
    }
}

/// The counters of a pipeline's decoders.
#[derive(Debug, Clone)]
pub struct DecodeMetrics {
    /// Decoded events by split.
    events: IntCounterVec,
    /// Decoded events of all splits.
    total: Arc<AtomicU64>,
    /// Dropped events by reason.
    dropped: IntCounterVec,
    /// Fields taken as NULL, by field and reason.
    field_errors: IntCounterVec,
    /// Messages of Sparkplug B before which others are missing.
    sequence_gaps: IntCounter,
    /// Samples of Remote-Write requests that say that a series has ended.
    stale_markers: IntCounter,
}

impl DecodeMetrics {
    /// The counters in a registry.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self {
            events: registry.counters("weir_events_total", "Events decoded, by split.", &["split"]),
            total: Arc::default(),
            dropped: registry.counters(
                "weir_decode_errors_total",
                "Records that gave no event, and events of records with several, by reason.",
                &["reason"],
            ),
            field_errors: registry.counters(
                "weir_field_errors_total",
                "Fields taken as NULL because they were missing or unusable, by field and reason.",
                &["field", "reason"],
            ),
            sequence_gaps: registry.counter(
                "weir_sparkplug_sequence_gaps_total",
                "Messages of Sparkplug B before which others of the same node are missing.",
            ),
            stale_markers: registry.counter(
                "weir_decode_stale_markers_total",
                "Stale markers of Remote-Write requests, which are no events.",
            ),
        };
        // All reasons are there from the start, at 0: a rate over a new series misses its first step.
        for reason in Reason::ALL {
            metrics.dropped(reason);
        }
        metrics
    }

    /// Counts decoded events of a split.
    pub(super) fn decoded(&self, split: &str, events: usize) {
        self.events
            .with_label_values(&[split])
            .inc_by(events as u64);
        self.total.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// How many events were decoded.
    pub fn events_total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The counter of events dropped for a reason.
    pub fn dropped(&self, reason: Reason) -> IntCounter {
        self.dropped.with_label_values(&[reason.name()])
    }

    /// How many events were dropped for whatever reason.
    pub fn dropped_total(&self) -> u64 {
        Reason::ALL
            .iter()
            .map(|reason| self.dropped(*reason).get())
            .sum()
    }

    /// The counter of messages before which others are missing.
    pub(super) fn sequence_gaps(&self) -> &IntCounter {
        &self.sequence_gaps
    }

    /// The counter of stale markers.
    pub(super) fn stale_markers(&self) -> &IntCounter {
        &self.stale_markers
    }

    /// The counter of a field's missing values.
    pub(super) fn missing(&self, field: &str) -> IntCounter {
        self.field_errors.with_label_values(&[field, "missing"])
    }

    /// The counter of a field's values of another type.
    pub(super) fn wrong_type(&self, field: &str) -> IntCounter {
        self.field_errors.with_label_values(&[field, "wrong_type"])
    }

    /// The counter of a field's infinite values.
    pub(super) fn not_finite(&self, field: &str) -> IntCounter {
        self.field_errors.with_label_values(&[field, "not_finite"])
    }
}
