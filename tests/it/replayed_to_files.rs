//! Dead letters that are written to a file: what of them may count again, and how bytes stand on lines.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::reference::fleet::START_MS;
use crate::replayed_letters::{replay, weir_in};
use crate::support::files::{temporary_folder, write};
use crate::support::samples::read_ndjson;

fn run(folder: &Path, options: &[&str]) -> Result<()> {
    let arguments = [&["run", "cars.yaml", "--listen", "none"], options].concat();
    let run = weir_in(folder, &arguments)?;
    ensure!(run.status.success(), "{}", run.stderr);
    Ok(())
}

/// The sum of all samples of a metric.
fn sum(folder: &Path, file: &str, metric: &str) -> Result<f64> {
    let samples = read_ndjson(&folder.join(file))?;
    let values = samples.iter().filter(|sample| sample.name == metric);
    Ok(values.map(|sample| sample.value).sum())
}

/// Counts items of arrays in short and long windows; what is late for a window is kept.
const LATE: &str = "
pipeline: cars
source: { file: { path: events.ndjson }, decode: { format: json, explode: . } }
event: { time: { from: t }, fields: { kind: text } }
time: { out_of_order: 0s, late: divert }
metrics:
  short: { window: { tumbling: 1s }, value: count(*) }
  long: { where: kind = 'a', window: { tumbling: 1h }, value: count(*) }
write: { file: { path: samples.ndjson } }
dead_letters: { file: letters.ndjson }
";

#[test]
fn late_letters_do_not_count_a_second_time_what_was_counted() -> Result<()> {
    let folder = temporary_folder()?;
    write(folder.path(), "cars.yaml", LATE)?;
    let start = START_MS - START_MS.rem_euclid(3_600_000);
    let event = |after_ms: i64, kind: &str| json!({ "t": start + after_ms, "kind": kind });
    let records = [
        json!([event(10_000, "b")]),
        // Late for the short windows, in time for the long one.
        json!([event(1_000, "a")]),
        // One of two is late, and nobody counts it.
        json!([event(10_100, "b"), event(1_100, "b")]),
        // Late, and no metric has it.
        json!([event(1_200, "b"), event(1_300, "b")]),
    ];
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    write(folder.path(), "events.ndjson", &lines)?;
    run(folder.path(), &[])?;
    assert_eq!(sum(folder.path(), "samples.ndjson", "short")?, 2.0);
    assert_eq!(sum(folder.path(), "samples.ndjson", "long")?, 1.0);

    let (code, told) = replay(folder.path(), &["--reason", "late", "--to", "late.ndjson"])?;
    assert_eq!(code, Some(0));
    assert_eq!(
        told,
        "1 records are written to late.ndjson\n2 are of records of which events were counted \
         already; --partial sends them whole\n"
    );
    let written = fs::read_to_string(folder.path().join("late.ndjson"))?;
    assert_eq!(written, format!("{}\n", records[3]));
    let partly = ["--reason", "late", "--partial", "--to", "partly.ndjson"];
    let (_, told) = replay(folder.path(), &partly)?;
    ensure!(told.starts_with("2 records are written"), "{told}");
    let written = fs::read_to_string(folder.path().join("partly.ndjson"))?;
    assert_eq!(written, format!("{}\n{}\n", records[1], records[2]));
    Ok(())
}

/// A letter of a record that is no text.
fn letter(number: u64, topic: &str, base64: &str) -> String {
    let letter = json!({
        "pipeline": "cars", "source": "mqtt", "split": "mqtt", "position": number,
        "reason": "missing_field", "dropped_at_ms": START_MS, "topic": topic,
        "record_base64": base64,
    });
    format!("{letter}\n")
}

/// Speeds as CBOR over MQTT.
const SPEEDS: &str = "
pipeline: cars
source:
  mqtt: { url: 'mqtt://127.0.0.1:9', topics: [fleet/#] }
  decode: cbor
  max_record_bytes: 20
event: { time: { from: t }, fields: { speed: number } }
metrics:
  speed: { window: { tumbling: 1h }, value: sum(speed) }
write: { file: { path: samples.ndjson } }
dead_letters: { file: letters.ndjson }
";

#[test]
fn bytes_stand_in_base64_and_come_back_as_they_were() -> Result<()> {
    let folder = temporary_folder()?;
    write(folder.path(), "cars.yaml", SPEEDS)?;
    // {"t": 1730621750000, "speed": 10}, and the same with 13: line ends, within and at the end.
    let letters = [
        letter(1, "fleet/1", "omF0GwAAAZLxGDrwZXNwZWVkCg=="),
        letter(2, "fleet/1", "omF0GwAAAZLxGDrwZXNwZWVkDQ=="),
    ];
    write(folder.path(), "letters.ndjson", &letters.concat())?;
    let (code, told) = replay(folder.path(), &["--to", "speeds.txt"])?;
    assert_eq!(code, Some(0), "{told}");
    let settings = "--set 'source.unwrap=[\"base64\"]' --set source.max_record_bytes=28";
    assert_eq!(
        told,
        format!(
            "2 records are written to speeds.txt\nthey stand in Base64: run the pipeline over them \
             with {settings}\n"
        )
    );
    let options: Vec<_> = settings
        .split(' ')
        .map(|word| word.trim_matches('\''))
        .collect();
    let options = [
        &["--input", "speeds.txt", "--output", "out.ndjson"],
        &*options,
    ]
    .concat();
    run(folder.path(), &options)?;
    assert_eq!(sum(folder.path(), "out.ndjson", "speed")?, 23.0);
    Ok(())
}

#[test]
fn births_and_data_of_sparkplug_go_to_a_file_alone() -> Result<()> {
    let folder = temporary_folder()?;
    let sparkplug = SPEEDS
        .replace("fleet/#", "spBv1.0/#")
        .replace("cbor", "sparkplug_b")
        .replace("from: t", "from: timestamp");
    write(folder.path(), "cars.yaml", &sparkplug)?;
    let letters = [
        letter(1, "spBv1.0/hull/NBIRTH/truck", "CICAgAE="),
        letter(2, "spBv1.0/hull/NDATA/truck", "CICAgAI="),
    ];
    write(folder.path(), "letters.ndjson", &letters.concat())?;
    for options in [&[][..], &["--dry-run"], &["--dry-run", "--to", "a"]] {
        let arguments = [&["dead-letters", "replay", "cars.yaml"], options].concat();
        let refused = weir_in(folder.path(), &arguments)?;
        assert_eq!(refused.status.code(), Some(1), "{options:?}");
        let why = "births and data of Sparkplug B mean something in their order alone";
        ensure!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    let (code, told) = replay(folder.path(), &["--to", "messages.txt"])?;
    assert_eq!(
        (code, &*told),
        (Some(0), "2 records are written to messages.txt\n")
    );
    let written = fs::read_to_string(folder.path().join("messages.txt"))?;
    assert_eq!(written, "CICAgAE=\nCICAgAI=\n");
    Ok(())
}
