//! The open windows of one metric on one worker.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::aggregate::{AggregateKind, Input, Origin, SymbolMap};
use super::bounds::Bounds;
use super::groups::Groups;
use super::piece::{Piece, merge_similar};
use super::slots::SlotFinder;
use super::windows::{Closed, Progress, Windows};
use crate::model::{
    Column, Corrupt, Decoder, Encoder, HoldsSymbols, LiveSymbols, Renumbering, Symbol, TimestampMs,
    Trilean,
};

/// After so many panes of one batch its rows are sorted.
const TURNS_UNSORTED: usize = 4;

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
    /// The earliest and the latest of the times.
    pub span: (TimestampMs, TimestampMs),
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

impl PaneKey {
    /// Writes the window's end and the pane.
    pub fn encode(self, out: &mut Encoder) {
        out.i64(self.due);
        self.pane.encode(out);
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// The bytes end before, or the pane cannot belong to the window.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, Corrupt> {
        let due = from.i64()?;
        let pane = Bounds::decode(from)?;
        if due < pane.end {
            let end = pane.end;
            return Err(from.corrupt(format!("a window ends at {due}, before its pane at {end}")));
        }
        Ok(Self { due, pane })
    }
}

/// A row that came too late for its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateRow {
    /// The row of the batch.
    pub row: u32,
    /// Whether the window had closed while the split was idle; if not, the split's own watermark had
    /// passed the window's end.
    pub after_idle: bool,
}

/// The open panes of one metric.
#[derive(Debug)]
pub struct WindowStore {
    windows: Windows,
    kinds: Vec<AggregateKind>,
    key_width: usize,
    /// Whether the last symbol of a key must not be NULL.
    last_key_required: bool,
    open: BTreeMap<PaneKey, OpenPane>,
    /// The watermark up to which panes were handed on.
    closed: TimestampMs,
    scratch: Scratch,
}

/// A pane that takes in events.
#[derive(Debug)]
struct OpenPane {
    /// What was frozen, the oldest first. A key may be in several of them.
    frozen: Vec<Piece>,
    /// What has come since.
    live: Groups,
}

impl OpenPane {
    fn new(live: Groups) -> Self {
        Self {
            frozen: Vec::new(),
            live,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Groups> {
        let frozen = self.frozen.iter().map(|piece| &*piece.groups);
        frozen.chain([&self.live])
    }

    /// All of it in one.
    fn into_groups(mut self) -> Groups {
        if self.frozen.is_empty() {
            return self.live;
        }
        if !self.live.is_empty() {
            self.frozen.push(Piece::new(self.live));
        }
        // The others go into the largest one. Of equal ones the first is that, so that nothing but
        // the events decides.
        self.frozen.sort_by_key(|piece| Reverse(piece.groups.len()));
        let mut pieces = self.frozen.into_iter();
        let largest = pieces.next().map(Piece::into_groups);
        pieces.fold(
            largest.unwrap_or_else(|| Groups::new(0, &[])),
            |mut all, piece| {
                all.merge(&piece.groups, &SymbolMap::Same);
                all
            },
        )
    }
}

impl HoldsSymbols for OpenPane {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.frozen.mark_live(live);
        self.live.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.frozen.renumber(numbers);
        self.live.renumber(numbers);
    }
}

/// Memory that is used again for every batch.
#[derive(Debug, Default)]
struct Scratch {
    /// The rows of the pane at hand, and the slot of each.
    rows: Vec<u32>,
    slots: Vec<u32>,
    finder: SlotFinder,
    /// Rows of other panes of the batch.
    others: Vec<u32>,
    pending: Vec<u32>,
    /// Whether the pending rows are in the order of their times.
    is_sorted: bool,
    /// The late rows of the batch, where somebody asks for them.
    late: Option<Vec<LateRow>>,
}

impl Scratch {
    fn note_late(&mut self, row: u32, closed: Closed) {
        let after_idle = match closed {
            Closed::Written => return,
            Closed::Late => false,
            Closed::LateAfterIdle => true,
        };
        if let Some(late) = &mut self.late {
            late.push(LateRow { row, after_idle });
        }
    }
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

    /// From now on, keeps which rows of each batch were late, for [`late_rows`](Self::late_rows).
    pub fn keep_late_rows(&mut self) {
        self.scratch.late = Some(Vec::new());
    }

    /// The late rows of the last [`ingest`](Self::ingest), each once; none unless
    /// [`keep_late_rows`](Self::keep_late_rows) was called.
    pub fn late_rows(&self) -> &[LateRow] {
        self.scratch.late.as_deref().unwrap_or_default()
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
        if let Some(late) = &mut scratch.late {
            late.clear();
        }
        match rows.selected {
            Some(selected) => scratch.pending.extend_from_slice(selected),
            None => scratch
                .pending
                .extend(0..u32::try_from(rows.times.len()).unwrap_or(u32::MAX)),
        }
        scratch.is_sorted = false;
        // A batch spans one pane or two: each turn takes out the rows of one. Where it spans many, its
        // rows are sorted first, so that a turn need not look at them all.
        let mut turns = 0;
        while let Some(first) = scratch.pending.first() {
            if turns == TURNS_UNSORTED {
                let time = |row: &u32| rows.times.get(*row as usize).copied();
                scratch.pending.sort_by_key(time);
                scratch.is_sorted = true;
                turns += 1;
                continue;
            }
            turns += 1;
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

    /// Takes in the rows that the last [`ingest`](Self::ingest) has found late, as if they had happened
    /// when they came: at the watermark of their split, where its time stood.
    pub fn ingest_late(&mut self, rows: &Rows<'_>, keys: &[&[Symbol]], arguments: &[Argument<'_>]) {
        let late = self.late_rows().to_vec();
        if late.is_empty() {
            return;
        }
        let came = |row: usize| {
            let watermark = rows.watermarks.get(row).copied();
            watermark.map_or(self.closed, |watermark| watermark.max(self.closed))
        };
        let times: Vec<TimestampMs> = (0..rows.times.len()).map(came).collect();
        let selected: Vec<u32> = late.iter().map(|late| late.row).collect();
        let rows = Rows {
            times: &times,
            watermarks: &[],
            span: (TimestampMs::MIN, TimestampMs::MAX),
            last_watermark: TimestampMs::MIN,
            selected: Some(&selected),
            ..*rows
        };
        // By that time nothing is late.
        self.ingest(&rows, keys, arguments);
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
        let (earliest, latest) = rows.span;
        if all_open && required.is_none() && pane.contains(earliest) && pane.contains(latest) {
            std::mem::swap(&mut scratch.rows, &mut scratch.pending);
            return due;
        }
        let pending = std::mem::take(&mut scratch.pending);
        for (place, row) in pending.iter().enumerate() {
            let index = *row as usize;
            let time = rows.times.get(index).copied().unwrap_or_default();
            if !pane.contains(time) {
                if scratch.is_sorted && time >= pane.end {
                    scratch
                        .others
                        .extend_from_slice(pending.get(place..).unwrap_or_default());
                    break;
                }
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
                        scratch.note_late(*row, closed);
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
        scratch.pending = pending;
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
        let empty = || OpenPane::new(Groups::new(self.key_width, &self.kinds));
        let groups = &mut self.open.entry(key).or_insert_with(empty).live;
        scratch.slots.clear();
        scratch
            .finder
            .find(groups, &scratch.rows, keys, &mut scratch.slots);
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
            let pane = self.open.pop_first();
            due.extend(pane.map(|(key, pane)| (key, pane.into_groups())));
        }
        due
    }

    /// Takes out all panes, although none is due, in the order of their windows. What comes for them
    /// afterwards is more of the same panes.
    pub fn hand_over(&mut self) -> Vec<(PaneKey, Groups)> {
        let open = std::mem::take(&mut self.open).into_iter();
        open.map(|(key, pane)| (key, pane.into_groups())).collect()
    }

    /// All that is open, without copying it: what has come since the last time becomes a piece, and
    /// goes on in another one. Pieces are the same as long as their numbers are.
    pub fn freeze(&mut self) -> Vec<(PaneKey, Vec<Piece>)> {
        let freeze = |(key, pane): (&PaneKey, &mut OpenPane)| {
            if !pane.live.is_empty() {
                let empty = Groups::new(self.key_width, &self.kinds);
                let live = std::mem::replace(&mut pane.live, empty);
                pane.frozen.push(Piece::new(live));
            }
            (*key, pane.frozen.clone())
        };
        self.open.iter_mut().map(freeze).collect()
    }

    /// Merges the pieces of each pane that are of similar size and held by nobody else any more, so
    /// that a pane takes no more than about twice the memory of its keys. To be done between two
    /// [freezes](Self::freeze), not by them: everybody waits for a freeze, and for a million keys
    /// this takes some tenths of a second.
    pub fn merge_pieces(&mut self) {
        for pane in self.open.values_mut() {
            merge_similar(&mut pane.frozen);
        }
    }

    /// Begins anew behind the watermark up to which an earlier store handed on its panes: nothing is
    /// open, and windows that are closed at it are over.
    pub fn restore(&mut self, closed: TimestampMs) {
        self.open.clear();
        self.closed = closed;
    }

    /// The windows.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// How many panes are open.
    pub fn open_windows(&self) -> usize {
        self.open.len()
    }

    /// How many groups there are in all open windows together, those of several pieces counted several
    /// times.
    pub fn open_groups(&self) -> usize {
        self.open
            .values()
            .flat_map(OpenPane::all)
            .map(Groups::len)
            .sum()
    }

    /// How many bytes the open windows take, about.
    pub fn byte_len(&self) -> usize {
        self.open
            .values()
            .flat_map(OpenPane::all)
            .map(Groups::byte_len)
            .sum()
    }
}

impl HoldsSymbols for WindowStore {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.open.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.open.renumber(numbers);
    }
}
