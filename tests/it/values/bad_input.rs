//! Bad records: each counted by its reason, and the good ones beside them unharmed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;

use anyhow::{Result, ensure};

use crate::reference::fleet::{CONNECTED_CARS, Fleet, START_MS, expect_same, succeed};
use crate::reference::service::Service;
use crate::support::samples::read_ndjson;

use super::LATE;

/// The greatest record, bytes.
const MAX_RECORD_BYTES: usize = 1_048_576;

/// The source drops it before anybody looks into it.
const TOO_LARGE: &str = "too_large";

/// A record whose time is written so.
fn at(timestamp: &str) -> Vec<u8> {
    event("IC_RPM", "\"V0000000001\"", "\"UK\"", timestamp, "1").into_bytes()
}

/// A record of these pieces of JSON.
fn event(kind: &str, vehicle: &str, region: &str, timestamp: &str, measurement: &str) -> String {
    format!(
        "{{\"eventType\":\"{kind}\",\"vehicleId\":{vehicle},\"region\":{region},\
         \"timestamp\":{timestamp},\"measurement\":{measurement}}}"
    )
}

/// A good record of so many bytes.
fn of_length(bytes: usize) -> Vec<u8> {
    let shortest = event("IC_RPM", "\"V1\"", "\"UK\"", &START_MS.to_string(), "1");
    let padding = " ".repeat(bytes.saturating_sub(shortest.len()));
    shortest
        .replacen('{', &format!("{{{padding}"), 1)
        .into_bytes()
}

/// Records that give no event, with the reason.
fn bad_records() -> Vec<(&'static str, Vec<u8>)> {
    let now = START_MS.to_string();
    let measured = |text: &str| event("IC_RPM", "\"V1\"", "\"UK\"", &now, text).into_bytes();
    let mut invalid = at(&now);
    let region = invalid
        .windows(2)
        .position(|pair| pair == b"UK")
        .unwrap_or_default();
    invalid.splice(region..region + 2, [0xff, 0xfe]);
    let mut cut_off = at(&now);
    cut_off.truncate(60);
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("malformed_json", text("not json")),
        ("malformed_json", text("{'a':1}")),
        ("malformed_json", text("{\"timestamp\":1730621750000,}")),
        ("malformed_json", cut_off),
        ("malformed_json", measured("NaN")),
        ("malformed_json", measured("Infinity")),
        ("malformed_json", measured("-Infinity")),
        // JSON can write it, but there is no such number.
        ("malformed_json", measured("1e999")),
        ("malformed_json", measured("01")),
        ("malformed_json", measured("")),
        ("malformed_json", deep.into_bytes()),
        ("not_an_object", text("[1,2]")),
        ("not_an_object", text("\"text\"")),
        ("not_an_object", text("null")),
        ("missing_time", text("{}")),
        ("missing_time", at("null")),
        ("time_unreadable", at("\"1730621750000\"")),
        ("time_unreadable", at("true")),
        ("time_unreadable", at("{}")),
        ("time_out_of_range", at("0")),
        ("time_out_of_range", at("-1730621750000")),
        ("time_out_of_range", at("253402300799000")),
        ("time_out_of_range", at("1730621750")),
        ("time_out_of_range", at("1e30")),
        ("time_out_of_range", at("99999999999999999999")),
        ("too_far_ahead", at("4102444800000")),
        ("invalid_utf8", invalid),
        (TOO_LARGE, of_length(MAX_RECORD_BYTES + 1)),
        (TOO_LARGE, of_length(3 * MAX_RECORD_BYTES)),
    ]
}

/// Records that are events, though something about them is odd. All are of the first second.
fn odd_records() -> Vec<Vec<u8>> {
    let now = START_MS.to_string();
    let measured = |text: &str| event("IC_RPM", "\"V0000000001\"", "\"UK\"", &now, text);
    let from = |region: &str| event("IC_RPM", "\"V0000000001\"", region, &now, "1");
    let of = |vehicle: &str| event("WARNINGS", vehicle, "\"UK\"", &now, "3");
    let long = format!("\"{}\"", "x".repeat(10_240));
    let nested = format!("{}1{}", "[".repeat(50), "]".repeat(50));
    let mut records = vec![
        // Missing.
        format!("{{\"timestamp\":{now}}}"),
        format!("{{\"vehicleId\":\"V0000000002\",\"timestamp\":{now}}}"),
        format!(
            "{{\"eventType\":\"WARNINGS\",\"region\":\"UK\",\"timestamp\":{now},\"measurement\":1}}"
        ),
        // Of another type.
        measured("\"12\""),
        measured("true"),
        measured("null"),
        measured("[1]"),
        measured("{\"a\":1}"),
        of("12345"),
        of("1.5"),
        of("true"),
        from("7"),
        from("[]"),
        // Empty and long.
        from("\"\""),
        from("null"),
        of("\"\""),
        from(&long),
        of(&long),
        // Written unusually.
        from("\"\\u0055\\u004b\""),
        from("\"a\\\"b\\\\c\\nd\\u00e9\u{1f697}\""),
        measured("-0.0"),
        measured("1e3"),
        measured("12345678901234567890"),
        measured("0,\"measurement\":5"),
        measured("5,\"measurement\":0"),
        measured(&format!("1,\"more\":{nested}")),
        format!("  {}\t", measured(" 4 ")),
        event(
            "IC_RPM",
            "\"V0000000003\"",
            "\"UK\"",
            &format!("{now}.75"),
            "1",
        ),
        event("IC_RPM", "\"V0000000004\"", "\"UK\"", "1.73062175e12", "1"),
    ];
    records.push(String::from_utf8_lossy(&of_length(MAX_RECORD_BYTES)).into_owned());
    records.into_iter().map(String::into_bytes).collect()
}

/// Puts other records between the lines of a text, all of them among the first hundred lines.
fn mix(events: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
    let mut mixed = Vec::new();
    let mut records = records.iter();
    for line in events.split_inclusive(|byte| *byte == b'\n') {
        mixed.extend_from_slice(line);
        if let Some(record) = records.next() {
            mixed.extend_from_slice(record);
            mixed.push(b'\n');
        }
    }
    mixed
}

#[test]
fn bad_records_harm_no_other() -> Result<()> {
    let fleet = Fleet::new()?;
    let events = fleet.events(&["--seconds", "20", "--disorder", "2s"])?;
    let records: Vec<_> = bad_records()
        .into_iter()
        .map(|(_, record)| record)
        .collect();
    let samples = read_ndjson(&fleet.run(&[mix(&events, &records)], &[])?)?;
    expect_same(&samples, &fleet.reference(&[events]).samples)
}

#[test]
fn odd_records_count_for_what_they_say() -> Result<()> {
    let fleet = Fleet::new()?;
    let events = fleet.events(&["--seconds", "20", "--disorder", "2s"])?;
    fleet.check(&[mix(&events, &odd_records())], &[])?;
    Ok(())
}

/// A named pipe that weir reads and the test writes: its input ends when the test says so.
struct Pipe {
    path: PathBuf,
    /// Both ends, so that opening waits for nobody.
    held: File,
}

impl Pipe {
    fn make(path: PathBuf) -> Result<Self> {
        let mut command = Command::new("mkfifo");
        succeed(command.arg(&path))?;
        let held = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { path, held })
    }

    /// The writing end. From now on a reader that is gone is an error and not a wait for ever.
    fn writer(self) -> Result<File> {
        let writer = OpenOptions::new().write(true).open(&self.path)?;
        drop(self.held);
        Ok(writer)
    }
}

fn start(fleet: &Fleet, input: &Path, output: &Path) -> Result<Service> {
    let mut command = fleet.weir(CONNECTED_CARS, &[]);
    command
        .arg("--input")
        .arg(input)
        .arg("--output")
        .arg(output);
    Service::start(&mut command, &fleet.folder)
}

#[test]
fn whatever_is_dropped_is_counted_by_reason() -> Result<()> {
    let fleet = Fleet::new()?;
    let events = fleet.events(&LATE)?;
    let bad = bad_records();
    let records: Vec<_> = bad.iter().map(|(_, record)| record.clone()).collect();
    let input = mix(&events, &records);
    let expected = fleet.reference(slice::from_ref(&events));
    let count = events.split_inclusive(|byte| *byte == b'\n').count() as f64;

    let pipe = Pipe::make(fleet.path("events.pipe"))?;
    let output = fleet.path("samples.ndjson");
    let mut service = start(&fleet, &pipe.path, &output)?;
    let mut writer = pipe.writer()?;
    writer.write_all(&input)?;
    service.await_metric("weir_events_total", &[], count)?;

    let mut by_reason: BTreeMap<&str, f64> = BTreeMap::new();
    for (reason, _) in &bad {
        *by_reason.entry(reason).or_default() += 1.0;
    }
    for (reason, expected) in by_reason {
        let name = match reason {
            TOO_LARGE => "weir_source_dropped_total",
            _ => "weir_decode_errors_total",
        };
        let found = service.metric(name, &[("reason", reason)])?;
        assert_eq!(found, expected, "{name} {reason}");
    }
    let read = count
        + bad
            .iter()
            .filter(|(reason, _)| *reason != TOO_LARGE)
            .count() as f64;
    assert_eq!(service.metric("weir_source_records_total", &[])?, read);
    assert_eq!(service.metric("weir_events_total", &[])?, count);
    for (metric, late) in &expected.late {
        // Whether an event is late is found out after it was counted as an event.
        let labels = [("metric", *metric)];
        service.await_metric("weir_late_events_total", &labels, *late as f64)?;
        let found = service.metric("weir_late_events_total", &labels)?;
        assert_eq!(found, *late as f64, "late for {metric}");
    }

    drop(writer);
    service.wait()?;
    expect_same(&read_ndjson(&output)?, &expected.samples)
}

#[test]
fn bad_records_alone_are_no_failure() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut input = Vec::new();
    for (_, record) in bad_records() {
        input.extend_from_slice(&record);
        input.push(b'\n');
    }
    let output = fleet.run(&[input], &[])?;
    ensure!(fs::read(output)?.is_empty());
    Ok(())
}
