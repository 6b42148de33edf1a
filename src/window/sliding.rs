//! Sliding windows out of panes.
//!
//! Windows that overlap share their panes, and merging each pane anew for each window would cost as
//! many merges as panes in a window. Here are two stacks instead (the classic queue of two stacks;
//! Tangwongsan, Hirzel and Schneider, "Low-Latency Sliding-Window Aggregation in Worst-Case
//! Constant Time", DEBS 2017, section 2): the older panes are kept as merges of each pane with all
//! that follow it up to where the front ends, the newer ones as one merge of them all. A window is
//! then one merge of two, and each pane is merged three times on its way, whatever the overlap.

use std::collections::VecDeque;

use super::aggregate::{AggregateKind, SymbolMap};
use super::bounds::Bounds;
use super::groups::Groups;
use crate::model::TimestampMs;

/// The panes of sliding windows that are not over, of all keys together.
#[derive(Debug)]
pub struct SlidingPanes {
    key_width: usize,
    kinds: Vec<AggregateKind>,
    /// The older panes, oldest first: each with what was merged of it and all after it in `front`.
    front: VecDeque<(Bounds, Groups)>,
    /// The newer panes, oldest first.
    back: Vec<(Bounds, Groups)>,
    /// All of `back` merged.
    back_total: Groups,
}

impl SlidingPanes {
    /// No panes yet.
    pub fn new(key_width: usize, kinds: Vec<AggregateKind>) -> Self {
        Self {
            back_total: Groups::new(key_width, &kinds),
            key_width,
            kinds,
            front: VecDeque::new(),
            back: Vec::new(),
        }
    }

    /// Adds a pane, or more of one that is there: events that were late for the windows so far.
    pub fn add(&mut self, pane: Bounds, groups: &Groups) {
        let front_end = self.front.back().map(|(last, _)| last.end);
        if front_end.is_some_and(|end| pane.end <= end) {
            self.add_to_front(pane, groups);
            return;
        }
        self.back_total.merge(groups, &SymbolMap::Same);
        match self
            .back
            .binary_search_by_key(&pane.end, |(known, _)| known.end)
        {
            Ok(place) => {
                if let Some((_, known)) = self.back.get_mut(place) {
                    known.merge(groups, &SymbolMap::Same);
                }
            }
            Err(place) => self.back.insert(place, (pane, groups.clone())),
        }
    }

    /// Every merge that reaches back to the pane takes it in.
    fn add_to_front(&mut self, pane: Bounds, groups: &Groups) {
        let place = self
            .front
            .partition_point(|(known, _)| known.end < pane.end);
        let is_new = self
            .front
            .get(place)
            .is_none_or(|(known, _)| known.end != pane.end);
        if is_new && let Some((_, after)) = self.front.get(place) {
            let after = after.clone();
            self.front.insert(place, (pane, after));
        }
        for (_, merged) in self.front.iter_mut().take(place + 1) {
            merged.merge(groups, &SymbolMap::Same);
        }
    }

    /// All panes within `[start, end)` of a window merged, and the panes before it forgotten. The
    /// windows must come in the order of their ends, and the panes before the windows that they
    /// belong to.
    pub fn window(&mut self, window: Bounds) -> Groups {
        self.forget_before(window.start);
        if self.front.is_empty() {
            self.turn();
        }
        match self.front.front() {
            None => self.back_total.clone(),
            Some((_, merged)) => {
                let mut all = merged.clone();
                all.merge(&self.back_total, &SymbolMap::Same);
                all
            }
        }
    }

    fn forget_before(&mut self, start: TimestampMs) {
        while self
            .front
            .front()
            .is_some_and(|(pane, _)| pane.start < start)
        {
            self.front.pop_front();
        }
        if self.front.is_empty()
            && self
                .back
                .first()
                .is_some_and(|(pane, _)| pane.start < start)
        {
            self.back.retain(|(pane, _)| pane.start >= start);
            self.turn();
        }
    }

    /// Makes the newer panes the older ones.
    fn turn(&mut self) {
        let mut merged: Option<Groups> = None;
        for (pane, mut groups) in std::mem::take(&mut self.back).into_iter().rev() {
            if let Some(after) = &merged {
                groups.merge(after, &SymbolMap::Same);
            }
            self.front.push_front((pane, groups.clone()));
            merged = Some(groups);
        }
        self.back_total = Groups::new(self.key_width, &self.kinds);
    }

    /// Whether no pane is kept.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.back.is_empty()
    }

    /// How many bytes the panes take, about.
    pub fn byte_len(&self) -> usize {
        let panes = self.front.iter().chain(&self.back);
        let bytes: usize = panes.map(|(_, groups)| groups.byte_len()).sum();
        bytes + self.back_total.byte_len()
    }
}
