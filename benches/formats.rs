//! What each format costs: events a second from bytes to columns on one core, beside a library that does nothing
//! but parse the same bytes, and beside JSON.
//!
//! The events are connected cars': a time, three texts and a number, all of which are read. The library parses
//! into a structure of its own and adds up the numbers; it forms no columns and interns no texts. What is compared
//! takes turns, and each figure is the median of its rounds. Figures go to `target/bench/formats.jsonl` as well.
//!
//! `cargo bench --profile release --bench formats`, with the names of formats for some of them.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod bare;
mod measured;
mod payloads;
#[path = "../tests/it/support/sparkplug.rs"]
mod sparkplug;
mod wrapped;
#[path = "../tests/it/support/write_request.rs"]
mod write_request;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use weir::decode::{DecodeConfig, DecodeMetrics, Decoder, UnwrapStep};
use weir::model::{Interner, RecordBatch, Split, SplitId};
use weir::telemetry::Registry;

use measured::Measured;
use payloads::{Event, Format, NOW_MS, Open};

/// How many events each format has, over and over again.
const EVENTS: usize = 100_000;
/// How many vehicles they are of.
const VEHICLES: u32 = 10_000;
/// How many records a batch has.
const RECORDS: usize = 4_096;
/// How often each way is measured, by turns.
const ROUNDS: usize = 15;
/// The yardstick, which is measured whatever is chosen.
const JSON: &str = "json";

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<&String> = chosen
        .iter()
        .filter(|name| !name.starts_with('-'))
        .collect();
    let events = Event::fleet(EVENTS, VEHICLES);
    let mut formats = payloads::formats();
    formats.extend(wrapped::formats());
    for name in &chosen {
        let known = formats.iter().any(|format| format.name == **name);
        let names: Vec<_> = formats.iter().map(|format| format.name).collect();
        ensure!(
            known,
            "there is no format '{name}'; one of: {}",
            names.join("; ")
        );
    }
    let mut ways = Vec::new();
    for format in formats {
        if chosen.is_empty()
            || format.name == JSON
            || chosen.iter().any(|name| *name == format.name)
        {
            ways.push(Way::new(format, &events)?);
        }
    }
    for _ in 0..ROUNDS {
        for way in &mut ways {
            way.round()?;
        }
    }
    let measured: Vec<Measured> = ways.iter().map(Way::measured).collect();
    let yardstick = measured
        .iter()
        .find(|row| row.name == JSON)
        .context("JSON was not measured")?
        .ours_ns;
    measured::print(&measured, yardstick)
}

/// A format with its records, and how long they took.
struct Way {
    format: Format,
    batches: Vec<RecordBatch>,
    /// How many events all records are, and their bytes.
    events: usize,
    bytes: usize,
    decoder: Decoder,
    metrics: DecodeMetrics,
    interner: Interner,
    /// Nanoseconds an event, a round each.
    ours_ns: Vec<f64>,
    bare_ns: Vec<f64>,
}

impl Way {
    fn new(format: Format, events: &[Event]) -> Result<Self> {
        let mut records = (format.write)(events).with_context(|| format.name)?;
        if let Some(wrap) = format.wrap {
            for record in &mut records {
                *record = wrap(record).with_context(|| format.name)?;
            }
        }
        let bytes = records.iter().map(Vec::len).sum();
        let topics = (0..records.len()).map(|record| (format.topic)(events, record));
        let batches = batches_of(topics.zip(records));
        let mut config: DecodeConfig =
            serde_json::from_value((format.decode)()).with_context(|| format.name)?;
        let problems = config.load(Path::new(env!("CARGO_MANIFEST_DIR")));
        ensure!(problems.is_empty(), "{}: {problems:?}", format.name);
        let event = serde_json::from_str(format.event).with_context(|| format.name)?;
        let metrics = DecodeMetrics::new(&Registry::new("bench"));
        let steps: Vec<UnwrapStep> = serde_json::from_value((format.unwrap)())?;
        let mut decoder = Decoder::build(&config, &event, i64::MAX / 4, metrics.clone())?
            .with_unwrap(&steps, 1 << 20)?;
        let mut interner = Interner::new();
        if format.schemas {
            let (wake, _) = crossbeam_channel::bounded(1);
            decoder.ask_for_schemas(Arc::new(wrapped::OneSchema::new()?), wake);
        }
        if let Some(first) = format.first {
            for batch in batches_of(first(events).into_iter()) {
                decoder.decode(&batch, NOW_MS, &mut interner);
            }
        }
        Ok(Self {
            format,
            batches,
            events: events.len(),
            bytes,
            decoder,
            metrics,
            interner,
            ours_ns: Vec::new(),
            bare_ns: Vec::new(),
        })
    }

    fn round(&mut self) -> Result<()> {
        let before = self.metrics.events_total();
        let begin = Instant::now();
        let mut sum = 0.0;
        for batch in &self.batches {
            let opened = self.format.open.map(|open| opened(batch, open));
            let batch = match &opened {
                Some(opened) => opened.as_ref().map_err(|error| anyhow!("{error:#}"))?,
                None => batch,
            };
            let is_ready = self.decoder.is_ready_for(batch);
            ensure!(is_ready, "{}: no schema", self.format.name);
            let columns = self.decoder.decode(batch, NOW_MS, &mut self.interner);
            sum += columns
                .columns
                .first()
                .map_or(0.0, |values| values.numbers().iter().sum());
        }
        self.ours_ns
            .push(begin.elapsed().as_nanos() as f64 / self.events as f64);
        let read = self.metrics.events_total() - before;
        ensure!(
            read == self.events as u64,
            "{}: {read} of {} events were read",
            self.format.name,
            self.events
        );
        let begin = Instant::now();
        let mut bare = 0.0;
        for batch in &self.batches {
            for record in batch.records() {
                bare += (self.format.bare)(record.bytes).with_context(|| self.format.name)?;
            }
        }
        self.bare_ns
            .push(begin.elapsed().as_nanos() as f64 / self.events as f64);
        ensure!(
            (sum - bare).abs() <= sum.abs() * 1e-9,
            "{}: the sums differ: {sum} and {bare}",
            self.format.name
        );
        Ok(())
    }

    fn measured(&self) -> Measured {
        Measured {
            name: self.format.name,
            library: self.format.library,
            bytes_per_event: self.bytes as f64 / self.events as f64,
            ours_ns: measured::median(&self.ours_ns),
            bare_ns: measured::median(&self.bare_ns),
        }
    }
}

/// Records with their topics as batches.
fn batches_of(records: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<RecordBatch> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    for (topic, record) in records {
        if batches.last().is_none_or(|batch| batch.len() == RECORDS) {
            batches.push(RecordBatch::new(split(), NOW_MS));
        }
        if let Some(batch) = batches.last_mut() {
            batch.push_enveloped(&record, 0, topic.as_bytes(), b"");
            batch.set_timestamp(NOW_MS);
        }
    }
    batches
}

/// The records of what clients have sent.
fn opened(bodies: &RecordBatch, open: Open) -> Result<RecordBatch> {
    let mut batch = RecordBatch::new(split(), NOW_MS);
    for body in bodies.records() {
        for record in open(body.bytes)? {
            batch.push(&record, 0);
        }
    }
    Ok(batch)
}

fn split() -> Split {
    Split {
        id: SplitId(0),
        name: "bench".into(),
    }
}
