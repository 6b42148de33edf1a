//! The table of formats.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

/// How fast formats are to be at least, as multiples of JSON's events a second.
const TARGETS: [(&str, f64); 2] = [("protobuf", 1.0), ("avro", 0.5)];

/// What was measured of a format.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// What parses it beside us.
    pub(crate) library: &'static str,
    pub(crate) bytes_per_event: f64,
    /// From bytes to columns, ns an event.
    pub(crate) ours_ns: f64,
    /// The library alone, ns an event.
    pub(crate) bare_ns: f64,
}

/// Prints the table and writes it down. `yardstick` is what JSON takes, ns an event.
pub(crate) fn print(rows: &[Measured], yardstick: f64) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder)?;
    let mut file = File::create(folder.join("formats.jsonl"))?;
    println!(
        "{:<17} {:>11} {:>11} {:>9} {:>11} {:>9} {:>8}  library",
        "format", "bytes/event", "events/s", "ns/event", "library ns", "of it", "of JSON"
    );
    for row in rows {
        let (of_library, of_json) = (row.bare_ns / row.ours_ns, yardstick / row.ours_ns);
        println!(
            "{:<17} {:>11.0} {:>11.0} {:>9.0} {:>11.0} {:>8.2}x {:>7.2}x  {}",
            row.name,
            row.bytes_per_event,
            1e9 / row.ours_ns,
            row.ours_ns,
            row.bare_ns,
            of_library,
            of_json,
            row.library
        );
        let line = json!({
            "format": row.name,
            "bytes_per_event": row.bytes_per_event,
            "events_per_s": (1e9 / row.ours_ns).round(),
            "library": row.library,
            "library_events_per_s": (1e9 / row.bare_ns).round(),
            "of_library": of_library,
            "of_json": of_json,
        });
        writeln!(file, "{line}")?;
    }
    println!("of it, of JSON: events a second as a multiple of the library's and of JSON's");
    for (name, least) in TARGETS {
        let Some(row) = rows.iter().find(|row| row.name == name) else {
            continue;
        };
        let of_json = yardstick / row.ours_ns;
        let target = if of_json >= least { "met" } else { "not met" };
        println!("{name}: {of_json:.2}x of JSON, at least {least:.2}x: {target}");
    }
    Ok(())
}

/// The middle one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
