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

/// A batch for the windows.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) batch: Batch,
    /// How many events there were before any was dropped.
    pub(super) decoded: usize,
    /// The split's highest event time so far.
    pub(super) highest: Option<TimestampMs>,
}

impl Preparation {
    pub(super) fn build(
        pipeline: &Pipeline,
        lookups: Vec<(Lookup, usize)>,
        metrics: DecodeMetrics,
    ) -> Result<Self, InvalidPath> {
        let max_ahead_ms = pipeline.time.max_ahead.as_signed_millis();
        let decoder = Decoder::build(pipeline.format, &pipeline.event, max_ahead_ms, metrics)?;
        Ok(Self {
            decoder,
            lookups,
            derived: pipeline.derived.clone(),
        })
    }

    /// Makes a batch with all columns. Events that a lookup drops have moved the watermark: they
    /// were seen.
    pub(super) fn prepare(
        &mut self,
        records: &RecordBatch,
        splits: &mut Splits,
        interner: &mut Interner,
    ) -> Prepared {
        let mut batch = self
            .decoder
            .decode(records, records.received_ms(), interner);
        let decoded = batch.rows();
        let first = records.get(0).map(|record| record.position);
        if let Some(before) = first.and_then(|first| splits.begin(batch.split, first)) {
            keep_from(before, &mut batch);
        }
        let highest = splits.observe(&mut batch);
        for (lookup, key) in &mut self.lookups {
            let keys = batch
                .columns
                .get(*key)
                .map(|column| column.symbols().to_vec());
            let kept = lookup.apply(&keys.unwrap_or_default(), &mut batch.columns, interner);
            if let Some(kept) = kept {
                batch.keep(&kept);
            }
        }
        for derived in &mut self.derived {
            let rows = batch.rows();
            let column = derived
                .program
                .evaluate(&batch.columns, rows, interner)
                .into_owned();
            batch.columns.push(column);
        }
        Prepared {
            batch,
            decoded,
            highest,
        }
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
