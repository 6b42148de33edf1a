//! The answers of a service, at most so many, for as long as they hold.

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use super::answer::Answer;

/// An answer and until when it holds, ms on the lookup's own time line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) answer: Answer,
    pub(super) until_ms: u64,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    /// Whether it was used since the hand last passed.
    used: bool,
}

/// Answers by key. A full cache lets go of a key that has not been used since the hand of the clock
/// last passed it ("second chance"), which is close to least recently used and costs nothing on use.
#[derive(Debug)]
pub(super) struct Cache {
    entries: IndexMap<Box<str>, Entry, FixedState>,
    max_keys: usize,
    hand: usize,
}

impl Cache {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            entries: IndexMap::with_hasher(FixedState::with_seed(0)),
            max_keys: max_keys.max(1),
            hand: 0,
        }
    }

    /// What is known of a key now.
    pub(super) fn get(&mut self, key: &str, now_ms: u64) -> Option<Known> {
        let entry = self.entries.get_mut(key)?;
        if entry.known.until_ms <= now_ms {
            return None;
        }
        entry.used = true;
        Some(entry.known.clone())
    }

    pub(super) fn insert(&mut self, key: Box<str>, known: Known) {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.max_keys {
            self.evict();
        }
        self.entries.insert(key, Entry { known, used: false });
    }

    fn evict(&mut self) {
        // Each turn takes away one mark, so it ends in the second round at the latest.
        while !self.entries.is_empty() {
            self.hand %= self.entries.len();
            let Some((_, entry)) = self.entries.get_index_mut(self.hand) else {
                return;
            };
            if !std::mem::take(&mut entry.used) {
                self.entries.swap_remove_index(self.hand);
                return;
            }
            self.hand += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(until_ms: u64) -> Known {
        Known {
            answer: Answer::Missing,
            until_ms,
        }
    }

    #[test]
    fn an_answer_holds_until_its_time() {
        let mut cache = Cache::new(10);
        cache.insert("a".into(), known(100));
        assert_eq!(cache.get("a", 99), Some(known(100)));
        assert_eq!(cache.get("a", 100), None);
        assert_eq!(cache.get("b", 0), None);
        cache.insert("a".into(), known(300));
        assert_eq!(cache.get("a", 200), Some(known(300)));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn a_full_cache_lets_go_of_what_is_not_used() {
        let mut cache = Cache::new(3);
        for key in ["a", "b", "c"] {
            cache.insert(key.into(), known(9));
        }
        for turn in 0..20 {
            assert!(cache.get("a", 0).is_some(), "{turn}");
            cache.insert(format!("new {turn}").into(), known(9));
            assert_eq!(cache.len(), 3);
        }
        assert!(cache.get("a", 0).is_some());
        assert!(cache.get("new 19", 0).is_some());
    }

    #[test]
    fn a_cache_whose_keys_are_all_used_stays_bounded() {
        let mut cache = Cache::new(2);
        for turn in 0..50 {
            let key = format!("{turn}");
            cache.insert(key.as_str().into(), known(9));
            assert!(cache.get(&key, 0).is_some());
            assert!(cache.len() <= 2);
        }
    }
}
