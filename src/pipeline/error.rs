//! Why a pipeline could not start, or ended before its time.

use super::checkpoint::CheckpointError;
use crate::source::SourceError;
use crate::write::{DeadLettersError, WriteError};

/// Why a pipeline could not start, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The writer.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The dead letters.
    #[error(transparent)]
    DeadLetters(#[from] DeadLettersError),
    /// The saved state.
    #[error(transparent)]
    State(#[from] CheckpointError),
    /// A lookup's table.
    #[error("lookup {lookup}: {reason}")]
    Lookup {
        /// The lookup.
        lookup: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry of schemas.
    #[error("schema registry: {0}")]
    SchemaRegistry(String),
    /// The description is not one that was validated.
    #[error("invalid pipeline: {0}")]
    Invalid(String),
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The writer took no more, and did not say why.
    #[error("the writer has failed")]
    Writer,
    /// A source that cannot be replayed was stopped, and not all of its events reached a window that
    /// was written.
    #[error("stopping took too long: events that were read and not written are lost")]
    GivenUp,
    /// What was read since the last checkpoint is read by other instances.
    #[error("splits were lost to other instances")]
    Lost,
    /// A thread ended by a panic, which is a bug of weir.
    #[error("the {0} has failed unexpectedly; please report this")]
    Panicked(String),
}
