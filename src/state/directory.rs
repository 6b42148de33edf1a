//! State in a directory: a file a name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::store::{Store, StoreError, StoreErrorKind, check_name};

/// Behind the names of files that are being written, with a number that keeps writers apart.
const UNFINISHED: &str = ".unfinished";

/// Keeps bytes in files, which survive a loss of power as soon as a call has returned. Several processes
/// may use the directory, also over a network, as long as its file system has hard links.
///
/// [`list`](Store::list) also names files that a writer has not finished; their names have a suffix
/// behind those that were to be written.
#[derive(Debug)]
pub struct DirectoryStore {
    folder: PathBuf,
}

impl DirectoryStore {
    /// Uses a directory, and makes it where there is none.
    ///
    /// # Errors
    /// It is none, or cannot be made.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let store = Self {
            folder: folder.to_owned(),
        };
        make_folder(folder).map_err(|error| store.failure("", &error))?;
        if !folder.is_dir() {
            let words = "it is not a directory";
            return Err(StoreError::new(
                StoreErrorKind::Unsupported,
                store.location(),
                words,
            ));
        }
        Ok(store)
    }

    /// Writes a file beside the one that is meant, and gives it to `publish` with that one's path.
    fn write(
        &self,
        name: &str,
        bytes: &[u8],
        publish: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        check_name(self, name)?;
        let path = self.folder.join(name);
        let folder = path.parent().unwrap_or(&self.folder);
        let write = || {
            make_folder(folder)?;
            let (file, unfinished) = unfinished(&path)?;
            let written = fill(file, bytes).and_then(|()| publish(&unfinished, &path));
            // A rename has removed it. What cannot be removed now is found by the name's suffix.
            drop(fs::remove_file(&unfinished));
            written?;
            sync_folder(folder)
        };
        write().map_err(|error| self.failure(name, &error))
    }

    fn failure(&self, name: &str, error: &io::Error) -> StoreError {
        let kind = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreErrorKind::Full,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
            ErrorKind::AlreadyExists => StoreErrorKind::AlreadyExists,
            ErrorKind::NotFound => StoreErrorKind::Missing,
            ErrorKind::Unsupported | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
                StoreErrorKind::Unsupported
            }
            _ => StoreErrorKind::Unavailable,
        };
        let location = self.folder.join(name).display().to_string();
        StoreError::new(kind, location, error.to_string())
    }
}

impl Store for DirectoryStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(name, bytes, |from, to| fs::rename(from, to))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        // A link, other than a rename, is refused where the name exists.
        self.write(name, bytes, |from, to| fs::hard_link(from, to))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(self, name)?;
        match fs::read(self.folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failure(name, &error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let from = prefix.rfind('/').and_then(|end| prefix.get(..end));
        let mut folders = vec![from.unwrap_or_default().to_owned()];
        let mut names = Vec::new();
        while let Some(folder) = folders.pop() {
            read_folder(&self.folder, &folder, &mut folders, &mut names)
                .map_err(|error| self.failure(&folder, &error))?;
        }
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(self, name)?;
        let path = self.folder.join(name);
        let remove = || match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.folder)),
        };
        remove().map_err(|error| self.failure(name, &error))
    }

    fn sync(&self) -> Result<(), StoreError> {
        // Each call has done so.
        Ok(())
    }

    fn location(&self) -> String {
        self.folder.display().to_string()
    }
}

/// Adds what lies in a folder: folders and files, by their names below `root`.
fn read_folder(
    root: &Path,
    folder: &str,
    folders: &mut Vec<String>,
    names: &mut Vec<String>,
) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(folder)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else {
            continue;
        };
        let name = if folder.is_empty() {
            file_name.to_owned()
        } else {
            format!("{folder}/{file_name}")
        };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => folders.push(name),
            Ok(_) => names.push(name),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A new file that is this writer's alone.
fn unfinished(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut number = 0_u32;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}{UNFINISHED}"));
        let name = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(file) => return Ok((file, name)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                number = number.checked_add(1).ok_or(error)?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a folder and those above it, so that they survive a loss of power.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    make_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(above)
}

/// Makes a folder's list of names survive a loss of power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}
