//! What the journal says at a restart: what the receiver has, and what it may have.
//!
//! The newest journaled sample of a series decides. If its request was acknowledged, the receiver has
//! everything up to it. If not, the request is in doubt: it is sent again, unchanged. Older samples
//! of the series are never in doubt, because a request is noted only after the one before it of the same
//! series is done, whichever shard sends them; and it never stands in the file of an earlier checkpoint than
//! that one. So it does not matter in which order the files are read, and a request that an earlier
//! restart has sent again is in doubt only if that was not acknowledged either.
//!
//! What was [folded](super::fold) says the same of older files: the marks hold whatever is restored, a
//! request counts as its file would.

use std::path::Path;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::model::{Sample, Series, TimestampMs};
use crate::write::WriteError;
use crate::write::already_sent::Marks;
use crate::write::compact_marks::CompactMarks;

use super::file::{self, Record};
use super::folder::{failed, find, marks_path};
use super::marks_file::{Block, MarksError, MarksReader, OpenRequest};

/// What is known of the time before the start.
#[derive(Debug, Default)]
pub(in crate::write::remote_write) struct Recovered {
    /// The newest journaled sample of each series.
    pub(in crate::write::remote_write) marks: Marks,
    /// Requests that the receiver may or may not have.
    pub(in crate::write::remote_write) in_doubt: Vec<Vec<Sample>>,
    /// Above all numbers of requests.
    pub(in crate::write::remote_write) next: u64,
}

/// Reads what was journaled since a checkpoint began, and what was folded, as far as it is of `after`
/// (ms since the epoch) or later: everything before was acknowledged at the checkpoint.
///
/// # Errors
/// A file cannot be read, or is of another version. Of damaged marks those are taken that are good.
pub(in crate::write::remote_write) fn recover(
    folder: &Path,
    since: u64,
    after: TimestampMs,
) -> Result<Recovered, WriteError> {
    let Folded {
        marks,
        mut open,
        mut next,
    } = read_folded(&marks_path(folder), after)?;
    open.retain(|request| request.checkpoint >= since);
    let marks = Arc::new(marks);
    let mut acknowledged = Marks::over(Arc::clone(&marks));
    let mut marks = Marks::over(marks);
    let lift = |marks: &mut Marks, sample: &Sample| {
        if sample.timestamp_ms >= after {
            marks.lift(&sample.series, sample.timestamp_ms);
        }
    };
    for sample in open.iter().flat_map(|request| &request.samples) {
        lift(&mut marks, sample);
    }
    for files in find(folder)? {
        let mut requests = Requests::default();
        for found in files {
            let extent = if found.checkpoint < since {
                file::read_numbers(&found.path, |number| {
                    next = next.max(number.saturating_add(1));
                })
            } else {
                file::read(&found.path, |record| {
                    next = next.max(record.number().saturating_add(1));
                    if let Record::Request { samples, .. } = &record {
                        samples.iter().for_each(|sample| lift(&mut marks, sample));
                    }
                    requests.add(found.checkpoint, record, |sample| {
                        lift(&mut acknowledged, sample);
                    });
                })
            };
            let extent = extent.map_err(failed(&found.path))?;
            if extent.records < extent.file {
                let path = found.path.display();
                let (end, bytes) = (extent.records, extent.file - extent.records);
                tracing::warn!(%path, end, bytes, "the end of a journal was cut off");
            }
        }
        open.extend(requests.into_open());
    }
    let mut in_doubt = unsettled(
        open,
        |series| marks.get(series),
        |series| acknowledged.get(series),
    );
    for request in &mut in_doubt {
        let samples = &mut request.samples;
        samples.retain(|sample| sample.timestamp_ms >= after);
    }
    in_doubt.retain(|request| !request.samples.is_empty());
    Ok(Recovered {
        marks,
        in_doubt: in_doubt
            .into_iter()
            .map(|request| request.samples)
            .collect(),
        next,
    })
}

/// What was folded.
#[derive(Debug, Default)]
struct Folded {
    marks: CompactMarks,
    open: Vec<OpenRequest>,
    next: u64,
}

/// Reads what was folded, marks only from `after` on.
fn read_folded(path: &Path, after: TimestampMs) -> Result<Folded, WriteError> {
    let mut folded = Folded::default();
    let mut read = || -> Result<(), MarksError> {
        let Some(mut reader) = MarksReader::open(path)? else {
            return Ok(());
        };
        while let Some(block) = reader.next()? {
            match block {
                Block::Marks(marks) => {
                    let needed = marks.into_iter().filter(|(_, time)| *time >= after);
                    needed.for_each(|(hash, time)| folded.marks.push(hash, time));
                }
                Block::Open(request) => {
                    folded.next = folded.next.max(request.number.saturating_add(1));
                    folded.open.push(request);
                }
                Block::End { next } => folded.next = folded.next.max(next),
            }
        }
        Ok(())
    };
    match read() {
        Ok(()) => {}
        Err(MarksError::Io(error)) => return Err(failed(path)(error)),
        Err(error @ MarksError::Damaged { .. }) => warn_of_damage(path, &error),
    }
    Ok(folded)
}

/// Says what it means that marks are damaged. Nothing better can be done than to go on: they cannot be
/// had from anywhere else, and without them the receiver refuses some samples at worst.
pub(in crate::write::remote_write) fn warn_of_damage(path: &Path, error: &MarksError) {
    let path = path.display();
    tracing::warn!(
        %path, %error,
        "marks of what was sent are lost; after going back to an old savepoint, samples may be sent \
         again, and the receiver refuses those that are older than its newest"
    );
}

/// The requests of one shard.
#[derive(Debug, Default)]
pub(in crate::write::remote_write) struct Requests {
    open: HashMap<u64, OpenRequest, FixedState>,
    done: HashSet<u64, FixedState>,
}

impl Requests {
    /// Takes a record from the file of a checkpoint; older files come first. Tells each sample that is
    /// known to be acknowledged.
    pub(in crate::write::remote_write) fn add(
        &mut self,
        checkpoint: u64,
        record: Record,
        acknowledged: impl FnMut(&Sample),
    ) {
        match record {
            Record::Request { number, samples } => {
                if self.done.contains(&number) {
                    samples.iter().for_each(acknowledged);
                    return;
                }
                let request = OpenRequest {
                    checkpoint,
                    number,
                    samples,
                };
                self.open.insert(number, request);
            }
            Record::Acknowledgement { number } => {
                self.done.insert(number);
                if let Some(request) = self.open.remove(&number) {
                    request.samples.iter().for_each(acknowledged);
                }
            }
        }
    }

    /// Those without an acknowledgement.
    pub(in crate::write::remote_write) fn into_open(self) -> impl Iterator<Item = OpenRequest> {
        self.open.into_values()
    }
}

/// The open requests, without the samples that later ones have settled, in their order. `newest` is the
/// newest journaled sample of a series, `settled` the newest acknowledged one.
pub(in crate::write::remote_write) fn unsettled(
    mut open: Vec<OpenRequest>,
    newest: impl Fn(&Arc<Series>) -> Option<TimestampMs>,
    settled: impl Fn(&Arc<Series>) -> Option<TimestampMs>,
) -> Vec<OpenRequest> {
    // The last repetition of a request stands for all of them.
    open.sort_by_key(|request| std::cmp::Reverse((request.number, request.checkpoint)));
    let mut taken = Marks::default();
    let mut requests = Vec::new();
    for mut request in open {
        let mut own = Marks::default();
        for sample in &request.samples {
            own.lift(&sample.series, sample.timestamp_ms);
        }
        request.samples.retain(
            |Sample {
                 series,
                 timestamp_ms,
                 ..
             }| {
                own.get(series) == newest(series)
                    && settled(series).is_none_or(|settled| *timestamp_ms > settled)
                    && taken.get(series).is_none()
            },
        );
        for sample in &request.samples {
            taken.lift(&sample.series, sample.timestamp_ms);
        }
        if !request.samples.is_empty() {
            requests.push(request);
        }
    }
    requests.reverse();
    requests
}
