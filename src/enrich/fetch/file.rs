//! Tables in files.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Failure, Found, Stamp};

/// A file.
#[derive(Debug)]
pub(super) struct FilePlace {
    path: PathBuf,
}

impl FilePlace {
    /// In the working folder, or else in `folder`.
    pub(super) fn find(path: &str, folder: &Path) -> Self {
        let near = PathBuf::from(path);
        let path = if near.exists() {
            near
        } else {
            folder.join(path)
        };
        Self { path }
    }

    pub(super) fn fetch(&self, known: Option<&Stamp>) -> Result<Found<'static>, Failure> {
        // The stamp is taken first: a change while reading is found at the next look.
        let stamp = self.stamp().map_err(permanent)?;
        if known == Some(&stamp) {
            return Ok(None);
        }
        let file = File::open(&self.path).map_err(permanent)?;
        Ok(Some((Box::new(file), Some(stamp))))
    }

    fn stamp(&self) -> std::io::Result<Stamp> {
        let metadata = self.path.metadata()?;
        let changed = metadata.modified().ok();
        let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(format!("{changed:?} {}", metadata.len()))
    }
}

impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

fn permanent(error: std::io::Error) -> Failure {
    Failure::Permanent(error.to_string())
}
