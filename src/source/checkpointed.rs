//! What the latest checkpoint has, for a source whose splits go over to other instances.
//!
//! Where the others have to be told first, no run goes on from a checkpoint before they know of it: a note
//! beside the checkpoints names the first one that they may not know. What they read again would otherwise
//! be in its windows as well. The note is written before the checkpoint is durable, and is removed before
//! anything goes to the others that they are to read from there on.
//!
//! A split whose positions begin again is one of which the checkpoint at work and the one after it may
//! still have an older position: what they say of it does not count.

#[cfg(test)]
mod folder_note;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The wait after a confirmation that could not be noted. A store that does not answer takes its time, which
/// is that of the source.
const RETRY: Duration = Duration::from_secs(1);

/// Where it outlives the process which checkpoints the others may not know. What was noted survives a loss
/// of power as soon as a call has returned.
pub trait ConfirmationNote: fmt::Debug + Send + Sync {
    /// The checkpoint with this number, and all behind it, are not confirmed.
    ///
    /// # Errors
    /// It cannot be noted.
    fn announce(&self, number: u64) -> io::Result<()>;

    /// Those before `next` are confirmed; all that there are, where it is none.
    ///
    /// # Errors
    /// It cannot be noted.
    fn confirm(&self, next: Option<u64>) -> io::Result<()>;
}

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
    /// Somebody has to be told, and no checkpoint of this run was confirmed.
    needs_confirmation: Arc<AtomicBool>,
    /// None where nobody has to be told. Held while something is noted, which takes as long as a store does;
    /// `positions`, which the source asks for all the time, are not.
    noting: Option<Mutex<Noting>>,
}

#[derive(Debug)]
struct Noting {
    /// None once the run is over.
    note: Option<Box<dyn ConfirmationNote>>,
    /// When a confirmation that could not be noted is tried again.
    next_try: Option<Instant>,
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
    Announced { first: u64 },
    /// The same, and the latest one is durable since this generation.
    Durable {
        first: u64,
        since: u64,
        /// One that was announced behind that, and may be durable. There is no note of its own: it stands
        /// behind the first.
        later: Option<u64>,
    },
}

impl Unconfirmed {
    /// The number of the first one.
    fn first(self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Announced { first } | Self::Durable { first, .. } => Some(first),
        }
    }

    /// Whether the latest one is that of this generation or an earlier one.
    fn is_durable_since(self, generation: u64) -> bool {
        matches!(self, Self::Durable { since, .. } if since <= generation)
    }
}

impl Checkpointed {
    /// For a source that tells others what checkpoints have.
    pub fn confirmed_by(note: Box<dyn ConfirmationNote>) -> Self {
        let (note, next_try) = (Some(note), None);
        Self(Arc::new(Shared {
            noting: Some(Mutex::new(Noting { note, next_try })),
            needs_confirmation: Arc::new(AtomicBool::new(true)),
            ..Shared::default()
        }))
    }

    /// A checkpoint with this number is about to become durable. Until it is confirmed, no run goes on
    /// from it.
    ///
    /// # Errors
    /// That cannot be noted: the checkpoint must not become durable.
    pub fn announce(&self, number: u64) -> io::Result<()> {
        let Some(noting) = &self.0.noting else {
            return Ok(());
        };
        // Nothing is confirmed meanwhile.
        let noting = lock(noting);
        let mut known = self.lock();
        match &mut known.unconfirmed {
            Unconfirmed::Nothing => {}
            Unconfirmed::Announced { .. } => return Ok(()),
            Unconfirmed::Durable { first, later, .. } => {
                later.get_or_insert(number);
                let first = *first;
                drop(known);
                // What seemed not to be removed may be.
                return match noting.next_try {
                    Some(_) => noting.announce(first),
                    None => Ok(()),
                };
            }
        }
        drop(known);
        noting.announce(number)?;
        self.lock().unconfirmed = Unconfirmed::Announced { first: number };
        Ok(())
    }

    /// The others know what the checkpoint of this [`generation`](Self::generation) has. One that was
    /// announced behind it is not confirmed by that.
    ///
    /// # Errors
    /// That cannot be noted: it stays unconfirmed. For a moment it is not tried again.
    pub fn confirm(&self, generation: u64) -> io::Result<()> {
        let Some(noting) = &self.0.noting else {
            return Ok(());
        };
        // Somebody may just be noting something: who has nothing to confirm does not wait for that.
        if !self.lock().unconfirmed.is_durable_since(generation) {
            return Ok(());
        }
        let mut noting = lock(noting);
        let unconfirmed = self.lock().unconfirmed;
        let Unconfirmed::Durable { later, .. } = unconfirmed else {
            return Ok(());
        };
        if !unconfirmed.is_durable_since(generation) || self.is_forbidden() || noting.is_waiting() {
            return Ok(());
        }
        noting.confirm(later)?;
        let mut known = self.lock();
        self.0.needs_confirmation.store(false, Ordering::Release);
        known.unconfirmed = match (later, known.unconfirmed) {
            (None, _) => Unconfirmed::Nothing,
            // The later one has become durable meanwhile.
            (Some(first), Unconfirmed::Durable { since, .. }) if since > generation => {
                let later = None;
                Unconfirmed::Durable {
                    first,
                    since,
                    later,
                }
            }
            (Some(first), _) => Unconfirmed::Announced { first },
        };
        Ok(())
    }

    /// The run is over: nothing more is announced or confirmed, and where that is noted is let go of, unless
    /// something is being noted right now. A source that has not ended in time keeps no store from the next run, and
    /// confirms nothing that is of it.
    pub fn release(&self) {
        if let Some(noting) = &self.0.noting
            && let Ok(mut noting) = noting.try_lock()
        {
            noting.note = None;
        }
    }

    /// Whether the latest checkpoint waits to be confirmed.
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self.lock().unconfirmed, Unconfirmed::Durable { .. })
    }

    /// The number of the first checkpoint that is not confirmed, or will not be once it is durable.
    pub fn first_unconfirmed(&self) -> Option<u64> {
        self.lock().unconfirmed.first()
    }

    /// Whether somebody has to be told of checkpoints and none of this run was confirmed: so long, none may be
    /// gone on from. Who asks once the run is over holds this alone, and not the store where it is noted.
    pub fn needs_confirmation(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.needs_confirmation)
    }

    #[cfg(test)]
    fn has_confirmed(&self) -> bool {
        !self.0.needs_confirmation.load(Ordering::Acquire)
    }

    /// A checkpoint is durable, or was restored, that has these positions of splits.
    pub fn set(&self, positions: impl IntoIterator<Item = (String, u64)>) {
        let mut known = self.lock();
        let generation = self.0.generation.fetch_add(1, Ordering::AcqRel) + 1;
        if let Some(first) = known.unconfirmed.first() {
            known.unconfirmed = Unconfirmed::Durable {
                first,
                since: generation,
                later: None,
            };
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
        lock(&self.0.positions)
    }
}

impl Noting {
    fn is_waiting(&self) -> bool {
        self.next_try.is_some_and(|next| Instant::now() < next)
    }

    fn announce(&self, number: u64) -> io::Result<()> {
        self.note()?.announce(number)
    }

    fn note(&self) -> io::Result<&dyn ConfirmationNote> {
        let note = self.note.as_deref();
        note.ok_or_else(|| io::Error::other("the run is over"))
    }

    fn confirm(&mut self, next: Option<u64>) -> io::Result<()> {
        let confirmed = self.note().and_then(|note| note.confirm(next));
        self.next_try = confirmed.is_err().then(|| Instant::now() + RETRY);
        confirmed
    }
}

fn lock<T>(of_all: &Mutex<T>) -> MutexGuard<'_, T> {
    of_all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::wait_until;

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

        // Where nobody has to be told, nothing is noted and nothing waits.
        let alone = Checkpointed::default();
        alone.announce(1).unwrap();
        alone.set(split(5));
        assert!(!alone.is_unconfirmed());
        assert!(alone.has_confirmed());
    }

    #[test]
    fn one_that_is_announced_behind_another_is_not_confirmed_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let noted = || Checkpointed::unconfirmed_in(folder.path()).unwrap();
        let checkpointed = Checkpointed::confirmed_in(folder.path());
        let store = |number| {
            checkpointed.announce(number).unwrap();
            checkpointed.set([("a".to_owned(), number)]);
        };
        let confirm = || checkpointed.confirm(checkpointed.generation()).unwrap();
        store(7);
        assert!(!checkpointed.has_confirmed());
        checkpointed.announce(8).unwrap();
        // The others take 7 while 8 is being stored.
        confirm();
        assert_eq!(noted(), Some(8));
        assert_eq!(checkpointed.first_unconfirmed(), Some(8));
        assert!(checkpointed.has_confirmed());
        assert!(!checkpointed.is_unconfirmed(), "it is not durable yet");
        checkpointed.set([("a".to_owned(), 8)]);
        assert!(checkpointed.is_unconfirmed());
        confirm();
        assert_eq!(noted(), None);

        // One that failed, and two that the others get to know together.
        store(9);
        checkpointed.announce(10).unwrap();
        store(11);
        assert_eq!(
            (noted(), checkpointed.first_unconfirmed()),
            (Some(9), Some(9))
        );
        confirm();
        assert_eq!((noted(), checkpointed.first_unconfirmed()), (None, None));
    }

    /// Fails where it is told to, and counts the confirmations.
    #[derive(Debug, Default)]
    struct Unreliable {
        fails: AtomicBool,
        confirmations: AtomicU64,
    }

    impl ConfirmationNote for Arc<Unreliable> {
        fn announce(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn confirm(&self, _: Option<u64>) -> io::Result<()> {
            self.confirmations.fetch_add(1, Ordering::Relaxed);
            match self.fails.load(Ordering::Relaxed) {
                true => Err(io::Error::other("no space")),
                false => Ok(()),
            }
        }
    }

    #[test]
    fn a_confirmation_that_cannot_be_noted_is_tried_again_but_not_at_once() {
        let note = Arc::new(Unreliable::default());
        note.fails.store(true, Ordering::Relaxed);
        let checkpointed = Checkpointed::confirmed_by(Box::new(Arc::clone(&note)));
        checkpointed.announce(1).unwrap();
        checkpointed.set([("a".to_owned(), 1)]);
        let generation = checkpointed.generation();
        let began = Instant::now();
        let error = checkpointed.confirm(generation).unwrap_err();
        assert_eq!(error.to_string(), "no space");
        note.fails.store(false, Ordering::Relaxed);
        wait_until("it is confirmed", || {
            checkpointed.confirm(generation).unwrap();
            !checkpointed.is_unconfirmed()
        });
        assert!(began.elapsed() >= RETRY);
        assert_eq!(note.confirmations.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_note_that_may_be_gone_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let noted = || Checkpointed::unconfirmed_in(folder.path()).unwrap();
        let checkpointed = Checkpointed::confirmed_in(folder.path());
        checkpointed.announce(7).unwrap();
        checkpointed.set([("a".to_owned(), 7)]);
        // Removed, and told as if it were not.
        let note = folder.path().join("UNCONFIRMED");
        std::fs::remove_file(&note).unwrap();
        checkpointed.confirm(checkpointed.generation()).unwrap_err();
        checkpointed.announce(8).unwrap();
        assert_eq!(noted(), Some(7));
    }

    #[test]
    fn once_the_run_is_over_nothing_is_noted_and_its_place_let_go_of() {
        let note = Arc::new(Unreliable::default());
        let checkpointed = Checkpointed::confirmed_by(Box::new(Arc::clone(&note)));
        let source = checkpointed.clone();
        checkpointed.announce(1).unwrap();
        checkpointed.set([("a".to_owned(), 1)]);
        checkpointed.release();
        assert_eq!(Arc::strong_count(&note), 1);
        let error = source.confirm(source.generation()).unwrap_err();
        assert_eq!(error.to_string(), "the run is over");
        assert!(source.is_unconfirmed());
        assert_eq!(note.confirmations.load(Ordering::Relaxed), 0);
        // Nobody has to be told.
        Checkpointed::default().release();
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
