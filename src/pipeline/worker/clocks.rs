//! Which events a worker holds for those of wrong clocks, and what becomes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clock_metrics::{ClockMetrics, ClockShare, State};
use super::clock_state::{ClockSnapshot, ClockStates};
use crate::config::Clocks as Description;
use crate::model::{
    Batch, Column, HoldsSymbols, Interner, LiveSymbols, Renumbering, Split, SplitId, Symbol,
    TimestampMs,
};
use crate::window::clock::{self, ClockState};

/// How a device's clock is wrong, and the values of the fields that it is counted by.
type Counted = (State, Box<[Symbol]>);

/// The clocks of the devices of one worker's splits.
#[derive(Debug)]
pub(in crate::pipeline) struct ClockStage {
    worker: usize,
    max_skew_ms: i64,
    quarantine: bool,
    device: usize,
    by: Vec<usize>,
    /// Shared with a checkpoint that is being written: copied where they then change.
    splits: BTreeMap<SplitId, Arc<clock::Clocks>>,
    /// The same as of settled batches only, where batches wait between judgement and settlement.
    settled: Option<BTreeMap<SplitId, Arc<clock::Clocks>>>,
    names: BTreeMap<SplitId, Arc<str>>,
    /// What a checkpoint says of the splits of all workers. It takes effect when a split is assigned.
    restored: Arc<ClockStates>,
    /// The devices whose clocks are wrong, with what they are counted by.
    skewed: BTreeMap<(SplitId, u32), Counted>,
    counts: BTreeMap<Counted, u64>,
    changed: bool,
    metrics: ClockMetrics,
}

/// What is known of a batch before its lookups, by the numbers of its rows: some may be dropped meanwhile.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Judged {
    /// Up to which time each row moves its split's watermark.
    pub(in crate::pipeline) marks: Vec<TimestampMs>,
    /// The rows of wrong clocks, in order.
    skewed: Vec<(u32, State)>,
    /// The rows at which a device's state has changed, in order, with the device's number and its new state.
    changed: Vec<(u32, u32, ClockState)>,
    /// What was judged, where that is to be repeated when the batch is settled.
    rows: Option<JudgedRows>,
}

#[derive(Debug)]
struct JudgedRows {
    devices: Vec<Symbol>,
    times: Vec<TimestampMs>,
    received: Vec<TimestampMs>,
}

/// An event that was dropped because of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Quarantined {
    /// The position of its record.
    pub(in crate::pipeline) position: u64,
    /// How its clock is wrong.
    pub(in crate::pipeline) state: State,
}

impl ClockStage {
    pub(in crate::pipeline) fn new(
        worker: usize,
        description: &Description,
        metrics: ClockMetrics,
    ) -> Self {
        Self {
            worker,
            max_skew_ms: description.max_skew_ms,
            quarantine: description.quarantine,
            device: description.device,
            by: description.by.iter().map(|(_, column)| *column).collect(),
            splits: BTreeMap::new(),
            settled: None,
            names: BTreeMap::new(),
            restored: Arc::default(),
            skewed: BTreeMap::new(),
            counts: BTreeMap::new(),
            changed: true,
            metrics,
        }
    }

    /// From now on, batches may wait between their judgement and their settlement, and what is saved
    /// is of settled ones only.
    pub(in crate::pipeline) fn let_wait(&mut self) {
        self.settled = Some(BTreeMap::new());
    }

    /// From now on, splits that are assigned for the first time go on as a checkpoint says.
    pub(in crate::pipeline) fn restore(&mut self, states: Arc<ClockStates>) {
        self.restored = states;
    }

    /// A split is read by this worker from now on.
    pub(in crate::pipeline) fn assign(&mut self, split: &Split, interner: &mut Interner) {
        let known = self.names.insert(split.id, split.name.clone());
        if known.is_some() {
            return;
        }
        let Some(clocks) = self
            .restored
            .clocks(&split.name, self.max_skew_ms, interner)
        else {
            return;
        };
        let clocks = Arc::new(clocks);
        if let Some(settled) = &mut self.settled {
            settled.insert(split.id, clocks.clone());
        }
        self.splits.insert(split.id, clocks);
        self.changed = true;
    }

    /// What is known of the devices of each split that was assigned, as of settled batches.
    pub(in crate::pipeline) fn freeze(&self) -> Vec<ClockSnapshot> {
        let splits = self.settled.as_ref().unwrap_or(&self.splits).iter();
        let snapshot = splits.filter_map(|(split, clocks)| {
            Some(ClockSnapshot {
                split: self.names.get(split)?.clone(),
                clocks: clocks.clone(),
            })
        });
        snapshot.collect()
    }

    /// Judges a batch as it was decoded, and numbers its rows.
    pub(in crate::pipeline) fn judge(&mut self, batch: &mut Batch) -> Judged {
        batch.number_rows();
        let devices = batch.columns.get(self.device).map(Column::symbols);
        let devices = devices.unwrap_or_default();
        let clocks = clocks_of(batch.split, &mut self.splits, self.max_skew_ms);
        let judgement = clocks.judge(devices, &batch.times, &batch.received);
        self.metrics
            .ahead_of_others
            .inc_by(judgement.ahead_of_others);
        let mut judged = Judged {
            marks: judgement.marks,
            changed: judgement.changed,
            rows: self.settled.is_some().then(|| JudgedRows {
                devices: devices.to_vec(),
                times: batch.times.clone(),
                received: batch.received.clone(),
            }),
            ..Judged::default()
        };
        for (row, state) in judgement.skewed {
            if let Some(state) = State::of(state) {
                self.metrics.skewed(state).inc();
                judged.skewed.push((row, state));
            }
        }
        self.changed |= !batch.times.is_empty();
        judged
    }

    /// Counts the devices whose clocks were found to be wrong, or right again, and drops the events
    /// of wrong clocks where that is wanted. The batch has all its columns.
    pub(in crate::pipeline) fn settle(
        &mut self,
        judged: &Judged,
        batch: &mut Batch,
    ) -> Vec<Quarantined> {
        if let (Some(settled), Some(rows)) = (&mut self.settled, &judged.rows) {
            let clocks = clocks_of(batch.split, settled, self.max_skew_ms);
            clocks.judge(&rows.devices, &rows.times, &rows.received);
        }
        for (number, device, state) in &judged.changed {
            self.uncount((batch.split, *device));
            if let Some(state) = State::of(*state) {
                let by = self.labels(batch, *number);
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
        for ((number, position), row) in batch.numbers.iter().zip(&batch.positions).zip(0_u32..) {
            // Rows that a lookup has dropped are passed over.
            while skewed.next_if(|(known, _)| known < number).is_some() {}
            match skewed.next_if(|(known, _)| known == number) {
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
    fn labels(&self, batch: &Batch, number: u32) -> Box<[Symbol]> {
        let row = batch.numbers.binary_search(&number).ok();
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
    pub(in crate::pipeline) fn revoke(&mut self, split: SplitId) {
        self.splits.remove(&split);
        if let Some(settled) = &mut self.settled {
            settled.remove(&split);
        }
        let devices = self.skewed.range((split, 0)..=(split, u32::MAX));
        let devices: Vec<_> = devices.map(|(device, _)| *device).collect();
        for device in devices {
            self.uncount(device);
        }
        self.changed = true;
    }

    /// Brings the gauges up to date.
    pub(in crate::pipeline) fn report(&mut self, interner: &Interner) {
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

impl HoldsSymbols for ClockStage {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.splits.mark_live(live);
        self.settled.mark_live(live);
        // The counts are of these.
        self.skewed.values().for_each(|(_, by)| by.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.splits.renumber(numbers);
        self.settled.renumber(numbers);
        for (_, by) in self.skewed.values_mut() {
            by.renumber(numbers);
        }
        let counts = std::mem::take(&mut self.counts).into_iter();
        let counts = counts.map(|((state, mut by), count)| {
            by.renumber(numbers);
            ((state, by), count)
        });
        self.counts = counts.collect();
    }
}

impl HoldsSymbols for Judged {
    fn mark_live(&self, live: &mut LiveSymbols) {
        let rows = self.rows.iter();
        rows.for_each(|rows| rows.devices.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        if let Some(rows) = &mut self.rows {
            rows.devices.renumber(numbers);
        }
    }
}

/// The clocks of a split, to be changed.
fn clocks_of(
    split: SplitId,
    splits: &mut BTreeMap<SplitId, Arc<clock::Clocks>>,
    max_skew_ms: i64,
) -> &mut clock::Clocks {
    let new = || Arc::new(clock::Clocks::new(max_skew_ms));
    Arc::make_mut(splits.entry(split).or_insert_with(new))
}
