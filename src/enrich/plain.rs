//! What a worker knows of a table without validity: an array access by the key's symbol.

use super::field_value::FieldValue;
use super::table::Table;
use super::values::Values;
use crate::model::{Column, Interner, Symbol};

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    NotYet,
    Hit,
    Miss,
}

/// The added fields of the keys known so far, by the key's symbol.
#[derive(Debug)]
pub(super) struct PlainCache {
    known: Vec<Known>,
    values: Values,
}

impl PlainCache {
    pub(super) fn new(fallbacks: &[FieldValue]) -> Self {
        Self {
            known: Vec::new(),
            values: Values::new(fallbacks),
        }
    }

    /// Appends the added fields of some keys; gives how many are not in the table.
    pub(super) fn apply(
        &mut self,
        keys: &[Symbol],
        table: &Table,
        fallbacks: &[FieldValue],
        columns: &mut Vec<Column>,
        interner: &mut Interner,
    ) -> u64 {
        let mut misses = 0;
        for key in keys {
            let mut known = self.known(*key);
            if known == Known::NotYet {
                known = self.resolve(*key, table, fallbacks, interner);
            }
            misses += u64::from(known == Known::Miss);
        }
        self.values
            .gather(keys.iter().map(|key| key.index()), columns);
        misses
    }

    /// The rows of those of the keys that are in the table.
    pub(super) fn hits(&self, keys: &[Symbol]) -> Vec<u32> {
        let rows = keys.iter().zip(0_u32..);
        rows.filter(|(key, _)| self.known(**key) == Known::Hit)
            .map(|(_, row)| row)
            .collect()
    }

    #[inline]
    fn known(&self, key: Symbol) -> Known {
        self.known
            .get(key.index())
            .copied()
            .unwrap_or(Known::NotYet)
    }

    #[cold]
    fn resolve(
        &mut self,
        key: Symbol,
        table: &Table,
        fallbacks: &[FieldValue],
        interner: &mut Interner,
    ) -> Known {
        let symbols = interner.len().next_power_of_two();
        if symbols > self.known.len() {
            self.known.resize(symbols, Known::NotYet);
            self.values.resize(symbols);
        }
        let row = if key.is_null() {
            None
        } else {
            table.rows_of(interner.text(key)).next()
        };
        self.values
            .take_over(key.index(), table, row, fallbacks, interner);
        let known = if row.is_some() {
            Known::Hit
        } else {
            Known::Miss
        };
        if let Some(entry) = self.known.get_mut(key.index()) {
            *entry = known;
        }
        known
    }
}
