//! Positions that are more than a number: a source counts its records and keeps beside the count what
//! it needs to find the place again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many tokens of a split are kept at most. Of more, every second one goes: a restart then reads
/// from a little earlier, and what was processed does not count again.
const MOST_TOKENS: usize = 4096;

/// What a source needs to read a split on from a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionToken {
    /// The position: the record that follows the place has this one.
    pub position: u64,
    /// The place, in the source's own words: a short text that `weir state inspect` shows as it is.
    pub text: Arc<str>,
}

/// The tokens of the positions of each split, by name, of which the one goes into a checkpoint that is
/// the last at or before the position there. A source adds them; where there are no checkpoints, nothing
/// is kept. Clones share the same tokens.
///
/// What a split had in the restored checkpoint is there from the beginning, whether the source reads
/// the split again or not: so what a source has said of a finished split stays until it forgets it.
#[derive(Debug, Clone, Default)]
pub struct PositionTokens(Option<Arc<Mutex<Table>>>);

#[derive(Debug, Default)]
struct Table {
    splits: BTreeMap<String, BTreeMap<u64, Arc<str>>>,
    forgotten: BTreeSet<String>,
    /// Those of which a checkpoint has a token.
    saved: BTreeSet<String>,
}

impl PositionTokens {
    /// A table for a pipeline with checkpoints, with the tokens of the one that it goes on from.
    pub fn kept(restored: impl IntoIterator<Item = (String, PositionToken)>) -> Self {
        let tokens = Self(Some(Arc::default()));
        for (split, token) in restored {
            tokens.add(&split, token.position, &token.text);
            if let Some(mut table) = tokens.lock() {
                table.saved.insert(split);
            }
        }
        tokens
    }

    /// Says how a split is read on from a position: to be said before the record before it is handed
    /// over, in rising order. Said again of the same position, the later token counts. A token at
    /// position 0 is that of a split of which nothing was processed yet.
    pub fn add(&self, split_name: &str, position: u64, token: &str) {
        let Some(mut table) = self.lock() else {
            return;
        };
        table.forgotten.remove(split_name);
        let tokens = match table.splits.get_mut(split_name) {
            Some(tokens) => tokens,
            None => table.splits.entry(split_name.to_owned()).or_default(),
        };
        tokens.insert(position, token.into());
        if tokens.len() > MOST_TOKENS {
            let (first, last) = (tokens.first_key_value(), tokens.last_key_value());
            let ends = [first, last].map(|end| end.map(|(position, _)| *position));
            let mut number = 0_usize;
            tokens.retain(|position, _| {
                number += 1;
                number.is_multiple_of(2) || ends.contains(&Some(*position))
            });
        }
    }

    /// Leaves a split out of all later checkpoints, its position as well as its tokens: one that is
    /// finished and will not be asked for again.
    pub fn forget(&self, split_name: &str) {
        if let Some(mut table) = self.lock() {
            table.splits.remove(split_name);
            table.saved.remove(split_name);
            table.forgotten.insert(split_name.to_owned());
        }
    }

    /// Leaves all splits out of later checkpoints of which this holds.
    pub fn forget_all(&self, is_gone: impl Fn(&str) -> bool) {
        if let Some(mut table) = self.lock() {
            let gone = table.splits.keys().filter(|split| is_gone(split));
            let gone: Vec<_> = gone.cloned().collect();
            for split in gone {
                table.splits.remove(&split);
                table.forgotten.insert(split);
            }
        }
    }

    /// Whether a split is left out of checkpoints.
    pub fn is_forgotten(&self, split_name: &str) -> bool {
        self.lock()
            .is_some_and(|table| table.forgotten.contains(split_name))
    }

    /// The token of each split at its position, or else the last before it. A split that `position_of`
    /// does not know has processed nothing.
    pub fn at(&self, position_of: impl Fn(&str) -> Option<u64>) -> BTreeMap<String, PositionToken> {
        let Some(table) = self.lock() else {
            return BTreeMap::new();
        };
        let splits = table.splits.iter().filter_map(|(split, tokens)| {
            let position = position_of(split).unwrap_or_default();
            let (position, text) = tokens.range(..=position).next_back()?;
            let token = PositionToken {
                position: *position,
                text: text.clone(),
            };
            Some((split.clone(), token))
        });
        splits.collect()
    }

    /// A checkpoint has these tokens: no later one needs any before.
    pub fn saved(&self, tokens: &BTreeMap<String, PositionToken>) {
        let Some(mut table) = self.lock() else {
            return;
        };
        for (split, token) in tokens {
            if let Some(kept) = table.splits.get_mut(split) {
                *kept = kept.split_off(&token.position);
            }
            if !table.saved.contains(split) {
                table.saved.insert(split.clone());
            }
        }
    }

    /// Whether a checkpoint has a token of a split. Where there are no checkpoints, there is none to wait
    /// for.
    pub fn is_saved(&self, split_name: &str) -> bool {
        self.lock()
            .is_none_or(|table| table.saved.contains(split_name))
    }

    fn lock(&self) -> Option<MutexGuard<'_, Table>> {
        let table = self.0.as_ref()?;
        Some(table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(position: u64, text: &str) -> PositionToken {
        PositionToken {
            position,
            text: text.into(),
        }
    }

    fn at(tokens: &PositionTokens, position: Option<u64>) -> Vec<(String, PositionToken)> {
        tokens.at(|_| position).into_iter().collect()
    }

    #[test]
    fn a_position_has_the_last_token_at_or_before_it() {
        let tokens = PositionTokens::kept([]);
        tokens.add("a", 0, "start");
        tokens.add("a", 10, "x");
        tokens.add("a", 20, "y");
        tokens.add("a", 20, "end");
        let expect = |position, expected: PositionToken| {
            assert_eq!(at(&tokens, position), [("a".to_owned(), expected)]);
        };
        expect(None, token(0, "start"));
        expect(Some(9), token(0, "start"));
        expect(Some(10), token(10, "x"));
        expect(Some(21), token(20, "end"));

        assert!(!tokens.is_saved("a"));
        tokens.saved(&tokens.at(|_| Some(15)));
        assert_eq!(at(&tokens, Some(9)), []);
        expect(Some(10), token(10, "x"));
        expect(Some(20), token(20, "end"));
        assert!(tokens.is_saved("a") && !tokens.is_saved("b"));
    }

    #[test]
    fn a_restored_token_stays_until_its_split_is_forgotten() {
        let tokens = PositionTokens::kept([("done".to_owned(), token(7, "end"))]);
        assert_eq!(at(&tokens, Some(7)), [("done".to_owned(), token(7, "end"))]);
        assert!(!tokens.is_forgotten("done") && tokens.is_saved("done"));
        tokens.forget("done");
        assert_eq!(at(&tokens, Some(7)), []);
        assert!(tokens.is_forgotten("done"));
        tokens.add("done", 0, "again");
        assert!(!tokens.is_forgotten("done"));
    }

    #[test]
    fn all_splits_of_a_kind_are_forgotten_together() {
        let names = ["a/0", "a/1", "ab/0"];
        let tokens = PositionTokens::kept(names.map(|name| (name.to_owned(), token(0, "x"))));
        tokens.forget_all(|split| split.starts_with("a/"));
        assert_eq!(at(&tokens, None), [("ab/0".to_owned(), token(0, "x"))]);
        let forgotten = names.map(|name| tokens.is_forgotten(name));
        assert_eq!(forgotten, [true, true, false]);
    }

    #[test]
    fn without_checkpoints_nothing_is_kept() {
        let tokens = PositionTokens::default();
        tokens.add("a", 0, "start");
        tokens.forget("b");
        assert_eq!(at(&tokens, Some(5)), []);
        assert!(!tokens.is_forgotten("b"));
        assert!(tokens.is_saved("a"), "there is nothing to wait for");
    }

    #[test]
    fn of_too_many_tokens_the_first_and_the_last_stay() {
        let tokens = PositionTokens::kept([]);
        let last = 5 * MOST_TOKENS as u64;
        for position in 0..=last {
            tokens.add("a", position, &position.to_string());
        }
        let kept = tokens.lock().unwrap().splits["a"].len();
        assert!((2..=MOST_TOKENS).contains(&kept), "{kept}");
        for position in [0, last] {
            let expected = token(position, &position.to_string());
            assert_eq!(at(&tokens, Some(position)), [("a".to_owned(), expected)]);
        }
        let (_, middle) = at(&tokens, Some(last / 2)).remove(0);
        assert!(middle.position <= last / 2, "{middle:?}");
        assert_eq!(middle.text.parse(), Ok(middle.position));
    }
}
