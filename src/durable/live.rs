//! What a log's writer tells its readers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Up to where a log can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// The position behind the last record.
    pub(super) next: u64,
    /// The position behind the last record that is durable.
    pub(super) durable: u64,
    /// How often records were cut off that nobody was told of. A reader may have their bytes all the same,
    /// where it has read ahead.
    pub(super) cuts: u64,
}

/// The ends of a log, which readers wait for.
#[derive(Debug)]
pub(super) struct Live {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ends: Ends,
    /// How many readers wait: waking nobody would still be a system call for each record.
    waiting: usize,
}

impl Live {
    pub(super) fn new(ends: Ends) -> Self {
        Self {
            state: Mutex::new(State { ends, waiting: 0 }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn ends(&self) -> Ends {
        self.lock().ends
    }

    pub(super) fn set(&self, ends: Ends) {
        let mut state = self.lock();
        state.ends = ends;
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Waits until `ready` or until the time is up; says whether it is ready.
    pub(super) fn wait(&self, timeout: Duration, ready: impl Fn(Ends) -> bool) -> bool {
        let mut state = self.lock();
        if !ready(state.ends) {
            state.waiting += 1;
            let waited = self
                .changed
                .wait_timeout_while(state, timeout, |state| !ready(state.ends));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        ready(state.ends)
    }

    /// How many readers wait just now.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Nobody panics while it holds this, and if: two numbers cannot be half written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
