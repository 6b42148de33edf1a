//! Which dead letters were sent again: a file with the id of each of them, a line each.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use foldhash::fast::FixedState;

/// Those that were sent again.
#[derive(Debug, Default)]
pub struct Replayed {
    ids: HashSet<String, FixedState>,
    file: Option<File>,
    is_torn: bool,
}

impl Replayed {
    /// Where they stand beside a file of letters.
    pub fn beside(letters: &Path) -> PathBuf {
        let mut name = letters.as_os_str().to_owned();
        name.push(".replayed");
        PathBuf::from(name)
    }

    /// Reads them. Where there is no file there are none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file?,
        };
        let mut replayed = Self::default();
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            replayed.is_torn = !line.ends_with('\n');
            // One that a crash has cut is of nothing.
            replayed.ids.insert(line.trim_end().to_owned());
            line.clear();
        }
        Ok(replayed)
    }

    /// Reads them, so that more can be added.
    ///
    /// # Errors
    /// The file cannot be read or written, or somebody else adds to it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another replay is under way"),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self {
            file: Some(file),
            ..Self::read(path)?
        })
    }

    /// Whether a letter was sent again.
    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Notes that these were. When it returns, that is on the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&mut self, ids: &[String]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("it was opened for reading"));
        };
        let mut lines = String::new();
        if std::mem::take(&mut self.is_torn) {
            lines.push('\n');
        }
        for id in ids {
            lines.push_str(id);
            lines.push('\n');
        }
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        self.ids.extend(ids.iter().cloned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_known_later() {
        let folder = tempfile::tempdir().unwrap();
        let letters = folder.path().join("letters.ndjson");
        let path = Replayed::beside(&letters);
        assert!(path.ends_with("letters.ndjson.replayed"));
        assert!(!Replayed::read(&path).unwrap().has("a"));
        let mut replayed = Replayed::open(&path).unwrap();
        replayed.note(&["a".to_owned(), "b".to_owned()]).unwrap();
        let error = Replayed::open(&path).unwrap_err().to_string();
        assert_eq!(error, "another replay is under way");
        drop(replayed);
        // A crash within the third.
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"cc").unwrap();
        let mut replayed = Replayed::open(&path).unwrap();
        replayed.note(&["ccc".to_owned()]).unwrap();
        let replayed = Replayed::read(&path).unwrap();
        for id in ["a", "b", "ccc"] {
            assert!(replayed.has(id), "{id}");
        }
        assert!(!replayed.has("d"));
    }
}
