//! The segment of a log that grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::error::LogError;
use super::segment::{Step, step};

/// The segment that grows.
#[derive(Debug)]
pub(super) struct Active {
    path: PathBuf,
    file: File,
    /// How many bytes of it are whole records, with the header.
    bytes: u64,
    /// How many of these are durable, and the position of the record behind them.
    durable_bytes: u64,
    durable: u64,
    /// There may be a part of a record behind `bytes`.
    torn: bool,
    /// A sync has failed: the system now takes for written what it could not write.
    doubtful: bool,
}

impl Active {
    /// A segment of which `bytes` bytes are durable, up to the record `next`.
    pub(super) fn open(path: PathBuf, bytes: u64, next: u64) -> Result<Self, LogError> {
        let file = File::options().append(true).open(&path);
        let file = file.map_err(LogError::io(&path, "open"))?;
        Ok(Self {
            path,
            file,
            bytes,
            durable_bytes: bytes,
            durable: next,
            torn: false,
            doubtful: false,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends a record, or leaves the segment as it was.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<(), LogError> {
        self.mend()?;
        if let Err(error) = self.file.write_all(record) {
            self.torn = true;
            // It is tried again before the next record.
            drop(self.mend());
            return Err(LogError::io(&self.path, "append to")(error));
        }
        self.bytes += record.len() as u64;
        Ok(())
    }

    /// Cuts off the records behind so many bytes, none of which is durable or known to anybody.
    pub(super) fn cut(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.torn = true;
        // It is tried again before the next record.
        drop(self.mend());
    }

    /// Cuts off what a failed append has left.
    pub(super) fn mend(&mut self) -> Result<(), LogError> {
        if self.torn {
            let cut = self.file.set_len(self.bytes);
            cut.map_err(LogError::io(&self.path, "cut off the torn end of"))?;
            self.torn = false;
        }
        Ok(())
    }

    /// Makes all records durable; the next one will be `next`.
    pub(super) fn sync(&mut self, next: u64) -> Result<(), LogError> {
        if self.durable_bytes == self.bytes {
            return Ok(());
        }
        if self.doubtful {
            self.write_again(next)?;
        }
        if let Err(error) = self.file.sync_data() {
            self.doubtful = true;
            return Err(LogError::io(&self.path, "sync")(error));
        }
        self.doubtful = false;
        self.durable_bytes = self.bytes;
        self.durable = next;
        Ok(())
    }

    /// Writes the records that are not durable once more, with what the system still has of them.
    /// After a failed sync it would otherwise write nothing and report success.
    fn write_again(&self, next: u64) -> Result<(), LogError> {
        let length = self.bytes - self.durable_bytes;
        let file = File::options().read(true).write(true).open(&self.path);
        let mut file = file.map_err(LogError::io(&self.path, "open"))?;
        let records = read_at(&mut file, self.durable_bytes, length);
        let records = records.map_err(LogError::io(&self.path, "read"))?;
        let mut offset = 0;
        for position in self.durable..next {
            match step(records.get(offset..).unwrap_or_default(), position) {
                Step::Record { size, .. } => offset += size,
                Step::Broken { .. } | Step::Incomplete { .. } => {
                    return Err(LogError::Corrupt {
                        path: self.path.clone(),
                        offset: self.durable_bytes + offset as u64,
                        reason: format!("record {position} was lost when a sync failed"),
                    });
                }
            }
        }
        let written = file
            .seek(SeekFrom::Start(self.durable_bytes))
            .and_then(|_| file.write_all(&records));
        written.map_err(LogError::io(&self.path, "write again the end of"))
    }
}

fn read_at(file: &mut File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::segment::{Header, read_segment, write_record};
    use super::*;

    fn record(position: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_record(position, 0, b"payload", &mut bytes);
        bytes
    }

    fn begin(folder: &std::path::Path) -> Active {
        let header = Header {
            first: 0,
            after: 0,
            newest_ms: i64::MIN,
        };
        let path = folder.join("segment");
        fs::write(&path, header.to_bytes()).unwrap();
        Active::open(path, header.to_bytes().len() as u64, 0).unwrap()
    }

    fn next_of(active: &Active) -> (u64, bool) {
        let bytes = fs::read(&active.path).unwrap();
        let contents = read_segment(&bytes, |_, _, _| ()).unwrap();
        (contents.next, contents.end == bytes.len())
    }

    #[test]
    fn what_a_failed_append_leaves_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut active = begin(folder.path());
        active.append(&record(0)).unwrap();
        // Neither writing nor cutting works through a file that is open for reading.
        let writable = std::mem::replace(&mut active.file, File::open(&active.path).unwrap());
        let error = active.append(&record(1)).unwrap_err();
        let begin = format!("cannot append to {}: ", active.path.display());
        assert!(error.to_string().starts_with(&begin), "{error}");
        let again = active.append(&record(1)).unwrap_err();
        assert!(
            again.to_string().contains("cut off the torn end"),
            "{again}"
        );
        active.file = writable;
        // Half of the record has reached the file.
        let mut half = File::options().append(true).open(&active.path).unwrap();
        half.write_all(&record(1)[..9]).unwrap();
        assert_eq!(next_of(&active), (1, false));
        active.append(&record(1)).unwrap();
        assert_eq!(next_of(&active), (2, true));
    }

    #[test]
    fn after_a_failed_sync_records_are_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut active = begin(folder.path());
        active.append(&record(0)).unwrap();
        active.sync(1).unwrap();
        active.append(&record(1)).unwrap();
        active.append(&record(2)).unwrap();
        active.doubtful = true;
        active.sync(3).unwrap();
        assert!(!active.doubtful);
        assert_eq!(next_of(&active), (3, true));
        // What the system has lost cannot be written again, and is not reported as durable.
        let whole = fs::read(&active.path).unwrap();
        active.append(&record(3)).unwrap();
        active.doubtful = true;
        let mut lost = whole.clone();
        lost.resize(whole.len() + record(3).len(), 0);
        fs::write(&active.path, &lost).unwrap();
        let error = active.sync(4).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} is damaged at byte {}: record 3 was lost when a sync failed",
                active.path.display(),
                whole.len()
            )
        );
        assert!(active.doubtful);
    }
}
