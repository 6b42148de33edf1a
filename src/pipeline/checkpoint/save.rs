//! What was frozen, encoded part by part into a checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::frozen::{OwnerState, WorkerState};
use super::restored::Restored;
use super::summary::Summary;
use crate::config::Pipeline;
use crate::model::{Texts, TimestampMs};
use crate::pipeline::layout::state_layout;
use crate::pipeline::lookup_state::{LookupState, encode_lookups};
use crate::pipeline::owner::snapshot::{SnapshotPart, pane_parts};
use crate::pipeline::worker::clock_state::ClockStates;
use crate::pipeline::worker::split_state::{SplitStates, all_of, encode_splits};
use crate::state::{Draft, StateError};
use crate::write::WriterSnapshot;

/// The stages of a checkpoint, as inspection shows them.
pub(super) mod stage {
    /// The whole: its watermark, and what the state of each metric looks like.
    pub(in crate::pipeline) const PIPELINE: &str = "pipeline";
    /// The splits of the source.
    pub(in crate::pipeline) const SPLITS: &str = "splits";
    /// The clocks of devices.
    pub(in crate::pipeline) const CLOCKS: &str = "clocks";
    /// The versions of reference tables.
    pub(in crate::pipeline) const LOOKUPS: &str = "lookups";
    /// Samples that are formed and not acknowledged.
    pub(in crate::pipeline) const WRITER: &str = "writer";
    /// Before the name of a metric.
    pub(in crate::pipeline) const METRIC: &str = "metric/";
}

/// The parts within the stages.
pub(super) mod part {
    /// Of stages with a single part.
    pub(in crate::pipeline) const ALL: &str = "all";
    /// Before what a worker has of a stage.
    pub(in crate::pipeline) const WORKER: &str = "worker-";
    /// Before what an owner has of a stage.
    pub(in crate::pipeline) const OWNER: &str = "owner-";
}

/// All that belongs to one checkpoint.
#[derive(Debug)]
pub(super) struct Collected {
    /// By the numbers of the workers.
    pub(super) workers: BTreeMap<usize, WorkerState>,
    /// The same.
    pub(super) owners: BTreeMap<usize, OwnerState>,
    /// What the writer has.
    pub(super) writer: WriterSnapshot,
}

/// Encodes the checkpoints of a pipeline.
#[derive(Debug)]
pub(in crate::pipeline) struct Saving {
    /// The names of the metrics, and what their state looks like.
    metrics: Vec<(Arc<str>, String)>,
    lookups: Vec<LookupState>,
    /// What the checkpoint that was restored says of splits: those of them that nobody has been
    /// assigned yet.
    restored: Arc<SplitStates>,
    /// The same of clocks.
    clocks: Arc<ClockStates>,
}

impl Saving {
    /// For the checkpoints of this pipeline.
    pub(in crate::pipeline) fn new(
        pipeline: &Pipeline,
        lookups: Vec<LookupState>,
        restored: Option<&Restored>,
    ) -> Self {
        let metrics = pipeline.metrics.iter();
        Self {
            metrics: metrics
                .map(|metric| (metric.name.clone(), state_layout(metric)))
                .collect(),
            lookups,
            restored: restored
                .map(|restored| restored.splits.clone())
                .unwrap_or_default(),
            clocks: restored
                .map(|restored| restored.clocks.clone())
                .unwrap_or_default(),
        }
    }

    /// All splits of a checkpoint.
    pub(super) fn splits(&self, collected: &Collected) -> SplitStates {
        let workers = collected.workers.values();
        all_of(workers.map(|worker| worker.splits.clone()), &self.restored)
    }

    /// From where each split would be read.
    pub(super) fn positions(&self, collected: &Collected) -> BTreeMap<String, u64> {
        let splits = self.splits(collected);
        let positions = splits.values();
        positions
            .filter_map(|split| Some((split.name.to_string(), split.position()?)))
            .collect()
    }

    /// Puts everything into a draft.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn save(
        &self,
        collected: Collected,
        draft: &mut Draft<'_>,
    ) -> Result<(), StateError> {
        let splits = self.splits(&collected);
        let Collected {
            workers,
            owners,
            mut writer,
        } = collected;
        let summary = Summary {
            flushed: lowest(owners.values().map(|owner| owner.frozen.flushed)),
            reached: owners
                .values()
                .map(|owner| owner.frozen.reached)
                .max()
                .unwrap_or(TimestampMs::MIN),
            layouts: self.metrics.clone(),
        };
        draft.add(stage::PIPELINE, part::ALL, summary.encode())?;
        draft.add(stage::SPLITS, part::ALL, encode_splits(&splits))?;
        draft.add(stage::LOOKUPS, part::ALL, encode_lookups(&self.lookups))?;
        let mut unassigned: BTreeMap<_, _> = self.clocks.parts().collect();
        for (number, worker) in workers {
            let from = format!("{}{number}", part::WORKER);
            for clocks in &worker.clocks {
                unassigned.remove(&clocks.split);
                draft.add(stage::CLOCKS, &clocks.split, clocks.encode(&worker.texts))?;
            }
            for ((metric, _), panes) in self.metrics.iter().zip(worker.panes) {
                add_parts(metric, pane_parts(panes, &from), &worker.texts, draft)?;
            }
        }
        for (split, bytes) in unassigned {
            draft.add(stage::CLOCKS, split, bytes)?;
        }
        for (number, owner) in owners {
            let from = format!("{}{number}", part::OWNER);
            for ((metric, _), frozen) in self.metrics.iter().zip(owner.frozen.metrics) {
                add_parts(metric, frozen.parts(&from), &owner.texts, draft)?;
            }
            // Behind what the writer has: of each series it is later.
            writer.append(&owner.unsent);
        }
        draft.add(stage::WRITER, part::ALL, writer.encode())
    }
}

fn lowest(times: impl Iterator<Item = TimestampMs>) -> TimestampMs {
    times.min().unwrap_or(TimestampMs::MIN)
}

fn add_parts(
    metric: &str,
    parts: Vec<SnapshotPart>,
    texts: &Texts,
    draft: &mut Draft<'_>,
) -> Result<(), StateError> {
    let stage = format!("{}{metric}", stage::METRIC);
    for part in parts {
        match part.piece {
            Some(piece) => {
                draft.add_piece(&stage, &part.part, piece, || Ok(part.encode(texts)?))?;
            }
            None => draft.add(&stage, &part.part, part.encode(texts)?)?,
        }
    }
    Ok(())
}
