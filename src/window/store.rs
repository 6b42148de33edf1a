//! The open windows of one metric on one worker.

use std::collections::BTreeMap;

use super::aggregate::{AggregateKind, Input, Origin};
use super::bounds::Bounds;
use super::groups::Groups;
use super::windows::{Closed, Progress, Windows};
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

impl Dropped {
    fn count(&mut self, closed: Closed) {
        match closed {
            Closed::Written => self.already_written += 1,
            Closed::Late => self.late += 1,
            Closed::LateAfterIdle => self.late_after_idle += 1,
        }
    }
}

/// A pane, and from which window on its events count. Where nothing is late, that is the first
/// window that the pane belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaneKey {
    /// The end of the first window that the events count for, ms since the epoch.
    pub due: TimestampMs,
    /// The pane.
    pub pane: Bounds,
}

/// The open panes of one metric.
#[derive(Debug)]
pub struct WindowStore {
    windows: Windows,
    kinds: Vec<AggregateKind>,
    key_width: usize,
    /// Whether the last symbol of a key must not be NULL.
    last_key_required: bool,
    open: BTreeMap<PaneKey, Groups>,
    /// The watermark up to which panes were handed on.
    closed: TimestampMs,
    scratch: Scratch,
}

/// Memory that is used again for every batch.
#[derive(Debug, Default)]
struct Scratch {
    /// The rows of the pane at hand, and the slot of each.
    rows: Vec<u32>,
    slots: Vec<u32>,
    key: Vec<Symbol>,
    /// Rows of other panes of the batch.
    others: Vec<u32>,
    pending: Vec<u32>,
}

impl WindowStore {
    /// No windows yet. Keys have `key_width` symbols; where `last_key_required`, rows whose last one
    /// is NULL are dropped.
    pub fn new(
        windows: Windows,
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
        // A batch spans one pane or two: each turn takes out the rows of one.
        while let Some(first) = scratch.pending.first() {
            let Some(time) = rows.times.get(*first as usize) else {
                break;
            };
            let pane = self.windows.pane(*time);
            if let Some(due) = self.take_pane(pane, rows, keys, &mut scratch, &mut dropped) {
                self.update(PaneKey { due, pane }, rows, keys, arguments, &mut scratch);
            }
            std::mem::swap(&mut scratch.pending, &mut scratch.others);
        }
        self.scratch = scratch;
        dropped
    }

    /// Moves pending rows of a pane that count from one window on to `rows`, and all rows that are
    /// left to `others`. Gives the end of that window; nothing where all rows were dropped.
    fn take_pane(
        &self,
        pane: Bounds,
        rows: &Rows<'_>,
        keys: &[&[Symbol]],
        scratch: &mut Scratch,
        dropped: &mut Dropped,
    ) -> Option<TimestampMs> {
        scratch.rows.clear();
        scratch.others.clear();
        let batch = self.progress(rows.last_watermark, rows.written);
        let mut due = self
            .windows
            .all_open(pane, &batch)
            .then(|| self.windows.first_end(pane));
        let all_open = due.is_some();
        let required = keys.last().copied().filter(|_| self.last_key_required);
        for row in &scratch.pending {
            let index = *row as usize;
            let time = rows.times.get(index).copied().unwrap_or_default();
            if !pane.contains(time) {
                scratch.others.push(*row);
                continue;
            }
            if !all_open {
                let split = rows.watermarks.get(index).copied();
                let progress = self.progress(split.unwrap_or(TimestampMs::MIN), rows.written);
                match self.windows.open_end(pane, time, &progress) {
                    Ok(end) if *due.get_or_insert(end) != end => {
                        scratch.others.push(*row);
                        continue;
                    }
                    Ok(_) => {}
                    Err(closed) => {
                        dropped.count(closed);
                        continue;
                    }
                }
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
        due.filter(|_| !scratch.rows.is_empty())
    }

    fn progress(&self, split: TimestampMs, written: TimestampMs) -> Progress {
        Progress {
            split,
            pipeline: self.closed,
            written,
        }
    }

    fn update(
        &mut self,
        key: PaneKey,
        rows: &Rows<'_>,
        keys: &[&[Symbol]],
        arguments: &[Argument<'_>],
        scratch: &mut Scratch,
    ) {
        let groups = self
            .open
            .entry(key)
            .or_insert_with(|| Groups::new(self.key_width, &self.kinds));
        scratch.slots.clear();
        for row in &scratch.rows {
            scratch.key.clear();
            for column in keys {
                let symbol = column.get(*row as usize).copied().unwrap_or(Symbol::NULL);
                scratch.key.push(symbol);
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

    /// Takes out the panes of which a window has closed at the watermark, in the order of their
    /// windows. What comes for them afterwards counts for the windows behind, where there are any.
    pub fn close(&mut self, watermark: TimestampMs) -> Vec<(PaneKey, Groups)> {
        if watermark <= self.closed {
            return Vec::new();
        }
        self.closed = watermark;
        let until = self.windows.closed_until(watermark);
        let is_due = |entry: &PaneKey| entry.due <= until;
        let mut due = Vec::new();
        while self
            .open
            .first_key_value()
            .is_some_and(|(key, _)| is_due(key))
        {
            due.extend(self.open.pop_first());
        }
        due
    }

    /// The windows.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// How many panes are open.
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
