//! From records to a batch with all its columns: decode, look up, derive.

use crate::config::{Derived, Pipeline};
use crate::decode::{DecodeMetrics, Decoder, InvalidPath};
use crate::enrich::Lookup;
use crate::model::{Batch, Interner, RecordBatch, TimestampMs};

use super::splits::Splits;

/// The stages before windows, of one worker.
#[derive(Debug)]
pub(super) struct Preparation {
    decoder: Decoder,
    lookups: Vec<(Lookup, usize)>,
    derived: Vec<Derived>,
}

impl Preparation {
    pub(super) fn build(
        pipeline: &Pipeline,
        lookups: Vec<(Lookup, usize)>,
        metrics: DecodeMetrics,
    ) -> Result<Self, InvalidPath> {
        let max_ahead_ms = pipeline.time.max_ahead.as_signed_millis();
        let decoder = Decoder::build(pipeline.format, &pipeline.event, max_ahead_ms, metrics)?;
        Ok(Self { decoder, lookups, derived: pipeline.derived.clone() })
    }

    /// Makes a batch with all columns, and gives the split's highest event time so far. Events that
    /// a lookup drops have moved the watermark: they were seen.
    pub(super) fn prepare(
        &mut self,
        records: &RecordBatch,
        splits: &mut Splits,
        interner: &mut Interner,
    ) -> (Batch, Option<TimestampMs>) {
        let mut batch = self.decoder.decode(records, records.received_ms(), interner);
        let highest = splits.observe(&mut batch);
        for (lookup, key) in &mut self.lookups {
            let keys = batch.columns.get(*key).map(|column| column.symbols().to_vec());
            let kept = lookup.apply(&keys.unwrap_or_default(), &mut batch.columns, interner);
            if let Some(kept) = kept {
                batch.keep(&kept);
            }
        }
        for derived in &mut self.derived {
            let rows = batch.rows();
            let column = derived.program.evaluate(&batch.columns, rows, interner).into_owned();
            batch.columns.push(column);
        }
        (batch, highest)
    }
}
