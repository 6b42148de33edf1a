//! What a shard sends, on the local disk before it goes out.
//!
//! A file for each checkpoint, or several where much is sent, holds what was sent since that checkpoint
//! began; so a restore from it knows what the receiver has, and which request it may or may not have.
//! Older files are [folded](folding) into marks.

pub(in crate::write::remote_write) mod file;
pub(in crate::write::remote_write) mod fold;
pub(in crate::write::remote_write) mod folder;
pub(in crate::write::remote_write) mod folding;
mod frame;
pub(in crate::write::remote_write) mod marks_file;
pub(in crate::write::remote_write) mod recovery;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounter, IntGauge};

use crate::model::TimestampMs;
use crate::telemetry::Registry;
use crate::write::WriteError;

use file::JournalFile;
use folder::{failed, find, part_path};
use folding::{Folding, Limits, Orders, Waker};

/// The metrics of all journals together.
#[derive(Debug, Clone)]
pub(super) struct JournalMetrics {
    bytes: IntCounter,
    failures: IntCounter,
    disk_bytes: IntGauge,
    pub(super) in_doubt: IntGauge,
}

impl JournalMetrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            bytes: registry.counter("weir_journal_bytes_total", "Bytes written to the journal"),
            failures: registry.counter(
                "weir_journal_failures_total",
                "How often the journal could not be written or folded",
            ),
            disk_bytes: registry.int_gauge(
                "weir_journal_disk_bytes",
                "Bytes that the journal takes on the disk",
            ),
            in_doubt: registry.int_gauge(
                "weir_journal_samples_in_doubt",
                "Samples that were sent again at the start, because the receiver may not have them",
            ),
        }
    }

    /// The journal could not be written.
    pub(super) fn count_failure(&self) {
        self.failures.inc();
    }

    /// How many bytes all files have.
    pub(super) fn set_disk_bytes(&self, bytes: u64) {
        self.disk_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// How journals are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings<'f> {
    pub(super) folder: &'f Path,
    pub(super) shards: usize,
    /// Whether a request is on the disk before it is sent.
    pub(super) sync: bool,
    pub(super) limits: Limits,
}

/// The journals of all shards.
#[derive(Debug)]
pub(super) struct Journals {
    shards: Vec<Arc<Journal>>,
    folding: Folding,
    /// Above the checkpoints of all files that there were at the start.
    next_checkpoint: u64,
    metrics: JournalMetrics,
}

/// The journal of one shard.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    sync: bool,
    /// A file that has so many bytes gets no more.
    file_bytes: u64,
    waker: Waker,
    metrics: JournalMetrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    checkpoint: u64,
    /// The last part of the checkpoint that was begun, even if it could not be. A path must not come
    /// again: it may just be folded.
    part: u64,
    path: PathBuf,
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
        settings: Settings<'_>,
        checkpoint: u64,
        next: u64,
        metrics: JournalMetrics,
    ) -> Result<Self, WriteError> {
        let Settings {
            folder,
            shards,
            sync,
            limits,
        } = settings;
        let found: Vec<_> = find(folder)?.into_iter().flatten().collect();
        let newest = found.iter().map(|found| found.checkpoint).max();
        let orders = Orders::new();
        let open = |shard: usize| {
            let folder = folder.join(format!("shard-{shard}"));
            let own = found.iter().filter(|found| {
                found.checkpoint == checkpoint && found.path.parent() == Some(&folder)
            });
            let part = own.map(|found| found.part).max().unwrap_or_default();
            let path = part_path(&folder, checkpoint, part);
            let file = Journal::file(&path, sync).map_err(failed(&path))?;
            Ok(Arc::new(Journal {
                folder,
                sync,
                file_bytes: limits.file_bytes,
                waker: orders.waker(),
                metrics: metrics.clone(),
                state: Mutex::new(State {
                    checkpoint,
                    part,
                    path,
                    file,
                    next,
                    in_flight: None,
                }),
            }))
        };
        let shards = (0..shards)
            .map(open)
            .collect::<Result<Vec<_>, WriteError>>()?;
        let folding = Folding::start(orders, folder, shards.clone(), limits, metrics.clone());
        Ok(Self {
            shards,
            folding: folding.map_err(failed(folder))?,
            next_checkpoint: newest.unwrap_or_default().max(checkpoint).saturating_add(1),
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
        self.metrics.count_failure();
    }

    /// From now on everything goes to the files of this checkpoint.
    ///
    /// # Errors
    /// A file cannot be written. The journals go on with the files that they have.
    pub(super) fn begin(&self, checkpoint: u64) -> Result<(), WriteError> {
        for shard in &self.shards {
            shard.begin(checkpoint).map_err(|error| {
                self.metrics.count_failure();
                failed(&shard.folder)(error)
            })?;
        }
        // Files become many even where no checkpoint is ever complete.
        self.folding.waker().wake();
        Ok(())
    }

    /// A checkpoint is complete. `oldest_acknowledged` is asked, if it is worth it, up to when (ms since
    /// the epoch) everything was acknowledged in every state that can still be restored.
    pub(super) fn completed(&self, oldest_acknowledged: impl FnOnce() -> TimestampMs) {
        if let Err(error) = self.folding.forget(oldest_acknowledged) {
            self.metrics.count_failure();
            tracing::warn!(%error, "old journals cannot be listed");
        }
    }

    /// Folds no more, and waits until nothing of that is under way.
    pub(super) fn stop(&self) {
        self.folding.stop();
    }
}

impl Journal {
    fn file(path: &Path, sync: bool) -> io::Result<JournalFile> {
        if let Some(folder) = path.parent()
            && !folder.is_dir()
        {
            fs::create_dir_all(folder)?;
            if let (true, Some(parent)) = (sync, folder.parent()) {
                fs::File::open(parent)?.sync_all()?;
            }
        }
        JournalFile::open(path, sync)
    }

    /// The file that is added to. No other one of this shard will be again.
    pub(super) fn path(&self) -> PathBuf {
        self.lock().path.clone()
    }

    /// Notes a request before it is sent, and gives it a number; `samples` as a `SampleWriter` writes
    /// them.
    ///
    /// # Errors
    /// The disk is full or fails. The request must not be sent then: after a crash nobody would know.
    pub(super) fn request(&self, samples: &[u8]) -> io::Result<u64> {
        let mut state = self.lock();
        if state.file.length() >= self.file_bytes {
            self.roll(&mut state)?;
        }
        let number = state.next;
        let record = file::request(number, samples);
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
        let record = file::acknowledgement(number);
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
        let path = part_path(&self.folder, checkpoint, 0);
        let mut file = Self::file(&path, self.sync)?;
        if let Some(record) = &state.in_flight {
            file.append(record)?;
            self.metrics.bytes.inc_by(record.len() as u64);
        }
        state.part = 0;
        state.path = path;
        state.file = file;
        state.checkpoint = checkpoint;
        Ok(())
    }

    /// Goes on in another file of the same checkpoint. Nothing is in flight: the next request comes when
    /// the one before is done.
    fn roll(&self, state: &mut State) -> io::Result<()> {
        state.part += 1;
        let path = part_path(&self.folder, state.checkpoint, state.part);
        state.file = Self::file(&path, self.sync)?;
        state.path = path;
        self.waker.wake();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "journal/tests.rs"]
mod tests;
