//! Events/s and memory of `weir run --input` on the connected-cars pipeline: 100,000 vehicles, all
//! three metrics, 2 s of disorder.
//!
//! Each row is the median of several runs; machines are noisy, so compare rows of one run only.
//! Rows go to `target/bench/summary.jsonl` as well.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weirgen::{Fleet, FleetConfig};

const VEHICLES: u32 = 100_000;
const EVENTS: u64 = 5_000_000;
const RUNS: usize = 5;
/// How often a run's memory is looked at; the kernel keeps the peak, only the end is missed.
const LOOK_EVERY: Duration = Duration::from_millis(5);

struct Run {
    seconds: f64,
    peak_bytes: u64,
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let reference = folder.path().join("vehicles.csv");
    weirgen::write_reference(&mut BufWriter::new(File::create(&reference)?), VEHICLES)?;
    println!("writing {EVENTS} events …");
    let whole = folder.path().join("events.ndjson");
    write_events(&whole, 0, 1)?;
    let halves = [0, 1].map(|shard| folder.path().join(format!("events-{shard}.ndjson")));
    for (shard, half) in (0..).zip(&halves) {
        write_events(half, shard, 2)?;
    }
    let bytes = fs::metadata(&whole)?.len();

    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&target)?;
    let mut summary = File::create(target.join("summary.jsonl"))?;
    println!(
        "{:<28} {:>12} {:>10} {:>12}",
        "bench", "events/s", "ns/event", "peak MB"
    );
    for (name, inputs, workers) in [
        ("one split, one worker", vec![whole.as_path()], 1),
        (
            "two splits, one worker",
            halves.iter().map(|half| half.as_path()).collect(),
            1,
        ),
        (
            "two splits, two workers",
            halves.iter().map(|half| half.as_path()).collect(),
            2,
        ),
    ] {
        let run = median(&inputs, &reference, workers)?;
        let events_per_s = EVENTS as f64 / run.seconds;
        let ns_per_event = 1e9 / events_per_s;
        let megabytes = run.peak_bytes as f64 / 1e6;
        println!("{name:<28} {events_per_s:>12.0} {ns_per_event:>10.0} {megabytes:>12.1}");
        let row = json!({
            "bench": name,
            "events_per_s": events_per_s.round(),
            "ns_per_event": ns_per_event,
            "peak_rss_bytes": run.peak_bytes,
            "bytes_per_event": bytes / EVENTS,
        });
        writeln!(summary, "{row}")?;
    }
    Ok(())
}

/// The events of one part of the fleet, as many as make [`EVENTS`] with all parts together.
fn write_events(path: &Path, shard: u32, shards: u32) -> Result<()> {
    let mut config = FleetConfig::new(VEHICLES);
    config.start_ms = 1_730_621_700_000;
    config.disorder_ms = 2_000;
    config.shard = shard;
    config.shards = shards;
    let mut fleet = Fleet::new(config)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut line = Vec::new();
    for _ in 0..EVENTS / u64::from(shards) {
        line.clear();
        fleet.next_event().write_json(&mut line);
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(out.flush()?)
}

fn median(inputs: &[&Path], reference: &Path, workers: usize) -> Result<Run> {
    let mut runs = (0..RUNS)
        .map(|_| run(inputs, reference, workers))
        .collect::<Result<Vec<_>>>()?;
    runs.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    Ok(runs.swap_remove(RUNS / 2))
}

fn run(inputs: &[&Path], reference: &Path, workers: usize) -> Result<Run> {
    let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/connected-cars.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .arg("run")
        .arg(pipeline)
        .args(["--output", "/dev/null"]);
    command.args(["--workers", &workers.to_string()]);
    command
        .arg("--set")
        .arg(format!("enrich.0.from.csv={}", reference.display()));
    for input in inputs {
        command.arg("--input").arg(input);
    }
    let began = Instant::now();
    let mut child = command
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start weir")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        peak_bytes = peak_bytes.max(peak(&status).unwrap_or_default());
        std::thread::sleep(LOOK_EVERY);
    };
    ensure!(exit.success(), "weir has failed: {exit}");
    Ok(Run {
        seconds: began.elapsed().as_secs_f64(),
        peak_bytes,
    })
}

/// The most memory that a process had, bytes.
fn peak(status: &str) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}
