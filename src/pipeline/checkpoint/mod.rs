//! Checkpoints: one consistent cut through the whole pipeline, taken while it runs.
//!
//! ```text
//! checkpointer ──▶ barrier ──▶ workers ──▶ barrier ──▶ owners
//!       ▲                        │                       │
//!       ╰── frozen: positions, open panes ◀──────────────┴── windows on their way, samples without room
//! ```
//!
//! A worker handles a barrier between two batches, so a position is always that of processed records.
//! Nothing is copied while it stands still: what it has is shared from then on and no longer changed.

mod checkpointer;
mod confirmation;
mod coordinator;
mod error;
mod frozen;
mod inspect;
mod metrics;
mod open;
mod restored;
mod running_savepoints;
mod save;
mod summary;
mod tokens;

pub use checkpointer::HasCheckpoint;
pub use error::CheckpointError;

#[cfg(test)]
pub(in crate::pipeline) use checkpointer::{Checkpointer, Request};
pub(in crate::pipeline) use checkpointer::{CheckpointerThread, Parts};
pub(in crate::pipeline) use frozen::{
    Barrier, FrozenOwner, FrozenState, OwnerState, WorkerPort, WorkerState,
};
pub(in crate::pipeline) use inspect::inspect;
pub(in crate::pipeline) use metrics::CheckpointMetrics;
pub(in crate::pipeline) use open::OpenState;
pub(in crate::pipeline) use restored::Restored;
pub(in crate::pipeline) use running_savepoints::RunningSavepoints;
pub(in crate::pipeline) use save::Saving;
