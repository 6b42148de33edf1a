//! What reaches no window is in the dead letters: once, with its reason, place and bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::reference::fleet::succeed;
use crate::reference::service::Service;
use crate::support::files::{temporary_folder, weir, write};
use crate::support::samples::{Sample, read_ndjson};

/// A window's start, ms since the epoch.
const T: i64 = 1_730_621_750_000;

/// Nobody listens there: the discard port of the loopback address.
const AWAY: &str = "write={remote_write: {url: 'http://127.0.0.1:9/api/v1/write'}}";

const PIPELINE: &str = "
pipeline: cars
source: { file: { path: '-' } }
event:
  time: { from: time }
  fields: { vehicle: { type: text, required: true }, rpm: number }
time: { out_of_order: 2s, late: divert }
metrics:
  events: { window: { tumbling: 5s }, value: count(*) }
  fast: { where: rpm > 100, window: { tumbling: 10s }, value: count(*) }
write: { file: { path: samples.ndjson } }
dead_letters: { file: dead-letters.ndjson }
";

/// A letter that must be there.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Letter {
    split: String,
    position: u64,
    reason: String,
    metrics: Vec<String>,
    event_time_ms: Option<i64>,
    watermark_ms: Option<i64>,
    events_used: i64,
    record: Vec<u8>,
}

/// A file's records, what must be diverted of them, and how many events reach each metric's window,
/// by the metric and the window's end.
#[derive(Default)]
struct Expected {
    bytes: Vec<u8>,
    letters: Vec<Letter>,
    counted: BTreeMap<(&'static str, i64), f64>,
}

impl Expected {
    fn bad(&mut self, split: &str, reason: &str, record: &[u8]) {
        self.letters.push(Letter {
            split: split.to_owned(),
            position: self.bytes.len() as u64,
            reason: reason.to_owned(),
            metrics: vec![],
            event_time_ms: None,
            watermark_ms: None,
            events_used: 0,
            record: record.to_vec(),
        });
        self.push(record);
    }

    /// An event; `highest` is the highest time of the split before it.
    fn event(&mut self, split: &str, time_ms: i64, rpm: i64, highest: &mut i64) {
        let record = format!("{{\"vehicle\":\"å{rpm}\",\"time\":{time_ms},\"rpm\":{rpm}}}");
        let watermark = highest.saturating_sub(2_000);
        let mut late_for = Vec::new();
        let mut is_counted = false;
        for (name, window_ms, takes) in [("events", 5_000, true), ("fast", 10_000, rpm > 100)] {
            let end = time_ms.div_euclid(window_ms) * window_ms + window_ms;
            if takes && watermark >= end {
                late_for.push(name.to_owned());
            } else if takes {
                *self.counted.entry((name, end)).or_default() += 1.0;
                is_counted = true;
            }
        }
        if !late_for.is_empty() {
            self.letters.push(Letter {
                split: split.to_owned(),
                position: self.bytes.len() as u64,
                reason: "late".to_owned(),
                metrics: late_for,
                event_time_ms: Some(time_ms),
                watermark_ms: Some(watermark),
                events_used: i64::from(is_counted),
                record: record.clone().into_bytes(),
            });
        }
        *highest = time_ms.max(*highest);
        self.push(record.as_bytes());
    }

    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.bytes.push(b'\n');
    }
}

/// Events that go up and down over the bounds of windows, with bad records between them.
fn records(split: &str, seed: i64) -> Expected {
    let mut expected = Expected::default();
    let mut highest = i64::MIN;
    let no_vehicle = format!("{{\"time\":{T},\"rpm\":1}}");
    let bad: [(&str, &[u8]); 6] = [
        ("malformed_json", b"{\"vehicle\":"),
        ("invalid_utf8", b"{\"vehicle\":\"\xff\xfe\"}"),
        ("not_an_object", b"[1, \"\\u0000\"]"),
        ("missing_time", b"{\"vehicle\":\"V1\"}"),
        ("time_out_of_range", b"{\"vehicle\":\"V1\",\"time\":5}"),
        ("missing_field", no_vehicle.as_bytes()),
    ];
    let mut bad = bad.iter().cycle();
    for step in 0..400 {
        let forward = step * 250;
        let back = (step * 37 + seed) % 23 * 400;
        let rpm = (step * 13 + seed) % 200;
        expected.event(split, T + forward - back, rpm, &mut highest);
        if step % 20 == 7
            && let Some((reason, record)) = bad.next()
        {
            expected.bad(split, reason, record);
        }
    }
    expected
}

/// Both splits' files in a folder, with the pipeline, and what must come of them.
fn setup() -> Result<(TempDir, Vec<PathBuf>, Vec<Expected>)> {
    let folder = temporary_folder()?;
    write(folder.path(), "cars.yaml", PIPELINE)?;
    let (mut paths, mut expected) = (Vec::new(), Vec::new());
    for (name, seed) in [("one.ndjson", 1), ("two.ndjson", 8)] {
        let records = records(name, seed);
        let path = folder.path().join(name);
        fs::write(&path, &records.bytes)?;
        paths.push(path);
        expected.push(records);
    }
    Ok((folder, paths, expected))
}

fn command(folder: &TempDir, inputs: &[PathBuf], options: &[&str]) -> std::process::Command {
    let mut command = weir(["run", "cars.yaml", "--workers", "2"]);
    command.current_dir(folder.path()).args(options);
    for input in inputs {
        command.arg("--input").arg(input);
    }
    command
}

fn all_letters(expected: &mut [Expected]) -> Vec<Letter> {
    let letters = expected.iter_mut();
    let mut letters: Vec<_> = letters.flat_map(|one| one.letters.drain(..)).collect();
    letters.sort();
    letters
}

/// The bytes that stand as a text or in Base64.
fn bytes_of(line: &Value, name: &str) -> Result<Option<Vec<u8>>> {
    let encoded = line.get(format!("{name}_base64")).and_then(Value::as_str);
    match line.get(name).and_then(Value::as_str) {
        Some(text) => {
            ensure!(encoded.is_none(), "{name} is there twice: {line}");
            Ok(Some(text.as_bytes().to_vec()))
        }
        None => encoded.map(from_base64).transpose(),
    }
}

fn from_base64(text: &str) -> Result<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().take_while(|digit| *digit != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => anyhow::bail!("{text:?} is not Base64"),
        };
        (bits, held) = ((bits << 6 | u32::from(value)) & 0xffff, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Ok(bytes)
}

fn parse(line: &str) -> Result<Letter> {
    let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| line.get(name).and_then(Value::as_i64);
    ensure!(text("pipeline") == "cars", "{line}");
    ensure!(number("dropped_at_ms") > Some(T), "{line}");
    let metrics = line.get("metrics").and_then(Value::as_array);
    let metrics = metrics.into_iter().flatten().filter_map(Value::as_str);
    let split = text("split").rsplit('/').next().unwrap_or_default();
    Ok(Letter {
        split: split.to_owned(),
        position: u64::try_from(number("position").context("no position")?)?,
        reason: text("reason").to_owned(),
        metrics: metrics.map(str::to_owned).collect(),
        event_time_ms: number("event_time_ms"),
        watermark_ms: number("watermark_ms"),
        events_used: number("events_used").unwrap_or_default(),
        record: bytes_of(&line, "record")?.context("no record")?,
    })
}

fn read_letters(path: &Path) -> Result<Vec<Letter>> {
    let text = fs::read_to_string(path)?;
    let letters: Result<Vec<_>> = text.lines().map(parse).collect();
    let mut letters = letters?;
    letters.sort();
    Ok(letters)
}

fn counted(expected: &[Expected]) -> Vec<Sample> {
    let mut sums: BTreeMap<(&str, i64), f64> = BTreeMap::new();
    for (key, count) in expected.iter().flat_map(|one| &one.counted) {
        *sums.entry(*key).or_default() += count;
    }
    let sample = |((name, end), count): (&(&str, i64), &f64)| Sample::new(name, &[], *end, *count);
    let mut samples: Vec<_> = sums.iter().map(sample).collect();
    samples.sort();
    samples
}

fn of_reason(letters: &[Letter], reason: &str) -> f64 {
    let count = letters.iter().filter(|letter| letter.reason == reason);
    count.count() as f64
}

#[test]
fn every_dropped_record_is_there_once_with_its_reason_place_and_bytes() -> Result<()> {
    let (folder, inputs, mut expected) = setup()?;
    let samples = counted(&expected);
    let letters = all_letters(&mut expected);
    // Some are late for both metrics, some for the short windows only.
    let late_for = |count: usize| letters.iter().filter(move |one| one.metrics.len() == count);
    assert!(late_for(1).count() > 10 && late_for(2).count() > 10);
    assert_eq!(late_for(0).count(), 40);
    // Of an event that one metric lacks, the other has taken in what it wants.
    let used = |count: i64| letters.iter().filter(move |one| one.events_used == count);
    assert!(used(1).count() > 10 && used(1).count() < late_for(1).count());

    succeed(&command(&folder, &inputs, &["--output", "samples.ndjson"]))?;
    let found = read_letters(&folder.path().join("dead-letters.ndjson"))?;
    assert_eq!(found, letters);
    assert_eq!(read_ndjson(&folder.path().join("samples.ndjson"))?, samples);
    Ok(())
}

#[test]
fn the_counters_agree_with_the_file() -> Result<()> {
    let (folder, inputs, mut expected) = setup()?;
    let letters = all_letters(&mut expected);
    let mut command = command(&folder, &inputs, &["--set", AWAY]);
    let mut service = Service::start(&mut command, &folder)?;
    service.await_metric("weir_dead_letters_total", &[], letters.len() as f64)?;
    for reason in [
        "late",
        "late_after_idle",
        "malformed_json",
        "invalid_utf8",
        "missing_field",
    ] {
        let found = service.metric("weir_dead_letters_total", &[("reason", reason)])?;
        assert_eq!(found, of_reason(&letters, reason), "{reason}");
    }
    let late: usize = letters.iter().map(|letter| letter.metrics.len()).sum();
    assert_eq!(service.metric("weir_late_events_total", &[])?, late as f64);
    assert_eq!(service.metric("weir_dead_letters_lost_total", &[])?, 0.0);
    let path = folder.path().join("dead-letters.ndjson");
    assert_eq!(read_letters(&path)?, letters);
    Ok(())
}

#[test]
fn with_late_drop_only_what_gave_no_event_is_there() -> Result<()> {
    let (folder, inputs, mut expected) = setup()?;
    let mut letters = all_letters(&mut expected);
    letters.retain(|letter| letter.reason != "late");
    let options = ["--output", "samples.ndjson", "--set", "time.late=drop"];
    succeed(&command(&folder, &inputs, &options))?;
    let found = read_letters(&folder.path().join("dead-letters.ndjson"))?;
    assert_eq!(found, letters);
    Ok(())
}

#[test]
fn a_full_disk_is_counted_and_survived() -> Result<()> {
    let (folder, inputs, mut expected) = setup()?;
    let samples = counted(&expected);
    let letters = all_letters(&mut expected);
    let full = ["--set", "dead_letters.file=/dev/full"];
    let run = command(
        &folder,
        &inputs,
        &[&full[..], &["--output", "samples.ndjson"]].concat(),
    );
    let stderr = succeed(&run)?.stderr;
    assert_eq!(read_ndjson(&folder.path().join("samples.ndjson"))?, samples);
    assert!(stderr.contains("a dead letter is lost"), "{stderr}");
    assert!(stderr.contains("No space left on device"), "{stderr}");

    let mut command = command(&folder, &inputs, &[&full[..], &["--set", AWAY]].concat());
    let mut service = Service::start(&mut command, &folder)?;
    let lost = "weir_dead_letters_lost_total";
    service.await_metric(lost, &[], letters.len() as f64)?;
    for reason in ["late", "malformed_json"] {
        let found = service.metric(lost, &[("reason", reason)])?;
        assert_eq!(found, of_reason(&letters, reason), "{reason}");
    }
    assert_eq!(service.metric("weir_dead_letters_total", &[])?, 0.0);
    Ok(())
}

#[cfg(feature = "kafka")]
mod topics {
    use std::time::{Duration, Instant};

    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    use rdkafka::{Message as _, Offset, TopicPartitionList};

    use super::*;
    use crate::support::kafka::Kafka;

    const LIMIT: Duration = Duration::from_secs(60);

    /// The keys and payloads of the first records of a topic with one partition.
    fn read(kafka: &Kafka, topic: &str, count: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.address())
            .set("group.id", "dead-letters-reader")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(topic, 0, Offset::Beginning)?;
        consumer.assign(&partitions)?;
        let deadline = Instant::now() + LIMIT;
        let mut records = Vec::new();
        while records.len() < count {
            ensure!(Instant::now() < deadline, "only {} records", records.len());
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                let message = message?;
                let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
                records.push((bytes(message.key()), bytes(message.payload())));
            }
        }
        Ok(records)
    }

    #[test]
    fn letters_of_a_topic_go_to_a_topic_with_their_keys() -> Result<()> {
        let kafka = Kafka::shared()?;
        for topic in ["letters-in", "letters-out"] {
            kafka.create_topic(topic, 1)?;
        }
        let event = |time_ms: i64| format!("{{\"vehicle\":\"V1\",\"time\":{time_ms},\"rpm\":1}}");
        let (new, late) = (event(T + 20_000), event(T));
        let sent: [(&[u8], &[u8]); 3] = [
            (b"V1", new.as_bytes()),
            (b"V2", late.as_bytes()),
            (b"\xff", b"{\xfe"),
        ];
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", kafka.address())
            .create()?;
        for (key, payload) in sent {
            let record = BaseRecord::to("letters-in").key(key).payload(payload);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(LIMIT)?;

        let folder = temporary_folder()?;
        write(folder.path(), "cars.yaml", PIPELINE)?;
        let source = json!({"kafka": {
            "brokers": kafka.address(), "topics": ["letters-in"], "group": "letters"}});
        let letters = json!({"kafka": {"brokers": kafka.address(), "topic": "letters-out"}});
        let (source, letters) = (
            format!("source={source}"),
            format!("dead_letters={letters}"),
        );
        let options = [
            "--set",
            &source,
            "--set",
            &letters,
            "--output",
            "samples.ndjson",
        ];
        let mut service = Service::start(&mut command(&folder, &[], &options), &folder)?;
        service.await_metric("weir_dead_letters_total", &[], 2.0)?;
        service.stop()?;

        let found = read(kafka, "letters-out", 2)?;
        for ((key, payload), ((sent_key, sent), offset)) in
            found.iter().zip(sent[1..].iter().zip(1..))
        {
            let line: Value = serde_json::from_slice(payload)?;
            assert_eq!(key, sent_key);
            assert_eq!(bytes_of(&line, "key")?.as_deref(), Some(*sent_key));
            assert_eq!(bytes_of(&line, "record")?.as_deref(), Some(*sent));
            assert_eq!(line["topic"], "letters-in");
            assert_eq!(
                (&line["split"], &line["position"]),
                (&json!("letters-in/0"), &json!(offset))
            );
        }
        let reason = |index: usize| -> Result<Value> {
            Ok(serde_json::from_slice::<Value>(&found[index].1)?["reason"].take())
        };
        assert_eq!(
            (reason(0)?, reason(1)?),
            (json!("late"), json!("invalid_utf8"))
        );
        Ok(())
    }

    #[test]
    fn a_broker_that_is_away_at_the_end_costs_the_letters_only() -> Result<()> {
        let (folder, inputs, mut expected) = setup()?;
        let samples = counted(&expected);
        let letters = all_letters(&mut expected);
        let away = "dead_letters={kafka: {brokers: '127.0.0.1:9', topic: letters}}";
        let options = ["--set", away, "--drain", "1s", "--output", "samples.ndjson"];
        let stderr = succeed(&command(&folder, &inputs, &options))?.stderr;
        assert_eq!(read_ndjson(&folder.path().join("samples.ndjson"))?, samples);
        let lost = stderr
            .lines()
            .find(|line| line.contains("dead letters were lost"));
        let lost = lost.with_context(|| stderr.clone())?;
        assert!(lost.contains(&format!("lost={}", letters.len())), "{lost}");
        Ok(())
    }
}
