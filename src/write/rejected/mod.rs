//! Samples that a receiver does not take, kept until somebody has looked at them.
//!
//! Files of JSON lines in a folder. The newest is appended to; where it is half of the limit it takes the
//! place of the one before, whose samples are gone then and counted. Every line is written and synced at
//! once, and the file is opened for it, under a lock: so what is rejected may be read, sent again and
//! removed by another process meanwhile.

mod record;
#[cfg(test)]
mod tests;

pub use super::line::STALE;
pub use record::RejectedSample;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::durable::create_folder;

/// What is appended to.
const NEWEST: &str = "rejected.ndjson";
/// What was appended to before.
const OLDER: &str = "rejected.older.ndjson";
/// What is being sent again; behind it a number.
const REPLAYED: &str = "replayed-";
/// Whoever reads or changes the files holds a lock on this one.
const LOCK: &str = "lock";
/// What the names of all files end with.
const ENDING: &str = ".ndjson";

/// The samples that the receivers of a pipeline have rejected.
#[derive(Debug, Clone)]
pub struct RejectedSamples {
    folder: PathBuf,
    max_bytes: u64,
}

/// What is in the folder.
#[derive(Debug, Default, PartialEq)]
pub struct Contents {
    /// The samples, the earliest rejected first.
    pub samples: Vec<RejectedSample>,
    /// Lines that are none: the file, the number of the line from 1, and what is wrong.
    pub damaged: Vec<(PathBuf, usize, String)>,
}

impl RejectedSamples {
    /// In a folder, which is made when there is something to keep, with about so many bytes at most.
    pub fn new(folder: PathBuf, max_bytes: u64) -> Self {
        Self { folder, max_bytes }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps samples, and says how many earlier ones had to go for them. When it returns they are on the
    /// disk.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn keep(&self, samples: &[RejectedSample]) -> io::Result<u64> {
        create_folder(&self.folder)?;
        let _lock = self.lock()?;
        let mut lines = Vec::new();
        for sample in samples {
            sample.write(&mut lines)?;
        }
        let path = self.folder.join(NEWEST);
        let mut file = open(&path)?;
        let mut gone = 0;
        let bytes = file.metadata()?.len();
        if bytes > 0 && bytes.saturating_add(lines.len() as u64) > self.max_bytes / 2 {
            let older = self.folder.join(OLDER);
            gone = lines_of(&older)?;
            fs::rename(&path, &older)?;
            file = open(&path)?;
        } else if bytes > 0 && !ends_with_a_line(&mut file)? {
            // A run was killed, or the disk was full.
            file.write_all(b"\n")?;
        }
        file.write_all(&lines)?;
        file.sync_all()?;
        Ok(gone)
    }

    /// All that is there. Where there is no folder, that is nothing.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> io::Result<Contents> {
        let mut contents = Contents::default();
        let _lock = self.lock()?;
        for path in self.files()? {
            read_file(&path, &mut contents)?;
        }
        contents.samples.sort_by_key(|sample| sample.rejected_at_ms);
        Ok(contents)
    }

    /// Puts everything aside for being sent again, and gives the files: what is rejected from now on is
    /// apart from them. What an earlier attempt has left is among them.
    ///
    /// # Errors
    /// A file cannot be moved.
    pub fn put_aside(&self) -> io::Result<Vec<PathBuf>> {
        let _lock = self.lock()?;
        let mut number = 0;
        for name in [OLDER, NEWEST] {
            let path = self.folder.join(name);
            if !path.is_file() {
                continue;
            }
            let aside = loop {
                let aside = self.folder.join(format!("{REPLAYED}{number:06}{ENDING}"));
                number += 1;
                if !aside.exists() {
                    break aside;
                }
            };
            fs::rename(path, aside)?;
        }
        let mut files = self.files()?;
        files.retain(|path| is_put_aside(path));
        Ok(files)
    }

    /// Removes everything, and says how many lines that were.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn purge(&self) -> io::Result<u64> {
        let _lock = self.lock()?;
        let mut lines = 0;
        for path in self.files()? {
            lines += lines_of(&path)?;
            fs::remove_file(path)?;
        }
        Ok(lines)
    }

    /// Waits for its turn, which lasts until what is given is dropped. Where there is no folder there is
    /// nothing to wait for.
    fn lock(&self) -> io::Result<Option<File>> {
        let path = self.folder.join(LOCK);
        let file = match File::options().create(true).append(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Who may only read needs the lock as well.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(&path),
            file => file,
        }?;
        file.lock()?;
        Ok(Some(file))
    }

    /// All files by their names, which is from the oldest to the newest as far as anybody knows.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let is_ours = name.is_some_and(|name| {
                name == NEWEST
                    || name == OLDER
                    || name.starts_with(REPLAYED) && name.ends_with(ENDING)
            });
            if is_ours {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Reads the samples of a file.
///
/// # Errors
/// It cannot be read.
pub fn read_file(path: &Path, contents: &mut Contents) -> io::Result<()> {
    let mut lines = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        match RejectedSample::read(&text) {
            Ok(sample) => contents.samples.push(sample),
            Err(message) => contents.damaged.push((path.to_owned(), number, message)),
        }
    }
    Ok(())
}

fn is_put_aside(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(REPLAYED))
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .read(true)
        .append(true)
        .open(path)
}

/// How many lines a file has; none where there is no file.
fn lines_of(path: &Path) -> io::Result<u64> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut lines = 0;
    for line in BufReader::new(file).split(b'\n') {
        lines += u64::from(!line?.is_empty());
    }
    Ok(lines)
}

fn ends_with_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
