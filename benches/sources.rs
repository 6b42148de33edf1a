//! How fast a source reads, beside the client library doing nothing but count bytes: connected cars in a
//! real Kafka on this machine, records a second.
//!
//! Both ways read the same topic from its beginning to its end with the same settings, and take turns. The
//! clock runs from the first record to the last one: to join a group is no reading.
//! Rates are the best of their rounds, for the rest of the machine only ever makes them lower; shares are
//! the median of what stands side by side. Figures go to `target/bench/sources.jsonl` as well.
//!
//! `cargo bench --profile release --bench sources`. There are 1,500,000 records, or as many as
//! `BENCH_RECORDS` says.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod findings;
#[path = "../tests/it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the integration tests use more of it"
)]
mod support;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde_json::json;
use weir::model::{self, Clock};
use weir::source::{
    self, Config, Context, SafePositions, SourceEvent, SourceOutput, StopSignal, Stopped,
};
use weir::telemetry::Registry;
use weirgen::{Fleet, FleetConfig};

use findings::{Finding, Findings, highest, median};
use support::kafka::Kafka;

const TOPIC: &str = "vehicle-events";
const PARTITIONS: i32 = 4;
const VEHICLES: u32 = 10_000;
const ROUNDS: usize = 5;

/// The share of the bare loop's speed that the source is to have at least.
const SHARE: f64 = 0.85;

/// What weir sets as well, as far as it decides about speed.
const SETTINGS: [(&str, &str); 6] = [
    ("queued.max.messages.kbytes", "65536"),
    ("queued.min.messages", "100000"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.min.bytes", "65536"),
    ("fetch.wait.max.ms", "100"),
    ("check.crcs", "true"),
];

/// What was read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Read {
    records: u64,
    bytes: u64,
}

/// A way to read all records once.
struct Way {
    name: &'static str,
    read: fn(&Kafka, u64) -> Result<(Read, Duration)>,
}

/// The first one is what the others are compared with.
const WAYS: [Way; 2] = [
    Way {
        name: "a loop over rdkafka that counts bytes",
        read: bare_loop,
    },
    Way {
        name: "source.kafka",
        read: source,
    },
];

fn main() -> Result<()> {
    let records = match std::env::var("BENCH_RECORDS") {
        Ok(text) => text.parse().context("BENCH_RECORDS")?,
        Err(_) => 1_500_000,
    };
    let kafka = Kafka::start()?;
    let written = fill(&kafka, records)?;
    println!(
        "{} records of {} MB in {PARTITIONS} partitions, {ROUNDS} rounds\n",
        written.records,
        written.bytes / 1_000_000
    );
    let mut findings = Findings::create("sources")?;
    let mut seconds = WAYS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (way, seconds) in WAYS.iter().zip(&mut seconds) {
            let (read, took) = (way.read)(&kafka, written.records)?;
            seconds.push(took.as_secs_f64());
            ensure!(read == written, "{}: {read:?} of {written:?}", way.name);
        }
    }
    let [bare, ..] = &seconds;
    for (way, seconds) in WAYS.iter().zip(&seconds) {
        let rates = seconds.iter().map(|seconds| records as f64 / seconds);
        findings.add(&Finding::new(way.name, highest(rates), "records/s"))?;
    }
    for (way, seconds) in WAYS.iter().zip(&seconds).skip(1) {
        let shares = seconds.iter().zip(bare).map(|(ours, bare)| ours / bare);
        let what = format!("{}: its time beside the loop's", way.name);
        let finding = Finding::new(what, median(shares.collect()), "×");
        let most = (100.0 / SHARE).round() / 100.0;
        findings.add(&finding.decimals(2).at_most(most))?;
    }
    Ok(())
}

/// Fills a topic with connected cars.
fn fill(kafka: &Kafka, records: u64) -> Result<Read> {
    kafka.create_topic(TOPIC, PARTITIONS)?;
    let mut config = FleetConfig::new(VEHICLES);
    config.events_per_second = 100_000;
    config.start_ms = 1_730_621_700_000;
    let mut fleet = Fleet::new(config)?;
    let mut written = Read::default();
    while written.records < records {
        let count = (records - written.records).min(100_000);
        let mut parts: Vec<Vec<Vec<u8>>> = vec![Vec::new(); PARTITIONS as usize];
        for number in 0..count {
            let mut record = Vec::new();
            fleet.next_event().write_json(&mut record);
            written.bytes += record.len() as u64;
            let part = parts.get_mut(number as usize % PARTITIONS as usize);
            part.context("a partition")?.push(record);
        }
        written.records += count;
        for (partition, part) in (0..).zip(&parts) {
            kafka.produce(TOPIC, partition, part)?;
        }
    }
    Ok(written)
}

fn bare_loop(kafka: &Kafka, records: u64) -> Result<(Read, Duration)> {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", kafka.address())
        .set("group.id", "bare");
    for (key, value) in SETTINGS {
        client.set(key, value);
    }
    let consumer: BaseConsumer = client.create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let mut read = Read::default();
    let mut began = None;
    while read.records < records {
        let Some(message) = consumer.poll(Duration::from_secs(10)) else {
            break;
        };
        began.get_or_insert_with(Instant::now);
        read.records += 1;
        read.bytes += message?.payload().map_or(0, <[u8]>::len) as u64;
    }
    let took = began.context("no records")?.elapsed();
    Ok((read, took))
}

/// Counts what the source hands over, and stops it at the last record.
struct Counter {
    read: Read,
    records: u64,
    began: Option<Instant>,
    took: Duration,
    stop: StopSignal,
    safe: SafePositions,
}

impl SourceOutput for Counter {
    fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
        let SourceEvent::Records(batch) = event else {
            return Ok(());
        };
        let began = *self.began.get_or_insert_with(Instant::now);
        self.read.records += batch.len() as u64;
        self.read.bytes += batch.byte_len() as u64;
        if self.read.records >= self.records {
            self.took = began.elapsed();
            self.stop.stop();
            self.safe.close();
            return Err(Stopped);
        }
        Ok(())
    }

    fn end(&mut self) {}
}

fn source(kafka: &Kafka, records: u64) -> Result<(Read, Duration)> {
    // A group of its own each time, which begins at the beginning.
    let group = format!("weir-{}", fastrand::u64(..));
    let config: Config = serde_json::from_value(json!({ "kafka": {
        "brokers": kafka.address(), "topics": [TOPIC], "group": group,
    } }))?;
    let (safe, stop) = (SafePositions::default(), StopSignal::default());
    let context = Context {
        pipeline: "bench".to_owned(),
        idle_after: model::Duration::from_secs(3_600),
        commit_every: model::Duration::from_secs(10),
        max_record_bytes: 1_000_000,
        needs_envelope: false,
        headers: Default::default(),
        clock: Clock::System,
        safe: safe.clone(),
        resume: Default::default(),
        kept: Default::default(),
        tokens: Default::default(),
        checkpointed: Default::default(),
        log: None,
        alignment: Default::default(),
        progress: Default::default(),
    };
    let source = source::build(&config, context, &Registry::new("bench"))?;
    let mut counter = Counter {
        read: Read::default(),
        records,
        began: None,
        took: Duration::ZERO,
        stop: stop.clone(),
        safe,
    };
    source.run(&mut counter, &stop)?;
    Ok((counter.read, counter.took))
}
