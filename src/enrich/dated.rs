//! What a worker knows of a table whose rows are valid for a time: the rows of a key by its symbol,
//! and among them the one at the event's time.

use std::ops::Range;

use super::field_value::FieldValue;
use super::table::Table;
use super::validity::Validity;
use super::values::Values;
use crate::model::{Column, Interner, Symbol, TimestampMs};

/// The slot of the values for what is not in the table.
const MISS: u32 = 0;

/// The rows of a key.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// The first of them in the table.
    row: u32,
    /// The slot of its values here.
    slot: u32,
    count: u32,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
enum Known {
    NotYet,
    Rows(Span),
}

/// The added fields of the keys known so far: a slot for each of their rows.
#[derive(Debug)]
pub(super) struct DatedCache {
    known: Vec<Known>,
    values: Values,
    slots: u32,
    /// The slots of a batch's events.
    chosen: Vec<u32>,
}

impl DatedCache {
    pub(super) fn new(fallbacks: &[FieldValue]) -> Self {
        Self {
            known: Vec::new(),
            values: Values::new(fallbacks),
            slots: 0,
            chosen: Vec::new(),
        }
    }

    /// Appends the added fields of some keys at some times; gives how many have no valid row.
    pub(super) fn apply(
        &mut self,
        keys: &[Symbol],
        times: &[TimestampMs],
        (table, validity): (&Table, &Validity),
        fallbacks: &[FieldValue],
        columns: &mut Vec<Column>,
        interner: &mut Interner,
    ) -> u64 {
        if self.slots == 0 {
            self.take_over(table, None, fallbacks, interner);
        }
        let mut misses = 0;
        self.chosen.clear();
        for (key, time) in keys.iter().zip(times) {
            let span = match self.known.get(key.index()) {
                Some(Known::Rows(span)) => *span,
                Some(Known::NotYet) | None => self.resolve(*key, table, fallbacks, interner),
            };
            let rows = span.row as usize..(span.row + span.count) as usize;
            let slot = validity
                .row_at(rows, *time)
                .map_or(MISS, |row| span.slot + (row - span.row as usize) as u32);
            misses += u64::from(slot == MISS);
            self.chosen.push(slot);
        }
        self.values
            .gather(self.chosen.iter().map(|slot| *slot as usize), columns);
        misses
    }

    /// The rows of those events of the last batch that have a valid row.
    pub(super) fn hits(&self) -> Vec<u32> {
        let rows = self.chosen.iter().zip(0_u32..);
        rows.filter(|(slot, _)| **slot != MISS)
            .map(|(_, row)| row)
            .collect()
    }

    #[cold]
    fn resolve(
        &mut self,
        key: Symbol,
        table: &Table,
        fallbacks: &[FieldValue],
        interner: &mut Interner,
    ) -> Span {
        let rows: Range<usize> = if key.is_null() {
            0..0
        } else {
            table.rows_of(interner.text(key))
        };
        let span = Span {
            row: rows.start as u32,
            slot: self.slots,
            count: rows.len() as u32,
        };
        for row in rows {
            self.take_over(table, Some(row), fallbacks, interner);
        }
        if self.known.len() <= key.index() {
            self.known
                .resize(interner.len().next_power_of_two(), Known::NotYet);
        }
        if let Some(known) = self.known.get_mut(key.index()) {
            *known = Known::Rows(span);
        }
        span
    }

    fn take_over(
        &mut self,
        table: &Table,
        row: Option<usize>,
        fallbacks: &[FieldValue],
        interner: &mut Interner,
    ) {
        let slot = self.slots as usize;
        self.slots += 1;
        self.values.resize(self.slots as usize);
        self.values.take_over(slot, table, row, fallbacks, interner);
    }
}
