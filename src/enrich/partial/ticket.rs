//! A batch's claim to the answers for its keys.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Sender;

use super::cache::Known;

/// The answers for some keys, of which some are still to come.
#[derive(Debug)]
pub(super) struct Ticket {
    progress: Mutex<Progress>,
    wake: Sender<()>,
}

#[derive(Debug)]
struct Progress {
    answers: Vec<Option<Known>>,
    open: usize,
}

/// Where an answer goes.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) ticket: std::sync::Arc<Ticket>,
    pub(super) slot: usize,
}

impl Ticket {
    /// A ticket for so many keys. `wake` has room for one message and is filled once all answers
    /// are there.
    pub(super) fn new(keys: usize, wake: Sender<()>) -> Self {
        let progress = Progress {
            answers: vec![None; keys],
            open: keys,
        };
        Self {
            progress: Mutex::new(progress),
            wake,
        }
    }

    /// Puts an answer into its slot.
    pub(super) fn answer(&self, slot: usize, known: Known) {
        let mut progress = self.lock();
        if let Some(answer) = progress.answers.get_mut(slot)
            && answer.replace(known).is_none()
        {
            progress.open -= 1;
        }
        let is_complete = progress.open == 0;
        drop(progress);
        // A message that is there already has not been taken, so this answer will be seen with it.
        if is_complete && self.wake.try_send(()).is_err() {
            tracing::trace!("the worker has been woken already");
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lock().open == 0
    }

    /// The answers by slot.
    pub(super) fn take(&self) -> Vec<Option<Known>> {
        std::mem::take(&mut self.lock().answers)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
