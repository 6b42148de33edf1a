//! The measured points: what is printed, and `target/bench/growth.jsonl`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A measured point of a curve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Point {
    /// The name of the series: what grows.
    pub(crate) series: String,
    pub(crate) curve: String,
    /// How much of it there is.
    pub(crate) x: u32,
    pub(crate) events: u64,
    /// The median of the runs.
    pub(crate) events_per_s: f64,
    pub(crate) ns_per_event: f64,
    pub(crate) samples: u64,
    /// The most that open windows took, bytes, as far as it was seen: it is looked at several times
    /// a second.
    pub(crate) state_bytes: u64,
    /// What the distinct texts took at the end, bytes.
    pub(crate) interned_bytes: u64,
    pub(crate) machine: String,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/growth.jsonl")
}

/// Where the points go.
pub(crate) struct Points(File);

impl Points {
    /// Empties the file and prints the table's head.
    pub(crate) fn create() -> Result<Self> {
        let path = path();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        println!(
            "{:<10} {:<26} {:>8} {:>9} {:>11} {:>9} {:>9} {:>9} {:>9}",
            "series",
            "curve",
            "x",
            "events",
            "events/s",
            "ns/event",
            "samples",
            "state MB",
            "texts MB"
        );
        Ok(Self(File::create(path)?))
    }

    pub(crate) fn add(&mut self, point: &Point) -> Result<()> {
        println!(
            "{:<10} {:<26} {:>8} {:>9} {:>11.0} {:>9.0} {:>9} {:>9.2} {:>9.2}",
            point.series,
            point.curve,
            point.x,
            point.events,
            point.events_per_s,
            point.ns_per_event,
            point.samples,
            point.state_bytes as f64 / 1e6,
            point.interned_bytes as f64 / 1e6,
        );
        Ok(writeln!(self.0, "{}", serde_json::to_string(point)?)?)
    }

    /// The points of the last run.
    pub(crate) fn read() -> Result<Vec<Point>> {
        let path = path();
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}: measure first", path.display()))?;
        text.lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }
}
