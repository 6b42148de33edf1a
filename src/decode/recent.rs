//! What was used lately, by numbers: of more than a limit, what was not used for the longest goes.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Values by numbers, of which only so many are kept.
#[derive(Debug)]
pub(super) struct Recent<V> {
    limit: usize,
    /// How often a value was used.
    uses: u64,
    /// Each value with the number of its last use.
    values: HashMap<u32, (u64, V), FixedState>,
}

impl<V> Recent<V> {
    /// Keeps at most `limit` values.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            uses: 0,
            values: HashMap::default(),
        }
    }

    /// Uses a value.
    pub(super) fn get(&mut self, number: u32) -> Option<&V> {
        let (used, value) = self.values.get_mut(&number)?;
        self.uses += 1;
        *used = self.uses;
        Some(value)
    }

    /// Adds a value in the place of an earlier one of its number. Where there are too many, half of them go
    /// at once, so that it is looked only now and then which.
    pub(super) fn insert(&mut self, number: u32, value: V) {
        if self.values.len() >= self.limit && !self.values.contains_key(&number) {
            let mut uses: Vec<_> = self.values.values().map(|(used, _)| *used).collect();
            let middle = uses.len() / 2;
            if middle < uses.len() {
                let (_, last, _) = uses.select_nth_unstable(middle);
                let last = *last;
                self.values.retain(|_, (used, _)| *used > last);
            }
        }
        self.uses += 1;
        self.values.insert(number, (self.uses, value));
    }

    /// Lets go of a value.
    pub(super) fn remove(&mut self, number: u32) {
        self.values.remove(&number);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_the_longest_goes() {
        let mut recent = Recent::new(8);
        for number in 0..8 {
            recent.insert(number, number);
        }
        assert_eq!(recent.get(0), Some(&0));
        recent.insert(3, 30);
        assert_eq!(recent.len(), 8, "3 was there already");
        recent.insert(8, 8);
        let left = (0..9).filter(|number| recent.get(*number).is_some());
        assert_eq!(left.collect::<Vec<_>>(), [0, 3, 7, 8]);
        for number in 0..1_000 {
            recent.insert(number, number);
            assert!(recent.len() <= 8);
        }
        assert_eq!(recent.get(999), Some(&999));
        recent.remove(999);
        assert_eq!(recent.get(999), None);
    }
}
