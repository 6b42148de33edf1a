//! What can be done with the state of a pipeline that runs.

pub(in crate::pipeline) mod inspection;
pub(in crate::pipeline) mod stored_savepoints;

use std::fmt;

use super::options::InvalidName;
use inspection::{Contents, SavepointInfo};

/// The savepoints of one pipeline. All calls wait until their work is done and durable, so they are
/// made from threads that may wait.
pub trait Savepoints: fmt::Debug + Send + Sync {
    /// Makes a savepoint of the pipeline as it is now, while it goes on.
    ///
    /// # Errors
    /// The name exists, or the checkpoint fails.
    fn create(&self, name: &str) -> Result<SavepointInfo, SavepointError>;

    /// All of them, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list(&self) -> Result<Vec<SavepointInfo>, SavepointError>;

    /// What is in one of them; without a name, in the latest checkpoint.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    fn show(&self, name: Option<&str>) -> Result<Contents, SavepointError>;

    /// Removes one.
    ///
    /// # Errors
    /// There is none of that name, or the store refuses.
    fn delete(&self, name: &str) -> Result<(), SavepointError>;

    /// One as a file that any weir can import, whatever its store.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be read.
    fn export(&self, name: &str) -> Result<Vec<u8>, SavepointError>;

    /// Takes such a file in under a name.
    ///
    /// # Errors
    /// The name exists, or the file is of another pipeline or damaged.
    fn import(&self, name: &str, file: &[u8]) -> Result<SavepointInfo, SavepointError>;
}

/// Why something cannot be done with a savepoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SavepointError {
    /// Whose fault it is.
    pub kind: SavepointErrorKind,
    /// What happened and what would help.
    pub message: String,
}

/// Kinds of failures around savepoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavepointErrorKind {
    /// What was asked for makes no sense: a bad name, a damaged file.
    Invalid,
    /// There is no such pipeline, state or savepoint.
    NotFound,
    /// There is a savepoint of that name already.
    Exists,
    /// Another process has the store for itself.
    Locked,
    /// It did not work this time.
    Failed,
}

impl SavepointError {
    /// An error of a kind.
    pub fn new(kind: SavepointErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl From<InvalidName> for SavepointError {
    fn from(error: InvalidName) -> Self {
        Self::new(SavepointErrorKind::Invalid, error.to_string())
    }
}
