//! Dead letters that are listed, shown and sent again, once the pipeline file is mended; and what a crash
//! leaves of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::http_push::address;
use crate::markdown::page;
use crate::reference::fleet::{LIMIT, START_MS};
use crate::reference::service::Service;
use crate::reference::stateful::Stateful;
use crate::support::files::{self, Output, weir, write};
use crate::support::http;
use crate::support::samples::{Sample, read_ndjson};

/// A pipeline whose field is taken from a key that no record has.
fn pipeline(source: &Value, letters: &Value) -> String {
    format!(
        "pipeline: cars
source: {source}
event:
  time: {{ from: t }}
  fields: {{ vehicle: {{ type: text, from: car, required: true }}, speed: number }}
time: {{ out_of_order: 1s, idle_after: 1h }}
metrics:
  speed: {{ window: {{ tumbling: 5s }}, by: [vehicle], value: sum(speed) }}
write: {{ file: {{ path: samples.ndjson }} }}
state: {{ dir: state, log: {{ fsync: 5ms }}, checkpoint: {{ every: 200ms }} }}
dead_letters: {letters}
"
    )
}

pub(crate) fn record(vehicle: &str, after_ms: i64, speed: i64) -> String {
    let time = START_MS + after_ms;
    format!("{{\"vehicle\":\"{vehicle}\",\"t\":{time},\"speed\":{speed}}}")
}

pub(crate) fn weir_in(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = weir([]);
    command.args(arguments).current_dir(folder);
    files::run(&command, LIMIT)
}

pub(crate) fn replay(folder: &Path, options: &[&str]) -> Result<(Option<i32>, String)> {
    let arguments = [&["dead-letters", "replay", "cars.yaml"], options].concat();
    let output = weir_in(folder, &arguments)?;
    ensure!(output.stderr.is_empty(), "{}", output.stderr);
    Ok((output.status.code(), output.stdout))
}

/// Sends records to the source of a pipeline that runs.
type Send<'a> = dyn FnMut(&mut Service, &[String]) -> Result<()> + 'a;

/// The whole way: wrong file, letters, mended file, sent again, counted once.
fn letters_come_back(
    source: &Value,
    letters: &Value,
    send: &mut Send<'_>,
    reach: impl Fn(&Service) -> Result<Vec<String>>,
) -> Result<()> {
    let kind = source.as_object().and_then(|keys| keys.keys().next());
    let kind = kind.context("no source")?.as_str();
    let stateful = Stateful::new(&pipeline(source, letters))?;
    let mut service = stateful.start(&[])?;
    let records = [
        record("V1", 0, 3),
        record("V2", 1_000, 4),
        record("V1", 2_000, 5),
    ];
    send(&mut service, &records)?;
    let missing = [("reason", "missing_field")];
    service.await_metric("weir_dead_letters_total", &missing, 3.0)?;
    service.stop()?;

    let only = ["--reason", "missing_field"];
    let list = [
        "dead-letters",
        "list",
        "cars.yaml",
        only[0],
        only[1],
        "--format",
        "json",
    ];
    let listed = weir_in(stateful.at(), &list)?.stdout;
    let listed: Vec<Value> = listed
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let found: BTreeSet<_> = listed
        .iter()
        .filter_map(|line| line["record"].as_str())
        .collect();
    assert_eq!(found, records.iter().map(String::as_str).collect());
    ensure!(
        listed.iter().all(|line| line["replayed"] == json!(false)),
        "{listed:?}"
    );

    let dry = [&only[..], &["--dry-run"]].concat();
    let (code, told) = replay(stateful.at(), &dry)?;
    assert_eq!(code, Some(1), "{told}");
    ensure!(
        told.contains("3 still give no event:\n") && told.contains("missing_field"),
        "{told}"
    );

    let mended = pipeline(source, letters).replace("from: car, ", "");
    write(stateful.at(), "cars.yaml", &mended)?;
    let (code, told) = replay(stateful.at(), &dry)?;
    let would = "3 records would be sent again, with 3 events\n";
    assert_eq!((code, told.as_str()), (Some(0), would));

    let mut service = stateful.start(&[])?;
    let reached = reach(&service)?;
    let reached = reached.iter().map(String::as_str);
    let options: Vec<_> = only.into_iter().chain(reached).collect();
    let (code, told) = replay(stateful.at(), &options)?;
    assert_eq!(
        (code, told),
        (Some(0), format!("3 records are sent again, to {kind}\n"))
    );
    let (code, told) = replay(stateful.at(), &options)?;
    let before = format!(
        "0 records are sent again, to {kind}\n3 were sent again before; --again sends them once more\n"
    );
    assert_eq!((code, told), (Some(0), before));

    send(&mut service, &[record("V9", 60_000, 1)])?;
    let path = stateful.path("samples.ndjson");
    service.await_condition("the window of what was sent again", || {
        read_ndjson(&path).is_ok_and(|samples| samples.len() >= 2)
    })?;
    service.stop()?;
    let mut samples = read_ndjson(&path)?;
    samples.sort();
    let sample =
        |vehicle, value| Sample::new("speed", &[("vehicle", vehicle)], START_MS + 5_000, value);
    assert_eq!(samples, [sample("V1", 8.0), sample("V2", 4.0)]);
    Ok(())
}

fn post(service: &Service, records: &[String]) -> Result<()> {
    for record in records {
        let url = format!("http://{}/ingest/cars", address(service)?);
        let headers = [("Content-Type", "application/json")];
        assert_eq!(http::post(&url, &headers, record.as_bytes())?.status, 202);
    }
    Ok(())
}

#[test]
fn over_http_they_come_back_to_the_pipelines_own_address() -> Result<()> {
    let source = json!({ "http": { "listen": "127.0.0.1:0" } });
    let letters = json!({ "file": "letters.ndjson" });
    letters_come_back(
        &source,
        &letters,
        &mut |service, records| post(service, records),
        |service| {
            let url = format!("http://{}/ingest/cars", address(service)?);
            Ok(vec!["--url".to_owned(), url])
        },
    )
}

#[cfg(feature = "kafka")]
#[test]
fn from_a_topic_they_come_back_to_theirs() -> Result<()> {
    let kafka = crate::support::kafka::Kafka::shared()?;
    for topic in ["replayed-in", "replayed-letters"] {
        kafka.create_topic(topic, 1)?;
    }
    let brokers = kafka.address();
    let source = json!({ "kafka": {
        "brokers": brokers, "topics": ["replayed-in"], "group": "replayed" } });
    let letters = json!({ "kafka": { "brokers": brokers, "topic": "replayed-letters" } });
    letters_come_back(
        &source,
        &letters,
        &mut |_, records| kafka.produce("replayed-in", 0, records),
        |_| Ok(vec![]),
    )
}

#[cfg(feature = "kafka")]
#[test]
fn in_a_topic_a_letter_keeps_its_number() -> Result<()> {
    let kafka = crate::support::kafka::Kafka::shared()?;
    kafka.create_topic("numbered-letters", 2)?;
    let folder = files::temporary_folder()?;
    let source = json!({ "file": { "path": "events.ndjson" } });
    let letters = json!({ "kafka": { "brokers": kafka.address(), "topic": "numbered-letters" } });
    write(folder.path(), "cars.yaml", &pipeline(&source, &letters))?;
    let letter = |position: u64, dropped_at_ms: i64| {
        let letter = json!({
            "pipeline": "cars", "source": "file", "split": "events.ndjson", "position": position,
            "reason": "missing_field", "dropped_at_ms": dropped_at_ms, "record": "{}",
        });
        letter.to_string()
    };
    let listed = || -> Result<Vec<(u64, u64)>> {
        let list = [
            "dead-letters",
            "list",
            "cars.yaml",
            "--limit",
            "3",
            "--format",
            "json",
        ];
        let listed = weir_in(folder.path(), &list)?.stdout;
        let lines = listed.lines().map(serde_json::from_str::<Value>);
        let numbers = lines.map(|line| {
            let line = line?;
            let of = |key: &str| line[key].as_u64().context("no number");
            Ok((of("number")?, of("position")?))
        });
        numbers.collect()
    };
    kafka.produce("numbered-letters", 0, &[letter(10, 5), letter(11, 7)])?;
    kafka.produce("numbered-letters", 1, &[letter(20, 6)])?;
    // In the order in which they were dropped.
    assert_eq!(listed()?, [(1, 10), (2, 20), (3, 11)]);
    kafka.produce("numbered-letters", 0, &[letter(12, 9)])?;
    assert_eq!(listed()?, [(2, 20), (3, 11), (5, 12)], "the last three");
    let shown = weir_in(folder.path(), &["dead-letters", "show", "cars.yaml", "2"])?.stdout;
    ensure!(shown.contains("position            20\n"), "{shown}");
    Ok(())
}

#[cfg(feature = "mqtt")]
#[test]
fn over_mqtt_they_come_back_to_their_topics() -> Result<()> {
    use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

    let mosquitto = crate::support::mosquitto::Mosquitto::start()?;
    let source = json!({ "mqtt": { "url": mosquitto.url(), "topics": ["fleet/#"] } });
    let letters = json!({ "file": "letters.ndjson" });
    let publish = |record: &str| -> Result<()> {
        let options = MqttOptions::new("car", "127.0.0.1", mosquitto.port());
        let (client, mut connection) = Client::new(options, 10);
        client.publish("fleet/car", QoS::AtLeastOnce, false, record)?;
        for event in connection.iter() {
            if matches!(event?, Event::Incoming(Packet::PubAck(_))) {
                break;
            }
        }
        Ok(())
    };
    let mut is_subscribed = false;
    letters_come_back(
        &source,
        &letters,
        &mut |service, records| {
            if !std::mem::replace(&mut is_subscribed, true) {
                // Before the subscription they go nowhere.
                let mut failure = None;
                service.repeat_until("weir_source_records_total", 1.0, || {
                    failure = publish("[]").err();
                })?;
                failure.map_or(Ok(()), Err)?;
            }
            records.iter().try_for_each(|record| publish(record))
        },
        |_| Ok(vec![]),
    )
}

#[cfg(feature = "mqtt")]
#[test]
fn of_messages_those_of_topics_that_are_left_go_back_however_large() -> Result<()> {
    let mosquitto = crate::support::mosquitto::Mosquitto::start()?;
    // With 3.1.1 messages of up to four times `max_packet_bytes` are received.
    let source = json!({ "mqtt": {
        "url": mosquitto.url(), "topics": ["fleet/#"], "protocol": "3.1.1",
        "max_packet_bytes": 2_000,
    } });
    let folder = files::temporary_folder()?;
    let text = pipeline(&source, &json!({ "file": "letters.ndjson" }));
    write(folder.path(), "cars.yaml", &text.replace("from: car, ", ""))?;
    let letter = |number: u64, topic: &str, bytes| {
        let record = record(&"V".repeat(bytes), 0, 1);
        let letter = json!({
            "pipeline": "cars", "source": "mqtt", "split": "log/mqtt", "position": number,
            "reason": "missing_field", "dropped_at_ms": START_MS, "topic": topic, "record": record,
        });
        format!("{letter}\n")
    };
    let letters = [
        letter(1, "vans/1", 1),
        letter(2, "fleet/1", 5_000),
        letter(3, "fleet/2", 1),
    ];
    write(folder.path(), "letters.ndjson", &letters.concat())?;
    let (code, told) = replay(folder.path(), &[])?;
    ensure!(
        told.starts_with("2 records are sent again, to mqtt\n1 still give no event:\n"),
        "{told}"
    );
    let why = "the pipeline takes nothing from topic 'vans/1'";
    ensure!(told.contains(why), "{told}");
    assert_eq!(code, Some(1), "not all that were to be sent are");
    Ok(())
}

/// The pipeline and the list of the guide.
fn guide() -> Result<(String, String)> {
    let guide = page("dead-letters.md")?;
    let block = |begin: &str| -> Result<String> {
        let (_, rest) = guide.split_once(begin).with_context(|| begin.to_owned())?;
        Ok(rest.split_once("```").context("no end")?.0.to_owned())
    };
    Ok((
        block("```yaml\n")?,
        block("$ weir dead-letters list cars.yaml\n")?,
    ))
}

/// The cells of a table; times are those of each run.
fn cells(table: &str) -> Vec<Vec<String>> {
    let cell = |cell: &str| match cell.parse::<jiff::Timestamp>() {
        Ok(_) => "TIME".to_owned(),
        Err(_) => cell.to_owned(),
    };
    let line = |line: &str| line.split_whitespace().map(cell).collect();
    table.lines().map(line).collect()
}

#[test]
fn what_the_guide_shows_is_what_is_shown() -> Result<()> {
    let (pipeline, list) = guide()?;
    let folder = files::temporary_folder()?;
    write(folder.path(), "cars.yaml", &pipeline)?;
    let good = r#"{"vehicle":"V1","time":1730621750000,"speed":70.5}"#;
    let third = r#"{"car":"V3","time":1730621751000,"speed":44.0,"heading":1}"#;
    let events = format!(
        "{good}\n{{\"vehicle\":\"V2\",\"time\":17306\x01\n{third}\n{{\"car\":\"V4\",\"time\":1730621752000}}\n"
    );
    write(folder.path(), "events.ndjson", &events)?;
    let run = weir_in(folder.path(), &["run", "cars.yaml", "--listen", "none"])?;
    ensure!(run.status.success(), "{}", run.stderr);
    let shown = weir_in(folder.path(), &["dead-letters", "list", "cars.yaml"])?.stdout;
    assert_eq!(cells(&shown), cells(&list), "{shown}");

    let shown = weir_in(folder.path(), &["dead-letters", "show", "cars.yaml", "2"])?.stdout;
    ensure!(
        shown.contains("reason              missing_field\n"),
        "{shown}"
    );
    ensure!(shown.ends_with("{\n  \"car\": \"V3\",\n  \"time\": 1730621751000,\n  \"speed\": 44.0,\n  \"heading\": 1\n}\n"), "{shown}");
    let shown = weir_in(folder.path(), &["dead-letters", "show", "cars.yaml", "1"])?.stdout;
    ensure!(shown.contains("00000010  22 74 69 6d 65 22"), "{shown}");
    let none = weir_in(folder.path(), &["dead-letters", "show", "cars.yaml", "9"])?;
    assert_eq!(none.status.code(), Some(1));
    ensure!(
        none.stderr.contains("there is no dead letter 9"),
        "{}",
        none.stderr
    );
    Ok(())
}

#[test]
fn of_a_file_they_are_written_to_a_file_that_can_be_run() -> Result<()> {
    let (pipeline, _) = guide()?;
    let folder = files::temporary_folder()?;
    write(folder.path(), "cars.yaml", &pipeline)?;
    let events: Vec<_> = (0..250)
        .map(|number| {
            format!(
                "{{\"car\":\"V{}\",\"time\":{}}}\n",
                number % 10,
                START_MS + number
            )
        })
        .collect();
    let broken = "{\"car\":\"V1\"\n";
    write(folder.path(), "events.ndjson", &(events.concat() + broken))?;
    let run = weir_in(folder.path(), &["run", "cars.yaml", "--listen", "none"])?;
    ensure!(run.status.success(), "{}", run.stderr);
    let refused = weir_in(folder.path(), &["dead-letters", "replay", "cars.yaml"])?;
    assert_eq!(refused.status.code(), Some(1));
    ensure!(
        refused.stderr.contains("--to RECORDS.ndjson"),
        "{}",
        refused.stderr
    );

    let mended = pipeline
        .replace("vehicle: {", "vehicle: { from: car,")
        .replace("avg(speed)", "count(*)");
    write(folder.path(), "cars.yaml", &mended)?;
    let (code, told) = replay(folder.path(), &["--to", "mended.ndjson"])?;
    ensure!(
        told.starts_with("250 records are written to mended.ndjson\n1 still give"),
        "{told}"
    );
    assert_eq!(code, Some(0));
    assert_eq!(
        fs::read_to_string(folder.path().join("mended.ndjson"))?,
        events.concat()
    );
    let run = [
        "run",
        "cars.yaml",
        "--listen",
        "none",
        "--input",
        "mended.ndjson",
        "--output",
        "mended.out",
        "--set",
        "dead_letters.file=others.ndjson",
    ];
    ensure!(weir_in(folder.path(), &run)?.status.success());
    let samples = read_ndjson(&folder.path().join("mended.out"))?;
    assert_eq!(
        samples.iter().map(|sample| sample.value).sum::<f64>(),
        250.0
    );
    let (_, told) = replay(folder.path(), &["--to", "mended.ndjson"])?;
    ensure!(told.starts_with("0 records"), "{told}");
    let (_, told) = replay(
        folder.path(),
        &["--to", "again.ndjson", "--again", "--number", "7"],
    )?;
    assert_eq!(told, "1 records are written to again.ndjson\n");
    assert_eq!(
        fs::read_to_string(folder.path().join("again.ndjson"))?,
        events[6]
    );
    Ok(())
}

#[test]
fn a_checkpoint_has_no_record_behind_it_whose_letter_a_crash_can_take() -> Result<()> {
    let source = json!({ "http": { "listen": "127.0.0.1:0" } });
    let letters = json!({ "file": "letters.ndjson" });
    let text = pipeline(&source, &letters).replace("200ms", "100ms");
    let stateful = Stateful::new(&text)?;
    let mut sent = BTreeSet::new();
    for round in 0..5 {
        let mut service = stateful.start(&[])?;
        let records: Vec<_> = (0..5)
            .map(|number| record("V1", round * 5 + number, 1))
            .collect();
        post(&service, &records)?;
        sent.extend(records);
        // The records are behind the second of these checkpoints, and not read again after it.
        let reached = service.metric("weir_checkpoints_total", &[])?;
        service.await_metric("weir_checkpoints_total", &[], reached + 2.0)?;
        service.kill()?;
    }
    let list = [
        "dead-letters",
        "list",
        "cars.yaml",
        "--format",
        "json",
        "--limit",
        "1000",
    ];
    let listed = weir_in(stateful.at(), &list)?.stdout;
    let listed: Vec<Value> = listed
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let found: BTreeSet<_> = listed
        .iter()
        .filter_map(|line| line["record"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(found, sent);
    Ok(())
}
