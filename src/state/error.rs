//! Why state cannot be kept or read.

use super::store::StoreError;

/// Why state cannot be kept or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process writes checkpoints of the same pipeline and was first. The one that gets this
    /// has to stop: what it has done since its last checkpoint, the other one does as well.
    #[error(
        "another weir writes the state of pipeline {pipeline}: checkpoint {number} was written by \
         {by}; this one stops"
    )]
    Fenced {
        /// The pipeline.
        pipeline: String,
        /// The checkpoint of the other one.
        number: u64,
        /// The other one and when it has written the checkpoint.
        by: String,
    },
    /// What was kept does not read back.
    #[error("{what}: {reason}")]
    Damaged {
        /// The checkpoint, savepoint or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It was written by a weir that knows a newer format.
    #[error(
        "{what} has format {found}{}, and this weir reads formats up to {known}: use the newer weir, \
         or start without it",
        .weir_version.as_ref().map(|version| format!(", written by weir {version}")).unwrap_or_default()
    )]
    Newer {
        /// The checkpoint, savepoint or file.
        what: String,
        /// Its format.
        found: u32,
        /// The newest format that this weir reads.
        known: u32,
        /// The weir that has written it, if that can be read.
        weir_version: Option<String>,
    },
    /// It is state of another pipeline.
    #[error("{what} is of pipeline {found}, not of {expected}")]
    OtherPipeline {
        /// The checkpoint, savepoint or file.
        what: String,
        /// The pipeline that has written it.
        found: String,
        /// The pipeline that was to read it.
        expected: String,
    },
    /// There are checkpoints, and none of them can be used.
    #[error(
        "none of the {} checkpoints of pipeline {pipeline} can be used; the newest: {}",
        .reasons.len(),
        .reasons.first().map_or("", String::as_str)
    )]
    AllDamaged {
        /// The pipeline.
        pipeline: String,
        /// What is wrong with each of them, newest first.
        reasons: Vec<String>,
    },
    /// A checkpoint was to get a number that is not after all that there are.
    #[error("checkpoint {number} cannot follow checkpoint {newest}: use a higher number")]
    Number {
        /// The number that was asked for.
        number: u64,
        /// The newest one that there is.
        newest: u64,
    },
    /// There is no such checkpoint.
    #[error("pipeline {pipeline} has no checkpoint {number}")]
    NoCheckpoint {
        /// The pipeline.
        pipeline: String,
        /// The number that was asked for.
        number: u64,
    },
    /// There is no such savepoint.
    #[error("pipeline {pipeline} has no savepoint '{name}'{}", list(.found))]
    NoSavepoint {
        /// The pipeline.
        pipeline: String,
        /// The name that was asked for.
        name: String,
        /// Those that there are.
        found: Vec<String>,
    },
    /// A savepoint went while it was read.
    #[error("savepoint '{name}' of pipeline {pipeline} was deleted while it was being read")]
    SavepointDeleted {
        /// The pipeline.
        pipeline: String,
        /// Its name.
        name: String,
    },
    /// A savepoint of that name exists.
    #[error("pipeline {pipeline} has a savepoint '{name}' already: delete it, or use another name")]
    SavepointExists {
        /// The pipeline.
        pipeline: String,
        /// The name.
        name: String,
    },
    /// That is no name of a savepoint.
    #[error(
        "'{name}' is not a savepoint's name; use up to 100 letters, digits, '-', '_' and '.', and \
         begin with a letter or digit"
    )]
    SavepointName {
        /// The name.
        name: String,
    },
    /// A savepoint's file cannot be read or written.
    #[error("a savepoint's file: {reason}")]
    File {
        /// The system's words.
        reason: String,
    },
}

fn list(found: &[String]) -> String {
    if found.is_empty() {
        return String::new();
    }
    format!("; there are {}", found.join(", "))
}
