//! What Kafka knows of a record beside its bytes: headers, offsets, tombstones and transactions.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use weir::source::Config;

use crate::reference::service::Service;
use crate::support::files::{temporary_folder, weir, write};
use crate::support::kafka::Kafka;
use crate::support::samples::{Sample, read_ndjson};
use crate::support::source::RunningSource;

const LIMIT: Duration = Duration::from_secs(60);

/// A window's start, ms since the epoch.
const T: i64 = 1_730_621_750_000;

const PIPELINE: &str = "
pipeline: tenants
event:
  time: { from: t }
  fields:
    tenant: { from: '@header.tenant', type: text }
    weight: { from: '@header.weight', type: number }
    partition: { from: '@partition', type: text }
    offset: { from: '@offset', type: number }
    key: { from: '@key', type: text }
time: { out_of_order: 0s, idle_after: 1h }
metrics:
  weights: { window: { tumbling: 5s }, by: [tenant, partition], value: sum(weight) }
  offsets: { window: { tumbling: 5s }, by: [key], value: sum(offset) }
dead_letters: { file: letters.ndjson }
";

fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
    Sample::new(name, labels, T + 5_000, value)
}

#[test]
fn headers_partition_and_offset_are_fields_and_tombstones_are_counted() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("tenants", 2)?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.address())
        .create()?;
    let event = |seconds: i64| format!(r#"{{"t":{}}}"#, T + seconds * 1_000);
    let (first, last, broken) = (event(1), event(60), "{".to_owned());
    let acme = [("tenant", "zeta"), ("weight", "2.5"), ("tenant", "acme")];
    type Sent<'a> = (i32, Option<&'a str>, &'a [(&'a str, &'a str)]);
    let records: [Sent<'_>; 9] = [
        // The last header of a name counts; others are nothing to us.
        (1, Some(&first), &acme),
        (
            1,
            Some(&first),
            &[("tenant", "acme"), ("weight", "4"), ("trace", "1")],
        ),
        // Not a number, no header at all, and an empty one.
        (1, Some(&first), &[("tenant", "duff"), ("weight", "heavy")]),
        (1, None, &[("tenant", "gone")]),
        (1, Some(&first), &[("tenant", ""), ("weight", "1")]),
        (0, Some(&first), &[("weight", "8")]),
        (0, Some(&broken), &[("tenant", "acme"), ("trace", "1")]),
        (0, Some(&last), &[]),
        (1, Some(&last), &[]),
    ];
    for (partition, payload, headers) in records {
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            let value = Some(*value);
            all = all.insert(Header { key, value });
        }
        let mut record = BaseRecord::to("tenants")
            .partition(partition)
            .key("V1")
            .headers(all);
        if let Some(payload) = payload {
            record = record.payload(payload);
        }
        let sent = producer.send(record).map_err(|(error, _)| error);
        sent.context("a record")?;
    }
    producer.flush(LIMIT)?;

    let folder = temporary_folder()?;
    let text = format!(
        "{PIPELINE}source: {{ kafka: {{ brokers: '{}', topics: [tenants], group: tenants }} }}\n\
         write: {{ file: {{ path: samples.ndjson }} }}\n",
        kafka.address()
    );
    let file = write(folder.path(), "pipeline.yaml", &text)?;
    let mut command = weir(["run"]);
    command.arg(file).current_dir(folder.path());
    let mut service = Service::start(&mut command, &folder)?;
    service.await_metric("weir_samples_written_total", &[], 4.0)?;
    let tombstones = [("reason", "tombstone")];
    let dropped = service.metric("weir_source_dropped_total", &tombstones)?;
    assert_eq!(dropped, 1.0);
    service.stop()?;
    let mut samples = read_ndjson(&folder.path().join("samples.ndjson"))?;
    samples.sort();
    let mut expected = [
        sample("weights", &[("tenant", "acme"), ("partition", "1")], 6.5),
        sample("weights", &[("partition", "1")], 1.0),
        sample("weights", &[("partition", "0")], 8.0),
        // Offsets 0, 1, 2 and 4 of partition 1, and 0 of partition 0.
        sample("offsets", &[("key", "V1")], 7.0),
    ];
    expected.sort();
    assert_eq!(samples, expected);
    let letters = std::fs::read_to_string(folder.path().join("letters.ndjson"))?;
    let letter: Value = serde_json::from_str(letters.trim_end())?;
    assert_eq!(
        (&letter["split"], &letter["position"], &letter["key"]),
        (&json!("tenants/0"), &json!(1), &json!("V1"))
    );
    assert_eq!(letter["headers"], json!({ "tenant": "acme" }));
    Ok(())
}

/// The source of a topic that a group of its name reads.
fn source(kafka: &Kafka, topic: &str, isolation: &str) -> Result<Config> {
    Ok(serde_json::from_value(json!({ "kafka": {
        "brokers": kafka.address(),
        "topics": [topic],
        "group": format!("{topic}-{isolation}"),
        "isolation": isolation,
    } }))?)
}

/// Where the broker says that a partition ends.
fn end_of(kafka: &Kafka, topic: &str) -> Result<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.address())
        .set("isolation.level", "read_uncommitted")
        .create()?;
    Ok(consumer.fetch_watermarks(topic, 0, LIMIT)?.1)
}

fn lag(topic: &str, records: i64) -> String {
    format!("weir_kafka_lag_records{{split=\"{topic}/0\",pipeline=\"test\"}} {records}\n")
}

#[test]
fn only_what_was_committed_is_read_and_the_lag_counts_no_markers() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("payments", 1)?;
    let transactional = |id: &str| -> Result<BaseProducer> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", kafka.address())
            .set("transactional.id", id)
            .create()?;
        producer.init_transactions(LIMIT)?;
        Ok(producer)
    };
    let send = |producer: &BaseProducer, text: &str| -> Result<()> {
        let record = BaseRecord::<(), str>::to("payments")
            .partition(0)
            .payload(text);
        let sent = producer.send(record).map_err(|(error, _)| error);
        sent.context("a record")?;
        producer.flush(LIMIT)?;
        Ok(())
    };
    let (first, second) = (transactional("first")?, transactional("second")?);
    // Offsets 0 and 1, and a marker.
    first.begin_transaction()?;
    send(&first, "a")?;
    send(&first, "b")?;
    first.commit_transaction(LIMIT)?;
    // Offset 3, and a marker.
    first.begin_transaction()?;
    send(&first, "aborted")?;
    first.abort_transaction(LIMIT)?;
    // Offset 5, and a marker.
    first.begin_transaction()?;
    send(&first, "c")?;
    first.commit_transaction(LIMIT)?;
    assert_eq!(end_of(kafka, "payments")?, 7);
    let taken = |records: &[(u64, &str)]| -> Vec<(u64, String)> {
        let records = records.iter();
        records
            .map(|(at, text)| (*at, (*text).to_owned()))
            .collect()
    };

    let config = source(kafka, "payments", "read_committed")?;
    let running = RunningSource::start(&config, &[], None)?;
    assert_eq!(running.take(3)?, taken(&[(0, "a"), (1, "b"), (5, "c")]));
    running.await_idle()?;
    running.await_metric(&lag("payments", 0))?;

    // An open transaction holds back what comes behind it, and nobody lags behind that.
    second.begin_transaction()?;
    send(&second, "open")?;
    kafka.produce("payments", 0, &["behind"])?;
    assert_eq!(end_of(kafka, "payments")?, 9);
    let all = source(kafka, "payments", "read_uncommitted")?;
    let uncommitted = RunningSource::start(&all, &[], None)?;
    let (early, late) = ([(0, "a"), (1, "b")], [(5, "c"), (7, "open"), (8, "behind")]);
    let everything = [&early[..], &[(3, "aborted")], &late[..]].concat();
    assert_eq!(uncommitted.take(6)?, taken(&everything));
    uncommitted.await_metric(&lag("payments", 0))?;
    uncommitted.stop()?;
    assert!(running.metrics().contains(&lag("payments", 0)));
    second.commit_transaction(LIMIT)?;
    assert_eq!(running.take(2)?, taken(&[(7, "open"), (8, "behind")]));
    running.stop()
}

#[test]
fn the_lag_grows_while_the_pipeline_takes_nothing() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("waiting", 1)?;
    let running = RunningSource::start(&source(kafka, "waiting", "read_committed")?, &[], None)?;
    running.await_idle()?;
    // More than what waits on the way to the pipeline, so that the partition is paused.
    let payload = vec![b'x'; 500_000];
    let records = vec![&payload; 60];
    kafka.produce("waiting", 0, &records)?;
    running.await_metric("weir_source_buffer_full_total{pipeline=\"test\"} 1\n")?;
    let lag_of = |running: &RunningSource| -> Option<i64> {
        let text = running.metrics();
        let (_, rest) = text.split_once("split=\"waiting/0\",pipeline=\"test\"} ")?;
        rest.split_once('\n')?.0.parse().ok()
    };
    // Once it is paused, only asking the broker can tell what comes now.
    running.await_condition("the lag of what waits", || {
        lag_of(&running).is_some_and(|lag| lag > 0)
    })?;
    let before = end_of(kafka, "waiting")?;
    kafka.produce("waiting", 0, &records)?;
    assert_eq!(end_of(kafka, "waiting")?, before + 60);
    running.await_condition("a lag of more than what was sent", || {
        lag_of(&running).is_some_and(|lag| lag > 60)
    })?;
    assert_eq!(running.take(120)?.len(), 120);
    running.await_metric(&lag("waiting", 0))?;
    running.stop()
}
