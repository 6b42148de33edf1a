//! The writer of a log.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::active::Active;
use super::error::LogError;
use super::files::create_folder;
use super::folder::{
    Segment, create_segment, delete, look_at, open_last, positions, remove_unfinished, segment_path,
};
use super::live::{Ends, Live};
use super::lock::FolderLock;
use super::owner;
use super::reader::LogReader;
use super::segment::{HEADER_BYTES, Header, MAX_RECORD_BYTES, RECORD_HEADER_BYTES, write_record};

/// How large a buffer is kept for the next record.
const KEPT_BYTES: usize = 1 << 20;
/// How much of many records is written at once.
const WRITE_BYTES: usize = 256 << 10;
/// A log with a limit has at least as many segments when it is full, so that making room for a record
/// does not cost most of the log.
const SEGMENTS_AT_LEAST: u64 = 8;

/// How a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// How large a segment grows. One of a log with `max_bytes` takes an eighth of that at most.
    pub segment_bytes: u64,
    /// When [`Log::sync`] is due, and what it does.
    pub fsync: Fsync,
    /// How large all segments together may become before [`Log::is_full`].
    pub max_bytes: Option<u64>,
    /// From which age on [`Log::expire`] deletes records.
    pub max_age: Option<Duration>,
}

impl Default for LogConfig {
    /// Segments of 16 MiB, synced whenever there is something to sync, without limits.
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            fsync: Fsync::Always,
            max_bytes: None,
            max_age: None,
        }
    }
}

/// When records are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// As soon as there are any.
    Always,
    /// At most so often.
    Every(Duration),
    /// When the system likes to: what was appended survives the end of the process, not that of the
    /// machine. [`Log::sync`] takes everything for durable then. Segments that are complete are
    /// synced nevertheless.
    Never,
}

/// What [`Log::open`] has found to be wrong with the end of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How many records seem to have begun in what was cut off.
    pub records: u64,
    /// How many bytes were cut off behind the last intact record.
    pub bytes: u64,
    /// How many records of the last segment are damaged and were kept, because there are intact ones
    /// behind them.
    pub damaged: u64,
}

/// What was deleted to make room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many records, whether they had been read or not.
    pub records: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// The writer of an append-only log: a folder of segments, each named by the position of its first
/// record. It has its folder for itself (`LOCK`). Dropping it syncs nothing.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    config: LogConfig,
    /// The last one is the one that grows; there always is one.
    segments: VecDeque<Segment>,
    active: Active,
    /// The position of the next record.
    next: u64,
    /// The position behind the last durable record.
    durable: u64,
    last_sync: Instant,
    live: Arc<Live>,
    scratch: Vec<u8>,
    /// How often records were cut off again.
    cuts: u64,
    _lock: FolderLock,
}

impl Log {
    /// Opens the log in a folder, or begins one. What is torn behind the last intact record is cut
    /// off; all that is left is synced.
    ///
    /// # Errors
    /// Another process writes the log, its last segment does not begin as one, a segment is of a newer
    /// version, or the system refuses.
    pub fn open(folder: &Path, config: LogConfig) -> Result<(Self, Recovered), LogError> {
        create_folder(folder).map_err(LogError::io(folder, "create the folder"))?;
        let lock = FolderLock::acquire(folder)?;
        remove_unfinished(folder)?;
        let mut names = positions(folder)?;
        if names.is_empty() {
            let header = Header {
                first: 0,
                after: 0,
                newest_ms: i64::MIN,
            };
            create_segment(folder, header)?;
            names.push(0);
        }
        // From the last to the first: how a segment ends is written in the next one's header.
        let mut names = names.into_iter().rev();
        let last = names.next().unwrap_or_default();
        let (last, mut header, recovered) = open_last(folder, last)?;
        let mut segments = VecDeque::from([last]);
        for first in names {
            let (segment, its_header) = look_at(folder, first, header)?;
            segments.push_front(segment);
            header = its_header;
        }
        let ends = Ends {
            next: last.end,
            durable: last.end,
            cuts: 0,
        };
        let log = Self {
            folder: folder.to_owned(),
            config,
            active: Active::open(segment_path(folder, last.first), last.bytes, last.end)?,
            segments,
            next: last.end,
            durable: last.end,
            last_sync: Instant::now(),
            live: Arc::new(Live::new(ends)),
            scratch: Vec::new(),
            cuts: 0,
            _lock: lock,
        };
        Ok((log, recovered))
    }

    /// Says who writes and reads these records, now and later: positions are kept by that name, and another
    /// one would begin with records that were read before. Without records, anybody may have the log.
    ///
    /// # Errors
    /// [`LogError::OfAnother`], or the system refuses.
    pub fn claim(&self, owner: &str) -> Result<(), LogError> {
        owner::claim(&self.folder, owner, self.records() > 0)
    }

    /// Appends a record and gives its position. It survives the end of the process from now on, and
    /// that of the machine from the next [`sync`](Self::sync) on.
    ///
    /// # Errors
    /// The record is too large, or the system refuses, such as for want of space. The log is as before
    /// then and can be used on.
    pub fn append(&mut self, time_ms: i64, record: &[u8]) -> Result<u64, LogError> {
        if record.len() > MAX_RECORD_BYTES {
            return Err(LogError::TooLarge {
                bytes: record.len(),
            });
        }
        self.make_room((RECORD_HEADER_BYTES + record.len()) as u64)?;
        let position = self.next;
        self.scratch.clear();
        write_record(position, time_ms, record, &mut self.scratch);
        self.active.append(&self.scratch)?;
        self.appended(1, time_ms);
        Ok(position)
    }

    /// Appends `count` records that belong together, all of them or none: where one cannot be written,
    /// those before it are cut off again. They are in one segment, however large it becomes. `encode` writes
    /// record `index` over what is in its buffer, and all together have about `bytes` bytes. Only the end of
    /// the process can leave a part of them.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn append_all(
        &mut self,
        time_ms: i64,
        count: usize,
        bytes: usize,
        encode: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<(), LogError> {
        self.make_room((bytes + count * RECORD_HEADER_BYTES) as u64)?;
        let begin = self.active.bytes();
        if let Err(error) = self.write_all(time_ms, count, encode) {
            self.active.cut(begin);
            self.cuts += 1;
            self.tell();
            return Err(error);
        }
        self.appended(count as u64, time_ms);
        Ok(())
    }

    fn write_all(
        &mut self,
        time_ms: i64,
        count: usize,
        mut encode: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<(), LogError> {
        let mut record = Vec::new();
        self.scratch.clear();
        for (index, position) in (0..count).zip(self.next..) {
            encode(index, &mut record);
            if record.len() > MAX_RECORD_BYTES {
                return Err(LogError::TooLarge {
                    bytes: record.len(),
                });
            }
            write_record(position, time_ms, &record, &mut self.scratch);
            if self.scratch.len() >= WRITE_BYTES {
                self.active.append(&self.scratch)?;
                self.scratch.clear();
            }
        }
        self.active.append(&self.scratch)
    }

    /// Begins another segment where this one would become too large by so many bytes.
    fn make_room(&mut self, bytes: u64) -> Result<(), LogError> {
        if self.has_records() && self.active.bytes() + bytes > self.segment_bytes() {
            self.roll(self.next)?;
        }
        Ok(())
    }

    /// Says that so many records are written.
    fn appended(&mut self, count: u64, time_ms: i64) {
        self.next += count;
        if let Some(segment) = self.segments.back_mut().filter(|_| count > 0) {
            segment.end = self.next;
            segment.bytes = self.active.bytes();
            segment.oldest_ms = segment.oldest_ms.or(Some(time_ms));
            segment.newest_ms = segment.newest_ms.max(time_ms);
        }
        if self.scratch.capacity() > KEPT_BYTES {
            self.scratch = Vec::new();
        }
        self.tell();
    }

    /// Makes all records durable and gives the first position that is not yet: the next one.
    ///
    /// # Errors
    /// The system refuses. Nothing more is durable then; it can be tried again.
    pub fn sync(&mut self) -> Result<u64, LogError> {
        // Before, so that one that fails is not due again at once.
        self.last_sync = Instant::now();
        if self.durable < self.next {
            if self.config.fsync != Fsync::Never {
                self.active.sync(self.next)?;
            }
            self.durable = self.next;
            self.tell();
        }
        Ok(self.durable)
    }

    /// Whether there are records to make durable and it is time to.
    pub fn sync_due(&self, now: Instant) -> bool {
        self.sync_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// When [`sync`](Self::sync) is due; `None` where everything is durable.
    pub fn sync_deadline(&self) -> Option<Instant> {
        let wait = match self.config.fsync {
            Fsync::Every(interval) => interval,
            Fsync::Always | Fsync::Never => Duration::ZERO,
        };
        let pending = self.durable < self.next;
        pending.then(|| self.last_sync.checked_add(wait).unwrap_or(self.last_sync))
    }

    /// The position that the next record gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The position of the first record that there is; [`next`](Self::next) where there is none.
    pub fn first(&self) -> u64 {
        self.segments
            .iter()
            .find(|segment| segment.first < segment.end)
            .map_or(self.next, |segment| segment.first)
    }

    /// The first position that is not durable yet.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        let records = self.segments.iter().map(Segment::records);
        records.sum()
    }

    /// How many bytes all segments take.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The time of the first record, in ms, where there is one and it can be read.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.segments.iter().find_map(|segment| segment.oldest_ms)
    }

    /// Whether it takes `max_bytes` or more. Records can still be appended: whether to refuse them or to
    /// [`drop_oldest`](Self::drop_oldest) is for the user to decide.
    pub fn is_full(&self) -> bool {
        self.config.max_bytes.is_some_and(|max| self.bytes() >= max)
    }

    /// Deletes the oldest segment that has records. A reader that has not read them is told so
    /// ([`LogError::ReadFrom`]), unless it is reading that segment just now.
    ///
    /// # Errors
    /// The system refuses.
    pub fn drop_oldest(&mut self) -> Result<Dropped, LogError> {
        let mut records = 0;
        self.drop_while(|segment| {
            let more = records == 0 && segment.records() > 0;
            records += segment.records();
            more || segment.records() == 0
        })
    }

    /// Deletes the segments all of whose records are older than `max_age`, by their times.
    ///
    /// # Errors
    /// The system refuses.
    pub fn expire(&mut self, now_ms: i64) -> Result<Dropped, LogError> {
        let Some(age) = self.config.max_age else {
            return Ok(Dropped::default());
        };
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let oldest = now_ms.saturating_sub(age);
        self.drop_while(|segment| segment.newest_ms < oldest)
    }

    /// Deletes the segments all of whose records are before a position.
    ///
    /// # Errors
    /// The system refuses.
    pub fn trim(&mut self, before: u64) -> Result<Dropped, LogError> {
        self.drop_while(|segment| segment.end <= before)
    }

    /// Leaves out the positions before `position`, so that none is given again that somebody remembers
    /// of records which did not survive. Does nothing where the log is that far.
    ///
    /// # Errors
    /// The system refuses.
    pub fn skip_to(&mut self, position: u64) -> Result<(), LogError> {
        if position > self.next {
            self.roll(position)?;
        }
        Ok(())
    }

    /// Reads from a position on, and can wait for more.
    ///
    /// # Errors
    /// [`LogError::ReadFrom`] where the position is deleted, [`LogError::Ahead`] where it is behind
    /// [`next`](Self::next), or the system refuses.
    pub fn reader(&self, from: u64) -> Result<LogReader, LogError> {
        if from > self.next {
            return Err(LogError::Ahead {
                asked: from,
                next: self.next,
            });
        }
        LogReader::of(&self.folder, from, Some(Arc::clone(&self.live)))
    }

    /// Deletes segments from the oldest on. Where that would be all of them, an empty one is begun,
    /// which remembers the next position.
    fn drop_while(
        &mut self,
        mut condition: impl FnMut(&Segment) -> bool,
    ) -> Result<Dropped, LogError> {
        let mut dropped = Dropped::default();
        while let Some(oldest) = self.segments.front().copied() {
            let only = self.segments.len() == 1;
            if (only && !self.has_records()) || !condition(&oldest) {
                break;
            }
            if only {
                self.roll(self.next)?;
            }
            delete(&segment_path(&self.folder, oldest.first))?;
            self.segments.pop_front();
            dropped.records += oldest.records();
            dropped.bytes += oldest.bytes;
        }
        Ok(dropped)
    }

    /// Completes the segment that grows and begins one whose first record is `first`. The complete one
    /// is durable before, so that only the last segment can ever be torn.
    fn roll(&mut self, first: u64) -> Result<(), LogError> {
        self.active.mend()?;
        self.active.sync(self.next)?;
        self.last_sync = Instant::now();
        let newest_ms = self.segments.back().map_or(i64::MIN, |last| last.newest_ms);
        let header = Header {
            first,
            after: self.next,
            newest_ms,
        };
        let begun = create_segment(&self.folder, header)
            .and_then(|path| Active::open(path, HEADER_BYTES as u64, first));
        self.active = begun.inspect_err(|_| {
            // The segment before goes on growing, so there must not be one behind it.
            drop(fs::remove_file(segment_path(&self.folder, first)));
        })?;
        self.segments.push_back(Segment {
            first,
            end: first,
            bytes: HEADER_BYTES as u64,
            oldest_ms: None,
            newest_ms,
        });
        self.next = first;
        self.durable = first;
        self.tell();
        Ok(())
    }

    fn has_records(&self) -> bool {
        self.segments.back().is_some_and(|last| last.records() > 0)
    }

    fn segment_bytes(&self) -> u64 {
        let limit = self.config.max_bytes.map(|max| max / SEGMENTS_AT_LEAST);
        self.config.segment_bytes.min(limit.unwrap_or(u64::MAX))
    }

    /// How many readers wait just now.
    #[cfg(test)]
    pub(super) fn waiting_readers(&self) -> usize {
        self.live.waiting()
    }

    fn tell(&self) {
        self.live.set(Ends {
            next: self.next,
            durable: self.durable,
            cuts: self.cuts,
        });
    }
}
