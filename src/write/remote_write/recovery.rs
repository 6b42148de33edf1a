//! What the journal says at a restart: what the receiver has, and what it may have.
//!
//! The newest journaled sample of a series decides. If its request was acknowledged, the receiver has
//! everything up to it. If not, the request is in doubt: it is sent again, unchanged. Older samples
//! of the series are never in doubt, because a shard notes a request only after the one before is
//! done. So it does not matter in which order the files are read, and a request that an earlier
//! restart has sent again is in doubt only if that was not acknowledged either.

use std::path::Path;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::model::Sample;
use crate::write::WriteError;
use crate::write::already_sent::Marks;

use super::journal::{failed, find};
use super::journal_file::{self, Record};

/// What is known of the time before the start.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// The newest journaled sample of each series.
    pub(super) marks: Marks,
    /// Requests that the receiver may or may not have.
    pub(super) in_doubt: Vec<Vec<Sample>>,
    /// Above all numbers of requests.
    pub(super) next: u64,
}

/// The requests of one shard.
#[derive(Debug, Default)]
struct Requests {
    open: HashMap<u64, Vec<Sample>, FixedState>,
    done: HashSet<u64, FixedState>,
}

/// Reads what was journaled since a checkpoint began.
///
/// # Errors
/// A file cannot be read, or is of another version.
pub(super) fn recover(folder: &Path, since: u64) -> Result<Recovered, WriteError> {
    let mut recovered = Recovered::default();
    let mut acknowledged = Marks::default();
    let mut open: Vec<(u64, Vec<Sample>)> = Vec::new();
    for files in find(folder)? {
        let mut requests = Requests::default();
        for found in files {
            let counts = found.checkpoint >= since;
            let extent = journal_file::read(&found.path, |record| {
                let (Record::Request { number, .. } | Record::Acknowledgement { number }) = record;
                recovered.next = recovered.next.max(number.saturating_add(1));
                if counts {
                    requests.add(record, &mut recovered.marks, &mut acknowledged);
                }
            });
            let extent = extent.map_err(failed(&found.path))?;
            if extent.records < extent.file {
                let path = found.path.display();
                let (end, bytes) = (extent.records, extent.file - extent.records);
                tracing::warn!(%path, end, bytes, "the end of a journal was cut off");
            }
        }
        open.extend(requests.open);
    }
    recovered.in_doubt = in_doubt(open, &recovered.marks, &acknowledged);
    Ok(recovered)
}

impl Requests {
    fn add(&mut self, record: Record, marks: &mut Marks, acknowledged: &mut Marks) {
        match record {
            Record::Request { number, samples } => {
                for sample in &samples {
                    marks.lift(&sample.series, sample.timestamp_ms);
                }
                if !self.done.contains(&number) {
                    self.open.insert(number, samples);
                    return;
                }
                for sample in &samples {
                    acknowledged.lift(&sample.series, sample.timestamp_ms);
                }
            }
            Record::Acknowledgement { number } => {
                self.done.insert(number);
                for sample in self.open.remove(&number).into_iter().flatten() {
                    acknowledged.lift(&sample.series, sample.timestamp_ms);
                }
            }
        }
    }
}

/// The open requests, without the samples that later ones have settled.
fn in_doubt(
    mut open: Vec<(u64, Vec<Sample>)>,
    marks: &Marks,
    acknowledged: &Marks,
) -> Vec<Vec<Sample>> {
    // The last repetition of a request stands for all of them.
    open.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut taken = Marks::default();
    let mut requests = Vec::new();
    for (_, mut samples) in open {
        let mut newest = Marks::default();
        for sample in &samples {
            newest.lift(&sample.series, sample.timestamp_ms);
        }
        samples.retain(
            |Sample {
                 series,
                 timestamp_ms,
                 ..
             }| {
                let settled = acknowledged.get(series);
                newest.get(series) == marks.get(series)
                    && settled.is_none_or(|settled| *timestamp_ms > settled)
                    && taken.get(series).is_none()
            },
        );
        for sample in &samples {
            taken.lift(&sample.series, sample.timestamp_ms);
        }
        if !samples.is_empty() {
            requests.push(samples);
        }
    }
    requests.reverse();
    requests
}
