//! Samples that a real Prometheus does not take: the others arrive, and these are kept, shown, sent again
//! and removed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::reference::fleet::{LIMIT, START_MS};
use crate::support::files::{self, weir};
use crate::support::prometheus::Prometheus;
use crate::support::samples::Sample;

const VEHICLES: usize = 40;

/// Those that report too late the second time.
const GUILTY: [usize; 2] = [7, 23];

fn pipeline(url: &str) -> String {
    format!(
        "pipeline: cars
source: {{ file: {{ path: events.ndjson }}, decode: json }}
event: {{ time: {{ from: time }}, fields: {{ vehicle: text, speed: number }} }}
time: {{ out_of_order: 1h }}
metrics:
  speed: {{ window: {{ tumbling: 1s }}, by: [vehicle], value: max(speed) }}
write: {{ remote_write: {{ url: \"{url}\", receiver: prometheus, rejected: {{ dir: kept }} }} }}
"
    )
}

/// A Prometheus, and a folder with a pipeline file for it.
fn receiver_and_file() -> Result<(Prometheus, TempDir)> {
    let (prometheus, folder) = (Prometheus::start()?, TempDir::new()?);
    let file = folder.path().join("cars.yaml");
    fs::write(file, pipeline(&prometheus.remote_write_url()))?;
    Ok((prometheus, folder))
}

/// One event of each vehicle at its time.
fn events(time_of: impl Fn(usize) -> i64) -> String {
    let line = |vehicle: usize| {
        let time = time_of(vehicle);
        format!(
            "{{\"time\":{time},\"vehicle\":\"V{vehicle:02}\",\"speed\":{}}}\n",
            50 + vehicle
        )
    };
    (0..VEHICLES).map(line).collect()
}

fn run(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command: Command = weir([]);
    command.args(arguments).current_dir(folder);
    let output = files::run(&command, LIMIT)?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(output.stdout)
}

fn samples(prometheus: &Prometheus) -> Result<Vec<Sample>> {
    prometheus.samples("speed", START_MS - 1_000, START_MS + 60_000)
}

#[test]
fn the_guilty_are_kept_and_all_others_arrive() -> Result<()> {
    let (prometheus, folder) = receiver_and_file()?;
    let path = folder.path();
    fs::write(path.join("events.ndjson"), events(|_| START_MS + 10_500))?;
    run(path, &["run", "cars.yaml", "--listen", "none"])?;
    ensure!(samples(&prometheus)?.len() == VEHICLES);
    assert_eq!(
        run(path, &["rejected", "list", "cars.yaml"])?,
        "no samples are rejected\n"
    );

    let time_of = |vehicle| match GUILTY.contains(&vehicle) {
        true => START_MS + 2_500,
        false => START_MS + 20_500,
    };
    fs::write(path.join("events.ndjson"), events(time_of))?;
    run(path, &["run", "cars.yaml", "--listen", "none"])?;
    let arrived = samples(&prometheus)?;
    assert_eq!(arrived.len(), VEHICLES + VEHICLES - GUILTY.len());

    let list = run(path, &["rejected", "list", "cars.yaml"])?;
    let row: Vec<&str> = list
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    ensure!(row.starts_with(&["400", "speed", "2", "2"]), "{list}");
    ensure!(list.contains("out of order sample"), "{list}");
    let shown = run(
        path,
        &["rejected", "show", "cars.yaml", "--metric", "speed"],
    )?;
    let shown: Vec<&str> = shown.lines().skip(1).collect();
    assert_eq!(shown.len(), GUILTY.len());
    // Shards say it in whatever order.
    for vehicle in GUILTY {
        let series = format!("speed{{vehicle=\"V{vehicle:02}\"}}");
        let value = format!(" {} ", 50 + vehicle);
        let is_it = |line: &&str| line.contains(&series) && line.contains(&value);
        ensure!(shown.iter().any(is_it), "{shown:?}");
    }

    let again = ["rejected", "replay", "cars.yaml"];
    assert_eq!(
        run(path, &again)?,
        "2 samples are sent again: 0 were taken, 2 were not\n"
    );
    let other = Prometheus::start()?;
    let url = format!("write.remote_write.url={}", other.remote_write_url());
    assert_eq!(
        run(path, &["rejected", "replay", "cars.yaml", "--set", &url])?,
        "2 samples are sent again: 2 were taken, 0 were not\n"
    );
    let found = samples(&other)?;
    let found = found.iter().map(|sample| {
        (
            &*sample.labels["vehicle"],
            sample.timestamp_ms,
            sample.value,
        )
    });
    let expected = [
        ("V07", START_MS + 3_000, 57.0),
        ("V23", START_MS + 3_000, 73.0),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(run(path, &again)?, "no samples are rejected\n");
    Ok(())
}

#[test]
fn they_are_removed_and_a_pipeline_without_a_place_says_so() -> Result<()> {
    let (_prometheus, folder) = receiver_and_file()?;
    let path = folder.path();
    for at in [START_MS + 10_500, START_MS + 2_500] {
        fs::write(path.join("events.ndjson"), events(|_| at))?;
        run(path, &["run", "cars.yaml", "--listen", "none"])?;
    }
    let shown = run(path, &["rejected", "show", "cars.yaml", "--limit", "3"])?;
    ensure!(
        shown.starts_with("the last 3 of 40; --limit shows more\n"),
        "{shown}"
    );
    assert_eq!(shown.lines().count(), 5);
    let purged = run(path, &["rejected", "purge", "cars.yaml"])?;
    assert_eq!(purged, "40 rejected samples are removed\n");
    assert_eq!(
        run(path, &["rejected", "list", "cars.yaml"])?,
        "no samples are rejected\n"
    );

    let without = pipeline("http://127.0.0.1:1").replace(", rejected: { dir: kept }", "");
    fs::write(path.join("cars.yaml"), without)?;
    let mut command: Command = weir([]);
    command
        .args(["rejected", "list", "cars.yaml"])
        .current_dir(path);
    let output = files::run(&command, LIMIT)?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stderr,
        "weir: pipeline cars keeps no rejected samples; set state.dir, or \
         write.remote_write.rejected.dir, in cars.yaml\n"
    );
    Ok(())
}

#[test]
fn what_was_relabelled_is_sent_again_as_it_is() -> Result<()> {
    let (_prometheus, folder) = receiver_and_file()?;
    let path = folder.path();
    let steps = "write.remote_write.write_relabel_configs=[\
        {source_labels: [__name__], regex: speed, action: keep}, \
        {source_labels: [__name__], target_label: __name__, replacement: fleet_$1}]";
    for at in [START_MS + 10_500, START_MS + 2_500] {
        fs::write(path.join("events.ndjson"), events(|_| at))?;
        run(
            path,
            &["run", "cars.yaml", "--listen", "none", "--set", steps],
        )?;
    }
    let other = Prometheus::start()?;
    let url = format!("write.remote_write.url={}", other.remote_write_url());
    let set = ["--set", steps, "--set", &url];
    let again = [&["rejected", "replay", "cars.yaml"][..], &set].concat();
    assert_eq!(
        run(path, &again)?,
        "40 samples are sent again: 40 were taken, 0 were not\n"
    );
    let found = other.samples("{__name__=~\".+\"}", START_MS - 1_000, START_MS + 60_000)?;
    ensure!(
        found.iter().all(|sample| sample.name == "fleet_speed"),
        "{found:?}"
    );
    assert_eq!(found.len(), VEHICLES);
    Ok(())
}

#[test]
fn a_run_that_is_to_fail_at_a_refusal_ends_though_all_was_handed_over() -> Result<()> {
    let (_prometheus, folder) = receiver_and_file()?;
    let path = folder.path();
    let long = events(|_| START_MS + 10_500).replace("V07", "V07-with-a-trailer");
    fs::write(path.join("events.ndjson"), long)?;
    let mut command: Command = weir([]);
    let options = ["on_rejected=fail", "limits={label_value_bytes: 10}"];
    let options = options.map(|option| format!("write.remote_write.{option}"));
    command
        .args([
            "run",
            "cars.yaml",
            "--listen",
            "none",
            "--set",
            &options[0],
            "--set",
            &options[1],
        ])
        .current_dir(path);
    let output = files::run(&command, LIMIT)?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    ensure!(
        output.stderr.contains("nothing is sent any more"),
        "{output:?}"
    );
    Ok(())
}
