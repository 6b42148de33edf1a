//! The note of the checkpoints that others are not known to know: where others read on from a pipeline's
//! positions, no run goes on from these. It lies beside the checkpoints, so that whoever has them has it.
//!
//! A line of the first one's number, a space, and what its run was told to start from, in the words of
//! `weir run --restore`:
//!
//! ```text
//! 42 latest
//! ```

use std::sync::Arc;

use super::checkpoints::Identity;
use super::error::StateError;
use super::manifest::damaged;
use super::names;
use super::store::{Store, StoreError};

/// The checkpoints of a pipeline that others are not known to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The number of the first of them; all behind it are among them.
    pub number: u64,
    /// What is gone on from in their place, one word without spaces. What it means is known to who has
    /// written it.
    pub restore: String,
}

/// Where it is noted.
#[derive(Debug, Clone)]
pub struct UnconfirmedNote {
    store: Arc<dyn Store>,
    pipeline: String,
}

impl UnconfirmedNote {
    /// The note of the identity's pipeline.
    pub fn new(store: Arc<dyn Store>, identity: &Identity) -> Self {
        Self {
            store,
            pipeline: identity.pipeline.clone(),
        }
    }

    /// What is noted.
    ///
    /// # Errors
    /// The store cannot be read, or what is there makes no sense.
    pub fn read(&self) -> Result<Option<Unconfirmed>, StateError> {
        let Some(bytes) = self.store.get(&self.name())? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        decode(&text).map(Some).ok_or_else(|| self.damaged(&text))
    }

    /// Notes it over what was noted before. When this returns, it survives a loss of power.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn write(&self, unconfirmed: &Unconfirmed) -> Result<(), StoreError> {
        self.store
            .put(&self.name(), encode(unconfirmed).as_bytes())?;
        self.store.sync()
    }

    /// All checkpoints can be gone on from. When this returns, that survives a loss of power.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove(&self) -> Result<(), StoreError> {
        self.store.delete(&self.name())?;
        self.store.sync()
    }

    /// What a note that was read says makes no sense to who has to know it.
    pub fn senseless(&self, unconfirmed: &Unconfirmed) -> StateError {
        self.damaged(&encode(unconfirmed))
    }

    fn damaged(&self, text: &str) -> StateError {
        let what = format!("{}/{}", self.store.location(), self.name());
        let reason = format!(
            "it has '{}' in place of a checkpoint's number and what its run has started from",
            text.trim_end()
        );
        damaged(&what, reason)
    }

    fn name(&self) -> String {
        names::unconfirmed(&self.pipeline)
    }
}

fn encode(unconfirmed: &Unconfirmed) -> String {
    format!("{} {}\n", unconfirmed.number, unconfirmed.restore)
}

fn decode(text: &str) -> Option<Unconfirmed> {
    let (number, restore) = text.strip_suffix('\n')?.split_once(' ')?;
    if restore.is_empty() || restore.contains(char::is_whitespace) {
        return None;
    }
    Some(Unconfirmed {
        number: number.parse().ok()?,
        restore: restore.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStore;
    use super::super::checkpoints_tests::identity;
    use super::*;

    #[test]
    fn a_note_reads_back_until_it_is_removed() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let note = UnconfirmedNote::new(Arc::clone(&store), &identity(1));
        assert_eq!(note.read().unwrap(), None);
        for (number, restore) in [(7, "latest"), (u64::MAX, "before-2.1_x")] {
            let restore = restore.to_owned();
            let unconfirmed = Unconfirmed { number, restore };
            note.write(&unconfirmed).unwrap();
            assert_eq!(note.read().unwrap(), Some(unconfirmed));
        }
        assert_eq!(store.list("").unwrap(), ["cars/unconfirmed"]);
        note.remove().unwrap();
        note.remove().unwrap();
        assert_eq!(note.read().unwrap(), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let note = UnconfirmedNote::new(Arc::clone(&store), &identity(1));
        for text in ["", "7", "7\n", "7 \n", "x latest\n", "7 a b\n", "7 latest"] {
            store.put("cars/unconfirmed", text.as_bytes()).unwrap();
            let error = note.read().unwrap_err();
            let expected = format!(
                "memory/cars/unconfirmed: it has '{}' in place of a checkpoint's number and what its \
                 run has started from",
                text.trim_end()
            );
            assert_eq!(error.to_string(), expected);
        }
    }
}
