//! Sliding windows out of panes.
//!
//! Windows that overlap share their panes, and merging all panes anew for each window would cost as
//! many merges as panes in a window. So panes are also kept merged by blocks of about the square root
//! of their number: a window is the blocks that lie in it whole, and the panes of the one block that
//! it begins in. Each pane is held twice, and a window of `n` panes takes about `2 √n` merges.
//! (Suffix merges, as in the two stacks of Tangwongsan, Hirzel and Schneider, DEBS 2017, take three
//! merges, but hold each group once for every pane before it: a thousand times the memory for windows
//! of a thousand panes.)

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::aggregate::{AggregateKind, SymbolMap};
use super::bounds::Bounds;
use super::groups::Groups;
use super::piece::Piece;
use crate::model::{HoldsSymbols, LiveSymbols, Renumbering, TimestampMs};

/// The panes of sliding windows that are not over, of all keys together.
#[derive(Debug)]
pub struct SlidingPanes {
    key_width: usize,
    kinds: Vec<AggregateKind>,
    /// How long a block is, ms: whole panes.
    block_ms: i64,
    /// By their beginnings.
    panes: BTreeMap<TimestampMs, Piece>,
    /// All panes of each block merged, by the block's beginning.
    blocks: BTreeMap<TimestampMs, Groups>,
}

impl SlidingPanes {
    /// No panes yet, of `pane_ms` each; windows have `size_ms`.
    pub fn new(key_width: usize, kinds: Vec<AggregateKind>, pane_ms: i64, size_ms: i64) -> Self {
        let panes = (size_ms / pane_ms.max(1)).max(1);
        Self {
            key_width,
            kinds,
            block_ms: panes.isqrt().max(1).saturating_mul(pane_ms.max(1)),
            panes: BTreeMap::new(),
            blocks: BTreeMap::new(),
        }
    }

    /// Adds a pane, or more of one that is there: events that were late for the windows so far.
    pub fn add(&mut self, pane: Bounds, groups: &Groups) {
        self.add_to_block(pane.start, groups);
        let empty = || Piece::new(Groups::new(self.key_width, &self.kinds));
        let known = self.panes.entry(pane.start).or_insert_with(empty);
        known.change().merge(groups, &SymbolMap::Same);
    }

    /// Adds what [`freeze`](Self::freeze) gave of a pane. Where there are several parts of one, they
    /// are merged.
    pub fn restore(&mut self, start: TimestampMs, groups: Groups) {
        self.add_to_block(start, &groups);
        match self.panes.entry(start) {
            Entry::Vacant(place) => drop(place.insert(Piece::new(groups))),
            Entry::Occupied(known) => {
                let known = known.into_mut().change();
                known.merge(&groups, &SymbolMap::Same);
            }
        }
    }

    fn add_to_block(&mut self, start: TimestampMs, groups: &Groups) {
        let block = start.saturating_sub(start.rem_euclid(self.block_ms));
        let empty = || Groups::new(self.key_width, &self.kinds);
        let merged = self.blocks.entry(block).or_insert_with(empty);
        merged.merge(groups, &SymbolMap::Same);
    }

    /// The panes by their beginnings, without copying them. Blocks are made of them again.
    pub fn freeze(&self) -> Vec<(TimestampMs, Piece)> {
        let panes = self.panes.iter();
        panes.map(|(start, pane)| (*start, pane.clone())).collect()
    }

    /// All panes within `[start, end)` of a window merged, and the panes before it forgotten. The
    /// windows must come in the order of their ends, and the panes before the windows that they
    /// belong to.
    pub fn window(&mut self, window: Bounds) -> Groups {
        self.panes = self.panes.split_off(&window.start);
        let first_whole = window.start + (-window.start).rem_euclid(self.block_ms);
        let broken = first_whole.saturating_sub(self.block_ms);
        self.blocks = self.blocks.split_off(&broken);
        let mut all = Groups::new(self.key_width, &self.kinds);
        let single = self.panes.range(..first_whole);
        let single = single.map(|(_, pane)| &*pane.groups);
        let whole = self.blocks.range(first_whole..).map(|(_, block)| block);
        for groups in single.chain(whole) {
            all.merge(groups, &SymbolMap::Same);
        }
        all
    }

    /// Whether no pane is kept.
    pub fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    /// How many panes are kept.
    pub fn len(&self) -> usize {
        self.panes.len()
    }

    /// How many groups there are in the panes together.
    pub fn groups(&self) -> usize {
        self.panes.values().map(|pane| pane.groups.len()).sum()
    }

    /// How many bytes the panes take, about.
    pub fn byte_len(&self) -> usize {
        let panes = self.panes.values().map(|pane| &*pane.groups);
        let all = panes.chain(self.blocks.values());
        all.map(Groups::byte_len).sum()
    }
}

impl HoldsSymbols for SlidingPanes {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.panes.mark_live(live);
        self.blocks.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.panes.renumber(numbers);
        self.blocks.renumber(numbers);
    }
}
