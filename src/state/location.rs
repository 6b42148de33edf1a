//! Which store: what is written in a pipeline file or on the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::directory::DirectoryStore;
use super::memory::MemoryStore;
use super::object::{S3Options, S3Store};
use super::store::{Store, StoreError, StoreErrorKind};

/// A store by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// This process's memory (`memory:`).
    Memory,
    /// RocksDB in a folder (`rocksdb:PATH`).
    Rocks(PathBuf),
    /// A directory (`file:///PATH`, or a path).
    Directory(PathBuf),
    /// A bucket and what names in it begin with (`s3://BUCKET/PREFIX`).
    S3 {
        /// The bucket.
        bucket: String,
        /// Empty, or folders with `/` between them.
        prefix: String,
    },
}

impl StoreLocation {
    /// Opens the store. The options are for S3 alone.
    ///
    /// # Errors
    /// It cannot be opened, or this build of weir does not have it.
    pub fn open(&self, options: &S3Options) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::new()),
            Self::Rocks(folder) => open_rocks(folder, false)?,
            Self::Directory(folder) => Arc::new(DirectoryStore::open(folder)?),
            Self::S3 { bucket, prefix } => Arc::new(S3Store::open(bucket, prefix, options)?),
        })
    }

    /// Opens a store that another process may have open as well, for reading.
    ///
    /// # Errors
    /// As of [`open`](Self::open); a folder does not exist.
    pub fn open_read_only(&self, options: &S3Options) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Rocks(folder) => open_rocks(folder, true),
            Self::Directory(folder) if !folder.is_dir() => {
                let location = folder.display().to_string();
                let words = "there is no such directory";
                Err(StoreError::new(StoreErrorKind::Missing, location, words))
            }
            _ => self.open(options),
        }
    }
}

impl FromStr for StoreLocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no place for state; use a path, file:///PATH, rocksdb:PATH, \
                 s3://BUCKET/PREFIX or memory:"
            )
        };
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(wrong());
            }
            return Ok(Self::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.trim_matches('/').to_owned(),
            });
        }
        let (folder, rocks) = match (text.strip_prefix("rocksdb:"), text.strip_prefix("file://")) {
            (Some(folder), _) => (folder, true),
            // A host has no meaning here.
            (_, Some(folder)) if folder.starts_with('/') => (folder, false),
            (_, Some(_)) => return Err(wrong()),
            _ if text.contains("://") => return Err(wrong()),
            _ => (text, false),
        };
        if folder.is_empty() {
            return Err(wrong());
        }
        let folder = PathBuf::from(folder);
        Ok(if rocks {
            Self::Rocks(folder)
        } else {
            Self::Directory(folder)
        })
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => out.write_str("memory:"),
            Self::Rocks(folder) => write!(out, "rocksdb:{}", folder.display()),
            Self::Directory(folder) => write!(out, "{}", folder.display()),
            Self::S3 { bucket, prefix } => write!(out, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Opens an empty store in a folder, whatever was there before, for what is of no use to any other
/// process. It is RocksDB.
///
/// # Errors
/// The folder cannot be emptied or written, or this build of weir does not have RocksDB.
pub fn open_scratch(folder: &Path) -> Result<Arc<dyn Store>, StoreError> {
    #[cfg(feature = "rocksdb")]
    return Ok(Arc::new(super::rocks::RocksStore::open_scratch(folder)?));
    #[cfg(not(feature = "rocksdb"))]
    return open_rocks(folder, false);
}

#[cfg(feature = "rocksdb")]
fn open_rocks(folder: &Path, read_only: bool) -> Result<Arc<dyn Store>, StoreError> {
    use super::rocks::RocksStore;

    Ok(Arc::new(if read_only {
        RocksStore::open_read_only(folder)?
    } else {
        RocksStore::open(folder)?
    }))
}

#[cfg(not(feature = "rocksdb"))]
fn open_rocks(folder: &Path, _: bool) -> Result<Arc<dyn Store>, StoreError> {
    Err(StoreError::new(
        StoreErrorKind::Unsupported,
        format!("rocksdb {}", folder.display()),
        "this weir was built without RocksDB; build it with --features rocksdb",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_they_are_written() {
        let s3 = |bucket: &str, prefix: &str| StoreLocation::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        let cases = [
            ("memory:", StoreLocation::Memory),
            ("./state", StoreLocation::Directory("./state".into())),
            (
                "file:///var/weir",
                StoreLocation::Directory("/var/weir".into()),
            ),
            (
                "rocksdb:state/cars",
                StoreLocation::Rocks("state/cars".into()),
            ),
            ("s3://fleet", s3("fleet", "")),
            ("s3://fleet/weir/state/", s3("fleet", "weir/state")),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
        for text in ["", "s3://", "gs://fleet", "file://host/var", "rocksdb:"] {
            let error = text.parse::<StoreLocation>().unwrap_err();
            let expected = format!("'{text}' is no place for state; use a path,");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made_for_reading() {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::Directory(folder.path().join("none"));
        let error = location.open_read_only(&S3Options::default()).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Missing);
        assert!(!folder.path().join("none").exists());
    }
}
