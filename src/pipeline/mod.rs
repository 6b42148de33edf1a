//! Where the stages meet: the source's thread hands batches to workers, workers decode, enrich and
//! aggregate them, the exchange brings partial aggregates to the owners of their series, and owners
//! hand samples to the writer.
//!
//! ```text
//! source ──▶ worker 0 ──┬─▶ owner 0 ──▶ writer
//!        ──▶ worker 1 ──┴─▶ owner 1 ──▶
//! ```
//!
//! Worker `n` and owner `n` are one thread. Nothing is shared between workers but the table of
//! watermarks, which each of them touches once a batch.

mod assembly;
mod barrier_alignment;
mod batch;
mod budget;
mod checkpoint;
mod classic;
mod clock_metrics;
mod clock_state;
mod clocks;
mod completeness;
mod dead_letters;
mod emitter;
mod exchange;
mod failure;
mod forming;
mod held;
mod held_memory;
mod inbox;
mod inspection;
mod keyed;
mod layout;
mod lookup_state;
mod metrics;
mod options;
mod owned;
mod owner;
mod pane;
mod parked;
mod pending;
mod placed;
mod references;
mod restart;
mod restoring;
mod route;
mod running;
mod savepoints;
mod series;
mod snapshot;
mod split_state;
mod splits;
mod stage;
mod stored_savepoints;
mod supervisor;
#[cfg(test)]
mod tests;
mod top;
mod worker;

pub use checkpoint::{CheckpointError, HasCheckpoint};
pub use failure::{Cause, Failure};
pub use inbox::Input;
pub use inspection::{Contents, Inspection, MetricState, SavepointInfo, SplitState, StageBytes};
pub use metrics::PipelineMetrics;
pub use options::{InvalidName, Options, Restore, check_savepoint_name};
pub use restart::RestartPolicy;
pub use running::{Finished, MakeSource, PipelineError, Running, SourceOf, Status};
pub use savepoints::{SavepointError, SavepointErrorKind, Savepoints};
pub use stored_savepoints::StoredSavepoints;
pub use supervisor::{Phase, PipelineHandle, Supervisor};
