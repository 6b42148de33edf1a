//! The values of the added fields that a worker knows: from its table, from answers of a service, or
//! the fallbacks.

use super::field_value::FieldValue;
use super::table::{Table, TableColumn};
use crate::model::{Column, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol, Trilean};

/// Columns of taken-over values. What a slot stands for, a symbol or a row, is the caller's.
#[derive(Debug)]
pub(super) struct Values {
    columns: Vec<Column>,
}

impl Values {
    pub(super) fn new(fallbacks: &[FieldValue]) -> Self {
        let column = |fallback: &FieldValue| match fallback {
            FieldValue::Number(_) => Column::Number(Vec::new()),
            FieldValue::Boolean(_) => Column::Boolean(Vec::new()),
            FieldValue::Text(_) => Column::Text(Vec::new()),
        };
        Self {
            columns: fallbacks.iter().map(column).collect(),
        }
    }

    /// Makes as many slots; the new ones are NULL.
    pub(super) fn resize(&mut self, slots: usize) {
        for column in &mut self.columns {
            match column {
                Column::Number(values) => values.resize(slots, f64::NAN),
                Column::Boolean(values) => values.resize(slots, Trilean::Null),
                Column::Text(values) => values.resize(slots, Symbol::NULL),
            }
        }
    }

    /// Writes the values of a row, or the fallbacks where there is none, into a slot.
    pub(super) fn take_over(
        &mut self,
        slot: usize,
        table: &Table,
        row: Option<usize>,
        fallbacks: &[FieldValue],
        interner: &mut Interner,
    ) {
        let Some(row) = row else {
            return self.set(slot, fallbacks, interner);
        };
        for (column, source) in self.columns.iter_mut().zip(&table.columns) {
            match (column, source) {
                (Column::Number(values), TableColumn::Number(source)) => {
                    copy(values, slot, source, row);
                }
                (Column::Boolean(values), TableColumn::Boolean(source)) => {
                    copy(values, slot, source, row);
                }
                (Column::Text(values), TableColumn::Text(source)) => {
                    let symbol = source.get(row).copied().unwrap_or(Symbol::NULL);
                    let symbol = match symbol.is_null() {
                        true => Symbol::NULL,
                        false => interner.intern(table.texts.text(symbol)),
                    };
                    write(values, slot, symbol);
                }
                // Values and table are made from the same list of columns.
                _ => {}
            }
        }
    }

    /// Writes values, one for each column, into a slot.
    pub(super) fn set(&mut self, slot: usize, values: &[FieldValue], interner: &mut Interner) {
        for (column, value) in self.columns.iter_mut().zip(values) {
            match (column, value) {
                (Column::Number(values), FieldValue::Number(value)) => write(values, slot, *value),
                (Column::Boolean(values), FieldValue::Boolean(value)) => {
                    write(values, slot, *value);
                }
                (Column::Text(values), FieldValue::Text(text)) => {
                    let symbol = text
                        .as_ref()
                        .map_or(Symbol::NULL, |text| interner.intern(text));
                    write(values, slot, symbol);
                }
                // All of them are made from the same list of columns.
                _ => {}
            }
        }
    }

    /// Copies a slot of others, which have the same columns.
    pub(super) fn copy(&mut self, slot: usize, from: &Self, other: usize) {
        for (column, other_column) in self.columns.iter_mut().zip(&from.columns) {
            match (column, other_column) {
                (Column::Number(to), Column::Number(from)) => copy(to, slot, from, other),
                (Column::Boolean(to), Column::Boolean(from)) => copy(to, slot, from, other),
                (Column::Text(to), Column::Text(from)) => copy(to, slot, from, other),
                // Both are made from the same list of columns.
                _ => {}
            }
        }
    }

    /// Marks the symbols of a slot.
    pub(super) fn mark_slot(&self, slot: usize, live: &mut LiveSymbols) {
        for column in &self.columns {
            let symbol = column.symbols().get(slot);
            symbol.iter().for_each(|symbol| live.mark(**symbol));
        }
    }

    /// The columns themselves: a row for each slot.
    pub(super) fn into_columns(self) -> Vec<Column> {
        self.columns
    }

    /// Appends a column with the values of some slots for each column here.
    pub(super) fn gather(
        &self,
        slots: impl Iterator<Item = usize> + Clone,
        columns: &mut Vec<Column>,
    ) {
        fn values<T: Copy>(cache: &[T], slots: impl Iterator<Item = usize>, null: T) -> Vec<T> {
            slots
                .map(|slot| cache.get(slot).copied().unwrap_or(null))
                .collect()
        }
        for column in &self.columns {
            let slots = slots.clone();
            columns.push(match column {
                Column::Number(cache) => Column::Number(values(cache, slots, f64::NAN)),
                Column::Boolean(cache) => Column::Boolean(values(cache, slots, Trilean::Null)),
                Column::Text(cache) => Column::Text(values(cache, slots, Symbol::NULL)),
            });
        }
    }
}

impl HoldsSymbols for Values {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.columns.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.columns.renumber(numbers);
    }
}

fn write<T>(values: &mut [T], slot: usize, value: T) {
    if let Some(entry) = values.get_mut(slot) {
        *entry = value;
    }
}

fn copy<T: Copy>(to: &mut [T], slot: usize, from: &[T], other: usize) {
    if let Some(value) = from.get(other) {
        write(to, slot, *value);
    }
}
