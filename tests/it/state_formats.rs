//! What earlier versions of weir have written of a pipeline with every shape of metric: a savepoint
//! for every format, and the samples that follow it. `UPDATE=1` writes those of the newest format
//! where there are none; what is there is never written again.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::reference::fleet::START_MS;
use crate::reference::stateful::Stateful;
use crate::support::files::{repository, write};

/// The newest format.
const FORMAT: u32 = 1;

const PIPELINE: &str = include_str!("../state-formats/pipeline.yaml");

const METRICS: [&str; 16] = [
    "mean", "span", "devices", "moving", "widest", "trips", "gathered", "firsts", "held",
    "held_few", "best", "few", "spread", "classic", "fleet", "latest",
];

/// How many events the savepoint has, of how many.
const PROCESSED: usize = 600;
const EVENTS: i64 = 800;

const TABLE: &str = "id,model\nV0,kia\nV1,kia\nV2,ford\nV3,ford\nV77,lada\n";

/// Never to be changed: the savepoints have positions in them. Times go forward with disorder and
/// pauses.
fn events() -> Vec<String> {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut now = START_MS as u64;
    let mut events = Vec::new();
    for _ in 0..EVENTS {
        now += random(60);
        if random(100) == 0 {
            now += random(4_000);
        }
        let (time, vehicle) = (now - random(300), random(16));
        let regions = ["UK", "US", "FR", "Österreich"];
        let region = regions.get(random(4) as usize).unwrap_or(&"");
        let x = random(100) as f64 / 10.0;
        events.push(format!(
            r#"{{"t":{time},"vehicle":"V{vehicle}","region":"{region}","x":{x}}}"#
        ));
    }
    events
}

fn fixture(format: u32, name: &str) -> PathBuf {
    let folder = repository().join("tests/state-formats");
    folder.join(format!("v{format}/{name}"))
}

fn stateful() -> Result<Stateful> {
    let stateful = Stateful::new(PIPELINE)?;
    write(stateful.at(), "fleet.csv", TABLE)?;
    Ok(stateful)
}

/// Makes a savepoint in the middle, and goes on to the end. Gives the savepoint's file and the lines
/// of the samples that follow.
fn written() -> Result<(Vec<u8>, String)> {
    let (stateful, events) = (stateful()?, events());
    let mut feed = stateful.feed()?;
    let mut service = stateful.start(&[])?;
    feed.write(events.get(..PROCESSED).unwrap_or_default())?;
    service.await_metric("weir_events_total", &[], PROCESSED as f64)?;
    stateful.savepoint(&service, "shapes")?;
    stateful.prints(&[
        "savepoint",
        "export",
        "cars.yaml",
        "shapes",
        "shapes.savepoint",
    ])?;
    service.kill()?;
    stateful.replace(&events)?;
    stateful.finish(&[
        "--restore",
        "shapes",
        "--set",
        "write.file.path=after.ndjson",
    ])?;
    let savepoint = fs::read(stateful.path("shapes.savepoint"))?;
    Ok((
        savepoint,
        fs::read_to_string(stateful.path("after.ndjson"))?,
    ))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_format_is_gone_on_with() -> Result<()> {
    let (savepoint, samples) = (
        fixture(FORMAT, "shapes.savepoint"),
        fixture(FORMAT, "shapes.ndjson"),
    );
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    if update && !savepoint.exists() {
        let (bytes, lines) = written()?;
        fs::write(&savepoint, bytes)?;
        fs::write(&samples, lines)?;
    }
    for format in 1..=FORMAT {
        let stateful = stateful()?;
        stateful.replace(&events())?;
        let savepoint = fixture(format, "shapes.savepoint");
        let savepoint = savepoint.to_string_lossy();
        stateful.prints(&["savepoint", "import", "cars.yaml", "old", &savepoint])?;
        stateful.finish(&["--restore", "old"])?;
        let found = fs::read_to_string(stateful.path("samples.ndjson"))?;
        let expected = fs::read_to_string(fixture(format, "shapes.ndjson"))?;
        assert_eq!(sorted(&found), sorted(&expected), "format {format}");
    }
    Ok(())
}

#[test]
fn what_follows_a_savepoint_is_what_would_have_followed() -> Result<()> {
    let (stateful, events) = (stateful()?, events());
    stateful.replace(&events)?;
    stateful.finish(&["--input", "events.ndjson", "--output", "expected.ndjson"])?;
    let all = fs::read_to_string(stateful.path("expected.ndjson"))?;
    let after = fs::read_to_string(fixture(FORMAT, "shapes.ndjson"))?;
    let (all, after) = (sorted(&all), sorted(&after));
    let other: Vec<_> = after.iter().filter(|line| !all.contains(line)).collect();
    assert!(other.is_empty(), "{other:?}");
    // A sample behind all events of the savepoint cannot have come before it.
    let number = |line: &str, key: &str| -> Option<i64> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        value.get(key)?.as_i64()
    };
    let processed = events.iter().take(PROCESSED);
    let reached = processed.filter_map(|event| number(event, "t")).max();
    let behind = all
        .iter()
        .filter(|line| number(line, "timestamp_ms") > reached);
    let missing: Vec<_> = behind.filter(|line| !after.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for metric in METRICS {
        let start = format!("{{\"name\":\"{metric}");
        let count = after.iter().filter(|line| line.starts_with(&start)).count();
        assert!(count > 2, "{count} of {metric}");
    }
    Ok(())
}
