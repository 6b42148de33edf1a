//! Pipelines as a whole: a source that a test drives, a clock that it moves, samples in a file.

mod alignment;
mod bench;
mod checkpoints;
mod clocks;
mod clocks_of_records;
mod compaction;
mod failures;
#[cfg(feature = "kafka")]
mod instances;
mod keyed;
mod parallel;
mod partial;
mod pieces;
mod restore;
mod service;
mod setting;
mod simulation;
mod staleness;
mod supervisor;
mod unconfirmed;
mod watermarks;

pub(super) use bench::{pipeline, remote_pipeline};
