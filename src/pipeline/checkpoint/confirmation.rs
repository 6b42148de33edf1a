//! The note of a run about which of its checkpoints the others are not known to know, beside the checkpoints.
//!
//! It also says what the run was told to start from. Until one of its own checkpoints is confirmed, the next
//! start goes back to that: the newest of the checkpoints that are left is of before, and was not asked for.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pipeline::options::Restore;
use crate::source::ConfirmationNote;
use crate::state::{Unconfirmed, UnconfirmedNote};

/// The note of a run.
#[derive(Debug)]
pub(super) struct RunNote {
    note: UnconfirmedNote,
    /// What is gone on from while none of the checkpoints from the noted one on is confirmed.
    restore: Mutex<Restore>,
}

impl RunNote {
    /// That of a run which was told to start from there.
    pub(super) fn new(note: UnconfirmedNote, restore: Restore) -> Self {
        let restore = Mutex::new(restore);
        Self { note, restore }
    }

    fn restore(&self) -> MutexGuard<'_, Restore> {
        self.restore.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, number: u64, restore: &Restore) -> io::Result<()> {
        let restore = restore.to_string();
        let written = self.note.write(&Unconfirmed { number, restore });
        written.map_err(io::Error::other)
    }
}

impl ConfirmationNote for RunNote {
    fn announce(&self, number: u64) -> io::Result<()> {
        self.write(number, &self.restore())
    }

    fn confirm(&self, next: Option<u64>) -> io::Result<()> {
        match next {
            Some(number) => self.write(number, &Restore::Latest)?,
            None => self.note.remove().map_err(io::Error::other)?,
        }
        *self.restore() = Restore::Latest;
        Ok(())
    }
}
