//! Which splits are not to be read for now, because they are too far ahead of the others.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::SplitId;

/// The splits that are paused; clones share the same set. The pipeline sets it, a source reads no
/// paused split. What a source had in flight may still be handed over.
#[derive(Debug, Clone, Default)]
pub struct Alignment(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    generation: AtomicU64,
    paused: Mutex<BTreeSet<SplitId>>,
    changed: Condvar,
}

impl Alignment {
    /// Sets which splits are paused; all others are read.
    pub fn set(&self, paused: BTreeSet<SplitId>) {
        *self.lock() = paused;
        self.0.generation.fetch_add(1, Ordering::Release);
        self.0.changed.notify_all();
    }

    /// A number that grows with every change.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The paused splits.
    pub fn paused(&self) -> BTreeSet<SplitId> {
        self.lock().clone()
    }

    /// Whether a split is paused.
    pub fn is_paused(&self, split: SplitId) -> bool {
        self.lock().contains(&split)
    }

    /// Waits while all of these splits are paused, but not longer than `patience`.
    pub(super) fn await_any(&self, splits: &[SplitId], patience: Duration) {
        let all = |paused: &mut BTreeSet<SplitId>| splits.iter().all(|id| paused.contains(id));
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.lock(), patience, all);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<SplitId>> {
        self.0.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const A: SplitId = SplitId(0);
    const B: SplitId = SplitId(1);

    #[test]
    fn clones_share_the_set_and_see_that_it_has_changed() {
        let alignment = Alignment::default();
        let reader = alignment.clone();
        let before = reader.generation();
        alignment.set(BTreeSet::from([B]));
        assert_ne!(reader.generation(), before);
        assert_eq!(reader.paused(), BTreeSet::from([B]));
        assert!(reader.is_paused(B));
        assert!(!reader.is_paused(A));
    }

    #[test]
    fn who_waits_for_paused_splits_wakes_when_one_of_them_may_be_read() {
        let alignment = Alignment::default();
        alignment.set(BTreeSet::from([A, B]));
        let reader = alignment.clone();
        let waiting = thread::spawn(move || {
            while reader.is_paused(A) {
                reader.await_any(&[A, B], Duration::from_secs(600));
            }
        });
        alignment.set(BTreeSet::from([B]));
        waiting.join().unwrap();
    }
}
