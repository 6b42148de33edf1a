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
mod checkpoint;
mod ending;
mod error;
mod exchange;
mod inbox;
mod kinds;
mod layout;
mod lookup_state;
mod metrics;
mod options;
mod owner;
mod references;
mod restoring;
mod route;
mod running;
mod savepoints;
mod supervisor;
#[cfg(test)]
mod tests;
mod worker;

pub use checkpoint::{CheckpointError, HasCheckpoint};
pub use ending::Ending;
pub use error::PipelineError;
pub use inbox::Input;
pub use metrics::PipelineMetrics;
pub use options::{InvalidName, Options, Restore, check_savepoint_name};
pub use running::{Finished, MakeSource, Running, SourceOf, Status};
pub use savepoints::inspection::{
    Contents, Inspection, MetricState, SavepointInfo, SplitState, StageBytes,
};
pub use savepoints::stored_savepoints::StoredSavepoints;
pub use savepoints::{SavepointError, SavepointErrorKind, Savepoints};
pub use supervisor::failure::{Cause, Failure};
pub use supervisor::restart::RestartPolicy;
pub use supervisor::{Phase, PipelineHandle, Supervisor};
