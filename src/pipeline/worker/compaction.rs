//! Texts that nothing needs any more are let go of, while the pipeline runs.

use std::time::Instant;

use prometheus::Histogram;

use super::Worker;
use crate::model::{HoldsSymbols, Interner, LiveSymbols};

/// As long as its texts take less, a worker lets go of none, bytes. In tests that is soon, so that every
/// test of a pipeline holds without the texts that it does not need.
const LEAST_BYTES: usize = if cfg!(test) { 64 } else { 16 << 20 };

/// When a worker lets go of texts.
///
/// What is still needed is found out each time that the texts take twice as much as when that was found
/// out last, and 16 MiB or more. Only where a quarter of them or more is needed no longer are they let go
/// of, because all state has to take over the new symbols then. So what this costs is in proportion to
/// the texts that have come, and the texts never take more than 16 MiB, or about three times what was
/// needed of them when that was found out last.
#[derive(Debug)]
pub(in crate::pipeline) struct Compaction {
    /// From how many bytes on it is next found out what is needed.
    due_bytes: usize,
    /// How long the thread stood still, seconds.
    took: Histogram,
}

impl Compaction {
    /// Nothing was found out yet.
    pub(in crate::pipeline) fn new(took: Histogram) -> Self {
        Self {
            due_bytes: LEAST_BYTES,
            took,
        }
    }

    /// Never lets go of any, for runs to compare with.
    #[cfg(test)]
    pub(in crate::pipeline) fn never(&mut self) {
        self.due_bytes = usize::MAX;
    }

    fn is_due(&self, interner: &Interner) -> bool {
        interner.needed_bytes() >= self.due_bytes
    }
}

impl Worker {
    /// Lets go of texts where that is due and pays. To be called between two batches.
    pub(super) fn compact_if_due(&mut self) {
        if !self.compaction.is_due(&self.interner) || self.own_partials.are_under_way() {
            return;
        }
        let started = Instant::now();
        let live = self.live_symbols();
        let all = self.interner.needed_bytes();
        if self.interner.needed_bytes_of(&live) <= all / 4 * 3 {
            self.let_go(&live);
        }
        self.compaction.due_bytes = (self.interner.needed_bytes() * 2).max(LEAST_BYTES);
        let took = started.elapsed();
        self.compaction.took.observe(took.as_secs_f64());
        tracing::debug!(
            worker = self.number,
            bytes_before = all,
            bytes = self.interner.needed_bytes(),
            ?took,
            "texts that nothing needs any more are let go of"
        );
    }

    /// Lets go of texts at once; says whether that was possible and whether there were any.
    #[cfg(test)]
    pub(in crate::pipeline) fn compact(&mut self) -> bool {
        if self.own_partials.are_under_way() {
            return false;
        }
        let (live, before) = (self.live_symbols(), self.interner.len());
        self.let_go(&live);
        self.interner.len() < before
    }

    /// The symbols that something of this worker holds. Nothing else does: records that wait have no
    /// symbols yet, samples have none any more, and messages of other workers come with their texts.
    fn live_symbols(&self) -> LiveSymbols {
        let mut live = LiveSymbols::new(self.interner.len());
        self.preparation.mark_live(&mut live);
        self.pending.mark_live(&mut live);
        self.stages.mark_live(&mut live);
        self.owner.mark_live(&mut live);
        live
    }

    fn let_go(&mut self, live: &LiveSymbols) {
        let numbers = self.interner.compact(live);
        self.preparation.renumber(&numbers);
        self.pending.renumber(&numbers);
        self.stages.renumber(&numbers);
        self.owner.renumber(&numbers);
    }
}
