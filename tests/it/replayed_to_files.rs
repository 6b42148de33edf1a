//! Dead letters that are written to a file: what of them may count again, and how bytes stand on lines.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost::Message as _;
use serde_json::{Value, json};

use crate::reference::fleet::START_MS;
use crate::replayed_letters::{replay, weir_in};
use crate::support::files::{temporary_folder, write};
use crate::support::remote_write::{TimeSeries, WriteRequest};
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
fn births_and_data_of_sparkplug_are_not_sent_again() -> Result<()> {
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
    for options in [&[][..], &["--dry-run"], &["--to", "a"]] {
        let arguments = [&["dead-letters", "replay", "cars.yaml"], options].concat();
        let refused = weir_in(folder.path(), &arguments)?;
        assert_eq!(refused.status.code(), Some(1), "{options:?}");
        let why =
            "births and data of Sparkplug B mean something in their order and with their topics";
        ensure!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    // What the message points at has them, and they are not noted as sent.
    let list = ["dead-letters", "list", "cars.yaml", "--format", "json"];
    let listed = weir_in(folder.path(), &list)?.stdout;
    let listed: Vec<Value> = listed
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let told: Vec<_> = listed
        .iter()
        .map(|line| (&line["topic"], &line["replayed"]))
        .collect();
    let topics = ["NBIRTH", "NDATA"].map(|kind| json!(format!("spBv1.0/hull/{kind}/truck")));
    assert_eq!(told, topics.each_ref().map(|topic| (topic, &json!(false))));
    Ok(())
}

/// Bare numbers, whose time is that of their transport.
const NUMBERS: &str = "
pipeline: cars
source:
  mqtt: { url: 'mqtt://127.0.0.1:9', topics: [fleet/#] }
  decode: number
event: { time: { from: '@timestamp' }, fields: { value: number } }
metrics:
  speed: { window: { tumbling: 1h }, value: sum(value) }
write: { file: { path: samples.ndjson } }
dead_letters: { file: letters.ndjson }
";

#[test]
fn what_would_get_another_time_stays() -> Result<()> {
    let folder = temporary_folder()?;
    write(folder.path(), "cars.yaml", NUMBERS)?;
    let letter = json!({
        "pipeline": "cars", "source": "mqtt", "split": "mqtt", "position": 1,
        "reason": "missing_field", "dropped_at_ms": START_MS, "timestamp_ms": START_MS - 5,
        "topic": "fleet/1", "record": "70.5",
    });
    write(folder.path(), "letters.ndjson", &format!("{letter}\n"))?;
    let (code, told) = replay(folder.path(), &["--dry-run"])?;
    assert_eq!(code, Some(1), "{told}");
    ensure!(told.starts_with("0 records would be sent again"), "{told}");
    ensure!(
        told.contains("transport_time") && told.contains("--time-of-replay"),
        "{told}"
    );
    let (code, told) = replay(folder.path(), &["--dry-run", "--time-of-replay"])?;
    let would = "1 records would be sent again, with 1 events\n";
    assert_eq!((code, &*told), (Some(0), would));
    // A line of a file has no time at all.
    let (_, told) = replay(folder.path(), &["--to", "numbers.txt"])?;
    ensure!(
        told.starts_with("0 records are written to numbers.txt\n"),
        "{told}"
    );
    let why = "without its topic, key, headers and time";
    ensure!(
        told.contains("missing_time") && told.contains(why),
        "{told}"
    );
    assert_eq!(fs::read_to_string(folder.path().join("numbers.txt"))?, "");
    let listed = weir_in(
        folder.path(),
        &["dead-letters", "list", "cars.yaml", "--format", "json"],
    )?;
    ensure!(
        listed.stdout.contains("\"replayed\":false"),
        "{}",
        listed.stdout
    );
    Ok(())
}

/// Requests of Remote-Write.
const AGENTS: &str = "
pipeline: cars
source:
  remote_write: { listen: '127.0.0.1:0' }
event: { time: { from: timestamp }, fields: { vehicle: text, value: number } }
metrics:
  samples: { window: { tumbling: 1h }, by: [vehicle], value: sum(value) }
write: { file: { path: samples.ndjson } }
dead_letters: { file: letters.ndjson }
";

#[test]
fn requests_of_remote_write_are_run_with_what_is_told() -> Result<()> {
    let folder = temporary_folder()?;
    write(folder.path(), "cars.yaml", AGENTS)?;
    let request = WriteRequest {
        timeseries: vec![TimeSeries::new(
            &[("__name__", "speed"), ("vehicle", "V1")],
            &[(START_MS, 3.0), (START_MS + 1, 4.0)],
        )],
    };
    let request = BASE64_STANDARD.encode(request.encode_to_vec());
    write(folder.path(), "letters.ndjson", &letter(1, "", &request))?;
    let (code, told) = replay(folder.path(), &["--to", "requests.txt"])?;
    assert_eq!(code, Some(0), "{told}");
    let settings = "--set 'source.unwrap=[\"base64\"]'";
    ensure!(told.ends_with(&format!("{settings}\n")), "{told}");
    let set = ["--set", "source.unwrap=[\"base64\"]"];
    let files = ["--input", "requests.txt", "--output", "out.ndjson"];
    run(folder.path(), &[&files[..], &set].concat())?;
    assert_eq!(sum(folder.path(), "out.ndjson", "samples")?, 7.0);
    Ok(())
}
