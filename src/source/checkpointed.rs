//! What the latest checkpoint has, for a source whose splits go over to other instances.
//!
//! Where the others have to be told first, a checkpoint is not gone on from before they know of it: a file in
//! the folder of the state names the first one that they may not know. What they read again would otherwise
//! be in its windows as well.
//!
//! A split whose positions begin again is one of which the checkpoint at work and the one after it may
//! still have an older position: what they say of it does not count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use crate::durable::{sync_name, write_atomically};

/// The file that names the first checkpoint that is not confirmed.
const NOTE: &str = "UNCONFIRMED";

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
    /// Where the first checkpoint that is not confirmed is noted; none where nobody has to be told.
    note: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Positions {
    of_splits: BTreeMap<String, u64>,
    /// The splits that began again, and from which generation on checkpoints know it.
    forgotten: BTreeMap<String, u64>,
    unconfirmed: Unconfirmed,
}

/// What the others may not know.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Unconfirmed {
    #[default]
    Nothing,
    /// A checkpoint that is noted and may be durable.
    Announced,
    /// The same, which is durable since this generation.
    Durable(u64),
}

impl Checkpointed {
    /// For a source that tells others what checkpoints have, with the folder of the state.
    pub fn confirmed_in(folder: &Path) -> Self {
        Self(Arc::new(Shared {
            note: Some(folder.join(NOTE)),
            ..Shared::default()
        }))
    }

    /// The number of the first checkpoint that an earlier run has made and the others may not know.
    ///
    /// # Errors
    /// The folder cannot be read, or what is there is no number.
    pub fn unconfirmed_in(folder: &Path) -> io::Result<Option<u64>> {
        match fs::read_to_string(folder.join(NOTE)) {
            Ok(text) => match text.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "{NOTE} has '{}' in place of a checkpoint's number",
                        text.trim()
                    ),
                )),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The checkpoints that were not confirmed are there no more.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn forget_unconfirmed_in(folder: &Path) -> io::Result<()> {
        remove(&folder.join(NOTE))
    }

    /// A checkpoint with this number is about to become durable. Until it is confirmed, no run goes on
    /// from it.
    ///
    /// # Errors
    /// That cannot be noted: the checkpoint must not become durable.
    pub fn announce(&self, number: u64) -> io::Result<()> {
        let Some(note) = &self.0.note else {
            return Ok(());
        };
        let mut known = self.lock();
        if known.unconfirmed == Unconfirmed::Nothing {
            write_atomically(note, format!("{number}\n").as_bytes())?;
            known.unconfirmed = Unconfirmed::Announced;
        }
        Ok(())
    }

    /// The others know what the checkpoint of this [`generation`](Self::generation) has.
    ///
    /// # Errors
    /// That cannot be noted: it stays unconfirmed.
    pub fn confirm(&self, generation: u64) -> io::Result<()> {
        let mut known = self.lock();
        let is_of_it =
            matches!(known.unconfirmed, Unconfirmed::Durable(since) if since <= generation);
        if let Some(note) = &self.0.note
            && is_of_it
            && !self.is_forbidden()
        {
            remove(note)?;
            known.unconfirmed = Unconfirmed::Nothing;
        }
        Ok(())
    }

    /// Whether the latest checkpoint waits to be confirmed.
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self.lock().unconfirmed, Unconfirmed::Durable(_))
    }

    /// A checkpoint is durable, or was restored, that has these positions of splits.
    pub fn set(&self, positions: impl IntoIterator<Item = (String, u64)>) {
        let mut known = self.lock();
        let generation = self.0.generation.fetch_add(1, Ordering::AcqRel) + 1;
        if known.unconfirmed != Unconfirmed::Nothing {
            known.unconfirmed = Unconfirmed::Durable(generation);
        }
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

fn remove(note: &Path) -> io::Result<()> {
    match fs::remove_file(note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_name(note),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_checkpoint_that_the_others_may_not_know_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let noted = || Checkpointed::unconfirmed_in(folder.path()).unwrap();
        let checkpointed = Checkpointed::confirmed_in(folder.path());
        let split = |position| [("a".to_owned(), position)];
        checkpointed.set(split(5));
        assert!(!checkpointed.is_unconfirmed(), "it was restored");
        let restored = checkpointed.generation();
        // It was not stored after all, or seemed not to be.
        checkpointed.announce(7).unwrap();
        assert!(!checkpointed.is_unconfirmed());
        assert_eq!(noted(), Some(7));
        checkpointed.announce(8).unwrap();
        checkpointed.confirm(checkpointed.generation()).unwrap();
        assert_eq!(noted(), Some(7), "it may be durable already");
        checkpointed.set(split(6));
        assert!(checkpointed.is_unconfirmed());
        checkpointed.confirm(restored).unwrap();
        assert_eq!(noted(), Some(7), "they know an earlier one");
        checkpointed.confirm(checkpointed.generation()).unwrap();
        assert!(!checkpointed.is_unconfirmed());
        assert_eq!(noted(), None);

        checkpointed.announce(9).unwrap();
        checkpointed.set(split(7));
        checkpointed.forbid();
        checkpointed.confirm(checkpointed.generation()).unwrap();
        assert_eq!(noted(), Some(9), "others have read from the one before");
        Checkpointed::forget_unconfirmed_in(folder.path()).unwrap();
        assert_eq!(noted(), None);
        fs::write(folder.path().join(NOTE), "nine").unwrap();
        let error = Checkpointed::unconfirmed_in(folder.path()).unwrap_err();
        let message = "UNCONFIRMED has 'nine' in place of a checkpoint's number";
        assert_eq!(error.to_string(), message);

        // Where nobody has to be told, nothing is noted and nothing waits.
        let alone = Checkpointed::default();
        alone.announce(1).unwrap();
        alone.set(split(5));
        assert!(!alone.is_unconfirmed());
    }

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
