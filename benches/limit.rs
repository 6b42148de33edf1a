//! How near the engine comes to a hand-written loop on connected cars, and how much memory it takes.
//!
//! Speed: the loop and the engine take turns in this process, over the same files, and each row is
//! the median of its runs; machines are noisy, so compare rows of one run only. Memory: the command
//! in a process of its own. Rows go to `target/bench/summary.jsonl` as well.
//!
//! `cargo bench --profile release --bench limit -- speed` leaves out the memory, which takes longer.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod child;
mod engine;
mod fleet;
mod hand_written;
mod peak;
mod summary;
mod two_metrics;
mod written;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};

use fleet::{Inputs, Size};
use summary::{Row, Summary};

/// The fleet of the targets: three readings a second from 100,000 vehicles.
const FLEET: Size = Size {
    vehicles: 100_000,
    events_per_second: 300_000,
    events: 5_000_000,
};
/// A fleet of which every vehicle is in every window: two windows and the disorder are open.
const LARGE_FLEET: Size = Size {
    vehicles: 1_000_000,
    events_per_second: 1_000_000,
    events: 10_000_000,
};
/// Aggregates a vehicle in the per-vehicle pipeline.
const AGGREGATES: u32 = 10;
/// How often each row is measured.
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let only_speed = std::env::args().any(|argument| argument == "speed");
    let folder = tempfile::tempdir()?;
    println!("writing {} events, twice …", FLEET.events);
    let whole = Inputs::write(folder.path(), FLEET, 1)?;
    let halves = Inputs::write(folder.path(), FLEET, 2)?;
    compare(&whole, &folder.path().join("samples.ndjson"))?;
    let mut summary = Summary::create()?;
    speed(&whole, &halves, &mut summary)?;
    if only_speed {
        return Ok(());
    }
    let cars = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/connected-cars.yaml");
    summary.add(&memory(
        "memory: 100,000 vehicles, 3 metrics",
        &cars,
        &whole,
    )?)?;
    drop((
        fs::remove_file(only(&whole)),
        fs::remove_file(only(&halves)),
    ));
    let large = Inputs::write(folder.path(), LARGE_FLEET, 1)?;
    summary.add(&memory(
        "memory: 1,000,000 vehicles, 3 metrics",
        &cars,
        &large,
    )?)?;
    let per_vehicle = per_vehicle_pipeline(folder.path())?;
    let mut row = memory(
        "memory: 1,000,000 vehicles x 10 aggregates",
        &per_vehicle,
        &large,
    )?;
    let aggregates = f64::from(LARGE_FLEET.vehicles) * f64::from(AGGREGATES);
    row.bytes_per_aggregate = row.peak_rss_bytes.map(|bytes| bytes as f64 / aggregates);
    summary.add(&row)
}

/// The loop and the engine must compute the same samples, or their times say nothing.
fn compare(inputs: &Inputs, output: &Path) -> Result<()> {
    let expected = hand_written::run(only(inputs), &inputs.reference)?;
    run_engine(inputs, 1, output)?;
    let found = written::samples(output)?;
    let sum: f64 = found.values().sum();
    let differing = expected
        .iter()
        .find(|(key, value)| found.get(key) != Some(value));
    ensure!(
        found == expected,
        "the samples differ: {} of the loop, {} of the engine, {differing:?}",
        expected.len(),
        found.len()
    );
    println!(
        "loop and engine give the same {} samples, together {sum}",
        found.len()
    );
    Ok(())
}

fn run_engine(inputs: &Inputs, workers: usize, output: &Path) -> Result<()> {
    engine::run(&two_metrics::job(inputs, workers, output), |_| {}).map(drop)
}

fn speed(whole: &Inputs, halves: &Inputs, summary: &mut Summary) -> Result<()> {
    let nowhere = Path::new("/dev/null");
    let mut seconds: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let [limit, one, two_by_one, two_by_two] = &mut seconds;
        limit.push(timed(|| {
            hand_written::run(only(whole), &whole.reference).map(drop)
        })?);
        one.push(timed(|| run_engine(whole, 1, nowhere))?);
        two_by_one.push(timed(|| run_engine(halves, 1, nowhere))?);
        two_by_two.push(timed(|| run_engine(halves, 2, nowhere))?);
    }
    let [limit, one, two_by_one, two_by_two] =
        seconds.map(|seconds| FLEET.events as f64 / median(seconds));
    for (bench, events_per_s, speedup) in [
        ("limit: hand-written loop", limit, None),
        ("engine: one split, one worker", one, None),
        ("engine: two splits, one worker", two_by_one, None),
        (
            "engine: two splits, two workers",
            two_by_two,
            Some(two_by_two / two_by_one),
        ),
    ] {
        summary.add(&Row {
            bench: bench.to_owned(),
            events_per_s,
            ratio_to_limit: Some(events_per_s / limit),
            speedup,
            ..Row::default()
        })?;
    }
    Ok(())
}

fn memory(bench: &str, pipeline: &Path, inputs: &Inputs) -> Result<Row> {
    let (seconds, peak_bytes) = child::run(pipeline, inputs)?;
    Ok(Row {
        bench: bench.to_owned(),
        events_per_s: inputs.size.events as f64 / seconds,
        peak_rss_bytes: Some(peak_bytes),
        ..Row::default()
    })
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The file of a fleet that is not divided.
fn only(inputs: &Inputs) -> &Path {
    inputs.files.first().map_or(Path::new(""), PathBuf::as_path)
}

/// Ten metrics of one aggregate each, with a series for every vehicle.
fn per_vehicle_pipeline(folder: &Path) -> Result<PathBuf> {
    let aggregates = [
        "count(*)",
        "sum(measurement)",
        "avg(measurement)",
        "min(measurement)",
        "max(measurement)",
        "first(measurement)",
        "last(measurement)",
        "count(DISTINCT kind)",
        "count(*) FILTER (WHERE measurement <> 0)",
        "sum(measurement) FILTER (WHERE kind = 'WARNINGS')",
    ];
    let mut text = String::from(
        "pipeline: per-vehicle
source: { file: { path: none }, decode: json }
event:
  time: { from: timestamp, unit: ms }
  fields:
    kind: { from: eventType, type: text }
    vehicle: { from: vehicleId, type: text }
    measurement: number
time: { out_of_order: 2s, idle_after: 10s, max_ahead: 1m }
enrich:
  - { lookup: vehicles, key: vehicle, from: { csv: none, key: vehicle_id }, add: [model] }
metrics:
",
    );
    for (number, value) in aggregates.iter().enumerate() {
        text.push_str(&format!(
            "  m{number}: {{ window: {{ tumbling: 5s }}, by: [vehicle], value: \"{value}\" }}\n"
        ));
    }
    text.push_str("write: { file: { path: /dev/null } }\n");
    let path = folder.join("per-vehicle.yaml");
    fs::write(&path, text)?;
    Ok(path)
}
