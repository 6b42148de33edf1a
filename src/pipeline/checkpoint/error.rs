//! Why a pipeline cannot go on from its state, or keep it.

use std::path::PathBuf;

use crate::durable::LockError;
use crate::model::Corrupt;
use crate::state::StateError;

/// Why a pipeline cannot go on from its state, or keep it.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The folder is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The folder cannot be made, or not be used.
    #[error("cannot use the folder {path} of the state: {error}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        #[source]
        error: std::io::Error,
    },
    /// The folder is another pipeline's.
    #[error(
        "the folder {} holds the state of pipeline {found}, not of {expected}; set another state.dir",
        folder.display()
    )]
    OtherPipeline {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// A part is missing.
    #[error(
        "checkpoint {number} has no part '{stage}'; go on from another one, or --restore fresh"
    )]
    Incomplete {
        /// The checkpoint.
        number: u64,
        /// What is missing.
        stage: String,
    },
    /// A part cannot be read.
    #[error("the part '{stage}', '{part}' of a checkpoint cannot be read: {corrupt}")]
    Corrupt {
        /// The stage that it is of.
        stage: String,
        /// The part.
        part: String,
        /// What is wrong with it.
        corrupt: Corrupt,
    },
    /// The pipeline has changed so that saved state has no place in it.
    #[error(
        "checkpoint {checkpoint} has state that the pipeline cannot go on with; \
         to drop it, say --allow-dropped-state:\n  {}",
        what.join("\n  ")
    )]
    WouldDrop {
        /// The checkpoint.
        checkpoint: u64,
        /// What would be dropped, and why.
        what: Vec<String>,
    },
    /// A thread ended by a panic, which is a bug of weir.
    #[error("the thread of the checkpoints has failed unexpectedly; please report this")]
    Panicked,
}

impl CheckpointError {
    /// Whether waiting cannot mend it: somebody has to decide something.
    pub(in crate::pipeline) fn is_permanent(&self) -> bool {
        match self {
            // What does not answer may answer later.
            Self::State(StateError::Store(error)) => !error.kind.is_temporary(),
            Self::State(_) | Self::Incomplete { .. } => true,
            Self::Corrupt { .. } | Self::WouldDrop { .. } | Self::OtherPipeline { .. } => true,
            Self::Lock(_) | Self::Folder { .. } | Self::Panicked => false,
        }
    }

    /// A part that cannot be read.
    pub(in crate::pipeline) fn corrupt(stage: &str, part: &str, corrupt: Corrupt) -> Self {
        Self::Corrupt {
            stage: stage.to_owned(),
            part: part.to_owned(),
            corrupt,
        }
    }
}
