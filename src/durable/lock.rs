//! One process at a time in a folder.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::create_folder;

const NAME: &str = "LOCK";

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error(
        "the folder {} is in use by {}; stop it first, or use another folder",
        folder.display(), holder(*process)
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The holder's process id, where it could be read.
        process: Option<u32>,
    },
    /// The system refused.
    #[error("cannot lock the folder {}: {source}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn holder(process: Option<u32>) -> String {
    process.map_or_else(
        || "another process".to_owned(),
        |process| format!("process {process}"),
    )
}

/// A folder that nobody else can lock as long as this lives. The system takes the lock away with the
/// process, however that ends; the file stays and means nothing by itself.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks a folder, which is made where there is none, by the file `LOCK` in it.
    ///
    /// # Errors
    /// It is locked already, also by this process, or the file cannot be written.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            folder: folder.to_owned(),
            source,
        };
        create_folder(folder).map_err(failed)?;
        let path = folder.join(NAME);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let mut file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let process = fs::read_to_string(&path).ok();
                return Err(LockError::InUse {
                    folder: folder.to_owned(),
                    process: process.and_then(|text| text.trim().parse().ok()),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The number is for the other's message only: the lock holds without it, on a full disk too.
        drop(
            file.set_len(0)
                .and_then(|()| writeln!(file, "{}", std::process::id())),
        );
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let lock = FolderLock::acquire(&path).unwrap();
        let error = FolderLock::acquire(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the folder {} is in use by process {}; stop it first, or use another folder",
                path.display(),
                std::process::id()
            )
        );
        drop(lock);
        // What the last holder has written does not hold anybody up.
        fs::write(path.join(NAME), "4294967295 and more\n").unwrap();
        let _lock = FolderLock::acquire(&path).unwrap();
        let text = fs::read_to_string(path.join(NAME)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        fs::write(path.join(NAME), "").unwrap();
        let error = FolderLock::acquire(&path).unwrap_err();
        assert!(
            error.to_string().contains("in use by another process"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let error = FolderLock::acquire(&path).unwrap_err();
        let begin = format!("cannot lock the folder {}: ", path.display());
        assert!(error.to_string().starts_with(&begin), "{error}");
    }
}
