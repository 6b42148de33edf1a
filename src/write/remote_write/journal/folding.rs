//! When the journal's files are folded, and the thread that does it: a shard must not wait for it, and
//! it must go on while a store keeps the checkpoints waiting.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::model::TimestampMs;
use crate::telemetry::LogLimit;
use crate::write::WriteError;

use super::fold::fold;
use super::folder::{Found, find, length_of, marks_path};
use crate::write::remote_write::journal::{Journal, JournalMetrics};

/// How often a failure is told of.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How large a journal may become.
#[derive(Debug, Clone, Copy)]
pub(in crate::write) struct Limits {
    /// A file that has so many bytes gets no more.
    pub(in crate::write::remote_write) file_bytes: u64,
    /// Closed files are folded when they have so many bytes, or as many as the marks, which are written
    /// anew with them.
    pub(in crate::write::remote_write) fold_bytes: u64,
    /// They are folded once they are so many, whatever is in them.
    pub(in crate::write::remote_write) fold_files: usize,
    /// But they are not more at once, and not waited for, than so many bytes.
    pub(in crate::write::remote_write) fold_most_bytes: u64,
}

#[cfg(test)]
impl Limits {
    /// Files of so many bytes, which are folded when some of them are closed.
    pub(in crate::write::remote_write) fn small(bytes: u64) -> Self {
        Self {
            file_bytes: bytes,
            fold_bytes: bytes,
            fold_files: 5,
            fold_most_bytes: 3 * bytes,
        }
    }
}

impl Default for Limits {
    /// A file takes a second to fold. 64 MiB have about a million samples; in memory, while they are
    /// folded, each distinct series of them takes 32 to 64 bytes, and 256 MiB at once therefore some
    /// hundred MiB at most. Four shards close 1,000 files in 40 minutes of checkpoints every 10 s.
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            fold_bytes: 64 << 20,
            fold_files: 1_000,
            fold_most_bytes: 256 << 20,
        }
    }
}

/// Something to do.
#[derive(Debug)]
enum Order {
    /// There may be more than enough to fold.
    Look,
    /// There is enough to fold, and marks before this time (ms since the epoch) are needed by nobody any
    /// more.
    Forget(TimestampMs),
    Stop,
    /// Say that all before is done.
    #[cfg(test)]
    Answer(Sender<()>),
}

/// How many times as much as is enough is more than enough: so much is folded without waiting for a
/// checkpoint to be complete. Less waits for one, because only then is it known which marks may go.
const MORE_THAN_ENOUGH: usize = 2;

/// Tells the thread that there may be more than enough to fold.
#[derive(Debug, Clone)]
pub(in crate::write::remote_write) struct Waker(Sender<Order>);

impl Waker {
    /// One, and where its calls arrive.
    fn new() -> (Self, Receiver<Order>) {
        let (orders, received) = unbounded();
        (Self(orders), received)
    }

    /// Tells it; never blocks.
    pub(in crate::write::remote_write) fn wake(&self) {
        // Where the thread has ended, the writer ends.
        self.0.send(Order::Look).ok();
    }
}

/// The thread.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Folding {
    waker: Waker,
    work: Arc<Work>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What it works with.
#[derive(Debug)]
struct Work {
    folder: PathBuf,
    shards: Vec<Arc<Journal>>,
    limits: Limits,
    metrics: JournalMetrics,
    is_stopped: AtomicBool,
}

/// A waker for journals, and what [`Folding::start`] needs of it.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Orders {
    waker: Waker,
    received: Receiver<Order>,
}

impl Orders {
    /// None yet.
    pub(in crate::write::remote_write) fn new() -> Self {
        let (waker, received) = Waker::new();
        Self { waker, received }
    }

    /// For a journal.
    pub(in crate::write::remote_write) fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Folding {
    /// Starts it for the journals of a folder.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(in crate::write::remote_write) fn start(
        orders: Orders,
        folder: &Path,
        shards: Vec<Arc<Journal>>,
        limits: Limits,
        metrics: JournalMetrics,
    ) -> io::Result<Self> {
        let Orders { waker, received } = orders;
        let work = Arc::new(Work {
            folder: folder.to_owned(),
            shards,
            limits,
            metrics,
            is_stopped: AtomicBool::new(false),
        });
        let works = Arc::clone(&work);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || works.run(&received))?;
        // What an earlier run has left.
        waker.wake();
        Ok(Self {
            waker,
            work,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The way to tell it that there may be more than enough to fold.
    pub(in crate::write::remote_write) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Lets marks go, where there is enough to fold: else it would not be worth asking for the time
    /// (ms since the epoch) before which nobody needs them.
    pub(in crate::write::remote_write) fn forget(
        &self,
        before: impl FnOnce() -> TimestampMs,
    ) -> Result<(), WriteError> {
        if self.work.closed()?.is_due(&self.work.limits, 1) {
            self.waker.0.send(Order::Forget(before())).ok();
        }
        Ok(())
    }

    /// Waits until everything is done that was ordered.
    #[cfg(test)]
    pub(in crate::write::remote_write) fn drain(&self) {
        let (answer, answered) = unbounded();
        self.waker.0.send(Order::Answer(answer)).unwrap();
        answered.recv().unwrap();
    }

    /// Ends it and waits until nothing is written any more; what it was doing is given up.
    pub(in crate::write::remote_write) fn stop(&self) {
        self.work.is_stopped.store(true, Ordering::Release);
        self.waker.0.send(Order::Stop).ok();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that folds the journal has ended early");
        }
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The files that nothing is added to any more.
#[derive(Debug)]
struct Closed {
    /// By shard, in their order.
    files: Vec<Vec<Found>>,
    marks_bytes: u64,
}

impl Closed {
    /// Whether they are so many times as much as is enough.
    fn is_due(&self, limits: &Limits, times: usize) -> bool {
        let files = self.files.iter().flatten();
        let (count, bytes) = files.fold((0, 0), |(count, bytes), found| {
            (count + 1, bytes + found.bytes)
        });
        let worth = self.marks_bytes.min(limits.fold_most_bytes);
        let enough = worth.max(limits.fold_bytes);
        count >= limits.fold_files * times || (count > 0 && bytes >= enough * times as u64)
    }

    /// The oldest of them that are not too many at once, but one at least.
    fn oldest(self, limits: &Limits) -> Vec<Vec<Found>> {
        let mut ages: Vec<_> = self
            .files
            .iter()
            .flatten()
            .map(|found| (found.checkpoint, found.part, found.bytes))
            .collect();
        ages.sort_unstable();
        let mut bytes = 0;
        let too_many = ages.iter().skip_while(|(_, _, more)| {
            bytes += more;
            bytes <= limits.fold_most_bytes
        });
        // Files of the same checkpoint and part go together: they are as old as each other.
        let first = ages
            .first()
            .map(|(checkpoint, part, _)| (*checkpoint, *part));
        let end = too_many
            .map(|(checkpoint, part, _)| (*checkpoint, *part))
            .find(|place| Some(*place) > first);
        let mut files = self.files;
        for files in &mut files {
            files.retain(|found| end.is_none_or(|end| (found.checkpoint, found.part) < end));
        }
        files
    }
}

impl Work {
    fn run(&self, orders: &Receiver<Order>) {
        let mut oldest = TimestampMs::MIN;
        let mut log = LogLimit::every(LOG_EVERY);
        for order in orders {
            let times = match order {
                Order::Stop => return,
                Order::Look => MORE_THAN_ENOUGH,
                Order::Forget(before) => {
                    oldest = before;
                    1
                }
                #[cfg(test)]
                Order::Answer(answer) => {
                    answer.send(()).unwrap();
                    continue;
                }
            };
            if let Err(error) = self.fold(oldest, times)
                && !self.is_stopped.load(Ordering::Acquire)
            {
                self.metrics.count_failure();
                if let Some(held_back) = log.admit() {
                    tracing::warn!(%error, held_back, "old journals cannot be folded; they stay");
                }
            }
        }
    }

    /// Folds as long as there is so many times as much as is enough.
    fn fold(&self, oldest: TimestampMs, times: usize) -> Result<(), WriteError> {
        loop {
            let closed = self.closed()?;
            if self.is_stopped.load(Ordering::Acquire) || !closed.is_due(&self.limits, times) {
                return Ok(());
            }
            let files = closed.oldest(&self.limits);
            fold(&self.folder, &files, oldest, &self.is_stopped)?;
        }
    }

    fn closed(&self) -> Result<Closed, WriteError> {
        // Before it is asked which ones are written to: one that becomes so later is not listed then.
        let mut files = find(&self.folder)?;
        let marks_bytes = length_of(&marks_path(&self.folder))?.unwrap_or_default();
        let bytes = files.iter().flatten().map(|found| found.bytes);
        self.metrics
            .set_disk_bytes(bytes.sum::<u64>() + marks_bytes);
        let live: BTreeSet<_> = self.shards.iter().map(|shard| shard.path()).collect();
        for files in &mut files {
            files.retain(|found| !live.contains(&found.path));
        }
        Ok(Closed { files, marks_bytes })
    }
}

#[cfg(test)]
#[path = "folding_tests.rs"]
mod tests;
