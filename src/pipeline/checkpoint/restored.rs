//! What a pipeline goes on with: a checkpoint that was read, as far as it fits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::CheckpointError;
use super::save::{part, stage};
use super::summary::Summary;
use super::tokens::decode_tokens;
use crate::config::Pipeline;
use crate::model::{Corrupt, TimestampMs};
use crate::pipeline::layout::state_layout;
use crate::pipeline::lookup_state::{LookupState, decode_lookups, tell_changes};
use crate::pipeline::worker::clock_state::ClockStates;
use crate::pipeline::worker::decoder_state::SavedDecoders;
use crate::pipeline::worker::split_state::{SplitStates, decode_splits};
use crate::source::{PositionToken, Resume};
use crate::state::{Checkpoint, Entry};
use crate::window::Watermarks;

/// A part of a stage.
#[derive(Debug)]
pub(in crate::pipeline) struct Part {
    pub(in crate::pipeline) name: String,
    pub(in crate::pipeline) bytes: Vec<u8>,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub(in crate::pipeline) struct Restored {
    number: u64,
    acknowledged: Option<TimestampMs>,
    summary: Summary,
    /// The names of the pipeline's metrics.
    names: Vec<Arc<str>>,
    pub(in crate::pipeline) splits: Arc<SplitStates>,
    /// What the positions of splits stand for, where they are more than numbers.
    pub(in crate::pipeline) tokens: BTreeMap<String, PositionToken>,
    pub(in crate::pipeline) clocks: Arc<ClockStates>,
    pub(in crate::pipeline) decoders: Arc<SavedDecoders>,
    /// By the numbers of the pipeline's metrics.
    pub(in crate::pipeline) metrics: Vec<Vec<Part>>,
    writer: Option<Vec<u8>>,
    lookups: Vec<LookupState>,
}

/// What of a checkpoint does not go on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unfit {
    /// What is dropped, and why.
    dropped: Vec<String>,
    /// What begins empty.
    empty: Vec<String>,
}

impl Restored {
    /// Reads a checkpoint for a pipeline. State of metrics that are no longer there, or are kept
    /// in another way, is dropped where that is allowed, and told.
    ///
    /// # Errors
    /// Something cannot be read, or state would be dropped and must not be.
    pub(in crate::pipeline) fn read(
        checkpoint: &Checkpoint,
        pipeline: &Pipeline,
        allow_dropped_state: bool,
    ) -> Result<Self, CheckpointError> {
        let one = |stage: &str| -> Result<Vec<u8>, CheckpointError> {
            let entry = checkpoint
                .entries()
                .iter()
                .find(|entry| entry.stage == stage);
            let entry = entry.ok_or_else(|| CheckpointError::Incomplete {
                number: checkpoint.number,
                stage: stage.to_owned(),
            })?;
            Ok(checkpoint.read(entry)?)
        };
        let summary = Summary::decode(&one(stage::PIPELINE)?)
            .map_err(|corrupt| CheckpointError::corrupt(stage::PIPELINE, part::ALL, corrupt))?;
        let splits = decode_splits(&one(stage::SPLITS)?)
            .map_err(|corrupt| CheckpointError::corrupt(stage::SPLITS, part::ALL, corrupt))?;
        let lookups = decode_lookups(&one(stage::LOOKUPS)?)
            .map_err(|corrupt| CheckpointError::corrupt(stage::LOOKUPS, part::ALL, corrupt))?;
        let unfit = unfit(&summary, pipeline);
        unfit.tell(checkpoint.number, allow_dropped_state)?;
        let mut restored = Self {
            number: checkpoint.number,
            acknowledged: checkpoint.acknowledged_ms,
            names: pipeline
                .metrics
                .iter()
                .map(|metric| metric.name.clone())
                .collect(),
            splits: Arc::new(splits),
            tokens: BTreeMap::new(),
            clocks: Arc::default(),
            decoders: Arc::default(),
            metrics: pipeline.metrics.iter().map(|_| Vec::new()).collect(),
            writer: Some(one(stage::WRITER)?),
            lookups,
            summary,
        };
        let mut clocks = ClockStates::default();
        let mut decoders = SavedDecoders::default();
        for entry in checkpoint.entries() {
            if entry.stage == stage::CLOCKS {
                clocks
                    .add(entry.part.as_str().into(), checkpoint.read(entry)?)
                    .map_err(|corrupt| {
                        CheckpointError::corrupt(stage::CLOCKS, &entry.part, corrupt)
                    })?;
            }
            if entry.stage == stage::TOKENS {
                restored.tokens = decode_tokens(&checkpoint.read(entry)?).map_err(|corrupt| {
                    CheckpointError::corrupt(stage::TOKENS, part::ALL, corrupt)
                })?;
            }
            let decoder_of = match entry.stage.as_str() {
                stage::DECODERS => Some(entry.part.as_str()),
                stage::BIRTHS => Some(entry.part.split_once(' ').map_or("", |part| part.1)),
                _ => None,
            };
            if let Some(split) = decoder_of {
                decoders
                    .add(split.into(), &checkpoint.read(entry)?)
                    .map_err(|corrupt| {
                        CheckpointError::corrupt(&entry.stage, &entry.part, corrupt)
                    })?;
            }
            let metric = restored.metric_of(entry, pipeline);
            let parts = match metric {
                Some(metric) => restored.metrics.get_mut(metric),
                None => None,
            };
            if let Some(parts) = parts {
                parts.push(Part {
                    name: entry.part.clone(),
                    bytes: checkpoint.read(entry)?,
                });
            }
        }
        restored.clocks = Arc::new(clocks);
        restored.decoders = Arc::new(decoders);
        Ok(restored)
    }

    /// The number of the metric that a part is of, where its state fits.
    fn metric_of(&self, entry: &Entry, pipeline: &Pipeline) -> Option<usize> {
        let name = entry.stage.strip_prefix(stage::METRIC)?;
        let metrics = &pipeline.metrics;
        let number = metrics.iter().position(|metric| &*metric.name == name)?;
        let (_, was) = self
            .summary
            .layouts
            .iter()
            .find(|(metric, _)| &**metric == name)?;
        (*was == state_layout(metrics.get(number)?)).then_some(number)
    }

    /// That a part of a metric cannot be read.
    pub(in crate::pipeline) fn corrupt(
        &self,
        metric: usize,
        part: &str,
        corrupt: Corrupt,
    ) -> CheckpointError {
        let name = self.names.get(metric).map_or("?", |name| name);
        CheckpointError::corrupt(&format!("{}{name}", stage::METRIC), part, corrupt)
    }

    /// The number of the checkpoint.
    pub(in crate::pipeline) fn number(&self) -> u64 {
        self.number
    }

    /// Up to when every sample was acknowledged, ms since the epoch, where that is known.
    pub(in crate::pipeline) fn acknowledged(&self) -> Option<TimestampMs> {
        self.acknowledged
    }

    /// Up to when all windows were formed or on their way, ms since the epoch.
    pub(in crate::pipeline) fn flushed(&self) -> TimestampMs {
        self.summary.flushed
    }

    /// The furthest watermark of any split, ms since the epoch.
    pub(in crate::pipeline) fn reached(&self) -> TimestampMs {
        self.summary.reached
    }

    /// From where the splits are to be read.
    pub(in crate::pipeline) fn positions(&self) -> impl Iterator<Item = (String, u64)> {
        let splits = self.splits.values();
        splits.filter_map(|split| Some((split.name.to_string(), split.position()?)))
    }

    /// The same, with what the positions stand for.
    pub(in crate::pipeline) fn resume(&self) -> Resume {
        let positions: Resume = self.positions().collect();
        positions.with_tokens(self.tokens.clone())
    }

    /// The writer's part. To be taken once.
    pub(in crate::pipeline) fn take_writer(&mut self) -> Option<Vec<u8>> {
        self.writer.take()
    }

    /// Says in the log which tables of lookups are others than at the checkpoint.
    pub(in crate::pipeline) fn tell_changed_tables(&self, now: &[LookupState]) {
        tell_changes(&self.lookups, now);
    }

    /// Gives the watermarks what they were.
    pub(in crate::pipeline) fn restore_watermarks(&self, watermarks: &mut Watermarks) {
        watermarks.restore(self.flushed());
    }
}

/// What of a checkpoint a pipeline cannot go on with.
fn unfit(summary: &Summary, pipeline: &Pipeline) -> Unfit {
    let mut unfit = Unfit::default();
    for (name, was) in &summary.layouts {
        let metric = pipeline.metrics.iter().find(|metric| metric.name == *name);
        match metric.map(state_layout) {
            None => unfit
                .dropped
                .push(format!("metric {name}: the pipeline has none of this name")),
            Some(is) if is != *was => {
                unfit
                    .dropped
                    .push(format!("metric {name}: it was {was}, now it is {is}"));
            }
            Some(_) => {}
        }
    }
    for metric in &pipeline.metrics {
        if !summary.layouts.iter().any(|(name, _)| *name == metric.name) {
            unfit.empty.push(metric.name.to_string());
        }
    }
    unfit
}

impl Unfit {
    /// Tells what does not go on.
    ///
    /// # Errors
    /// State would be dropped, and must not be.
    fn tell(&self, checkpoint: u64, allow_dropped_state: bool) -> Result<(), CheckpointError> {
        if !self.dropped.is_empty() && !allow_dropped_state {
            return Err(CheckpointError::WouldDrop {
                checkpoint,
                what: self.dropped.clone(),
            });
        }
        for what in &self.dropped {
            tracing::warn!(checkpoint, what, "saved state is dropped");
        }
        for metric in &self.empty {
            tracing::info!(
                checkpoint,
                metric,
                "the metric is new: its first windows have only the events from now on"
            );
        }
        Ok(())
    }
}
