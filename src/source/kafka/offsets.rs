//! Which offsets are to be committed.

use std::collections::BTreeMap;

use crate::model::SplitId;
use crate::source::Safe;

/// What was read and committed of the partitions that we own.
#[derive(Debug, Default)]
pub(super) struct Offsets(BTreeMap<SplitId, Marks>);

#[derive(Debug, Default)]
struct Marks {
    first: Option<u64>,
    asked: Option<Safe>,
    /// Whether the cluster is known to have the position that was asked for last.
    committed: bool,
    /// Whether it does not take that one because nobody may read the topic, or it is gone.
    refused: bool,
}

impl Offsets {
    /// A partition is ours from now on.
    pub(super) fn assigned(&mut self, split: SplitId) {
        self.0.insert(split, Marks::default());
    }

    /// A partition is no longer ours.
    pub(super) fn revoked(&mut self, split: SplitId) {
        self.0.remove(&split);
    }

    /// The partitions that are ours.
    pub(super) fn splits(&self) -> impl Iterator<Item = SplitId> {
        self.0.keys().copied()
    }

    /// A record was read.
    pub(super) fn read(&mut self, split: SplitId, offset: u64) {
        if let Some(marks) = self.0.get_mut(&split) {
            marks.first.get_or_insert(offset);
        }
    }

    /// An offset is known to be committed. What we did not ask for in this assignment says nothing:
    /// it is from an earlier one.
    pub(super) fn committed(&mut self, split: SplitId, offset: u64) {
        if let Some(marks) = self.0.get_mut(&split)
            && marks.asked.is_some_and(|asked| asked.position == offset)
        {
            marks.committed = true;
        }
    }

    /// An offset is not taken because nobody may read the topic, or it is gone. It stays due.
    pub(super) fn refused(&mut self, split: SplitId, offset: u64) {
        if let Some(marks) = self.0.get_mut(&split)
            && marks.asked.is_some_and(|asked| asked.position == offset)
        {
            marks.refused = true;
        }
    }

    /// Whether the cluster is known to have these positions, as far as it takes them.
    pub(super) fn has_committed(&self, safe: &BTreeMap<SplitId, Safe>) -> bool {
        self.0.iter().all(|(split, marks)| {
            let (Some(first), Some(safe)) = (marks.first, safe.get(split)) else {
                return true;
            };
            let is_asked = |asked: Safe| asked.position == safe.position;
            safe.position < first
                || (marks.committed || marks.refused) && marks.asked.is_some_and(is_asked)
        })
    }

    /// All that was committed is due again.
    pub(super) fn doubt(&mut self) {
        for marks in self.0.values_mut() {
            marks.committed = false;
        }
    }

    /// The offsets to commit, given which positions are safe.
    ///
    /// A position before the first record of this assignment is left over from an earlier one, and
    /// committing it would throw back whoever owned the partition in between.
    pub(super) fn due(&mut self, safe: &BTreeMap<SplitId, Safe>) -> Vec<(SplitId, Safe)> {
        let mut due = Vec::new();
        for (split, marks) in &mut self.0 {
            let (Some(first), Some(safe)) = (marks.first, safe.get(split).copied()) else {
                continue;
            };
            if safe.position < first || (marks.asked == Some(safe) && marks.committed) {
                continue;
            }
            if marks
                .asked
                .is_none_or(|asked| asked.position != safe.position)
            {
                marks.committed = false;
                marks.refused = false;
            }
            marks.asked = Some(safe);
            due.push((*split, safe));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SplitId = SplitId(0);
    const B: SplitId = SplitId(1);

    fn safe(position: u64, written: i64) -> Safe {
        Safe { position, written }
    }

    #[test]
    fn each_position_is_due_until_it_is_committed() {
        let mut offsets = Offsets::default();
        for split in [A, B] {
            offsets.assigned(split);
            offsets.read(split, 10);
            offsets.read(split, 11);
        }
        let both = BTreeMap::from([(A, safe(11, 5)), (B, safe(12, 5))]);
        assert_eq!(offsets.due(&both), [(A, safe(11, 5)), (B, safe(12, 5))]);
        assert_eq!(offsets.due(&both), [(A, safe(11, 5)), (B, safe(12, 5))]);
        offsets.committed(A, 11);
        assert_eq!(offsets.due(&both), [(B, safe(12, 5))]);
        offsets.committed(B, 12);
        assert_eq!(offsets.due(&both), []);
        let later = BTreeMap::from([(A, safe(13, 5)), (B, safe(12, 5))]);
        assert_eq!(offsets.due(&later), [(A, safe(13, 5))]);
        offsets.doubt();
        assert_eq!(offsets.due(&later), [(A, safe(13, 5)), (B, safe(12, 5))]);
    }

    #[test]
    fn what_the_cluster_does_not_take_stays_due_and_is_not_waited_for() {
        let mut offsets = Offsets::default();
        for split in [A, B] {
            offsets.assigned(split);
        }
        let both = BTreeMap::from([(A, safe(11, 5)), (B, safe(12, 5))]);
        assert!(offsets.has_committed(&both), "nothing was read");
        for split in [A, B] {
            offsets.read(split, 10);
        }
        assert!(!offsets.has_committed(&both));
        offsets.due(&both);
        assert!(!offsets.has_committed(&both), "they are on their way");
        offsets.committed(A, 11);
        assert!(!offsets.has_committed(&both));
        offsets.refused(B, 12);
        assert!(offsets.has_committed(&both));
        assert_eq!(offsets.due(&both), [(B, safe(12, 5))]);
        let later = BTreeMap::from([(A, safe(11, 5)), (B, safe(13, 5))]);
        assert!(!offsets.has_committed(&later), "it was not tried yet");
        offsets.due(&later);
        assert!(!offsets.has_committed(&later));
        offsets.revoked(B);
        assert!(offsets.has_committed(&later));
    }

    #[test]
    fn windows_written_are_due_at_the_same_position_as_well() {
        let mut offsets = Offsets::default();
        offsets.assigned(A);
        offsets.read(A, 10);
        assert_eq!(
            offsets.due(&BTreeMap::from([(A, safe(10, 5))])),
            [(A, safe(10, 5))]
        );
        offsets.committed(A, 10);
        assert_eq!(offsets.due(&BTreeMap::from([(A, safe(10, 5))])), []);
        assert_eq!(
            offsets.due(&BTreeMap::from([(A, safe(10, 6))])),
            [(A, safe(10, 6))]
        );
    }

    #[test]
    fn what_is_not_ours_or_left_over_is_not_committed() {
        let mut offsets = Offsets::default();
        offsets.assigned(A);
        let both = BTreeMap::from([(A, safe(100, 5)), (B, safe(100, 5))]);
        assert_eq!(offsets.due(&both), []);
        offsets.read(A, 500);
        assert_eq!(offsets.due(&both), []);
        offsets.committed(A, 900);
        assert_eq!(
            offsets.due(&BTreeMap::from([(A, safe(501, 5))])),
            [(A, safe(501, 5))]
        );
        offsets.revoked(A);
        assert_eq!(offsets.due(&both), []);
    }
}
