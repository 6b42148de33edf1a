//! What a shard sends, on the local disk before it goes out.
//!
//! A file for each checkpoint holds what was sent since that checkpoint began; so a restore from it
//! knows what the receiver has, and which request it may or may not have.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::Registry;
use crate::write::WriteError;

use super::journal_file::{self, JournalFile};

/// The metrics of all journals together.
#[derive(Debug, Clone)]
pub(super) struct JournalMetrics {
    bytes: IntCounter,
    failures: IntCounter,
    pub(super) in_doubt: IntGauge,
}

impl JournalMetrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            bytes: registry.counter("weir_journal_bytes_total", "Bytes written to the journal"),
            failures: registry.counter(
                "weir_journal_failures_total",
                "How often the journal could not be written",
            ),
            in_doubt: registry.int_gauge(
                "weir_journal_samples_in_doubt",
                "Samples that were sent again at the start, because the receiver may not have them",
            ),
        }
    }
}

/// The journals of all shards.
#[derive(Debug)]
pub(super) struct Journals {
    folder: PathBuf,
    shards: Vec<Arc<Journal>>,
    /// Above the checkpoints of all files that there were at the start.
    next_checkpoint: u64,
    metrics: JournalMetrics,
}

/// The journal of one shard.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    sync: bool,
    metrics: JournalMetrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    checkpoint: u64,
    file: JournalFile,
    /// The number of the next request.
    next: u64,
    /// The record of the request in flight.
    in_flight: Option<Vec<u8>>,
}

impl Journals {
    /// Journals of so many shards that go on after a checkpoint. `next` is above all request numbers
    /// that there are.
    ///
    /// # Errors
    /// A folder or file cannot be made.
    pub(super) fn open(
        folder: &Path,
        shards: usize,
        sync: bool,
        checkpoint: u64,
        next: u64,
        metrics: JournalMetrics,
    ) -> Result<Self, WriteError> {
        let files = find(folder)?.into_iter().flatten();
        let newest = files.map(|found| found.checkpoint).max();
        let open = |shard: usize| {
            let folder = folder.join(format!("shard-{shard}"));
            let file = Journal::file(&folder, checkpoint, sync).map_err(failed(&folder))?;
            Ok(Arc::new(Journal {
                folder,
                sync,
                metrics: metrics.clone(),
                state: Mutex::new(State {
                    checkpoint,
                    file,
                    next,
                    in_flight: None,
                }),
            }))
        };
        Ok(Self {
            shards: (0..shards).map(open).collect::<Result<_, WriteError>>()?,
            next_checkpoint: newest.unwrap_or_default().max(checkpoint).saturating_add(1),
            folder: folder.to_owned(),
            metrics,
        })
    }

    /// The journal of a shard.
    pub(super) fn shard(&self, number: usize) -> Option<Arc<Journal>> {
        self.shards.get(number).cloned()
    }

    /// The lowest number for the next checkpoint: its files must hold nothing of an earlier attempt,
    /// whose open requests may have been settled since, in the files of an earlier checkpoint.
    pub(super) fn next_checkpoint(&self) -> u64 {
        self.next_checkpoint
    }

    /// A journal could not be written.
    pub(super) fn count_failure(&self) {
        self.metrics.failures.inc();
    }

    /// From now on everything goes to the files of this checkpoint.
    ///
    /// # Errors
    /// A file cannot be written. The journals go on with the files that they have.
    pub(super) fn begin(&self, checkpoint: u64) -> Result<(), WriteError> {
        for shard in &self.shards {
            shard.begin(checkpoint).map_err(|error| {
                self.metrics.failures.inc();
                failed(&shard.folder)(error)
            })?;
        }
        Ok(())
    }

    /// Removes the files of checkpoints before `oldest_kept`. What cannot be removed is tried again
    /// the next time.
    pub(super) fn completed(&self, oldest_kept: u64) {
        if let Err(error) = remove_before(&self.folder, oldest_kept) {
            self.metrics.failures.inc();
            tracing::warn!(%error, "old journals cannot be removed");
        }
    }
}

impl Journal {
    fn file(folder: &Path, checkpoint: u64, sync: bool) -> io::Result<JournalFile> {
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            if let (true, Some(parent)) = (sync, folder.parent()) {
                fs::File::open(parent)?.sync_all()?;
            }
        }
        JournalFile::open(&folder.join(file_name(checkpoint)), sync)
    }

    /// Notes a request before it is sent, and gives it a number; `samples` as a `SampleWriter` writes
    /// them.
    ///
    /// # Errors
    /// The disk is full or fails. The request must not be sent then: after a crash nobody would know.
    pub(super) fn request(&self, samples: &[u8]) -> io::Result<u64> {
        let mut state = self.lock();
        let number = state.next;
        let record = journal_file::request(number, samples);
        state.file.append(&record)?;
        self.metrics.bytes.inc_by(record.len() as u64);
        state.next += 1;
        state.in_flight = Some(record);
        Ok(number)
    }

    /// Notes that a request is done.
    ///
    /// # Errors
    /// The disk is full or fails. The request stays in doubt: it may be sent once more.
    pub(super) fn acknowledge(&self, number: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.in_flight = None;
        let record = journal_file::acknowledgement(number);
        // It need not be on the disk: the next request says the same, and is.
        state.file.append_unsynced(&record)?;
        self.metrics.bytes.inc_by(record.len() as u64);
        Ok(())
    }

    /// Goes on in the file of a checkpoint, with the request that is in flight at its head.
    fn begin(&self, checkpoint: u64) -> io::Result<()> {
        let mut state = self.lock();
        if checkpoint == state.checkpoint {
            return Ok(());
        }
        let mut file = Self::file(&self.folder, checkpoint, self.sync)?;
        if let Some(record) = &state.in_flight {
            file.append(record)?;
            self.metrics.bytes.inc_by(record.len() as u64);
        }
        state.file = file;
        state.checkpoint = checkpoint;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file with its checkpoint.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) checkpoint: u64,
    pub(super) path: PathBuf,
}

/// The files of all shards, also of those that there are no more, by shard and checkpoint.
///
/// # Errors
/// The folder is there and cannot be read.
pub(super) fn find(folder: &Path) -> Result<Vec<Vec<Found>>, WriteError> {
    let mut shards = Vec::new();
    for (shard, path) in numbered(folder, "shard-", "")? {
        let files = numbered(&path, "", ".journal")?;
        let found = files.into_iter();
        let found = found.map(|(checkpoint, path)| Found { checkpoint, path });
        shards.push((shard, found.collect()));
    }
    Ok(shards.into_iter().map(|(_, files)| files).collect())
}

/// Removes the files of checkpoints before `oldest_kept`.
///
/// # Errors
/// A file cannot be removed.
pub(super) fn remove_before(folder: &Path, oldest_kept: u64) -> Result<(), WriteError> {
    for found in find(folder)?.into_iter().flatten() {
        if found.checkpoint < oldest_kept {
            fs::remove_file(&found.path).map_err(failed(&found.path))?;
        }
    }
    Ok(())
}

/// Removes all files.
///
/// # Errors
/// A file cannot be removed.
pub(super) fn clear(folder: &Path) -> Result<(), WriteError> {
    for found in find(folder)?.into_iter().flatten() {
        fs::remove_file(&found.path).map_err(failed(&found.path))?;
    }
    Ok(())
}

/// With leading zeros, so that a listing is in order.
fn file_name(checkpoint: u64) -> String {
    format!("{checkpoint:020}.journal")
}

/// What is in a folder under names with a number in them, by these numbers.
fn numbered(folder: &Path, before: &str, after: &str) -> Result<Vec<(u64, PathBuf)>, WriteError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(folder))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            let number = name.strip_prefix(before)?.strip_suffix(after)?;
            number.parse().ok()
        });
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// Names the place of an error.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |error| WriteError::Journal {
        path: path.clone(),
        error,
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
