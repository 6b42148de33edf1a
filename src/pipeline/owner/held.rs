//! The memory of `per … hold`: what each key said last, for windows in which it says nothing.

use std::cmp::Ordering;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use prometheus::IntCounter;

use super::forming::Rows;
use super::held_memory::HeldMemory;
use crate::config::{Metric, Shape};
use crate::expr::AggregateExpression;
use crate::model::{
    Column, Corrupt, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol, TimestampMs, Trilean,
};

/// The last rows of all keys, a slot each, of one metric.
#[derive(Debug)]
pub(in crate::pipeline) struct Held {
    hold_ms: i64,
    max_keys: usize,
    labels: usize,
    /// The slot of each key.
    slots: HashMap<Symbol, usize, FixedState>,
    /// Shared with a checkpoint that is being written: copied where it then changes.
    memory: Arc<HeldMemory>,
    /// Keys that were not remembered because there were too many.
    refused: IntCounter,
}

impl Held {
    /// No keys yet; nothing where the metric does not hold values.
    pub(in crate::pipeline) fn new(metric: &Metric, refused: IntCounter) -> Option<Self> {
        let Shape::Per { values, hold, .. } = &metric.shape else {
            return None;
        };
        let hold = hold.as_ref()?;
        let types = values.iter().map(AggregateExpression::data_type);
        Some(Self {
            hold_ms: hold.duration.as_signed_millis(),
            max_keys: hold.max_keys,
            labels: metric.by.len(),
            slots: HashMap::with_hasher(FixedState::with_seed(0)),
            memory: Arc::new(HeldMemory::new(metric.by.len(), types)),
            refused,
        })
    }

    /// Whether there is nothing to hold.
    pub(in crate::pipeline) fn is_empty(&self) -> bool {
        self.memory.keys.is_empty()
    }

    /// What is held now.
    pub(in crate::pipeline) fn freeze(&self) -> Arc<HeldMemory> {
        self.memory.clone()
    }

    /// Takes over what a checkpoint holds.
    ///
    /// # Errors
    /// A key is held twice.
    pub(in crate::pipeline) fn restore(&mut self, memory: Arc<HeldMemory>) -> Result<(), Corrupt> {
        if memory.keys.is_empty() {
            return Ok(());
        }
        let known = self.slots.len();
        let places = memory.keys.iter().copied().zip(0..);
        self.slots.extend(places);
        if known > 0 || self.slots.len() != memory.keys.len() {
            let reason = "a key is held twice".to_owned();
            return Err(Corrupt { offset: 0, reason });
        }
        self.memory = memory;
        Ok(())
    }

    /// How many bytes it takes, about.
    pub(in crate::pipeline) fn byte_len(&self) -> usize {
        let slot = size_of::<(Symbol, usize)>() + size_of::<Symbol>() + size_of::<TimestampMs>();
        let labels = self.labels * size_of::<Symbol>();
        let value = size_of::<f64>() + size_of::<TimestampMs>();
        self.memory.keys.capacity() * (slot + labels + self.memory.values.len() * value)
    }

    /// Remembers the rows of the window that ends at `end`, fills their NULLs with what is held, and
    /// appends a row for each key that is silent in it.
    pub(in crate::pipeline) fn carry(
        &mut self,
        end: TimestampMs,
        rows: &mut Rows,
        interner: &Interner,
    ) {
        let present = rows.count;
        for row in self.in_order(rows, interner) {
            self.remember(row, end, rows);
        }
        self.fill(present, end, rows);
        self.append_silent(end, rows);
        self.forget(end);
    }

    /// The rows so that of two rows of one key (it has changed its labels within the window) the one
    /// with the later event comes last; in the order of the keys where not all will be remembered.
    fn in_order(&self, rows: &Rows, interner: &Interner) -> Vec<usize> {
        let keys = self.keys_of(rows);
        let mut order: Vec<usize> = (0..rows.count).collect();
        let time = |row: usize| rows.last_times.get(row).copied().unwrap_or(f64::NAN);
        let text = |row: usize| interner.text(keys.get(row).copied().unwrap_or(Symbol::NULL));
        let mut seen = vec![0_u64; interner.len().div_ceil(64)];
        let twice = keys.iter().any(|key| {
            let bit = 1_u64 << (key.index() % 64);
            seen.get_mut(key.index() / 64).is_some_and(|word| {
                let known = *word & bit != 0;
                *word |= bit;
                known
            })
        });
        let new = keys.iter().filter(|key| !self.slots.contains_key(*key));
        // Where not all will be remembered, which ones must not depend on the order of arrival.
        let too_many = self.memory.keys.len() + new.count() > self.max_keys;
        if too_many || twice {
            order.sort_by(|one, other| {
                let labels = |row: usize| -> Vec<&str> {
                    let columns = rows.columns.iter().take(self.labels).map(Column::symbols);
                    columns
                        .map(|column| {
                            interner.text(column.get(row).copied().unwrap_or(Symbol::NULL))
                        })
                        .collect()
                };
                let by_key = if too_many {
                    text(*one).cmp(text(*other))
                } else {
                    Ordering::Equal
                };
                by_key
                    .then_with(|| time(*one).total_cmp(&time(*other)))
                    .then_with(|| labels(*one).cmp(&labels(*other)))
            });
        }
        order
    }

    fn keys_of<'r>(&self, rows: &'r Rows) -> &'r [Symbol] {
        let column = rows.columns.get(self.labels);
        column.map(Column::symbols).unwrap_or_default()
    }

    fn remember(&mut self, row: usize, end: TimestampMs, rows: &Rows) {
        let Some(key) = self.keys_of(rows).get(row).copied() else {
            return;
        };
        let slot = match self.slots.get(&key) {
            Some(slot) => *slot,
            None if self.memory.keys.len() >= self.max_keys => return self.refused.inc(),
            None => self.add(key),
        };
        let memory = Arc::make_mut(&mut self.memory);
        for index in 0..self.labels {
            let column = rows.columns.get(index).map(Column::symbols);
            let symbol = column.and_then(|column| column.get(row)).copied();
            if let (Some(label), Some(symbol)) = (
                memory.label_symbols.get_mut(slot * self.labels + index),
                symbol,
            ) {
                *label = symbol;
            }
        }
        if let Some(last) = memory.last.get_mut(slot) {
            *last = end;
        }
        let new = rows.columns.iter().skip(self.labels + 1);
        for ((known, seen), new) in memory.values.iter_mut().zip(new) {
            if copy(new, row, known, slot)
                && let Some(seen) = seen.get_mut(slot)
            {
                *seen = end;
            }
        }
    }

    fn add(&mut self, key: Symbol) -> usize {
        let slot = self.memory.keys.len();
        self.slots.insert(key, slot);
        Arc::make_mut(&mut self.memory).add(key);
        slot
    }

    /// Fills the NULLs of rows that have events with what is held of their keys.
    fn fill(&self, present: usize, end: TimestampMs, rows: &mut Rows) {
        let keys = self.keys_of(rows).to_vec();
        let slots: Vec<Option<usize>> = keys
            .iter()
            .take(present)
            .map(|key| self.slots.get(key).copied())
            .collect();
        let columns = rows.columns.iter_mut().skip(self.labels + 1);
        for ((known, seen), column) in self.memory.values.iter().zip(columns) {
            for (row, slot) in slots.iter().enumerate() {
                if let Some(slot) = slot
                    && is_null(column, row)
                    && self.holds(seen, *slot, end)
                {
                    copy(known, *slot, column, row);
                }
            }
        }
    }

    fn holds(&self, seen: &[TimestampMs], slot: usize, end: TimestampMs) -> bool {
        let age = seen.get(slot).map(|seen| end.saturating_sub(*seen));
        age.is_some_and(|age| age <= self.hold_ms)
    }

    fn append_silent(&self, end: TimestampMs, rows: &mut Rows) {
        for (slot, key) in self.memory.keys.iter().enumerate() {
            let silent = self.memory.last.get(slot).is_some_and(|last| *last < end);
            if !silent || !self.holds(&self.memory.last, slot, end) {
                continue;
            }
            let start = slot * self.labels;
            let labels = self.memory.label_symbols.get(start..start + self.labels);
            let symbols = labels.unwrap_or_default().iter().chain([key]);
            for (column, symbol) in rows.columns.iter_mut().zip(symbols) {
                if let Column::Text(values) = column {
                    values.push(*symbol);
                }
            }
            let columns = rows.columns.iter_mut().skip(self.labels + 1);
            for ((known, seen), column) in self.memory.values.iter().zip(columns) {
                let row = column.len();
                column.push_null();
                if self.holds(seen, slot, end) {
                    copy(known, slot, column, row);
                }
            }
            rows.count += 1;
        }
    }

    /// Forgets the keys that the next window would not hold any more.
    fn forget(&mut self, end: TimestampMs) {
        let keeps = |last: &TimestampMs| end.saturating_sub(*last) < self.hold_ms;
        if self.memory.last.iter().all(keeps) {
            return;
        }
        let kept: Vec<usize> = (0..self.memory.keys.len())
            .filter(|slot| self.memory.last.get(*slot).is_some_and(keeps))
            .collect();
        self.memory = Arc::new(self.memory.pick(&kept));
        self.find_slots();
    }

    fn find_slots(&mut self) {
        self.slots.clear();
        self.slots.extend(self.memory.keys.iter().copied().zip(0..));
    }
}

impl HoldsSymbols for Held {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.memory.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.memory.renumber(numbers);
        self.find_slots();
    }
}

fn is_null(column: &Column, row: usize) -> bool {
    match column {
        Column::Number(values) => values.get(row).is_none_or(|value| value.is_nan()),
        Column::Boolean(values) => values.get(row).is_none_or(|value| *value == Trilean::Null),
        Column::Text(values) => values.get(row).is_none_or(|value| value.is_null()),
    }
}

/// Copies a value that is not NULL; says whether there was one.
fn copy(from: &Column, row: usize, to: &mut Column, slot: usize) -> bool {
    fn set<T: Copy>(from: &[T], row: usize, to: &mut [T], slot: usize) {
        if let (Some(value), Some(place)) = (from.get(row), to.get_mut(slot)) {
            *place = *value;
        }
    }
    if is_null(from, row) {
        return false;
    }
    match (from, to) {
        (Column::Number(from), Column::Number(to)) => set(from, row, to, slot),
        (Column::Boolean(from), Column::Boolean(to)) => set(from, row, to, slot),
        (Column::Text(from), Column::Text(to)) => set(from, row, to, slot),
        // The memory was made for the types of the values.
        _ => {}
    }
    true
}
