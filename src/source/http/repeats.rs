//! Which requests the log has already, by the key that their client gave them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

/// How many requests are known.
const KNOWN: usize = 65_536;

/// How many records are in the log of each request that has an `Idempotency-Key`.
#[derive(Debug)]
pub(super) struct Repeats {
    records: HashMap<Arc<[u8]>, usize, FixedState>,
    /// The keys in the order in which they came.
    order: VecDeque<Arc<[u8]>>,
    capacity: usize,
}

impl Default for Repeats {
    fn default() -> Self {
        Self::with_capacity(KNOWN)
    }
}

impl Repeats {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            records: HashMap::default(),
            order: VecDeque::new(),
            capacity,
        }
    }

    /// Notes that record `index` of a request is in the log, with all before it.
    pub(super) fn note(&mut self, key: &[u8], index: usize) {
        if let Some(records) = self.records.get_mut(key) {
            *records = (*records).max(index + 1);
            return;
        }
        if self.order.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.records.remove(&oldest);
        }
        let key: Arc<[u8]> = key.into();
        self.order.push_back(Arc::clone(&key));
        self.records.insert(key, index + 1);
    }

    /// How many records of a request the log has, from its first.
    pub(super) fn records(&self, key: &[u8]) -> usize {
        self.records.get(key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_how_much_of_a_request_there_is() {
        let mut repeats = Repeats::with_capacity(2);
        assert_eq!(repeats.records(b"a"), 0);
        repeats.note(b"a", 0);
        repeats.note(b"a", 1);
        // Its first records are no longer in the log.
        repeats.note(b"b", 7);
        assert_eq!((repeats.records(b"a"), repeats.records(b"b")), (2, 8));
        repeats.note(b"c", 0);
        let known = [b"a", b"b", b"c"].map(|key| repeats.records(key));
        assert_eq!(known, [0, 8, 1]);
    }
}
