//! What comes in and goes out of a receiver's partitions: what the number of shards follows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Flow {
    taken: AtomicU64,
    done: AtomicU64,
    busy_us: AtomicU64,
    refusals: AtomicU64,
    repetitions: AtomicU64,
}

/// What was counted up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Samples that came in.
    pub(super) taken: u64,
    /// Samples that went out, or never will.
    pub(super) done: u64,
    /// How long all shards together were at their requests, with the journal.
    pub(super) busy: Duration,
    /// How often an owner found no room.
    pub(super) refusals: u64,
    /// How often a request had to be repeated.
    pub(super) repetitions: u64,
}

impl Flow {
    /// Samples came in.
    pub(super) fn take(&self, samples: usize) {
        self.taken.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// Samples went out, or never will.
    pub(super) fn done(&self, samples: usize) {
        self.done.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// A shard was at a request for so long.
    pub(super) fn busy(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.busy_us.fetch_add(us, Ordering::Relaxed);
    }

    /// An owner found no room.
    pub(super) fn refuse(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has to be repeated.
    pub(super) fn repeat(&self) {
        self.repetitions.fetch_add(1, Ordering::Relaxed);
    }

    /// All counts.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            taken: self.taken.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            busy: Duration::from_micros(self.busy_us.load(Ordering::Relaxed)),
            refusals: self.refusals.load(Ordering::Relaxed),
            repetitions: self.repetitions.load(Ordering::Relaxed),
        }
    }
}
