//! Which events a worker holds for those of wrong clocks, and what becomes of them.

use std::collections::BTreeMap;

use super::clock_metrics::{ClockMetrics, ClockShare, State};
use crate::config::Clocks as Description;
use crate::model::{Batch, Column, Interner, SplitId, Symbol, TimestampMs};
use crate::window::clock::{self, ClockState};

/// How a device's clock is wrong, and the values of the fields that it is counted by.
type Counted = (State, Box<[Symbol]>);

/// The clocks of the devices of one worker's splits.
#[derive(Debug)]
pub(super) struct ClockStage {
    worker: usize,
    max_skew_ms: i64,
    quarantine: bool,
    device: usize,
    by: Vec<usize>,
    splits: BTreeMap<SplitId, clock::Clocks>,
    /// The devices whose clocks are wrong, with what they are counted by.
    skewed: BTreeMap<(SplitId, u32), Counted>,
    counts: BTreeMap<Counted, u64>,
    changed: bool,
    metrics: ClockMetrics,
}

/// What is known of a batch before its lookups, by position: rows may be dropped meanwhile.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Up to which time each row moves its split's watermark.
    pub(super) marks: Vec<TimestampMs>,
    skewed: Vec<(u64, State)>,
    changed: Vec<(u64, u32, ClockState)>,
}

/// An event that was dropped because of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quarantined {
    /// The position of its record.
    pub(super) position: u64,
    /// How its clock is wrong.
    pub(super) state: State,
}

impl ClockStage {
    pub(super) fn new(worker: usize, description: &Description, metrics: ClockMetrics) -> Self {
        Self {
            worker,
            max_skew_ms: description.max_skew_ms,
            quarantine: description.quarantine,
            device: description.device,
            by: description.by.iter().map(|(_, column)| *column).collect(),
            splits: BTreeMap::new(),
            skewed: BTreeMap::new(),
            counts: BTreeMap::new(),
            changed: true,
            metrics,
        }
    }

    /// Judges a batch as it was decoded.
    pub(super) fn judge(&mut self, batch: &Batch) -> Judged {
        let devices = batch.columns.get(self.device).map(Column::symbols);
        let clocks = self
            .splits
            .entry(batch.split)
            .or_insert_with(|| clock::Clocks::new(self.max_skew_ms));
        let judgement = clocks.judge(devices.unwrap_or_default(), &batch.times, &batch.received);
        self.metrics
            .ahead_of_others
            .inc_by(judgement.ahead_of_others);
        let position = |row: u32| {
            batch
                .positions
                .get(row as usize)
                .copied()
                .unwrap_or_default()
        };
        let mut judged = Judged {
            marks: judgement.marks,
            ..Judged::default()
        };
        for (row, state) in judgement.skewed {
            if let Some(state) = State::of(state) {
                self.metrics.skewed(state).inc();
                judged.skewed.push((position(row), state));
            }
        }
        let changed = judgement.changed.into_iter();
        judged.changed = changed
            .map(|(row, device, state)| (position(row), device, state))
            .collect();
        self.changed |= !batch.times.is_empty();
        judged
    }

    /// Counts the devices whose clocks were found to be wrong, or right again, and drops the events
    /// of wrong clocks where that is wanted. The batch has all its columns.
    pub(super) fn settle(&mut self, judged: &Judged, batch: &mut Batch) -> Vec<Quarantined> {
        for (position, device, state) in &judged.changed {
            self.uncount((batch.split, *device));
            if let Some(state) = State::of(*state) {
                let by = self.labels(batch, *position);
                *self.counts.entry((state, by.clone())).or_default() += 1;
                self.skewed.insert((batch.split, *device), (state, by));
            }
        }
        if !self.quarantine || judged.skewed.is_empty() {
            return Vec::new();
        }
        let mut kept = Vec::with_capacity(batch.rows());
        let mut quarantined = Vec::new();
        let mut skewed = judged.skewed.iter().peekable();
        for (position, row) in batch.positions.iter().zip(0_u32..) {
            // Rows that a lookup has dropped are passed over.
            while skewed.next_if(|(known, _)| known < position).is_some() {}
            match skewed.next_if(|(known, _)| known == position) {
                None => kept.push(row),
                Some((_, state)) => {
                    self.metrics.dropped(*state).inc();
                    let (position, state) = (*position, *state);
                    quarantined.push(Quarantined { position, state });
                }
            }
        }
        batch.keep(&kept);
        quarantined
    }

    /// The values of the fields that devices are counted by; NULL where a lookup has dropped the
    /// row.
    fn labels(&self, batch: &Batch, position: u64) -> Box<[Symbol]> {
        let row = batch.positions.binary_search(&position).ok();
        let value = |column: &usize| {
            let symbols = batch.columns.get(*column).map(Column::symbols)?;
            symbols.get(row?).copied()
        };
        let values = self.by.iter().map(value);
        values.map(|value| value.unwrap_or(Symbol::NULL)).collect()
    }

    fn uncount(&mut self, device: (SplitId, u32)) {
        let Some(key) = self.skewed.remove(&device) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    /// A split belongs to somebody else: what is known of its devices is forgotten.
    pub(super) fn revoke(&mut self, split: SplitId) {
        self.splits.remove(&split);
        let devices = self.skewed.range((split, 0)..=(split, u32::MAX));
        let devices: Vec<_> = devices.map(|(device, _)| *device).collect();
        for device in devices {
            self.uncount(device);
        }
        self.changed = true;
    }

    /// Brings the gauges up to date.
    pub(super) fn report(&mut self, interner: &Interner) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let mut share = ClockShare::default();
        for ((state, by), count) in &self.counts {
            let texts = by.iter().map(|symbol| interner.text(*symbol).to_owned());
            // NULL and the empty text are one label.
            *share.devices.entry((*state, texts.collect())).or_default() += count;
        }
        for clocks in self.splits.values() {
            for (sum, count) in share.skews.iter_mut().zip(clocks.counts()) {
                *sum += count;
            }
        }
        self.metrics.publish(self.worker, share);
    }
}
