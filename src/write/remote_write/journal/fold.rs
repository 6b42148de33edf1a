//! Folds closed files of the journal into the marks.
//!
//! Of what was sent and acknowledged, a restart needs no more than the newest timestamp of each series,
//! so that is all that is kept of old files, beside the few requests that are not settled. Folding the
//! same file twice changes nothing: the new marks are in their place before the first file goes, and a
//! crash at any moment leaves the one, the other, or both.

use std::fs;
use std::io::{self, Read};
use std::iter::Peekable;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::durable::write_atomically_with;
use crate::model::{Series, TimestampMs};
use crate::write::WriteError;
use crate::write::already_sent::Marks;

use super::file;
use super::folder::{Found, failed, marks_path};
use super::marks_file::{Block, Mark, MarksError, MarksReader, MarksWriter, OpenRequest};
use super::recovery::{Requests, unsettled, warn_of_damage};

/// Folds these files, by shard and in their order, and removes them. Marks before `oldest` (ms since the
/// epoch) are dropped. Once `is_stopped` is set it fails, and nothing has changed.
///
/// # Errors
/// A file cannot be read or written.
pub(in crate::write::remote_write) fn fold(
    folder: &Path,
    closed: &[Vec<Found>],
    oldest: TimestampMs,
    is_stopped: &AtomicBool,
) -> Result<(), WriteError> {
    let gathered = gather(closed, is_stopped)?;
    let path = marks_path(folder);
    let old = match MarksReader::open(&path) {
        Ok(old) => old,
        Err(MarksError::Io(error)) => return Err(failed(&path)(error)),
        Err(error @ MarksError::Damaged { .. }) => {
            warn_of_damage(&path, &error);
            None
        }
    };
    let written = write_atomically_with(&path, |out| {
        let writer = MarksWriter::new(out)?;
        merge(gathered, old, &path, oldest, is_stopped, writer)
    });
    written.map_err(failed(&path))?;
    // The older before the newer, which may have settled what stands there.
    for found in closed.iter().flatten() {
        fs::remove_file(&found.path).map_err(failed(&found.path))?;
    }
    Ok(())
}

/// What closed files say.
#[derive(Debug, Default)]
struct Gathered {
    /// Ascending by hash.
    marks: Vec<Mark>,
    open: Vec<OpenRequest>,
    next: u64,
}

impl Gathered {
    /// The mark of a series.
    fn settled(&self, series: &Series) -> Option<TimestampMs> {
        let hash = series.wide_hash();
        let place = self.marks.binary_search_by_key(&hash, |(hash, _)| *hash);
        self.marks.get(place.ok()?).map(|(_, time)| *time)
    }
}

fn gather(closed: &[Vec<Found>], is_stopped: &AtomicBool) -> Result<Gathered, WriteError> {
    let mut gathered = Gathered::default();
    let mut marks: HashMap<u128, TimestampMs, FixedState> = HashMap::default();
    for files in closed {
        let mut requests = Requests::default();
        for found in files {
            let read = file::read(&found.path, |record| {
                gathered.next = gathered.next.max(record.number().saturating_add(1));
                requests.add(found.checkpoint, record, |sample| {
                    let time = sample.timestamp_ms;
                    let mark = marks.entry(sample.series.wide_hash()).or_insert(time);
                    *mark = time.max(*mark);
                });
            });
            // What was cut off is cut off when the file is next opened, or was not acted upon.
            read.and_then(|_| check_stopped(is_stopped))
                .map_err(failed(&found.path))?;
        }
        gathered.open.extend(requests.into_open());
    }
    gathered.marks = marks.into_iter().collect();
    gathered.marks.sort_unstable();
    Ok(gathered)
}

/// Writes what was gathered together with the marks that there are.
fn merge<R: Read>(
    gathered: Gathered,
    old: Option<MarksReader<R>>,
    path: &Path,
    oldest: TimestampMs,
    is_stopped: &AtomicBool,
    mut writer: MarksWriter<'_>,
) -> io::Result<()> {
    let (mut open, mut next) = (gathered.open.clone(), gathered.next);
    let mut new = gathered.marks.iter().copied().peekable();
    let mut write = |(hash, time): Mark| match time >= oldest {
        true => writer.mark((hash, time)),
        false => Ok(()),
    };
    let mut old = old;
    while let Some(block) = next_block(&mut old, path)? {
        check_stopped(is_stopped)?;
        match block {
            Block::Marks(marks) => {
                for mark in marks {
                    merge_mark(mark, &mut new, &mut write)?;
                }
            }
            Block::Open(request) => open.push(request),
            Block::End { next: known } => next = next.max(known),
        }
    }
    for mark in new {
        write(mark)?;
    }
    let mut journaled = Marks::default();
    for sample in open.iter().flat_map(|request| &request.samples) {
        journaled.lift(&sample.series, sample.timestamp_ms);
    }
    let settled = |series: &std::sync::Arc<Series>| gathered.settled(series);
    let mut open = unsettled(
        open,
        |series| journaled.get(series).max(settled(series)),
        settled,
    );
    // With the marks that settle them: what is before `oldest` was acknowledged.
    for request in &mut open {
        let samples = &mut request.samples;
        samples.retain(|sample| sample.timestamp_ms >= oldest);
    }
    open.retain(|request| !request.samples.is_empty());
    writer.finish(&open, next)
}

/// Writes the new marks up to an old one, and this with the higher time.
fn merge_mark(
    (hash, mut time): Mark,
    new: &mut Peekable<impl Iterator<Item = Mark>>,
    write: &mut impl FnMut(Mark) -> io::Result<()>,
) -> io::Result<()> {
    while let Some(mark) = new.next_if(|(next, _)| *next <= hash) {
        match mark.0 == hash {
            true => time = time.max(mark.1),
            false => write(mark)?,
        }
    }
    write((hash, time))
}

/// The next block of the old marks; none from where they are damaged.
fn next_block<R: Read>(old: &mut Option<MarksReader<R>>, path: &Path) -> io::Result<Option<Block>> {
    let Some(reader) = old else {
        return Ok(None);
    };
    match reader.next() {
        Ok(block) => Ok(block),
        Err(MarksError::Io(error)) => Err(error),
        Err(error @ MarksError::Damaged { .. }) => {
            warn_of_damage(path, &error);
            *old = None;
            Ok(None)
        }
    }
}

fn check_stopped(is_stopped: &AtomicBool) -> io::Result<()> {
    match is_stopped.load(Ordering::Acquire) {
        true => Err(io::Error::other("the writer ends")),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
