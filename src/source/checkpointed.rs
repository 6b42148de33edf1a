//! What the latest checkpoint has, for a source whose splits go over to other instances.
//!
//! A split whose positions begin again is one of which the checkpoint at work and the one after it may
//! still have an older position: what they say of it does not count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The positions in the latest checkpoint, and what a source may ask of checkpoints. Clones share the
/// same.
#[derive(Debug, Clone, Default)]
pub struct Checkpointed(Arc<Shared>);

/// How many checkpoints may still have what was before a split began again: the one at work, and one that
/// begins before the workers have come to that place.
const STALE_CHECKPOINTS: u64 = 2;

#[derive(Debug, Default)]
struct Shared {
    positions: Mutex<Positions>,
    generation: AtomicU64,
    wanted: AtomicBool,
    forbidden: AtomicBool,
}

#[derive(Debug, Default)]
struct Positions {
    of_splits: BTreeMap<String, u64>,
    /// The splits that began again, and from which generation on checkpoints know it.
    forgotten: BTreeMap<String, u64>,
}

impl Checkpointed {
    /// A checkpoint is durable, or was restored, that has these positions of splits.
    pub fn set(&self, positions: impl IntoIterator<Item = (String, u64)>) {
        let mut known = self.lock();
        let generation = self.0.generation.fetch_add(1, Ordering::AcqRel) + 1;
        known.forgotten.retain(|_, until| generation <= *until);
        for (split, position) in positions {
            if !known.forgotten.contains_key(&split) {
                known.of_splits.insert(split, position);
            }
        }
    }

    /// The position of a split in the latest checkpoint, where it has one.
    pub fn position(&self, split_name: &str) -> Option<u64> {
        self.lock().of_splits.get(split_name).copied()
    }

    /// A split's positions begin again: what the latest checkpoint has of it says nothing more.
    pub fn forget(&self, split_name: &str) {
        let mut known = self.lock();
        known.of_splits.remove(split_name);
        let until = self.generation() + STALE_CHECKPOINTS;
        known.forgotten.insert(split_name.to_owned(), until);
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

    fn lock(&self) -> MutexGuard<'_, Positions> {
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
        for _ in 0..STALE_CHECKPOINTS {
            checkpointed.set([("b".to_owned(), 7)]);
            assert_eq!(checkpointed.position("b"), None, "of before it began again");
        }
        checkpointed.set([("b".to_owned(), 2)]);
        assert_eq!(checkpointed.position("b"), Some(2));
        source.ask();
        source.ask();
        assert!(checkpointed.take_wish());
        assert!(!checkpointed.take_wish());
        assert!(!checkpointed.is_forbidden());
        source.forbid();
        assert!(checkpointed.is_forbidden());
    }
}
