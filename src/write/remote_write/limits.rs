//! What receivers are known to refuse, by their kind.
//!
//! A sample that is refused costs a request, and at some receivers the other samples of its request, or
//! is cut behind a success. So what is known to be refused is not sent. Where the number of a receiver
//! cannot be found in its documentation or its source, there is no limit here: then it answers for itself.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::Duration;

use super::config::ReceiverKind;

/// The largest request of Amazon Managed Service for Prometheus, bytes:
/// <https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html>. Whether it means those
/// before or after compression is not said, so it is held to before.
pub(super) const AMP_REQUEST_BYTES: usize = 1_000_000;

/// The longest label value that Cortex takes by default, and so the limit where nothing is known of
/// the receiver, bytes.
pub(in crate::write) const LABEL_VALUE_BYTES: usize = 2_048;

/// Limits that are written down, in place of those of the receiver's kind; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How many labels a series may have, its name counted as one. 0 is any number.
    pub label_names: Option<usize>,
    /// How long the name of a label may be, in bytes. 0 is any length.
    pub label_name_bytes: Option<usize>,
    /// How long the value of a label, or the name of a metric, may be, in bytes. 0 is any length.
    pub label_value_bytes: Option<usize>,
    /// How old a sample may be when it is sent. 0s is any age.
    pub age: Option<Duration>,
    /// How far a sample may be ahead of this machine's clock when it is sent. 0s is any time.
    pub ahead: Option<Duration>,
}

/// What a receiver takes. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// How many labels a series may have, its name counted as one.
    pub label_names: Option<usize>,
    /// How long the name of a label may be, bytes.
    pub label_name_bytes: Option<usize>,
    /// How long the value of a label, or the name of a metric, may be, bytes.
    pub label_value_bytes: Option<usize>,
    /// How old a sample may be.
    pub age: Option<Duration>,
    /// How far a sample may be ahead.
    pub ahead: Option<Duration>,
}

impl ReceiverLimits {
    /// The limits of a kind of receiver, with those that are written down in their place.
    pub fn new(kind: ReceiverKind, written: &LimitsConfig) -> Self {
        let default = Self::of(kind);
        Self {
            label_names: number(written.label_names, default.label_names),
            label_name_bytes: number(written.label_name_bytes, default.label_name_bytes),
            label_value_bytes: number(written.label_value_bytes, default.label_value_bytes),
            age: duration(written.age, default.age),
            ahead: duration(written.ahead, default.ahead),
        }
    }

    /// What a kind of receiver takes as it is delivered.
    pub fn of(kind: ReceiverKind) -> Self {
        match kind {
            ReceiverKind::Generic => Self {
                label_value_bytes: Some(LABEL_VALUE_BYTES),
                ..Self::default()
            },
            // `maxAheadTime` in storage/remote/write_handler.go. It has limits of labels for what it
            // scrapes only; how old a sample may be depends on what it has.
            ReceiverKind::Prometheus => Self {
                ahead: Some(Duration::from_secs(600)),
                ..Self::default()
            },
            // pkg/util/validation/limits.go of both: max-label-names-per-series, max-length-label-name,
            // max-length-label-value, create-grace-period. reject-old-samples (Cortex) and
            // past-grace-period (Mimir) are off.
            ReceiverKind::Cortex | ReceiverKind::Mimir => Self {
                label_names: Some(30),
                label_name_bytes: Some(1_024),
                label_value_bytes: Some(LABEL_VALUE_BYTES),
                age: None,
                ahead: Some(Duration::from_secs(600)),
            },
            // The quotas' page (see above): 150 labels; samples older than an hour are refused. It is
            // made of Cortex, from where the lengths are: the page of its errors names them without a
            // number, and says nothing of samples that are ahead.
            ReceiverKind::Amp => Self {
                label_names: Some(150),
                label_name_bytes: Some(1_024),
                label_value_bytes: Some(LABEL_VALUE_BYTES),
                age: Some(Duration::from_secs(3_600)),
                ahead: None,
            },
            // No limits of labels; --tsdb.too-far-in-future.time-window is off.
            ReceiverKind::Thanos => Self::default(),
            // lib/timeserieslimits of the current releases: maxLabelsPerTimeseries, maxLabelNameLen,
            // maxLabelValueLen. How old a sample may be is the retention, which each has its own of.
            ReceiverKind::Victoriametrics => Self {
                label_names: Some(40),
                label_name_bytes: Some(256),
                label_value_bytes: Some(4_096),
                age: None,
                ahead: None,
            },
        }
    }
}

fn number(written: Option<usize>, default: Option<usize>) -> Option<usize> {
    match written {
        Some(0) => None,
        Some(limit) => Some(limit),
        None => default,
    }
}

fn duration(written: Option<Duration>, default: Option<Duration>) -> Option<Duration> {
    match written {
        Some(limit) if limit.as_millis() == 0 => None,
        Some(limit) => Some(limit),
        None => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_takes_the_place_of_one_limit_alone() {
        let written: LimitsConfig =
            serde_json::from_str(r#"{"label_names": 5, "label_value_bytes": 0, "age": "0s"}"#)
                .unwrap();
        let expected = ReceiverLimits {
            label_names: Some(5),
            label_name_bytes: Some(1_024),
            label_value_bytes: None,
            age: None,
            ahead: None,
        };
        assert_eq!(ReceiverLimits::new(ReceiverKind::Amp, &written), expected);
    }

    #[test]
    fn without_a_word_the_limits_are_those_of_the_kind() {
        let nothing = LimitsConfig::default();
        for kind in [
            ReceiverKind::Generic,
            ReceiverKind::Prometheus,
            ReceiverKind::Mimir,
            ReceiverKind::Amp,
            ReceiverKind::Thanos,
            ReceiverKind::Victoriametrics,
        ] {
            assert_eq!(
                ReceiverLimits::new(kind, &nothing),
                ReceiverLimits::of(kind)
            );
        }
        assert_eq!(
            ReceiverLimits::of(ReceiverKind::Thanos),
            ReceiverLimits::default()
        );
    }
}
