//! What a pipeline file as it is now makes of a record.

use anyhow::Result;
use tracing::subscriber::NoSubscriber;

use crate::config::Pipeline;
use crate::decode::{DecodeMetrics, Decoder};
use crate::model::{Clock, Interner, RecordBatch, Split, SplitId};
use crate::telemetry::Registry;
use crate::write::dead_letters::StoredLetter;

/// After how many records their texts are forgotten.
const REMEMBERED: usize = 1_000;

/// Decodes records without anything being made of them.
pub(super) struct Trial {
    decoder: Decoder,
    interner: Interner,
    tried: usize,
}

/// Why a record, or a part of it, still gives no event.
pub(super) struct Wrong {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

impl Trial {
    pub(super) fn new(pipeline: &Pipeline) -> Result<Self> {
        let registry = Registry::new(&pipeline.name);
        let max_ahead_ms = pipeline.time.max_ahead.as_signed_millis();
        let metrics = DecodeMetrics::new(&registry);
        let mut decoder = Decoder::build(&pipeline.format, &pipeline.event, max_ahead_ms, metrics)?;
        decoder.keep_rejected();
        Ok(Self {
            decoder,
            interner: Interner::new(),
            tried: 0,
        })
    }

    /// How many events a record gives.
    ///
    /// # Errors
    /// What is wrong with it, or with one of its events.
    pub(super) fn decode(&mut self, letter: &StoredLetter) -> Result<usize, Wrong> {
        self.tried += 1;
        if self.tried.is_multiple_of(REMEMBERED) {
            self.interner = Interner::new();
        }
        let now_ms = Clock::System.now_ms();
        let split = Split {
            id: SplitId(0),
            name: letter.split.as_str().into(),
        };
        let mut batch = RecordBatch::new(split, now_ms);
        batch.push_enveloped(&letter.record, letter.position, &letter.topic, &letter.key);
        if let Some(timestamp_ms) = letter.timestamp_ms {
            batch.set_timestamp(timestamp_ms);
        }
        let (decoder, interner) = (&mut self.decoder, &mut self.interner);
        // What is wrong is told once for all records together.
        let events = tracing::subscriber::with_default(NoSubscriber::default(), || {
            decoder.decode(&batch, now_ms, interner)
        });
        match self.decoder.rejected().first() {
            Some(rejected) => Err(Wrong {
                reason: rejected.reason.name(),
                detail: rejected.detail.clone(),
            }),
            None => Ok(events.rows()),
        }
    }
}
