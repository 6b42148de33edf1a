//! Why a table cannot be used.

use std::io;

/// Why a table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file or address.
        path: String,
        /// The system's or the server's words.
        reason: String,
    },
    /// It cannot be read now, and may be later: no connection, no answer in time, a server that
    /// says that it is in trouble.
    #[error("cannot read {path}: {reason}")]
    Unavailable {
        /// The address.
        path: String,
        /// What happened.
        reason: String,
    },
    /// A row cannot be used.
    #[error("{place}: {reason}")]
    Row {
        /// The file with its line, or with the item's number.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A column is missing.
    #[error("{path}: there is no column '{column}'; the columns are {found}")]
    Column {
        /// The file.
        path: String,
        /// The column that was asked for.
        column: String,
        /// The columns that there are.
        found: String,
    },
    /// The whole of it, or a part that has no line, cannot be used.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No zone has a property.
    #[error("{path}: no zone has a property '{property}'; the properties are {found}")]
    Property {
        /// The file.
        path: String,
        /// The property that was asked for.
        property: String,
        /// The properties that there are.
        found: String,
    },
    /// A column that no row has.
    #[error("{path}: no row has '{column}'")]
    NoRowHas {
        /// The file.
        path: String,
        /// The column that was asked for.
        column: String,
    },
    /// The lookup was told to end.
    #[error("stopped while {path} was read")]
    Stopped {
        /// The file or address.
        path: String,
    },
}

impl LoadError {
    pub(super) fn read(path: &str, error: &io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}
