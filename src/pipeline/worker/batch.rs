//! From records to a batch with all its columns: decode, look up, derive.
//!
//! A partial lookup may have to wait for answers. So a batch on its way knows which lookup is next,
//! and goes on from there when it is asked to.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::config::{Derived, Pipeline};
use crate::decode::{
    DecodeMetrics, Decoder, InvalidPath, Rejected, SchemaRegistry, SparkplugState,
};
use crate::enrich::{EventLookup, Looked, Waiting};
use crate::model::{
    Batch, Clock, HoldsSymbols, Interner, LiveSymbols, RecordBatch, Renumbering, Split, SplitId,
    TimestampMs,
};

use super::clock_state::{ClockSnapshot, ClockStates};
use super::clocks::{ClockStage, Judged, Quarantined};
use super::decoder_state::{DecoderSnapshot, DecoderStates, SavedDecoders};
use super::splits::Splits;

/// The stages before windows, of one worker.
#[derive(Debug)]
pub(in crate::pipeline) struct Preparation {
    decoder: Decoder,
    lookups: Vec<EventLookup>,
    derived: Vec<Derived>,
    clocks: Option<ClockStage>,
    has_dead_letters: bool,
    /// What the decoder keeps of each split, as of settled batches.
    kept: DecoderStates,
}

/// A batch for the windows, or on its way there.
#[derive(Debug)]
pub(in crate::pipeline) struct Prepared {
    pub(in crate::pipeline) batch: Batch,
    /// How many events there were before any was dropped.
    pub(in crate::pipeline) decoded: usize,
    /// Whether there were events of which none may move a watermark.
    pub(in crate::pipeline) all_doubted: bool,
    /// What is held of its devices' clocks.
    judged: Option<Judged>,
    /// What the decoder keeps of the split behind the batch.
    kept: Option<Arc<SparkplugState>>,
    /// The split's highest event time so far.
    pub(in crate::pipeline) highest: Option<TimestampMs>,
    /// The watermark of the split behind the batch.
    pub(in crate::pipeline) watermark: TimestampMs,
    /// The first position that was not processed in an earlier assignment of the split, and the last
    /// one, where there are records.
    pub(in crate::pipeline) positions: Option<(u64, u64)>,
    /// What dead letters are made of, where there are any.
    pub(in crate::pipeline) undelivered: Option<Undelivered>,
    /// The number of the lookup that is next.
    next: usize,
    /// What it waits for in that lookup.
    waiting: Option<Waiting>,
}

/// Records that are not decoded yet: a batch, or the rest of one.
#[derive(Debug)]
pub(in crate::pipeline) struct Undecoded {
    batch: Arc<RecordBatch>,
    /// The place in it of the first of them.
    first: usize,
}

impl From<RecordBatch> for Undecoded {
    fn from(batch: RecordBatch) -> Self {
        Self {
            batch: Arc::new(batch),
            first: 0,
        }
    }
}

impl Undecoded {
    pub(in crate::pipeline) fn split(&self) -> SplitId {
        self.batch.split().id
    }
}

/// The records of a batch, which dead letters quote.
#[derive(Debug)]
pub(in crate::pipeline) struct Undelivered {
    pub(in crate::pipeline) records: Arc<RecordBatch>,
    /// Those that gave no event.
    pub(in crate::pipeline) rejected: Vec<Rejected>,
    /// Records before this position were processed in an earlier assignment of the split.
    pub(in crate::pipeline) processed_before: Option<u64>,
}

impl Preparation {
    pub(in crate::pipeline) fn build(
        pipeline: &Pipeline,
        lookups: Vec<EventLookup>,
        metrics: DecodeMetrics,
        clocks: Option<ClockStage>,
        clock: &Clock,
    ) -> Result<Self, InvalidPath> {
        let mut decoder = pipeline.decoder(metrics)?;
        if pipeline.dead_letters.is_some() {
            decoder.keep_rejected();
        }
        if let Some(config) = &pipeline.time.clock {
            decoder = decoder.with_received(config.received.as_deref(), clock.runs())?;
        }
        Ok(Self {
            decoder,
            lookups,
            derived: pipeline.derived.clone(),
            clocks: clocks.map(|mut clocks| {
                if pipeline
                    .lookups
                    .iter()
                    .any(|(lookup, _)| lookup.is_partial())
                {
                    clocks.let_wait();
                }
                clocks
            }),
            has_dead_letters: pipeline.dead_letters.is_some(),
            kept: DecoderStates::default(),
        })
    }

    /// Where schemas are that records name by a number; `wake` is filled when one has come.
    pub(in crate::pipeline) fn ask_for_schemas(
        &mut self,
        schemas: &SchemaRegistry,
        wake: Sender<()>,
    ) {
        self.decoder
            .ask_for_schemas(Arc::new(schemas.clone()), wake);
    }

    /// Whether records can be decoded. Where not, they wait for schemas, and the worker is woken when some
    /// have come.
    pub(in crate::pipeline) fn may_begin(&mut self, records: &Undecoded) -> bool {
        self.decoder.is_ready_for(&records.batch)
    }

    /// Decodes records, and gives the rest where they are too many events for one batch. Events that a lookup
    /// drops have moved the watermark: they were seen.
    pub(in crate::pipeline) fn begin(
        &mut self,
        records: Undecoded,
        splits: &mut Splits,
        interner: &mut Interner,
    ) -> (Prepared, Option<Undecoded>) {
        let Undecoded {
            batch: records,
            first,
        } = records;
        let now_ms = records.received_ms();
        let (mut batch, next) = self.decoder.decode_from(first, &records, now_ms, interner);
        let rest = (next < records.len()).then(|| Undecoded {
            batch: records.clone(),
            first: next,
        });
        let decoded = batch.rows();
        let position = |index| records.get(index).map(|record| record.position);
        let first = position(first);
        let last = position(next.saturating_sub(1));
        let mut positions = first.zip(last);
        let processed_before = first.and_then(|first| splits.begin(batch.split, first));
        if let (Some((first, last)), Some(before)) = (positions, processed_before) {
            keep_from(before, &mut batch);
            // Records that are read again are accounted for by their first reading.
            positions = Some((first.max(before), last));
        }
        let clocks = self.clocks.as_mut();
        let judged = clocks.map(|clocks| clocks.judge(&mut batch));
        let marks = judged.as_ref().map(|judged| judged.marks.as_slice());
        let all_doubted = marks.is_some_and(|marks| {
            !marks.is_empty() && marks.iter().all(|mark| *mark == TimestampMs::MIN)
        });
        let highest = splits.observe(&mut batch, marks);
        let undelivered = self.has_dead_letters.then(|| Undelivered {
            rejected: self.decoder.rejected().to_vec(),
            records,
            processed_before,
        });
        let split = batch.split;
        let prepared = Prepared {
            watermark: splits.watermark(split),
            batch,
            decoded,
            all_doubted,
            judged,
            kept: self.decoder.state(split),
            highest,
            positions,
            undelivered,
            next: 0,
            waiting: None,
        };
        (prepared, rest)
    }

    /// Makes the columns that are missing. Gives whether all are there, and is to be called again
    /// until then: the batch waits for answers, and the worker is woken when they have come.
    pub(in crate::pipeline) fn go_on(
        &mut self,
        prepared: &mut Prepared,
        interner: &mut Interner,
    ) -> bool {
        while let Some(lookup) = self.lookups.get_mut(prepared.next) {
            let batch = &mut prepared.batch;
            match lookup.look_up(batch, prepared.waiting.take(), interner) {
                Looked::Up(columns, kept) => {
                    batch.columns.extend(columns);
                    if let Some(kept) = kept {
                        batch.keep(&kept);
                    }
                }
                Looked::Waits(waiting) => {
                    prepared.waiting = Some(waiting);
                    return false;
                }
            }
            prepared.next += 1;
        }
        for derived in &mut self.derived {
            let batch = &mut prepared.batch;
            let rows = batch.rows();
            let column = derived
                .program
                .evaluate(&batch.columns, rows, interner)
                .into_owned();
            batch.columns.push(column);
        }
        true
    }

    /// Drops the events of wrong clocks where that is wanted, and gives them. To be called with the
    /// batches of a split in their order, once all columns are there.
    pub(in crate::pipeline) fn settle(&mut self, prepared: &mut Prepared) -> Vec<Quarantined> {
        if let Some(kept) = prepared.kept.take() {
            self.kept.settle(prepared.batch.split, kept);
        }
        match (&mut self.clocks, prepared.judged.take()) {
            (Some(clocks), Some(judged)) => clocks.settle(&judged, &mut prepared.batch),
            _ => Vec::new(),
        }
    }
}

impl Preparation {
    /// From now on, splits that are assigned for the first time go on as a checkpoint says.
    pub(in crate::pipeline) fn restore(
        &mut self,
        clocks: Arc<ClockStates>,
        decoders: Arc<SavedDecoders>,
    ) {
        self.kept.restore(decoders);
        if let Some(stage) = &mut self.clocks {
            stage.restore(clocks);
        }
    }

    /// A split is read by this worker from now on.
    pub(in crate::pipeline) fn assign(&mut self, split: &Split, interner: &mut Interner) {
        if let Some(kept) = self.kept.assign(split) {
            self.decoder.set_state(split.id, Some(kept));
        }
        if let Some(clocks) = &mut self.clocks {
            clocks.assign(split, interner);
        }
    }

    /// What is known of the devices of each split, as of settled batches.
    pub(in crate::pipeline) fn freeze(&self) -> Vec<ClockSnapshot> {
        self.clocks
            .as_ref()
            .map(ClockStage::freeze)
            .unwrap_or_default()
    }

    /// What the decoder keeps of each split, as of settled batches.
    pub(in crate::pipeline) fn freeze_decoder(&self) -> Vec<DecoderSnapshot> {
        self.kept.freeze()
    }

    /// A split belongs to somebody else.
    pub(in crate::pipeline) fn revoke(&mut self, split: SplitId) {
        self.decoder.set_state(split, None);
        if let Some(clocks) = &mut self.clocks {
            clocks.revoke(split);
        }
    }

    /// Brings gauges up to date.
    pub(in crate::pipeline) fn report(&mut self, interner: &Interner) {
        if let Some(clocks) = &mut self.clocks {
            clocks.report(interner);
        }
    }
}

impl HoldsSymbols for Preparation {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.lookups.mark_live(live);
        self.clocks.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.lookups.renumber(numbers);
        self.clocks.renumber(numbers);
        for derived in &mut self.derived {
            derived.program.renumber(numbers);
        }
    }
}

impl HoldsSymbols for Prepared {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.batch.mark_live(live);
        self.judged.mark_live(live);
        self.waiting.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.batch.renumber(numbers);
        self.judged.renumber(numbers);
        self.waiting.renumber(numbers);
    }
}

/// Drops the events before a position.
fn keep_from(position: u64, batch: &mut Batch) {
    let rows = batch.positions.iter().zip(0_u32..);
    let kept: Vec<_> = rows
        .filter(|(known, _)| **known >= position)
        .map(|(_, row)| row)
        .collect();
    tracing::debug!(
        split = batch.split.0,
        again = batch.rows() - kept.len(),
        "records that were read again are passed over"
    );
    batch.keep(&kept);
}
