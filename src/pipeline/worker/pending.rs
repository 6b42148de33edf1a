//! Batches that wait for answers of a service, and what waits behind them.
//!
//! Within a split everything stays in order: what comes behind a parked batch is parked as well. A
//! batch behind it is decoded all the same and asks for its own keys, so that the answers for both
//! are waited for together; but not beyond an event that may change what its split is.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{HoldsSymbols, LiveSymbols, Renumbering, SplitId};
use crate::source::SourceEvent;

use super::batch::{Prepared, Undecoded};

/// How many batches wait on a worker before it takes no more input. A batch is 256 KiB of records or some
/// 26000 rows at most, so this is some megabytes.
const MAX_BATCHES: usize = 8;

/// Something about a split that waits.
#[derive(Debug)]
pub(in crate::pipeline) enum Item {
    /// A batch that is decoded; it waits for answers, or for the batch before it.
    Batch {
        prepared: Box<Prepared>,
        /// Whether all its columns are there.
        is_ready: bool,
    },
    /// Records behind an event, or whose schemas are not known, or the rest of a batch; nothing was done with them
    /// yet.
    Records(Undecoded),
    /// Anything else that the source said.
    Event(SourceEvent),
}

impl Item {
    /// Whether it is a batch, decoded or not.
    pub(in crate::pipeline) fn is_batch(&self) -> bool {
        !matches!(self, Self::Event(_))
    }
}

/// What waits on a worker, by split and in order. A split without anything is not here.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Pending {
    lanes: BTreeMap<SplitId, VecDeque<Item>>,
    /// Whether something goes on without answers.
    goes_on: bool,
}

impl Pending {
    pub(in crate::pipeline) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether something of a split waits.
    pub(in crate::pipeline) fn holds(&self, split: SplitId) -> bool {
        self.lanes.contains_key(&split)
    }

    /// Whether a batch that comes next may be decoded: nothing but decoded batches is before it.
    pub(in crate::pipeline) fn may_begin(&self, split: SplitId) -> bool {
        let lane = self.lanes.get(&split);
        lane.is_none_or(|lane| lane.iter().all(|item| matches!(item, Item::Batch { .. })))
    }

    /// Whether so much waits that nothing more is to be taken.
    pub(in crate::pipeline) fn is_full(&self) -> bool {
        let items = self.lanes.values().flatten();
        items.filter(|item| item.is_batch()).count() >= MAX_BATCHES
    }

    pub(in crate::pipeline) fn push(&mut self, split: SplitId, item: Item) {
        self.lanes.entry(split).or_default().push_back(item);
    }

    /// The splits of which something waits.
    pub(in crate::pipeline) fn splits(&self) -> Vec<SplitId> {
        self.lanes.keys().copied().collect()
    }

    /// Takes out what waits of a split.
    pub(in crate::pipeline) fn take(&mut self, split: SplitId) -> VecDeque<Item> {
        self.lanes.remove(&split).unwrap_or_default()
    }

    /// Puts back what still waits of a split, before anything new.
    pub(in crate::pipeline) fn put_back(&mut self, split: SplitId, lane: VecDeque<Item>) {
        if !lane.is_empty() {
            self.lanes.insert(split, lane);
        }
    }

    /// Says whether something waits for nothing but its turn.
    pub(in crate::pipeline) fn set_goes_on(&mut self, goes_on: bool) {
        self.goes_on = goes_on;
    }

    /// Whether something waits for nothing but its turn.
    pub(in crate::pipeline) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Lets go of everything, which will be read again.
    pub(in crate::pipeline) fn drop_all(&mut self) {
        self.lanes.clear();
        self.goes_on = false;
    }
}

impl HoldsSymbols for Item {
    fn mark_live(&self, live: &mut LiveSymbols) {
        if let Self::Batch { prepared, .. } = self {
            prepared.mark_live(live);
        }
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        if let Self::Batch { prepared, .. } = self {
            prepared.renumber(numbers);
        }
    }
}

impl HoldsSymbols for Pending {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.lanes.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.lanes.renumber(numbers);
    }
}
