//! The slots of a batch's rows: most rows of a batch are of few groups, which are remembered.

use super::groups::Groups;
use crate::model::Symbol;

/// How many keys are remembered, a power of two.
const REMEMBERED: usize = 256;
/// No key: there are never so many symbols.
const NONE: u64 = u64::MAX;

/// Finds the slots of rows, with a memory of the last keys of one or two symbols.
#[derive(Debug, Default)]
pub(super) struct SlotFinder {
    /// Keys in one number, with their slots, by a few bits of their hash.
    remembered: Vec<(u64, u32)>,
    key: Vec<Symbol>,
}

impl SlotFinder {
    /// Appends the slot of each row to `slots`; `keys` are the key columns. Each call begins without
    /// memory, because slots mean nothing in other groups.
    pub(super) fn find(
        &mut self,
        groups: &mut Groups,
        rows: &[u32],
        keys: &[&[Symbol]],
        slots: &mut Vec<u32>,
    ) {
        self.remembered.clear();
        self.remembered.resize(REMEMBERED, (NONE, 0));
        let at = |column: &[Symbol], row: u32| {
            let symbol = column.get(row as usize).copied();
            symbol.unwrap_or(Symbol::NULL)
        };
        match keys {
            [one] => slots.extend(rows.iter().map(|row| {
                let key = [at(one, *row)];
                self.slot(groups, u64::from(key[0].0), &key)
            })),
            [one, two] => slots.extend(rows.iter().map(|row| {
                let key = [at(one, *row), at(two, *row)];
                let packed = u64::from(key[0].0) << 32 | u64::from(key[1].0);
                self.slot(groups, packed, &key)
            })),
            _ => slots.extend(rows.iter().map(|row| {
                self.key.clear();
                self.key.extend(keys.iter().map(|column| at(column, *row)));
                groups.slot(&self.key)
            })),
        }
    }

    #[inline]
    fn slot(&mut self, groups: &mut Groups, packed: u64, key: &[Symbol]) -> u32 {
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4): the upper bits of the product are well mixed.
        let place = packed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let Some(entry) = self.remembered.get_mut(place as usize) else {
            return groups.slot(key);
        };
        if entry.0 != packed {
            *entry = (packed, groups.slot(key));
        }
        entry.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_same_slots_as_the_groups_do() {
        let symbols = |step: u32, of: u32| -> Vec<Symbol> {
            (0..5_000_u32).map(|row| Symbol(row * step % of)).collect()
        };
        let columns = [symbols(7, 3_000), symbols(1, 4), symbols(3, 11)];
        let rows: Vec<u32> = (0..5_000).filter(|row| row % 3 != 0).collect();
        for width in 0..=3 {
            let keys: Vec<&[Symbol]> = columns[..width].iter().map(Vec::as_slice).collect();
            let mut groups = Groups::new(width, &[]);
            let mut found = Vec::new();
            SlotFinder::default().find(&mut groups, &rows, &keys, &mut found);
            for (row, slot) in rows.iter().zip(&found) {
                let key: Vec<Symbol> = keys.iter().map(|key| key[*row as usize]).collect();
                assert_eq!(groups.key(*slot as usize), key);
                assert_eq!(groups.find(&key), Some(*slot));
            }
        }
    }
}
