//! A reader of a log.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::LogError;
use super::folder::{open, positions, segment_path};
use super::live::Live;
use super::segment::{HEADER_BYTES, Record, Step, next_intact, step};

/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// What a reader has passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many records.
    pub records: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// A reader of a log, which sees what the writer appends, and outlives the segments that it has yet to
/// read only by an error.
#[derive(Debug)]
pub struct LogReader {
    folder: PathBuf,
    /// What the writer tells, where that is in this process.
    live: Option<Arc<Live>>,
    durable_only: bool,
    /// The first position to give.
    wanted: u64,
    /// The position at which the segment is read; below `wanted` while that is searched for.
    position: u64,
    segment: Option<Open>,
    /// The segment whose header is damaged, by its first position.
    unreadable: Option<u64>,
    /// The segment ended too early, and was read once more.
    reread: bool,
    /// How often the writer had cut off records when the reader last looked.
    cuts: u64,
}

/// The segment that is read.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    first: u64,
    /// Where the next record begins, in bytes.
    offset: u64,
    /// Bytes of the file from `offset - used` on.
    buffer: Vec<u8>,
    used: usize,
}

impl LogReader {
    /// Reads a log from a position on. Its writer may be another process, or none: `wait` does not know
    /// then when there is more.
    ///
    /// # Errors
    /// [`LogError::ReadFrom`] where the position is deleted, or the system refuses.
    pub fn open(folder: &Path, from: u64) -> Result<Self, LogError> {
        Self::of(folder, from, None)
    }

    pub(super) fn of(folder: &Path, from: u64, live: Option<Arc<Live>>) -> Result<Self, LogError> {
        let mut reader = Self {
            folder: folder.to_owned(),
            live,
            durable_only: false,
            wanted: from,
            position: from,
            segment: None,
            unreadable: None,
            reread: false,
            cuts: 0,
        };
        reader.seek(from)?;
        Ok(reader)
    }

    /// Gives records only once they are durable, where the writer is in this process: nothing that was
    /// read can then be missing after the machine has failed.
    #[must_use]
    pub fn durable_only(mut self) -> Self {
        self.durable_only = true;
        self
    }

    /// The position of the next record to be given.
    pub fn position(&self) -> u64 {
        self.wanted.max(self.position)
    }

    /// Goes on at another position.
    ///
    /// # Errors
    /// [`LogError::ReadFrom`] where it is deleted, or the system refuses.
    pub fn seek(&mut self, position: u64) -> Result<(), LogError> {
        let segments = positions(&self.folder)?;
        let behind = segments.partition_point(|first| *first <= position);
        let segment = behind.checked_sub(1).and_then(|index| segments.get(index));
        let Some(first) = segment.copied() else {
            return match segments.first() {
                Some(first) => Err(LogError::ReadFrom {
                    asked: position,
                    first: *first,
                }),
                None => {
                    let missing = io::Error::from(io::ErrorKind::NotFound);
                    Err(LogError::io(&self.folder, "find a segment in")(missing))
                }
            };
        };
        self.wanted = position;
        self.leave_for(first);
        Ok(())
    }

    /// Puts the next records behind those in `out`, until they have `max_bytes` or more or there are no
    /// more now, and says how many.
    ///
    /// # Errors
    /// - [`LogError::Corrupt`] where a record is damaged: [`skip_damaged`](Self::skip_damaged) goes on
    ///   behind it. What is torn at the end of the log is no error, but the end.
    /// - [`LogError::ReadFrom`] where the next ones were deleted: [`seek`](Self::seek) goes on at the
    ///   first that there is.
    /// - [`LogError::Ahead`] where the log ends before the first position to give.
    /// - The system refuses.
    ///
    /// Records before an error are given first, and the error at the next call.
    pub fn read(&mut self, max_bytes: usize, out: &mut Vec<Record>) -> Result<usize, LogError> {
        let (mut count, mut bytes) = (0, 0);
        while count == 0 || bytes < max_bytes {
            match self.next_record() {
                Ok(Some(record)) => {
                    count += 1;
                    bytes += record.bytes.len();
                    out.push(record);
                }
                Ok(None) => break,
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Waits until there is something to read, `timeout` at most, and says whether there is. Without a
    /// writer in this process it waits for the whole time and says that there may be.
    pub fn wait(&self, timeout: Duration) -> bool {
        let Some(live) = &self.live else {
            std::thread::sleep(timeout);
            return true;
        };
        let position = self.position();
        let durable_only = self.durable_only;
        live.wait(timeout, |ends| {
            position
                < if durable_only {
                    ends.durable
                } else {
                    ends.next
                }
        })
    }

    /// After [`LogError::Corrupt`]: goes to the next intact record that the lengths of the damaged ones
    /// lead to, or else to the next segment. `None` where there is neither: what is damaged at the end of
    /// a log is cut off when its writer opens it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn skip_damaged(&mut self) -> Result<Option<Skipped>, LogError> {
        let from = self.position();
        let (current, left) = match (&mut self.segment, self.unreadable) {
            (_, Some(first)) => (first, length(&segment_path(&self.folder, first))?),
            (Some(segment), None) => {
                let rest = segment.rest()?;
                if let Some((bytes, position)) = next_intact(&rest, 0, self.position) {
                    let bytes = bytes as u64;
                    segment.go_to(segment.offset + bytes);
                    self.position = position;
                    let records = self.position() - from;
                    return Ok(Some(Skipped { records, bytes }));
                }
                (segment.first, rest.len() as u64)
            }
            (None, None) => return Ok(None),
        };
        let Some(next) = self.segment_behind(current)? else {
            return Ok(None);
        };
        self.leave_for(next);
        Ok(Some(Skipped {
            records: self.position() - from,
            bytes: left,
        }))
    }

    /// The position up to which may be read. What was read ahead is let go of where the writer has cut off
    /// records: others may stand there now.
    fn limit(&mut self) -> u64 {
        let Some(ends) = self.live.as_ref().map(|live| live.ends()) else {
            return u64::MAX;
        };
        if ends.cuts != self.cuts {
            self.cuts = ends.cuts;
            if let Some(segment) = &mut self.segment {
                segment.go_to(segment.offset);
            }
        }
        if self.durable_only {
            ends.durable
        } else {
            ends.next
        }
    }

    fn next_record(&mut self) -> Result<Option<Record>, LogError> {
        let limit = self.limit();
        loop {
            if self.position >= limit {
                return self.nothing_more();
            }
            if self.segment.is_none() {
                self.enter()?;
            }
            let Some(segment) = &mut self.segment else {
                return Ok(None);
            };
            match segment.next(self.position)? {
                Found::Record { time_ms, bytes } => {
                    let position = self.position;
                    self.position += 1;
                    self.reread = false;
                    if position >= self.wanted {
                        return Ok(Some(Record {
                            position,
                            time_ms,
                            bytes,
                        }));
                    }
                }
                Found::End => {
                    let cut = segment.corrupt(format!("record {} is cut off", self.position));
                    if self.next_segment()? {
                        continue;
                    }
                    // The writer has said that it is there, if there is a writer.
                    return match self.live {
                        Some(_) => Err(cut),
                        None => self.nothing_more(),
                    };
                }
                Found::Broken { reason } => {
                    let error = segment.corrupt(reason);
                    let intact = next_intact(&segment.rest()?, 0, self.position);
                    match intact {
                        // Damage before the first wanted record is nobody's loss.
                        Some((bytes, position)) if position <= self.wanted => {
                            segment.go_to(segment.offset + bytes as u64);
                            self.position = position;
                        }
                        None if self.may_be_torn()? => return self.nothing_more(),
                        // It may have been complete before the next segment was begun.
                        _ if self.live.is_none() && !self.reread => self.reread = true,
                        _ => return Err(error),
                    }
                }
            }
        }
    }

    fn nothing_more(&self) -> Result<Option<Record>, LogError> {
        let live = self.live.as_ref().map(|live| live.ends().next);
        let next = live.unwrap_or(self.position);
        if next < self.wanted {
            return Err(LogError::Ahead {
                asked: self.wanted,
                next,
            });
        }
        Ok(None)
    }

    /// Opens the segment at whose beginning the reader stands.
    fn enter(&mut self) -> Result<(), LogError> {
        let first = self.position;
        let path = segment_path(&self.folder, first);
        match open(&path, first) {
            Ok((file, _)) => {
                self.unreadable = None;
                self.segment = Some(Open {
                    path,
                    file,
                    first,
                    offset: HEADER_BYTES as u64,
                    buffer: Vec::new(),
                    used: 0,
                });
                Ok(())
            }
            Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(self.gone())
            }
            Err(error) => {
                self.unreadable = Some(first);
                Err(error)
            }
        }
    }

    /// The error of a position that was deleted while it was waited for.
    fn gone(&self) -> LogError {
        let asked = self.position();
        match positions(&self.folder) {
            Ok(segments) => LogError::ReadFrom {
                asked,
                first: segments.first().copied().unwrap_or(asked),
            },
            Err(error) => error,
        }
    }

    /// The segment has been read to its end: goes to the next one, or says that there is none.
    fn next_segment(&mut self) -> Result<bool, LogError> {
        let Some(segment) = &self.segment else {
            return Ok(false);
        };
        let Some(next) = self.segment_behind(segment.first)? else {
            return Ok(false);
        };
        let path = segment_path(&self.folder, next);
        let header = match open(&path, next) {
            Ok((_, header)) => header,
            // It was deleted just now: there is another one behind it.
            Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(true);
            }
            Err(error) => {
                self.unreadable = Some(next);
                return Err(error);
            }
        };
        if header.after == self.position {
            self.leave_for(next);
            return Ok(true);
        }
        // The writer may have appended between our reading the end and its beginning a new segment.
        if !self.reread {
            self.reread = true;
            return Ok(true);
        }
        if !segment.path.exists() {
            return Err(self.gone());
        }
        let reason = format!(
            "it ends before record {}, the next segment begins behind record {}",
            self.position, header.after
        );
        Err(segment.corrupt(reason))
    }

    fn segment_behind(&self, first: u64) -> Result<Option<u64>, LogError> {
        let segments = positions(&self.folder)?;
        let behind = segments.partition_point(|other| *other <= first);
        Ok(segments.get(behind).copied())
    }

    fn leave_for(&mut self, first: u64) {
        self.segment = None;
        self.unreadable = None;
        self.reread = false;
        self.position = first;
    }

    /// Whether what is broken may be the end of the log, of which nobody has said that it is complete.
    fn may_be_torn(&self) -> Result<bool, LogError> {
        let (None, Some(segment)) = (&self.live, &self.segment) else {
            return Ok(false);
        };
        Ok(self.segment_behind(segment.first)?.is_none())
    }
}

/// What is at the offset of a segment.
enum Found {
    Record { time_ms: i64, bytes: Vec<u8> },
    End,
    Broken { reason: String },
}

impl Open {
    fn next(&mut self, position: u64) -> Result<Found, LogError> {
        // What is in the buffer may be a part of a record that was being written, or was cut off again.
        let mut fresh = self.used == self.buffer.len();
        let mut needs = 0;
        loop {
            let enough = self.fill(needs)?;
            match step(self.buffer.get(self.used..).unwrap_or_default(), position) {
                Step::Record {
                    time_ms,
                    payload,
                    size,
                } => {
                    let bytes = payload.to_vec();
                    self.used += size;
                    self.offset += size as u64;
                    return Ok(Found::Record { time_ms, bytes });
                }
                Step::Incomplete { needs: more } if enough => needs = more,
                _ if !fresh => {
                    fresh = true;
                    needs = 0;
                    self.go_to(self.offset);
                }
                Step::Incomplete { .. } => {
                    self.go_to(self.offset);
                    return Ok(Found::End);
                }
                Step::Broken { reason, .. } => {
                    self.go_to(self.offset);
                    return Ok(Found::Broken { reason });
                }
            }
        }
    }

    /// Reads on where the buffer has less than `needs` bytes; says whether it has as many then.
    fn fill(&mut self, needs: usize) -> Result<bool, LogError> {
        let has = self.buffer.len() - self.used;
        if has > 0 && has >= needs {
            return Ok(true);
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        let want = needs.max(CHUNK) - has;
        let read = self
            .file
            .seek(SeekFrom::Start(self.offset + has as u64))
            .and_then(|_| {
                (&mut self.file)
                    .take(want as u64)
                    .read_to_end(&mut self.buffer)
            });
        read.map_err(LogError::io(&self.path, "read"))?;
        Ok(self.buffer.len() >= needs)
    }

    /// All bytes from the offset on.
    fn rest(&mut self) -> Result<Vec<u8>, LogError> {
        let mut rest = Vec::new();
        let read = self
            .file
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| self.file.read_to_end(&mut rest));
        read.map_err(LogError::io(&self.path, "read"))?;
        Ok(rest)
    }

    /// Goes on at an offset, with bytes that are read again.
    fn go_to(&mut self, offset: u64) {
        self.offset = offset;
        self.buffer.clear();
        self.used = 0;
    }

    fn corrupt(&self, reason: String) -> LogError {
        LogError::Corrupt {
            path: self.path.clone(),
            offset: self.offset,
            reason,
        }
    }
}

fn length(path: &Path) -> Result<u64, LogError> {
    let metadata = fs::metadata(path).map_err(LogError::io(path, "read"))?;
    Ok(metadata.len())
}
