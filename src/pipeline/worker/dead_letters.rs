//! From what the stages drop to dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clock_metrics::State;
use super::clocks::Quarantined;
use super::stage::Ingested;
use crate::config::{Metric, Pipeline};
use crate::decode::{Reason, Rejected};
use crate::model::{Batch, BrokerTokens, RecordBatch, TimestampMs};
use crate::source;
use crate::telemetry::Registry;
use crate::write::{
    DeadLetter, DeadLetterHandle, DeadLetterMetrics, DeadLetters, DeadLettersError, Origin,
    dead_letters,
};

/// The split's own watermark had passed the window's end.
const LATE: &str = "late";

/// The window had closed while the split was idle.
const LATE_AFTER_IDLE: &str = "late_after_idle";

/// Starts writing dead letters where the pipeline has them. Their metrics are there in any case.
///
/// # Errors
/// Their destination cannot be opened.
pub(in crate::pipeline) fn start(
    pipeline: &Pipeline,
    registry: &Registry,
) -> Result<Option<DeadLetters>, DeadLettersError> {
    let reasons = [LATE, LATE_AFTER_IDLE]
        .into_iter()
        .chain(State::ALL.map(State::reason))
        .chain(Reason::ALL.map(Reason::name));
    let metrics = DeadLetterMetrics::new(registry, reasons);
    match &pipeline.dead_letters {
        Some(config) => {
            let origin = Origin {
                pipeline: pipeline.name.clone(),
                source: pipeline.source.kind(),
            };
            let tokens = broker_tokens(config)?;
            DeadLetters::start(config, tokens, &origin, metrics).map(Some)
        }
        None => Ok(None),
    }
}

fn broker_tokens(
    config: &dead_letters::Config,
) -> Result<Option<Arc<dyn BrokerTokens>>, DeadLettersError> {
    let Some(kafka) = &config.kafka else {
        return Ok(None);
    };
    let failed = |message| DeadLettersError::Kafka {
        brokers: kafka.brokers.clone(),
        message,
    };
    source::broker_tokens(kafka.sasl.as_ref()).map_err(failed)
}

/// Makes the dead letters of one worker, a batch at a time.
#[derive(Debug)]
pub(in crate::pipeline) struct Mailroom {
    /// The metrics' names.
    metrics: Vec<Arc<str>>,
    handle: DeadLetterHandle,
    /// The rows of the batch at hand that each metric wants; all of them where nothing stands.
    wanted: Vec<Option<Vec<u32>>>,
    /// Those of them that were late.
    late: BTreeMap<u32, LateFor>,
    letters: Vec<DeadLetter>,
    /// The letters of the batch at hand by position and reason.
    written: BTreeMap<(u64, &'static str), Written>,
}

/// A letter that is there, and how many more events of its record it stands for.
#[derive(Debug)]
struct Written {
    letter: usize,
    more: usize,
}

/// What an event is late for: the numbers of metrics.
#[derive(Debug, Default)]
struct LateFor {
    late: Vec<usize>,
    after_idle: Vec<usize>,
}

impl Mailroom {
    pub(in crate::pipeline) fn new(metrics: &[Metric], handle: DeadLetterHandle) -> Self {
        Self {
            metrics: metrics.iter().map(|metric| metric.name.clone()).collect(),
            handle,
            wanted: Vec::new(),
            late: BTreeMap::new(),
            letters: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    /// What a metric has made of the batch at hand. All of them say it, in their order.
    pub(in crate::pipeline) fn note(&mut self, metric: usize, ingested: Ingested<'_>) {
        self.wanted.truncate(metric);
        self.wanted.push(ingested.wanted);
        for row in ingested.late {
            let late_for = self.late.entry(row.row).or_default();
            match row.after_idle {
                true => late_for.after_idle.push(metric),
                false => late_for.late.push(metric),
            }
        }
    }

    /// Records gave no event. Those before a position went their way when they were read first.
    pub(in crate::pipeline) fn reject(
        &mut self,
        records: &RecordBatch,
        batch: &Batch,
        rejected: &[Rejected],
        processed_before: Option<u64>,
        now_ms: TimestampMs,
    ) {
        for rejected in rejected {
            let reason = rejected.reason.name();
            let Some(letter) = self.letter(records, Some(rejected.index), reason, now_ms) else {
                continue;
            };
            if processed_before.is_some_and(|before| letter.position < before) {
                continue;
            }
            let events_used = self.counted(&self.late, batch, letter.position);
            self.push(DeadLetter {
                detail: rejected.detail.clone(),
                events_used,
                ..letter
            });
        }
    }

    /// Events were dropped because of their clocks.
    pub(in crate::pipeline) fn quarantine(
        &mut self,
        records: &RecordBatch,
        batch: &Batch,
        quarantined: &[Quarantined],
        now_ms: TimestampMs,
    ) {
        for quarantined in quarantined {
            let index = records.find(quarantined.position);
            let reason = quarantined.state.reason();
            if let Some(letter) = self.letter(records, index, reason, now_ms) {
                let events_used = self.counted(&self.late, batch, letter.position);
                self.push(DeadLetter {
                    events_used,
                    ..letter
                });
            }
        }
    }

    /// Makes one letter of each row that was late for a metric. `watermark` is that of the pipeline,
    /// ms since the epoch, which rows that are late after idleness were judged by.
    pub(in crate::pipeline) fn divert(
        &mut self,
        records: &RecordBatch,
        batch: &Batch,
        watermark: TimestampMs,
        now_ms: TimestampMs,
    ) {
        let late = std::mem::take(&mut self.late);
        for (row, late_for) in &late {
            let row = *row as usize;
            let index = batch
                .positions
                .get(row)
                .and_then(|position| records.find(*position));
            // An event that is late by its split's watermark is so for good; the rest is by the way.
            let (reason, watermark_ms) = match late_for.late.is_empty() {
                false => (LATE, batch.watermarks.get(row).copied()),
                true => (LATE_AFTER_IDLE, Some(watermark)),
            };
            let Some(letter) = self.letter(records, index, reason, now_ms) else {
                continue;
            };
            let mut detail = String::new();
            if reason == LATE && !late_for.after_idle.is_empty() {
                let names = self.names(&late_for.after_idle);
                detail = format!("{LATE_AFTER_IDLE} for {}", names.join(", "));
            }
            let mut metrics = [&*late_for.late, &*late_for.after_idle].concat();
            metrics.sort_unstable();
            let events_used = self.counted(&late, batch, letter.position);
            self.push(DeadLetter {
                events_used,
                metrics: self.names(&metrics),
                event_time_ms: batch.times.get(row).copied(),
                watermark_ms,
                detail,
                ..letter
            });
        }
    }

    /// Hands over the letters of the batch at hand; waits while there is no room for them.
    pub(in crate::pipeline) fn send(&mut self) {
        for Written { letter, more } in std::mem::take(&mut self.written).into_values() {
            if let Some(letter) = self.letters.get_mut(letter).filter(|_| more > 0) {
                let separator = if letter.detail.is_empty() { "" } else { "; " };
                let detail = format!("{separator}and {more} more of this record");
                letter.detail.push_str(&detail);
            }
        }
        // In the order of the records, as far as they are of one batch.
        self.letters.sort_by_key(|letter| letter.position);
        self.handle.send(std::mem::take(&mut self.letters));
    }

    /// A letter with what is known of any record. There is one for each reason of a record, however many
    /// of its events are concerned: it holds the whole record.
    fn letter(
        &mut self,
        records: &RecordBatch,
        index: Option<usize>,
        reason: &'static str,
        now_ms: TimestampMs,
    ) -> Option<DeadLetter> {
        let record = records.get(index?)?;
        if let Some(written) = self.written.get_mut(&(record.position, reason)) {
            written.more += 1;
            return None;
        }
        Some(DeadLetter {
            split: records.split().name.clone(),
            position: record.position,
            reason,
            metrics: Vec::new(),
            event_time_ms: None,
            watermark_ms: None,
            timestamp_ms: record.timestamp,
            received_at_ms: records.received_ms(),
            dropped_at_ms: now_ms,
            events_used: 0,
            detail: String::new(),
            topic: record.topic.to_vec(),
            key: record.key.to_vec(),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.to_vec()))
                .collect(),
            record: record.bytes.to_vec(),
        })
    }

    fn push(&mut self, letter: DeadLetter) {
        let written = Written {
            letter: self.letters.len(),
            more: 0,
        };
        self.written
            .insert((letter.position, letter.reason), written);
        self.letters.push(letter);
    }

    fn names(&self, metrics: &[usize]) -> Vec<Arc<str>> {
        let names = metrics
            .iter()
            .filter_map(|metric| self.metrics.get(*metric));
        names.cloned().collect()
    }

    /// How many events of a record a metric has taken in. The rows of a batch are in the order of their
    /// records.
    fn counted(&self, late: &BTreeMap<u32, LateFor>, batch: &Batch, position: u64) -> usize {
        let positions = &batch.positions;
        let from = positions.partition_point(|known| *known < position);
        let to = positions.partition_point(|known| *known <= position);
        let rows = (from..to).filter_map(|row| u32::try_from(row).ok());
        rows.filter(|row| self.is_counted(*row, late.get(row)))
            .count()
    }

    fn is_counted(&self, row: u32, late_for: Option<&LateFor>) -> bool {
        self.wanted.iter().enumerate().any(|(metric, wanted)| {
            let is_wanted = wanted
                .as_ref()
                .is_none_or(|rows| rows.binary_search(&row).is_ok());
            let is_late = late_for.is_some_and(|late_for| {
                late_for.late.contains(&metric) || late_for.after_idle.contains(&metric)
            });
            is_wanted && !is_late
        })
    }
}
