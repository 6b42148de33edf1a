//! What the latest checkpoint has, for a source whose splits go over to other instances.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The positions in the latest checkpoint, and what a source may ask of checkpoints. Clones share the
/// same.
#[derive(Debug, Clone, Default)]
pub struct Checkpointed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    positions: Mutex<BTreeMap<String, u64>>,
    generation: AtomicU64,
    wanted: AtomicBool,
    forbidden: AtomicBool,
}

impl Checkpointed {
    /// A checkpoint is durable, or was restored, that has these positions of splits.
    pub fn set(&self, positions: impl IntoIterator<Item = (String, u64)>) {
        self.lock().extend(positions);
        self.0.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The position of a split in the latest checkpoint, where it has one.
    pub fn position(&self, split_name: &str) -> Option<u64> {
        self.lock().get(split_name).copied()
    }

    /// A split's positions begin again: what the latest checkpoint has of it says nothing more.
    pub fn forget(&self, split_name: &str) {
        self.lock().remove(split_name);
    }

    /// Changes with every checkpoint.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Asks for a checkpoint as soon as possible.
    pub fn ask(&self) {
        self.0.wanted.store(true, Ordering::Release);
    }

    /// Whether one was asked for since this was called last.
    pub fn take_wish(&self) -> bool {
        self.0.wanted.swap(false, Ordering::AcqRel)
    }

    /// No checkpoint may be made any more: what was read since the last one counts somewhere else.
    pub fn forbid(&self) {
        self.0.forbidden.store(true, Ordering::Release);
    }

    /// Whether no checkpoint may be made.
    pub fn is_forbidden(&self) -> bool {
        self.0.forbidden.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        let positions = self.0.positions.lock();
        positions.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_positions_and_wishes() {
        let checkpointed = Checkpointed::default();
        let source = checkpointed.clone();
        let before = source.generation();
        checkpointed.set([("a".to_owned(), 5), ("b".to_owned(), 7)]);
        assert_ne!(source.generation(), before);
        checkpointed.set([("a".to_owned(), 6)]);
        let positions = ["a", "b", "c"].map(|name| source.position(name));
        assert_eq!(positions, [Some(6), Some(7), None]);
        source.forget("b");
        assert_eq!(checkpointed.position("b"), None);
        source.ask();
        source.ask();
        assert!(checkpointed.take_wish());
        assert!(!checkpointed.take_wish());
        assert!(!checkpointed.is_forbidden());
        source.forbid();
        assert!(checkpointed.is_forbidden());
    }
}
