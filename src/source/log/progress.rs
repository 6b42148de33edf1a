//! What the thread that appends to the log and the one that reads it tell each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How far the log has been written and read.
#[derive(Debug, Default)]
pub(in crate::source) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

/// A look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::source) struct State {
    /// The first position that there is.
    pub(in crate::source) first: u64,
    /// The first position that is not durable yet. What a crash of the machine may take away again
    /// is not processed: its position would be given to another record.
    pub(in crate::source) durable: u64,
    /// The position that the next record will have.
    pub(in crate::source) next: u64,
    /// The position of the next record to be handed over.
    pub(in crate::source) handed: u64,
    /// Whether the source is connected and has been silent for long.
    pub(in crate::source) idle: bool,
    /// Nothing more will be appended.
    pub(in crate::source) ended: bool,
    /// Nothing more will be read.
    pub(in crate::source) abandoned: bool,
}

impl Progress {
    /// Changes something and wakes who waits.
    pub(in crate::source) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// How it is now.
    pub(in crate::source) fn now(&self) -> State {
        *self.lock()
    }

    /// Waits until `wanted`, but not longer than `patience`; gives how it is then.
    pub(in crate::source) fn wait(
        &self,
        patience: Duration,
        wanted: impl Fn(&State) -> bool,
    ) -> State {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), patience, |state| !wanted(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
