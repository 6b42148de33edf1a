//! The `time` section of a pipeline file and the `window` of a metric.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Duration;

/// How event time behaves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeConfig {
    /// How far events of one split may be out of order. The split's watermark is its highest event
    /// time minus this.
    pub out_of_order: Duration,
    /// A connected split with nothing to read for this long no longer holds back the watermark.
    pub idle_after: Duration,
    /// Events further ahead of the clock than this are dropped and move no watermark.
    pub max_ahead: Duration,
    /// What happens to late events.
    pub late: LatePolicy,
}

impl Default for TimeConfig {
    fn default() -> Self {
        Self {
            out_of_order: Duration::from_secs(2),
            idle_after: Duration::from_secs(10),
            max_ahead: Duration::from_secs(60),
            late: LatePolicy::Drop,
        }
    }
}

/// What happens to late events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LatePolicy {
    /// They are dropped and counted by metric and reason.
    Drop,
}

/// How a metric's events are cut into windows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// The size of windows that follow each other without overlap, aligned to the epoch.
    pub tumbling: Duration,
}
