//! How the speed changes with what grows: vehicles, fields, metrics, groups, overlap, depth.
//!
//! Each point is the engine in this process with one worker over one file, and the median of three
//! runs; the points of a series take turns, so that a busy moment of the machine does not fall on all
//! runs of one point. Points go to `target/bench/growth.jsonl`.
//!
//! `cargo bench --profile release --bench growth` measures. With `-- write-docs` it then writes the
//! tables and plots of `docs/performance.md` from what it and the benches `limit` and `state` have
//! measured, with `-- only-docs` it does that without measuring, and `-- quick` takes a twentieth of the events, to
//! see that everything runs. Names of series measure only these, and write nothing but their points.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod engine;
mod fleet;
mod machine;
mod pages;
mod plot;
mod points;
mod records;
mod series;
mod two_metrics;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir::pipeline::Running;
use weir::telemetry::Registry;

use engine::Job;
use points::{Point, Points};
use series::{SERIES, Series};

/// How often each point is measured.
const ROUNDS: usize = 3;
/// How often the state is looked at: the engine brings its gauges up to date five times a second.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let known = |name: &String| {
        ["write-docs", "only-docs", "quick"].contains(&name.as_str())
            || SERIES.iter().any(|series| series.name == name)
    };
    let unknown = arguments.iter().find(|argument| !known(argument));
    ensure!(
        unknown.is_none(),
        "there is no series {unknown:?}; use {:?}, write-docs, only-docs or quick",
        SERIES.map(|series| series.name)
    );
    let all = !SERIES.iter().any(|series| has(series.name));
    ensure!(
        all || !has("write-docs"),
        "the documents are written from all series"
    );
    if !has("only-docs") {
        let began = Instant::now();
        let machine = machine::description();
        println!("{machine}");
        let divisor = if has("quick") { 20 } else { 1 };
        let mut points = Points::create()?;
        for series in SERIES.iter().filter(|series| all || has(series.name)) {
            measure(series, divisor, &machine, &mut points)?;
        }
        println!("in {:.0} s", began.elapsed().as_secs_f64());
    }
    if has("write-docs") || has("only-docs") {
        pages::write(&Points::read()?)?;
    }
    Ok(())
}

fn measure(series: &Series, divisor: u64, machine: &str, points: &mut Points) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let planned = (series.jobs)(folder.path(), divisor)?;
    let mut runs: Vec<Vec<Run>> = planned.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (planned, runs) in planned.iter().zip(&mut runs) {
            runs.push(run(&planned.job)?);
        }
    }
    for (planned, mut runs) in planned.iter().zip(runs) {
        runs.sort_by_key(|run| run.took);
        let state_bytes = runs.iter().map(|run| run.state_bytes).max();
        let Some(median) = runs.get(runs.len() / 2) else {
            continue;
        };
        let events = planned.job.events;
        let events_per_s = events as f64 / median.took.as_secs_f64();
        points.add(&Point {
            series: series.name.to_owned(),
            curve: planned.curve.to_owned(),
            x: planned.x,
            events,
            events_per_s: events_per_s.round(),
            ns_per_event: (1e10 / events_per_s).round() / 10.0,
            samples: median.samples,
            state_bytes: state_bytes.unwrap_or_default(),
            interned_bytes: median.interned_bytes,
            machine: machine.to_owned(),
        })?;
    }
    Ok(())
}

/// One run of a point.
struct Run {
    took: Duration,
    samples: u64,
    state_bytes: u64,
    interned_bytes: u64,
}

fn run(job: &Job) -> Result<Run> {
    let (mut state_bytes, mut interned_bytes) = (0, 0);
    let mut looked = Instant::now();
    let (took, status) = engine::run(job, |running: &Running| {
        if looked.elapsed() >= LOOK_EVERY {
            let text = Registry::text([running.registry()]);
            state_bytes = sum_of(&text, "weir_state_bytes{").max(state_bytes);
            interned_bytes = sum_of(&text, "weir_interned_bytes{").max(interned_bytes);
            looked = Instant::now();
        }
    })?;
    Ok(Run {
        took,
        samples: status.samples,
        state_bytes,
        interned_bytes,
    })
}

/// The sum of a metric's series in the text of `/metrics`.
fn sum_of(text: &str, series: &str) -> u64 {
    text.lines()
        .filter(|line| line.starts_with(series))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}
