//! When a worker takes no input.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Worker;

/// How much may wait at an owner for the writer: samples, groups of windows that are due, and messages
/// of workers. Some 10 MB.
const CROWD: usize = 100_000;

/// Whether so much waits at an owner for the writer that no worker is to take input.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Crowd {
    /// At how many owners.
    owners: Arc<AtomicUsize>,
    limit: usize,
}

impl Default for Crowd {
    fn default() -> Self {
        Self::with_limit(CROWD)
    }
}

impl Crowd {
    /// Where so much may wait at an owner.
    pub(in crate::pipeline) fn with_limit(limit: usize) -> Self {
        Self {
            owners: Arc::default(),
            limit,
        }
    }

    fn is_anywhere(&self) -> bool {
        self.owners.load(Ordering::Acquire) > 0
    }

    fn note(&self, is_crowded: bool) {
        match is_crowded {
            true => self.owners.fetch_add(1, Ordering::AcqRel),
            false => self.owners.fetch_sub(1, Ordering::AcqRel),
        };
    }
}

impl Worker {
    /// Whether input is taken now.
    pub(in crate::pipeline) fn wants_input(&mut self) -> bool {
        // In this order: whether too much waits has to be told to the other workers in any case.
        !self.is_full() && self.takes_input && !self.input_ended && self.has_room()
    }

    /// Whether samples wait for room at the writer.
    pub(in crate::pipeline) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty() || self.writer.holds(self.number)
    }

    /// Whether nothing waits for the writer here, and not too much at any owner.
    pub(super) fn has_room(&self) -> bool {
        !self.is_blocked() && !self.shared.crowd.is_anywhere()
    }

    /// Whether so much waits for services that no input is to be taken. What waits in the inbox then may
    /// be of splits that are idle as yet, so the watermark stays where it is.
    pub(super) fn is_full(&mut self) -> bool {
        let is_full = self.pending.is_full();
        if is_full != std::mem::replace(&mut self.is_full, is_full) {
            self.hold(is_full);
        }
        is_full
    }

    /// Lets all workers stop while too much waits here for the writer: the others still have room, and
    /// what they send to this owner would grow without end.
    pub(super) fn note_crowd(&mut self) {
        let waiting = || self.unsent.len() + self.partials.len() + self.owner.due_groups();
        let is_crowded = self.is_blocked() && waiting() > self.shared.crowd.limit;
        if is_crowded != std::mem::replace(&mut self.is_crowded, is_crowded) {
            self.shared.crowd.note(is_crowded);
            self.hold(is_crowded);
        }
    }

    /// Holds the watermark, or no longer.
    fn hold(&self, is_held: bool) {
        self.watermarks(|watermarks| match is_held {
            true => watermarks.hold(),
            false => watermarks.release(),
        });
    }
}
