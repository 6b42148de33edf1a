//! What is in a checkpoint or savepoint, for people.

use serde::{Deserialize, Serialize};

use crate::model::TimestampMs;
use crate::state::Checkpoint;

/// A savepoint, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavepointInfo {
    /// Its name.
    pub name: String,
    /// The checkpoint that it is a copy of.
    pub number: u64,
    /// When that was made, ms since the epoch.
    pub created_ms: TimestampMs,
    /// The version of weir that has made it.
    pub weir_version: String,
    /// How much it takes in the store, bytes.
    pub bytes: u64,
}

/// A checkpoint or savepoint with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Whose it is.
    pub pipeline: String,
    /// The savepoint's name, where it is one.
    pub savepoint: Option<String>,
    /// The checkpoint's number.
    pub number: u64,
    /// When it was made, ms since the epoch.
    pub created_ms: TimestampMs,
    /// The version of weir that has made it.
    pub weir_version: String,
    /// How much it takes in the store, bytes; what it shares with others is counted here as well.
    pub bytes: u64,
    /// What each stage has put into it, by name.
    pub stages: Vec<StageBytes>,
    /// What that means.
    pub inspection: Inspection,
}

impl Contents {
    /// Those of a checkpoint, whose stages' bytes mean this.
    pub fn of(checkpoint: &Checkpoint, savepoint: Option<&str>, inspection: Inspection) -> Self {
        let mut stages: Vec<StageBytes> = Vec::new();
        for entry in checkpoint.entries() {
            let known = stages.iter_mut().find(|known| known.stage == entry.stage);
            match known {
                Some(known) => {
                    known.entries += 1;
                    known.bytes += entry.bytes;
                }
                None => stages.push(StageBytes {
                    stage: entry.stage.clone(),
                    entries: 1,
                    bytes: entry.bytes,
                }),
            }
        }
        Self {
            pipeline: checkpoint.pipeline.clone(),
            savepoint: savepoint.map(str::to_owned),
            number: checkpoint.number,
            created_ms: checkpoint.created_ms,
            weir_version: checkpoint.weir_version.clone(),
            bytes: checkpoint.stored_bytes(),
            stages,
            inspection,
        }
    }
}

/// What a stage has put into a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageBytes {
    /// The stage.
    pub stage: String,
    /// How many parts there are.
    pub entries: u64,
    /// Their bytes, before they were compressed.
    pub bytes: u64,
}

/// What the stages' bytes mean.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// The splits, by name.
    pub splits: Vec<SplitState>,
    /// Up to when everything has been seen, ms since the epoch.
    pub watermark_ms: Option<TimestampMs>,
    /// How many samples were formed and not acknowledged.
    pub unsent_samples: u64,
    /// The metrics, in the order of the pipeline file.
    pub metrics: Vec<MetricState>,
}

/// How far a split was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitState {
    /// Its name.
    pub name: String,
    /// From where it is read on, unless none of its records was processed or somebody else has it.
    pub position: Option<u64>,
    /// What the position stands for in the source's own words, where it is more than a number.
    #[serde(default)]
    pub token: Option<String>,
    /// The highest event time, ms since the epoch.
    pub highest_ms: Option<TimestampMs>,
}

/// The open windows of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricState {
    /// Its name.
    pub name: String,
    /// How many panes are open.
    pub panes: u64,
    /// How many groups they and open sessions have together. What several workers have of a group
    /// counts several times until its window is due.
    pub groups: u64,
    /// The bytes of their state.
    pub bytes: u64,
}
