//! The samples that the engine has written, as the hand-written loop gives them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::hand_written::Samples;

/// The samples of a file that the engine has written.
pub(crate) fn samples(path: &Path) -> Result<Samples> {
    let mut samples = Samples::new();
    for line in fs::read_to_string(path)?.lines() {
        let sample: serde_json::Value = serde_json::from_str(line)?;
        let label = |name: &str| {
            let label = sample.get("labels").and_then(|labels| labels.get(name));
            label
                .and_then(|label| label.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let name = match sample.get("name").and_then(|name| name.as_str()) {
            Some("vehicles_in_motion") => "vehicles_in_motion",
            _ => "warnings",
        };
        let time = sample.get("timestamp_ms").and_then(|time| time.as_i64());
        let value = sample.get("value").and_then(|value| value.as_f64());
        samples.insert(
            (
                name,
                label("model"),
                label("region"),
                time.context("no time")?,
            ),
            value.context("no value")?,
        );
    }
    Ok(samples)
}
