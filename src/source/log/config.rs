//! The settings of the durable log in a pipeline file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Duration;

use super::super::config::Violation;

/// The smallest and greatest time between two syncs.
const SYNC_EVERY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(10));

/// The smallest log, bytes.
const LEAST_BYTES: u64 = 16 * 1024 * 1024;

/// The shortest time to keep records that were not processed.
const LEAST_AGE: Duration = Duration::from_secs(60);

/// The durable log of a source that cannot be read again (MQTT, HTTP): what is received is written to it,
/// then acknowledged, then processed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// When what was received is synced to the disk, and after that acknowledged: `always`, which is
    /// at once, or so often, such as `100ms`, for many messages together.
    #[serde(default)]
    pub fsync: Fsync,
    /// How many bytes it may take on the disk.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 16_777_216))]
    pub max_bytes: u64,
    /// How old a record may become; older ones are thrown away, processed or not. Without it, none
    /// is too old.
    #[serde(default)]
    pub max_age: Option<Duration>,
    /// What happens when it takes `max_bytes`.
    #[serde(default)]
    pub when_full: WhenFull,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            fsync: Fsync::default(),
            max_bytes: default_max_bytes(),
            max_age: None,
            when_full: WhenFull::default(),
        }
    }
}

/// When what was received is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Fsync {
    /// As soon as there is something.
    Always(Always),
    /// So long after the first message that is not durable yet.
    Every(Duration),
}

impl Default for Fsync {
    fn default() -> Self {
        Self::Every(Duration::from_millis(100))
    }
}

/// The word `always`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Always {
    /// As soon as there is something.
    Always,
}

/// What happens when the log is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Nothing more is received until there is room: the broker or the client keeps it.
    #[default]
    Refuse,
    /// The oldest records are thrown away, processed or not.
    DropOldest,
}

/// 1 GiB.
fn default_max_bytes() -> u64 {
    1024 * 1024 * 1024
}

impl LogConfig {
    /// Checks what the types cannot: one entry for each wrong value, with its path within the
    /// log's section.
    pub fn validate(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut add = |key: &str, message: String| found.push((vec![key.to_owned()], message));
        if let Fsync::Every(every) = self.fsync {
            let (least, most) = SYNC_EVERY;
            if !(least..=most).contains(&every) {
                add(
                    "fsync",
                    format!("{every} is out of range; from {least} to {most}, or always"),
                );
            }
        }
        if self.max_bytes < LEAST_BYTES {
            add(
                "max_bytes",
                format!("{} is too small; at least {LEAST_BYTES}", self.max_bytes),
            );
        }
        if let Some(age) = self.max_age.filter(|age| *age < LEAST_AGE) {
            add(
                "max_age",
                format!("{age} is too short; at least {LEAST_AGE}"),
            );
        }
        found
    }
}

/// The log of a pipeline: where it is and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Its folder, which is made where it is missing. Nothing else may be in it.
    pub folder: PathBuf,
    /// How it is kept.
    pub config: LogConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> LogConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(config("{}"), LogConfig::default());
        assert_eq!(
            config(
                r#"{"fsync": "always", "max_bytes": 16777216, "max_age": "1d",
                    "when_full": "drop_oldest"}"#
            ),
            LogConfig {
                fsync: Fsync::Always(Always::Always),
                max_bytes: 16_777_216,
                max_age: Some(Duration::from_secs(86_400)),
                when_full: WhenFull::DropOldest,
            }
        );
        assert_eq!(
            config(r#"{"fsync": "5ms"}"#).fsync,
            Fsync::Every(Duration::from_millis(5))
        );
    }

    #[test]
    fn values_out_of_range_are_told() {
        assert_eq!(LogConfig::default().validate(), []);
        let wrong = config(r#"{"fsync": "11s", "max_bytes": 1000, "max_age": "59s"}"#);
        let told: Vec<_> = wrong
            .validate()
            .into_iter()
            .map(|(path, message)| format!("{}: {message}", path.join(".")))
            .collect();
        assert_eq!(
            told,
            [
                "fsync: 11s is out of range; from 1ms to 10s, or always",
                "max_bytes: 1000 is too small; at least 16777216",
                "max_age: 59s is too short; at least 1m",
            ]
        );
        assert_eq!(config(r#"{"fsync": "0s"}"#).validate().len(), 1);
    }
}
