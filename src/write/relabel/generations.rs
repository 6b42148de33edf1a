//! A bounded table that forgets what was not asked for in a long time.

use hashbrown::HashTable;

/// Entries in two generations: what is asked for is in the young one, and when that is full, it becomes
/// the old one and what was old is forgotten. So an entry outlives at least half as many others as there
/// may be in all.
#[derive(Debug)]
pub(super) struct Generations<T> {
    young: HashTable<T>,
    old: HashTable<T>,
    /// How many entries a generation may have.
    limit: usize,
    hash: fn(&T) -> u64,
}

impl<T> Generations<T> {
    /// An empty table for up to `limit` entries, which is at least 2.
    pub(super) fn new(limit: usize, hash: fn(&T) -> u64) -> Self {
        Self {
            young: HashTable::new(),
            old: HashTable::new(),
            limit: (limit / 2).max(1),
            hash,
        }
    }

    /// Reads an entry, which is young from now on.
    pub(super) fn get<R>(
        &mut self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        read: impl Fn(&T) -> R,
    ) -> Option<R> {
        if let Some(found) = self.young.find(hash, &is_it) {
            return Some(read(found));
        }
        let found = self.old.find_entry(hash, is_it).ok()?;
        let (entry, _) = found.remove();
        let result = read(&entry);
        self.insert(entry);
        Some(result)
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&mut self, entry: T) {
        if self.young.len() >= self.limit {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        let hash = (self.hash)(&entry);
        self.young.insert_unique(hash, entry, self.hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_was_not_asked_for() {
        let mut table = Generations::new(4, |number: &u64| *number);
        let get = |table: &mut Generations<u64>, number: u64| {
            table.get(number, |found| *found == number, |found| *found)
        };
        for number in [1, 2] {
            table.insert(number);
        }
        // Two are a generation: these are old when the third comes.
        table.insert(3);
        assert_eq!(get(&mut table, 1), Some(1));
        // 3 and 1 are young and full; 2 goes with the next.
        table.insert(4);
        let found: Vec<_> = [1, 2, 3, 4].map(|n| get(&mut table, n)).into();
        assert_eq!(found, [Some(1), None, Some(3), Some(4)]);
        assert!(table.young.len() + table.old.len() <= 4);
    }
}
