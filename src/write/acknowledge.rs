//! Up to which watermark everything is written.
//!
//! An owner's flush mark stands in every partition behind the samples that it covers. It is reported when
//! all samples before it are done, so the lowest report over all partitions and owners is the watermark below which nothing can be lost any more.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::TimestampMs;

/// How far each partition has come with each owner.
#[derive(Debug)]
pub(super) struct Tracker {
    owners: usize,
    /// By partition, then by owner.
    reached: Vec<AtomicI64>,
}

impl Tracker {
    /// A tracker that has seen no mark.
    pub(super) fn new(partitions: usize, owners: usize) -> Self {
        let reached = (0..partitions * owners)
            .map(|_| AtomicI64::new(i64::MIN))
            .collect();
        Self { owners, reached }
    }

    /// All of a partition is done that this owner handed over up to `watermark`. An older
    /// watermark than before changes nothing.
    pub(super) fn reach(&self, partition: usize, owner: usize, watermark: TimestampMs) {
        if owner >= self.owners {
            return;
        }
        if let Some(reached) = self.reached.get(partition * self.owners + owner) {
            reached.fetch_max(watermark, Ordering::AcqRel);
        }
    }

    /// The watermark that every partition has reached for every owner; `i64::MIN` while one of them
    /// has reached none.
    pub(super) fn acknowledged(&self) -> TimestampMs {
        let reached = self
            .reached
            .iter()
            .map(|reached| reached.load(Ordering::Acquire));
        reached.min().unwrap_or(i64::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_every_owner_in_every_partition() {
        let tracker = Tracker::new(2, 2);
        assert_eq!(tracker.acknowledged(), i64::MIN);
        tracker.reach(0, 0, 10);
        tracker.reach(1, 0, 10);
        tracker.reach(0, 1, 20);
        assert_eq!(tracker.acknowledged(), i64::MIN);
        tracker.reach(1, 1, 5);
        assert_eq!(tracker.acknowledged(), 5);
        tracker.reach(1, 1, 20);
        assert_eq!(tracker.acknowledged(), 10);
    }

    #[test]
    fn never_goes_back() {
        let tracker = Tracker::new(1, 1);
        tracker.reach(0, 0, 10);
        tracker.reach(0, 0, 5);
        assert_eq!(tracker.acknowledged(), 10);
    }

    #[test]
    fn takes_no_mark_of_an_unknown_owner_for_another() {
        let tracker = Tracker::new(2, 2);
        tracker.reach(0, 2, 10);
        tracker.reach(2, 0, 10);
        for (partition, owner) in [(0, 0), (0, 1), (1, 1)] {
            tracker.reach(partition, owner, 10);
        }
        assert_eq!(tracker.acknowledged(), i64::MIN);
    }
}
