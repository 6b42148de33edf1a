//! From where splits are read on after a restart, and what may have to be read again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::position_tokens::PositionToken;

/// From where a source reads its splits, by their names: what a checkpoint says. Of a split, the
/// first record is read whose position is at or after this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resume {
    positions: BTreeMap<String, u64>,
    tokens: BTreeMap<String, PositionToken>,
}

impl Resume {
    /// The position of a split, where there is one. Without, it is read from where the source
    /// begins by itself.
    pub fn position(&self, split_name: &str) -> Option<u64> {
        self.positions.get(split_name).copied()
    }

    /// What the source has said of a split's position, or of the last before it that it has said
    /// something of: a split is read from the token's position, and what was processed does not count
    /// again.
    pub fn token(&self, split_name: &str) -> Option<&PositionToken> {
        self.tokens.get(split_name)
    }

    /// All splits with tokens, by name: also those that are finished, or of which nothing was processed.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, &PositionToken)> {
        let tokens = self.tokens.iter();
        tokens.map(|(split, token)| (split.as_str(), token))
    }

    /// The same with tokens.
    #[must_use]
    pub fn with_tokens(mut self, tokens: BTreeMap<String, PositionToken>) -> Self {
        self.tokens = tokens;
        self
    }

    /// Leaves the position of a split out.
    pub fn forget(&mut self, split_name: &str) {
        self.positions.remove(split_name);
    }

    /// Whether nothing is resumed.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.tokens.is_empty()
    }
}

impl FromIterator<(String, u64)> for Resume {
    fn from_iter<T: IntoIterator<Item = (String, u64)>>(positions: T) -> Self {
        Self {
            positions: positions.into_iter().collect(),
            tokens: BTreeMap::new(),
        }
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
    fn a_split_may_have_a_token_without_a_position() {
        let token = PositionToken {
            position: 0,
            text: "from the beginning".into(),
        };
        let tokens = [("shard".to_owned(), token.clone())].into();
        let resume = Resume::default().with_tokens(tokens);
        assert_eq!(resume.position("shard"), None);
        assert_eq!(resume.token("shard"), Some(&token));
        assert_eq!(resume.tokens().collect::<Vec<_>>(), [("shard", &token)]);
        assert!(!resume.is_empty());
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
