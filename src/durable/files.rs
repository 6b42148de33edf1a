//! Files and folders that are there after a crash, whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What the name of a file that is not complete yet ends with.
pub(super) const UNFINISHED: &str = ".new";

/// Puts a file in its place, or replaces it, so that after a crash there is either all of the old one
/// or all of the new one: a temporary file beside it (`NAME.new`), synced, renamed, and the folder
/// synced. Two threads must not write the same path at the same time.
///
/// # Errors
/// What the system says; the old file is untouched then, unless only the last step failed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// The same for what is written piece by piece, because it is too much for memory.
///
/// # Errors
/// What the system or `write` says; the old file is untouched then, unless only the last step failed.
pub fn write_atomically_with(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?
        .to_owned();
    name.push(UNFINISHED);
    let unfinished = path.with_file_name(name);
    let written = write_synced(&unfinished, write).and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = written {
        // What is left of it takes space, and space may be what is wanting. That it could not be
        // written says more than that it cannot be deleted.
        drop(fs::remove_file(&unfinished));
        return Err(error);
    }
    sync_folder(&parent(path))
}

fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    write(&mut file)?;
    file.into_inner()?.sync_all()
}

/// Makes a folder and those that it is in, so that they are there after a crash. One that exists is
/// left as it is.
///
/// # Errors
/// What the system says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    create_folder(&parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
            return Err(error);
        }
        _ => {}
    }
    sync_folder(&parent)
}

/// Makes durable that a file has its name, or that it has another one now.
///
/// # Errors
/// What the system says.
pub fn sync_name(path: &Path) -> io::Result<()> {
    sync_folder(&parent(path))
}

/// Makes durable which names are in a folder: syncing a file does not.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        // A bare name is in the current folder, and the root is in itself.
        _ if path.has_root() => path.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        // What a crash has left behind does not matter.
        fs::write(folder.path().join("state.new"), "half of something longer").unwrap();
        write_atomically(&path, b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_atomically(&path, b"").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1, "no temporary file is left");
    }

    #[test]
    fn what_fails_in_the_middle_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write_atomically_with(&path, |file| file.write_all(b"one")).unwrap();
        let error = write_atomically_with(&path, |file| {
            file.write_all(&[7; 100_000])?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(error.unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        write_atomically(&path, b"one").unwrap_err();
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"x");
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1, "no temporary file is left");
        let error = write_atomically(&folder.path().join("none/state"), b"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(write_atomically(Path::new("/"), b"").is_err());
    }

    #[test]
    fn folders_are_made_with_those_they_are_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        create_folder(&path).unwrap();
        create_folder(&path).unwrap();
        assert!(path.is_dir());
        fs::write(path.join("file"), "").unwrap();
        let error = create_folder(&path.join("file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        create_folder(&path.join("file/d")).unwrap_err();
    }
}
