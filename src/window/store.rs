//! The open windows of one metric on one worker.

use std::collections::BTreeMap;

use super::aggregate::{AggregateKind, Input, Origin};
use super::groups::Groups;
use super::tumbling::Tumbling;
use crate::model::{Column, Symbol, TimestampMs, Trilean};

/// The rows of a batch that a metric takes in.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Event times of all rows of the batch, ms since the epoch.
    pub times: &'a [TimestampMs],
    /// The positions of all rows.
    pub origin: Origin<'a>,
    /// The watermark of the rows' own split before each row: its highest event time so far minus
    /// the allowed disorder.
    pub watermarks: &'a [TimestampMs],
    /// The last of the split's watermarks: where no window of the batch ends at or before it, no
    /// row is late.
    pub last_watermark: TimestampMs,
    /// Windows that end at or before this were written with the split's events by an earlier run.
    pub written: TimestampMs,
    /// The symbol of the empty text: as a label it is the same as NULL, for to Prometheus a label
    /// with an empty value is an absent one. NULL itself where there is no such symbol.
    pub empty: Symbol,
    /// The rows that the metric is for; all where it is for all.
    pub selected: Option<&'a [u32]>,
}

/// What an aggregate is computed of.
#[derive(Debug, Clone, Copy)]
pub struct Argument<'a> {
    /// The values, a row each; nothing for `count(*)`.
    pub column: Option<&'a Column>,
    /// Only rows for which this is true.
    pub filter: Option<&'a [Trilean]>,
}

/// How many events of a batch did not enter a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// The split's own watermark had passed the window's end.
    pub late: u64,
    /// The window had closed while the split was idle.
    pub late_after_idle: u64,
    /// The window was written by an earlier run.
    pub already_written: u64,
    /// The value of `per.key` was NULL.
    pub null_key: u64,
}

/// The open windows of one metric.
#[derive(Debug)]
pub struct WindowStore {
    windows: Tumbling,
    kinds: Vec<AggregateKind>,
    key_width: usize,
    /// Whether the last symbol of a key must not be NULL.
    last_key_required: bool,
    open: BTreeMap<TimestampMs, Groups>,
    /// Windows that end at or before this are closed.
    closed: TimestampMs,
    scratch: Scratch,
}

/// Memory that is used again for every batch.
#[derive(Debug, Default)]
struct Scratch {
    /// The rows of the window at hand, and the slot of each.
    rows: Vec<u32>,
    slots: Vec<u32>,
    key: Vec<Symbol>,
    /// Rows of other windows of the batch.
    others: Vec<u32>,
    pending: Vec<u32>,
}

impl WindowStore {
    /// No windows yet. Keys have `key_width` symbols; where `last_key_required`, rows whose last one
    /// is NULL are dropped.
    pub fn new(
        windows: Tumbling,
        kinds: Vec<AggregateKind>,
        key_width: usize,
        last_key_required: bool,
    ) -> Self {
        Self {
            windows,
            kinds,
            key_width,
            last_key_required,
            open: BTreeMap::new(),
            closed: TimestampMs::MIN,
            scratch: Scratch::default(),
        }
    }

    /// Takes in rows. `keys` are the key columns, each with a symbol a row; `arguments` stand in the
    /// order of the aggregates.
    pub fn ingest(
        &mut self,
        rows: &Rows<'_>,
        keys: &[&[Symbol]],
        arguments: &[Argument<'_>],
    ) -> Dropped {
        let mut dropped = Dropped::default();
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.pending.clear();
        match rows.selected {
            Some(selected) => scratch.pending.extend_from_slice(selected),
            None => scratch
                .pending
                .extend(0..u32::try_from(rows.times.len()).unwrap_or(u32::MAX)),
        }
        // A batch spans one window or two: each turn takes out the rows of one.
        while let Some(first) = scratch.pending.first() {
            let Some(time) = rows.times.get(*first as usize) else {
                break;
            };
            let end = self.windows.end(*time);
            self.take_window(end, rows, keys, &mut scratch, &mut dropped);
            if !scratch.rows.is_empty() {
                self.update(end, rows, keys, arguments, &mut scratch);
            }
            std::mem::swap(&mut scratch.pending, &mut scratch.others);
        }
        self.scratch = scratch;
        dropped
    }

    /// Moves the pending rows of the window that ends at `end` to `rows`, without the late ones, and
    /// all others to `others`.
    fn take_window(
        &self,
        end: TimestampMs,
        rows: &Rows<'_>,
        keys: &[&[Symbol]],
        scratch: &mut Scratch,
        dropped: &mut Dropped,
    ) {
        scratch.rows.clear();
        scratch.others.clear();
        let start = end.saturating_sub(self.windows.size_ms());
        let may_be_late = rows.last_watermark >= end;
        let required = keys.last().copied().filter(|_| self.last_key_required);
        for row in &scratch.pending {
            let index = *row as usize;
            let time = rows.times.get(index).copied().unwrap_or_default();
            if time < start || time >= end {
                scratch.others.push(*row);
                continue;
            }
            if end <= rows.written {
                dropped.already_written += 1;
                continue;
            }
            if may_be_late && rows.watermarks.get(index).is_some_and(|mark| *mark >= end) {
                dropped.late += 1;
                continue;
            }
            if end <= self.closed {
                dropped.late_after_idle += 1;
                continue;
            }
            if required
                .and_then(|keys| keys.get(index))
                .is_some_and(|key| key.is_null())
            {
                dropped.null_key += 1;
                continue;
            }
            scratch.rows.push(*row);
        }
    }

    fn update(
        &mut self,
        end: TimestampMs,
        rows: &Rows<'_>,
        keys: &[&[Symbol]],
        arguments: &[Argument<'_>],
        scratch: &mut Scratch,
    ) {
        let groups = self
            .open
            .entry(end)
            .or_insert_with(|| Groups::new(self.key_width, &self.kinds));
        scratch.slots.clear();
        for row in &scratch.rows {
            scratch.key.clear();
            for column in keys {
                let symbol = column.get(*row as usize).copied().unwrap_or(Symbol::NULL);
                let absent = symbol == rows.empty;
                scratch.key.push(if absent { Symbol::NULL } else { symbol });
            }
            scratch.slots.push(groups.slot(&scratch.key));
        }
        groups.grow_aggregates();
        let input = Input {
            rows: &scratch.rows,
            slots: &scratch.slots,
            times: rows.times,
            origin: rows.origin,
        };
        for (aggregate, argument) in groups.aggregates_mut().iter_mut().zip(arguments) {
            aggregate.update(&input, argument.column, argument.filter);
        }
    }

    /// Takes out the windows that end at or before the watermark, in order of time. They stay
    /// closed.
    pub fn close(&mut self, watermark: TimestampMs) -> Vec<(TimestampMs, Groups)> {
        if watermark <= self.closed {
            return Vec::new();
        }
        self.closed = watermark;
        let still_open = match watermark.checked_add(1) {
            Some(after) => self.open.split_off(&after),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut self.open, still_open)
            .into_iter()
            .collect()
    }

    /// The end of the window of a time.
    pub fn end_of(&self, time: TimestampMs) -> TimestampMs {
        self.windows.end(time)
    }

    /// How many windows are open.
    pub fn open_windows(&self) -> usize {
        self.open.len()
    }

    /// How many groups there are in all open windows together.
    pub fn open_groups(&self) -> usize {
        self.open.values().map(Groups::len).sum()
    }

    /// How many bytes the open windows take, about.
    pub fn byte_len(&self) -> usize {
        self.open.values().map(Groups::byte_len).sum()
    }
}
