//! From where splits are read on after a restart, and what may have to be read again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// From where a source reads its splits, by their names: what a checkpoint says. Of a split, the
/// first record is read whose position is at or after this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resume(BTreeMap<String, u64>);

impl Resume {
    /// The position of a split, where there is one. Without, it is read from where the source
    /// begins by itself.
    pub fn position(&self, split_name: &str) -> Option<u64> {
        self.0.get(split_name).copied()
    }

    /// Whether nothing is resumed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, u64)> for Resume {
    fn from_iter<T: IntoIterator<Item = (String, u64)>>(positions: T) -> Self {
        Self(positions.into_iter().collect())
    }
}

/// The lowest position of each split, by name, that any kept checkpoint still needs. The pipeline
/// sets it; a source that keeps records itself throws away what is before. Clones share the same
/// positions.
#[derive(Debug, Clone, Default)]
pub struct KeptPositions(Arc<Mutex<BTreeMap<String, u64>>>);

impl KeptPositions {
    /// Sets from where a split may still have to be read.
    pub fn set(&self, split_name: &str, position: u64) {
        self.lock().insert(split_name.to_owned(), position);
    }

    /// From where a split may still have to be read; none where nothing is known, and so all of it.
    pub fn position(&self, split_name: &str) -> Option<u64> {
        self.lock().get(split_name).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_by_the_name_of_the_split() {
        let resume = Resume::from_iter([("events/3".to_owned(), 17)]);
        assert_eq!(resume.position("events/3"), Some(17));
        assert_eq!(resume.position("events/4"), None);
        assert!(!resume.is_empty());
        assert!(Resume::default().is_empty());
    }

    #[test]
    fn clones_share_what_is_kept() {
        let kept = KeptPositions::default();
        let reader = kept.clone();
        assert_eq!(reader.position("log"), None);
        kept.set("log", 5);
        kept.set("log", 9);
        assert_eq!(reader.position("log"), Some(9));
    }
}
