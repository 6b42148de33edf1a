//! What can be wrong with a log.

use std::io;
use std::path::{Path, PathBuf};

use super::lock::LockError;
use super::segment::{FORMAT_VERSION, HeaderError, MAX_RECORD_BYTES};

/// Why a log could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused.
    #[error("cannot {action} {}: {}{source}", path.display(), words(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was to be done with it, such as `read`.
        action: &'static str,
        /// Why it could not be.
        source: io::Error,
    },
    /// Bytes that are not what was written.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in the segment, in bytes.
        offset: u64,
        /// What is there and what should be.
        reason: String,
    },
    /// A segment of a newer weir.
    #[error(
        "{} has version {found} of the log format, this weir reads up to version {FORMAT_VERSION}: \
         it was written by a newer weir",
        path.display()
    )]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A record of more than [`MAX_RECORD_BYTES`].
    #[error(
        "a record of {bytes} bytes is too large for a log, which takes up to {MAX_RECORD_BYTES}"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The records from a position on are deleted.
    #[error("record {asked} is not in the log any more, the first one is {first}")]
    ReadFrom {
        /// The position that was asked for.
        asked: u64,
        /// The first position that can be read.
        first: u64,
    },
    /// The reader knows more records than the log.
    #[error(
        "record {asked} is asked for, but the log ends before record {next}: records that were \
         read before are gone"
    )]
    Ahead {
        /// The position that was asked for.
        asked: u64,
        /// The position of the record that would be appended next.
        next: u64,
    },
    /// Its records are not for who opens it.
    #[error(
        "{} has the records of {found}, and would be read as {owner}: let the source that has written \
         them come to their end and delete the folder, or use another one",
        folder.display()
    )]
    OfAnother {
        /// The folder.
        folder: PathBuf,
        /// Whose records there are.
        found: String,
        /// Who opens it.
        owner: String,
    },
    /// Somebody else writes this log.
    #[error(transparent)]
    Locked(#[from] LockError),
}

impl LogError {
    /// Whether it is for want of space, so that it may work later.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    /// For `map_err`: what was done to which file.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }

    /// A header that cannot be read, with the file that it is in.
    pub(super) fn header(path: &Path, error: HeaderError) -> Self {
        let path = path.to_owned();
        match error {
            HeaderError::Version { found } => Self::Version { path, found },
            HeaderError::Corrupt { offset, reason } => Self::Corrupt {
                path,
                offset,
                reason,
            },
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What the most usual errors mean, before the system's own words.
fn words(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_full(error) => "the disk is full: ",
        io::ErrorKind::PermissionDenied => "weir has no permission: ",
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only: ",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_in_words() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = LogError::io(Path::new("/x/1.log"), "append to")(full);
        assert!(error.is_disk_full());
        let text = error.to_string();
        assert!(
            text.starts_with("cannot append to /x/1.log: the disk is full: "),
            "{text}"
        );
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = LogError::io(Path::new("/x"), "open")(denied);
        assert!(!error.is_disk_full());
        assert!(error.to_string().contains("weir has no permission"));
    }
}
