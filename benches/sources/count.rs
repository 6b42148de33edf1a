//! What is counted of records.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use weir::model::{self, Clock};
use weir::source::{
    self, Config, Context, LogConfig, LogSettings, SafePositions, SourceEvent, SourceOutput,
    StopSignal, Stopped,
};
use weir::telemetry::Registry;
use weirgen::{Fleet, FleetConfig};

const VEHICLES: u32 = 10_000;

/// What was read.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// What was read, and how long it took from the first record to the last one.
pub(crate) type Measured = (Counted, Duration);

/// Records of connected cars in JSON, a hundred thousand a second. The same number gives the same records.
pub(crate) fn cars(records: u64) -> Result<impl Iterator<Item = Vec<u8>>> {
    let mut config = FleetConfig::new(VEHICLES);
    config.events_per_second = 100_000;
    config.start_ms = 1_730_621_700_000;
    let mut fleet = Fleet::new(config)?;
    Ok((0..records).map(move |_| {
        let mut record = Vec::new();
        fleet.next_event().write_json(&mut record);
        record
    }))
}

/// Counts what comes. The clock runs from the first record on, unless it has been started before.
#[derive(Debug, Default)]
pub(crate) struct Count {
    counted: Counted,
    began: Option<Instant>,
}

impl Count {
    /// Starts the clock.
    pub(crate) fn begin() -> Self {
        Self {
            counted: Counted::default(),
            began: Some(Instant::now()),
        }
    }

    pub(crate) fn add(&mut self, records: u64, bytes: usize) {
        self.began.get_or_insert_with(Instant::now);
        self.counted.records += records;
        self.counted.bytes += bytes as u64;
    }

    pub(crate) fn records(&self) -> u64 {
        self.counted.records
    }

    /// What has come until now.
    pub(crate) fn finish(&self) -> Result<Measured> {
        Ok((self.counted, self.began.context("no records")?.elapsed()))
    }
}

/// Counts what a source hands over, and stops it at the last record.
struct Counter {
    count: Count,
    records: u64,
    measured: Option<Measured>,
    stop: StopSignal,
    safe: SafePositions,
}

impl SourceOutput for Counter {
    fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
        let SourceEvent::Records(batch) = event else {
            return Ok(());
        };
        self.count.add(batch.len() as u64, batch.byte_len());
        if self.count.records() >= self.records {
            self.measured = self.count.finish().ok();
            self.stop.stop();
            self.safe.close();
            return Err(Stopped);
        }
        Ok(())
    }

    fn end(&mut self) {}
}

/// Reads so many records with a source, which is a `source` of a pipeline file; with a log where there is a
/// folder for it. Once it is built, `begin` makes what counts.
pub(crate) fn read_all(
    config: Value,
    log: Option<&Path>,
    records: u64,
    begin: impl FnOnce() -> Count,
) -> Result<Measured> {
    let config: Config = serde_json::from_value(config)?;
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
        log: log.map(|folder| LogSettings {
            folder: folder.to_owned(),
            config: LogConfig::default(),
        }),
        alignment: Default::default(),
        progress: Default::default(),
    };
    let source = source::build(&config, context, &Registry::new("bench"))?;
    let mut counter = Counter {
        count: begin(),
        records,
        measured: None,
        stop: stop.clone(),
        safe,
    };
    source.run(&mut counter, &stop)?;
    counter.measured.context("the source has ended early")
}
