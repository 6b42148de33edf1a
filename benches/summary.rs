//! The table that is printed, and `target/bench/summary.jsonl`.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

/// One measurement. What does not apply to it is `null` in the file and a dash in the table.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) bench: String,
    pub(crate) events_per_s: f64,
    /// Events a second as a share of the hand-written loop's.
    pub(crate) ratio_to_limit: Option<f64>,
    /// Events a second as a multiple of one worker's on the same splits.
    pub(crate) speedup: Option<f64>,
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) bytes_per_aggregate: Option<f64>,
}

/// Where the rows go.
pub(crate) struct Summary(File);

impl Summary {
    pub(crate) fn create() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        fs::create_dir_all(&folder)?;
        println!(
            "{:<44} {:>11} {:>9} {:>9} {:>8} {:>8} {:>11}",
            "bench", "events/s", "ns/event", "of limit", "speedup", "peak MB", "B/aggregate"
        );
        Ok(Self(File::create(folder.join("summary.jsonl"))?))
    }

    pub(crate) fn add(&mut self, row: &Row) -> Result<()> {
        let ns_per_event = 1e9 / row.events_per_s;
        let decimals = |value: Option<f64>, places: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.places$}"))
        };
        println!(
            "{:<44} {:>11.0} {:>9.0} {:>9} {:>8} {:>8} {:>11}",
            row.bench,
            row.events_per_s,
            ns_per_event,
            decimals(row.ratio_to_limit, 2),
            decimals(row.speedup, 2),
            decimals(row.peak_rss_bytes.map(|bytes| bytes as f64 / 1e6), 1),
            decimals(row.bytes_per_aggregate, 0),
        );
        let line = json!({
            "bench": row.bench,
            "events_per_s": row.events_per_s.round(),
            "ratio_to_limit": row.ratio_to_limit,
            "ns_per_event": ns_per_event,
            "peak_rss_bytes": row.peak_rss_bytes,
            "speedup": row.speedup,
            "bytes_per_aggregate": row.bytes_per_aggregate,
        });
        Ok(writeln!(self.0, "{line}")?)
    }
}
