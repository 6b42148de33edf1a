//! What came of splits that run ahead of the others, held back by their worker.
//!
//! A source stops reading a paused split, but some of its records are on their way already. If they
//! were processed, they would open windows far ahead: a split with few events has hours of them in a
//! single batch. So they wait here, in their order, until the others have caught up.

use std::collections::{BTreeMap, VecDeque};

use crate::model::SplitId;
use crate::source::SourceEvent;

/// How many bytes of records may wait. A source that pauses has less than this in flight; what one
/// that does not pause sends beyond it is processed nevertheless.
const MOST_BYTES: usize = 32 << 20;

/// The events that wait, by split.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Parked {
    splits: BTreeMap<SplitId, VecDeque<SourceEvent>>,
    bytes: usize,
}

impl Parked {
    /// Whether events of a split wait: what comes after them has to wait as well.
    pub(in crate::pipeline) fn holds(&self, split: SplitId) -> bool {
        self.splits.contains_key(&split)
    }

    /// Whether nothing waits.
    pub(in crate::pipeline) fn is_empty(&self) -> bool {
        self.splits.is_empty()
    }

    /// Adds an event behind those of its split.
    pub(in crate::pipeline) fn push(&mut self, event: SourceEvent) {
        self.bytes += byte_len(&event);
        self.splits
            .entry(event.split())
            .or_default()
            .push_back(event);
    }

    /// Takes the oldest event of a split that may go on; of any, where too much waits.
    pub(in crate::pipeline) fn take(
        &mut self,
        may_go_on: impl Fn(SplitId) -> bool,
    ) -> Option<SourceEvent> {
        let full = self.bytes > MOST_BYTES;
        let split = *self
            .splits
            .keys()
            .find(|split| full || may_go_on(**split))?;
        let waiting = self.splits.get_mut(&split)?;
        let event = waiting.pop_front();
        if waiting.is_empty() {
            self.splits.remove(&split);
        }
        self.bytes = self
            .bytes
            .saturating_sub(event.as_ref().map_or(0, byte_len));
        event
    }

    /// Drops what waits of a split, and gives it: its records are read by somebody else.
    pub(in crate::pipeline) fn forget(&mut self, split: SplitId) -> VecDeque<SourceEvent> {
        let forgotten = self.splits.remove(&split).unwrap_or_default();
        let bytes: usize = forgotten.iter().map(byte_len).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        forgotten
    }
}

fn byte_len(event: &SourceEvent) -> usize {
    match event {
        SourceEvent::Records(batch) => batch.byte_len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RecordBatch, Split};

    fn records(id: u32, position: u64, size: usize) -> SourceEvent {
        let split = Split {
            id: SplitId(id),
            name: "s".into(),
        };
        let mut batch = RecordBatch::new(split, 0);
        batch.push(&vec![b' '; size], position);
        SourceEvent::Records(batch)
    }

    fn name(event: Option<SourceEvent>) -> String {
        match event {
            Some(SourceEvent::Records(batch)) => {
                format!("{}@{}", batch.split().id.0, batch.get(0).unwrap().position)
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_split_goes_on_in_its_order_once_it_may() {
        let mut parked = Parked::default();
        parked.push(records(0, 1, 1));
        parked.push(records(1, 1, 1));
        parked.push(SourceEvent::Finished(SplitId(1)));
        assert!(parked.take(|_| false).is_none());
        let second = |split: SplitId| split.0 == 1;
        assert_eq!(name(parked.take(second)), "1@1");
        assert_eq!(name(parked.take(second)), "Some(Finished(SplitId(1)))");
        assert!(!parked.holds(SplitId(1)));
        assert!(parked.holds(SplitId(0)));
        assert_eq!(parked.forget(SplitId(0)).len(), 1);
        assert!(parked.is_empty());
    }

    #[test]
    fn what_is_too_much_goes_on_without_leave() {
        let mut parked = Parked::default();
        parked.push(records(0, 1, MOST_BYTES));
        assert!(parked.take(|_| false).is_none());
        parked.push(records(0, 2, 1));
        assert_eq!(name(parked.take(|_| false)), "0@1");
        assert!(parked.take(|_| false).is_none());
    }
}
