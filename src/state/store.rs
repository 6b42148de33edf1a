//! What keeps named bytes.

use std::fmt;

/// Keeps bytes by name. Names are folders and a file's name, of letters, digits, `-`, `_` and `.`, with
/// `/` between them. All calls wait for their result, and are made from plain threads (never from
/// within an async runtime).
///
/// What one call has written, later calls see, also those of other processes. A name holds the whole
/// of what was written to it or does not exist, however the writer ended. When
/// [`create`](Self::create) or [`sync`](Self::sync) returns, what was put, created and removed before
/// survives a loss of power; until then a store may wait with what is put and removed.
pub trait Store: Send + Sync + fmt::Debug {
    /// Writes bytes, over what the name held before.
    ///
    /// # Errors
    /// The store cannot take them.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Writes bytes to a name that does not exist yet. Of several writers, in whatever process, one
    /// succeeds.
    ///
    /// # Errors
    /// The name exists ([`StoreErrorKind::AlreadyExists`]), or the store cannot take the bytes. An
    /// error of another kind leaves open whether they were written.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// The bytes of a name, if it exists.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// All names that begin with a prefix, in their order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Removes a name, if it exists.
    ///
    /// # Errors
    /// The store does not allow it now.
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Makes what was put and removed so far survive a loss of power.
    ///
    /// # Errors
    /// The store cannot be written.
    fn sync(&self) -> Result<(), StoreError>;

    /// Where this is, for messages.
    fn location(&self) -> String;
}

/// Why a store has not done what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {kind}: {words}")]
pub struct StoreError {
    /// What kind of failure.
    pub kind: StoreErrorKind,
    /// The store and the name in it.
    pub location: String,
    /// The system's or the server's words.
    pub words: String,
}

/// Kinds of failures of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It may work later: no connection, no answer in time, an error of the device.
    Unavailable,
    /// The credentials or the permissions do not allow it.
    Denied,
    /// There is no space left.
    Full,
    /// What is there cannot be read.
    Corrupt,
    /// A name that was to be created exists.
    AlreadyExists,
    /// Another process has it open.
    Locked,
    /// The bucket, or the folder, does not exist.
    Missing,
    /// The store, or this build of weir, cannot do it.
    Unsupported,
}

impl StoreErrorKind {
    /// Whether the same call may succeed later, without anybody changing permissions or settings.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Unavailable | Self::Full | Self::Locked)
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unavailable => "not available",
            Self::Denied => "not allowed",
            Self::Full => "no space left",
            Self::Corrupt => "cannot be read",
            Self::AlreadyExists => "exists already",
            Self::Locked => "in use by another process",
            Self::Missing => "does not exist",
            Self::Unsupported => "not supported",
        })
    }
}

impl StoreError {
    /// A failure of a kind at a place.
    pub fn new(
        kind: StoreErrorKind,
        location: impl Into<String>,
        words: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            location: location.into(),
            words: words.into(),
        }
    }
}

/// That a name is one, so that it means the same to every store.
pub(super) fn check_name(store: &dyn Store, name: &str) -> Result<(), StoreError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(allowed);
    if name.split('/').all(good) {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Unsupported,
        store.location(),
        format!("'{name}' is not a name; use letters, digits, '-', '_' and '.'"),
    ))
}
