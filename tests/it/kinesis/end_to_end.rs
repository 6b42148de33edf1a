//! The pipeline for e-scooters from Kinesis to samples, killed and started again while shards are split
//! and merged.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::load::aggregated;
use crate::reference::fleet::{START_MS, expect_same};
use crate::reference::service::Service;
use crate::support::fake_http::serve;
use crate::support::files::{run, temporary_folder, weir, write};
use crate::support::kinesis::Kinesis;
use crate::support::samples::{Sample, read_ndjson};

const PIPELINE: &str = "pipelines/e-scooters.yaml";
const LIMIT: Duration = Duration::from_secs(60);

/// The windows of all events but the markers have ended by then.
const MARKER_MS: i64 = START_MS + 3_600_000;

/// What every scooter reports in a minute: three records, each of which the producer library has put
/// together of two events.
fn minute(minute: i64) -> Vec<(String, Vec<Vec<u8>>)> {
    let records = (0..3_i64).flat_map(|third| (0..24_i64).map(move |scooter| (third, scooter)));
    let records = records.map(|(third, scooter)| {
        let key = format!("S{scooter}");
        let cities = ["Lisbon", "Porto", "Faro"];
        let city = cities
            .get(scooter as usize % 3)
            .copied()
            .unwrap_or_default();
        let events = (2 * third..2 * third + 2).map(|number| {
            let time = START_MS + minute * 60_000 + number * 10_000 + scooter * 7;
            let is_start = number == scooter % 6;
            let event = json!({
                "scooter": key, "city": city, "t": time,
                "kind": if is_start { "unlock" } else { "ride" },
                "battery": 100 - (scooter * 5 + minute * 3) % 100,
                "speed": (scooter * 13 + number * 7 + minute * 5) % 25,
            });
            event.to_string().into_bytes()
        });
        (key.clone(), events.collect())
    });
    records.collect()
}

/// Puts records, few at a time, while a second thread splits a shard or merges two: some go to shards that
/// end, others to those that begin.
fn put_while_changing(
    kinesis: &Kinesis,
    stream: &str,
    number: usize,
    records: &[(String, Vec<u8>)],
) -> Result<()> {
    thread::scope(|scope| {
        let changing = scope.spawn(|| match number % 3 {
            0 => kinesis.split(stream, number),
            _ => kinesis.merge(stream, number),
        });
        for some in records.chunks(4) {
            kinesis.put(stream, some)?;
        }
        changing.join().ok().context("the change panicked")?
    })
}

/// An event for every shard behind all others.
fn put_markers(kinesis: &Kinesis, stream: &str) -> Result<String> {
    let event = json!({ "scooter": "marker", "city": "none", "t": MARKER_MS }).to_string();
    for shard in kinesis.open_shards(stream)? {
        let request = json!({
            "StreamName": stream, "PartitionKey": "marker", "ExplicitHashKey": shard.first.to_string(),
            "Data": crate::support::kinesis::base64(event.as_bytes()),
        });
        kinesis.call("PutRecord", &request)?;
    }
    Ok(event)
}

fn start(kinesis: &Kinesis, folder: &tempfile::TempDir) -> Result<Service> {
    let mut command = command(kinesis, folder);
    command.envs([
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]);
    Service::start(&mut command, folder)
}

/// The same without credentials.
fn command(kinesis: &Kinesis, folder: &tempfile::TempDir) -> Command {
    let at = folder.path().display();
    let mut command = weir(["run", PIPELINE, "--workers", "2"]);
    for setting in [
        format!("source.kinesis.endpoint={}", kinesis.endpoint()),
        "source.kinesis.discover_every=200ms".to_owned(),
        "source.kinesis.poll_every=200ms".to_owned(),
        format!("state={{ dir: {at}/state, checkpoint: {{ every: 300ms }} }}"),
        "time.idle_after=5m".to_owned(),
        // Not --output, which begins anew with every start.
        format!("write={{ file: {{ path: {at}/samples.ndjson }} }}"),
    ] {
        command.arg("--set").arg(setting);
    }
    command.envs([
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("KINESIS_REGION", "us-east-1"),
    ]);
    command
}

/// The samples before the markers.
fn before_markers(path: &Path) -> Result<Vec<Sample>> {
    let mut samples = read_ndjson(path)?;
    samples.retain(|sample| sample.timestamp_ms < MARKER_MS - 600_000);
    Ok(samples)
}

#[test]
fn the_samples_are_those_of_the_file_through_kills_splits_and_merges() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("e-scooters", 2)?;
    let folder = temporary_folder()?;
    let mut lines = Vec::new();
    let mut service = start(&kinesis, &folder)?;
    let mut events = 0.0;
    for number in 0..9_usize {
        let mut records = Vec::new();
        for (key, all) in minute(number as i64) {
            records.push((key.clone(), aggregated(&key, &all)));
            for event in &all {
                lines.extend_from_slice(event);
                lines.push(b'\n');
            }
            events += all.len() as f64;
        }
        if number % 3 < 2 {
            put_while_changing(&kinesis, "e-scooters", number, &records)?;
            continue;
        }
        kinesis.put("e-scooters", &records)?;
        service.await_metric("weir_events_total", &[], events)?;
        service.kill()?;
        service = start(&kinesis, &folder)?;
        // What the last checkpoint had is not read again.
        events = 0.0;
    }
    let marker = put_markers(&kinesis, "e-scooters")?;
    let output = folder.path().join("samples.ndjson");
    lines.extend_from_slice(marker.as_bytes());
    lines.push(b'\n');
    let input = write(folder.path(), "events.ndjson", &String::from_utf8(lines)?)?;
    let expected = folder.path().join("expected.ndjson");
    let mut command = weir(["run", PIPELINE, "--listen", "127.0.0.1:0", "--input"]);
    command.arg(&input).arg("--output").arg(&expected);
    let ended = run(&command, LIMIT)?;
    ensure!(ended.status.success(), "{}", ended.stderr);
    let expected = before_markers(&expected)?;
    let last = expected.iter().map(|sample| sample.timestamp_ms).max();
    let last = last.context("no samples are expected")?;
    service.await_condition("the last window", || {
        before_markers(&output).is_ok_and(|samples| {
            samples.len() >= expected.len()
                && samples.iter().any(|sample| sample.timestamp_ms == last)
        })
    })?;
    service.stop()?;
    expect_same(&before_markers(&output)?, &expected)
}

#[test]
fn latest_stays_the_time_of_the_first_start_though_no_other_checkpoint_was_made() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("e-scooters", 2)?;
    let folder = temporary_folder()?;
    let put = |number: i64| -> Result<()> {
        let records = minute(number).into_iter();
        let records =
            records.flat_map(|(key, all)| all.into_iter().map(move |one| (key.clone(), one)));
        kinesis.put("e-scooters", &records.collect::<Vec<_>>())
    };
    let start = || {
        let mut command = command(&kinesis, &folder);
        command.args(["--set", "source.kinesis.start=latest"]);
        command.args(["--set", "state.checkpoint.every=1h"]);
        command.envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]);
        Service::start(&mut command, &folder)
    };
    // Before the first start: it is left out.
    put(0)?;
    thread::sleep(Duration::from_millis(20));
    let mut service = start()?;
    // Nothing is read before the only checkpoint of this run.
    service.await_metric("weir_source_connected", &[], 1.0)?;
    put(1)?;
    let events = minute(1).iter().map(|(_, all)| all.len()).sum::<usize>() as f64;
    service.await_metric("weir_events_total", &[], events)?;
    service.kill()?;
    put(2)?;
    let mut service = start()?;
    service.await_metric("weir_events_total", &[], 2.0 * events)?;
    assert_eq!(service.metric("weir_events_total", &[])?, 2.0 * events);
    service.stop()
}

#[test]
fn credentials_that_are_not_to_be_had_yet_are_waited_for() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("e-scooters", 1)?;
    let folder = temporary_folder()?;
    let has_some = Arc::new(AtomicBool::new(false));
    let gives = Arc::clone(&has_some);
    let container = serve(move |_| {
        if !gives.load(Ordering::Acquire) {
            return (500, "not yet".to_owned());
        }
        let answer = json!({
            "AccessKeyId": "test", "SecretAccessKey": "test", "Token": "test",
            "Expiration": "2100-01-01T00:00:00Z",
        });
        (200, answer.to_string())
    })?;
    let start = || {
        let mut command = command(&kinesis, &folder);
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"] {
            command.env_remove(name);
        }
        command.env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
        command.env("AWS_CONFIG_FILE", "/nonexistent");
        Service::start(&mut command, &folder)
    };
    let log = folder.path().join("weir.err");
    let waits = |service: &mut Service| {
        service.await_condition("wait", || {
            std::fs::read_to_string(&log).is_ok_and(|log| log.contains("it is asked again"))
        })
    };
    // It can be stopped meanwhile.
    let mut service = start()?;
    waits(&mut service)?;
    service.stop()?;

    let mut service = start()?;
    waits(&mut service)?;
    has_some.store(true, Ordering::Release);
    service.await_metric("weir_source_connected", &[], 1.0)?;
    service.stop()
}
