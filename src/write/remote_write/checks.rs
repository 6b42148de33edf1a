//! Samples that a receiver is known to refuse, told before they are sent.

use std::sync::Arc;

use crate::model::{Duration, Sample, Series, TimestampMs};
use crate::write::metrics::DropReason;

use super::limits::ReceiverLimits;

/// How much of a name that is too long is told, in characters.
const TOLD_CHARACTERS: usize = 64;

/// Why a receiver would refuse a sample, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// A metric name outside of Prometheus' data model.
    #[error(
        "'{0}' is not a metric name that receivers take; use letters, digits, '_' and ':', no digit \
         first"
    )]
    MetricName(String),
    /// A label name outside of Prometheus' data model, or a reserved one.
    #[error(
        "'{0}' is not a label name that receivers take; use letters, digits and '_', neither a digit nor \
         '__' first"
    )]
    LabelName(String),
    /// Two labels of one name.
    #[error("the label '{0}' is there twice; give one of the two another name")]
    DuplicateLabel(String),
    /// More labels than the receiver takes.
    #[error(
        "it has {count} labels with its name, and the receiver takes {limit}; leave some out, or raise \
         the receiver's limit and limits.label_names"
    )]
    TooManyLabels {
        /// How many there are, the name counted as one.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A label name that is longer than the receiver takes.
    #[error(
        "the label name '{start}' has {bytes} bytes, and the receiver takes {limit}; take another name, or \
         raise the receiver's limit and limits.label_name_bytes"
    )]
    LabelNameTooLong {
        /// Its beginning.
        start: String,
        /// Its length.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A label value, or a metric name, that is longer than the receiver takes.
    #[error(
        "the value of '{label}' has {bytes} bytes, and the receiver takes {limit}; shorten it, or raise \
         the receiver's limit and limits.label_value_bytes"
    )]
    LabelValueTooLong {
        /// The label; that of a metric's name is `__name__`.
        label: String,
        /// The length of its value.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A sample that is older than the receiver takes.
    #[error(
        "it is {age} old, and the receiver takes samples of up to {limit}; if it takes older ones, raise \
         limits.age"
    )]
    TooOld {
        /// How old it is.
        age: Duration,
        /// How old it may be.
        limit: Duration,
    },
    /// A sample of a later time than the receiver takes.
    #[error(
        "it is {ahead} ahead of this machine's clock, and the receiver takes samples of up to {limit}; \
         look at the clocks of whoever sends the events, or raise limits.ahead"
    )]
    TooFarAhead {
        /// How far it is ahead.
        ahead: Duration,
        /// How far it may be ahead.
        limit: Duration,
    },
}

/// A sample that is not sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub(super) sample: Sample,
    pub(super) violation: Violation,
}

impl Violation {
    /// What it is counted as.
    pub(super) fn reason(&self) -> DropReason {
        match self {
            Self::MetricName(_) | Self::LabelName(_) => DropReason::InvalidName,
            Self::DuplicateLabel(_) => DropReason::DuplicateLabel,
            Self::TooManyLabels { .. } => DropReason::TooManyLabels,
            Self::LabelNameTooLong { .. } => DropReason::LabelNameTooLong,
            Self::LabelValueTooLong { .. } => DropReason::LabelValueTooLong,
            Self::TooOld { .. } => DropReason::TooOld,
            Self::TooFarAhead { .. } => DropReason::TooFarAhead,
        }
    }
}

impl ReceiverLimits {
    /// Why no sample of a series is taken; `None` where they may be.
    pub(super) fn refuse_series(&self, series: &Series) -> Option<Violation> {
        let name: &str = series.name();
        if !is_metric_name(name) {
            return Some(Violation::MetricName(start_of(name)));
        }
        // Where a receiver counts and measures labels, the metric's name is one of them.
        let count = series.labels().len() + 1;
        if let Some(limit) = self.label_names.filter(|limit| count > *limit) {
            return Some(Violation::TooManyLabels { count, limit });
        }
        if let Some(violation) = self.refuse_value("__name__", name) {
            return Some(violation);
        }
        let mut before: Option<&Arc<str>> = None;
        for (label, value) in series.labels() {
            if !is_label_name(label) {
                return Some(Violation::LabelName(start_of(label)));
            }
            // They are sorted.
            if before.is_some_and(|before| before == label) {
                return Some(Violation::DuplicateLabel(label.to_string()));
            }
            let bytes = label.len();
            if let Some(limit) = self.label_name_bytes.filter(|limit| bytes > *limit) {
                let start = start_of(label);
                return Some(Violation::LabelNameTooLong {
                    start,
                    bytes,
                    limit,
                });
            }
            if let Some(violation) = self.refuse_value(label, value) {
                return Some(violation);
            }
            before = Some(label);
        }
        None
    }

    fn refuse_value(&self, label: &str, value: &str) -> Option<Violation> {
        let bytes = value.len();
        let limit = self.label_value_bytes.filter(|limit| bytes > *limit)?;
        Some(Violation::LabelValueTooLong {
            label: start_of(label),
            bytes,
            limit,
        })
    }

    /// Why a sample of this time is not taken now, both ms since the epoch; `None` where it may be.
    pub(super) fn refuse_time(
        &self,
        timestamp_ms: TimestampMs,
        now_ms: TimestampMs,
    ) -> Option<Violation> {
        if timestamp_ms <= now_ms {
            return self.refuse_age(timestamp_ms, now_ms);
        }
        let ahead = Duration::from_millis(timestamp_ms.abs_diff(now_ms));
        let limit = self.ahead.filter(|limit| ahead > *limit)?;
        Some(Violation::TooFarAhead { ahead, limit })
    }

    /// The same of its age alone.
    pub(super) fn refuse_age(
        &self,
        timestamp_ms: TimestampMs,
        now_ms: TimestampMs,
    ) -> Option<Violation> {
        let limit = self.age?;
        let age = Duration::from_millis(u64::try_from(now_ms.saturating_sub(timestamp_ms)).ok()?);
        (age > limit).then_some(Violation::TooOld { age, limit })
    }
}

/// A metric name of Prometheus' data model (<https://prometheus.io/docs/concepts/data_model/>).
fn is_metric_name(name: &str) -> bool {
    is_name(name, |c| c.is_ascii_alphabetic() || c == b'_' || c == b':')
}

/// A label name of Prometheus' data model that is not reserved.
fn is_label_name(name: &str) -> bool {
    !name.starts_with("__") && is_name(name, |c| c.is_ascii_alphabetic() || c == b'_')
}

fn is_name(name: &str, begins: impl Fn(u8) -> bool) -> bool {
    let first = name.as_bytes().first();
    first.is_some_and(|first| begins(*first))
        && name.bytes().all(|c| begins(c) || c.is_ascii_digit())
}

fn start_of(text: &str) -> String {
    match text.char_indices().nth(TOLD_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
