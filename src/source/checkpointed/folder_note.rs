//! For tests: a note in a folder.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Checkpointed, ConfirmationNote};
use crate::durable::write_atomically;

/// A file that names the first checkpoint that is not confirmed.
#[derive(Debug)]
struct FolderNote(PathBuf);

impl ConfirmationNote for FolderNote {
    fn announce(&self, number: u64) -> io::Result<()> {
        write_atomically(&self.0, number.to_string().as_bytes())
    }

    fn confirm(&self, next: Option<u64>) -> io::Result<()> {
        match next {
            Some(number) => self.announce(number),
            None => fs::remove_file(&self.0),
        }
    }
}

impl Checkpointed {
    /// One that is noted in a folder.
    pub(in crate::source) fn confirmed_in(folder: &Path) -> Self {
        Self::confirmed_by(Box::new(FolderNote(path(folder))))
    }

    /// What is noted there.
    pub(in crate::source) fn unconfirmed_in(folder: &Path) -> io::Result<Option<u64>> {
        match fs::read_to_string(path(folder)) {
            Ok(text) => Ok(Some(text.parse().map_err(io::Error::other)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("UNCONFIRMED")
}
