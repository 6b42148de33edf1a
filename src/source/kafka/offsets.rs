//! Which offsets are to be committed.

use std::collections::BTreeMap;

use crate::model::SplitId;
use crate::source::Safe;

/// What was read and committed of the partitions that we own.
#[derive(Debug, Default)]
pub(super) struct Offsets(BTreeMap<SplitId, Marks>);

/// What is committed of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) safe: Safe,
    /// Where reading began, as long as no confirmed checkpoint has the partition: who goes on from
    /// the one before reads it from there.
    pub(super) from: Option<u64>,
}

#[derive(Debug, Default)]
struct Marks {
    /// Where reading began.
    first: Option<u64>,
    asked: Option<Due>,
    /// Whether the cluster is known to have what was asked for last.
    committed: bool,
    /// Whether it does not take that because nobody may read the topic, or it is gone.
    refused: bool,
    /// Whether a restart knows where reading is to go on, whatever becomes of the next checkpoint.
    is_known: bool,
}

impl Offsets {
    /// A partition is ours from now on. Where `is_known`, a restart does not depend on the next checkpoint
    /// to know from where it is read.
    pub(super) fn assigned(&mut self, split: SplitId, is_known: bool) {
        let marks = Marks {
            is_known,
            ..Marks::default()
        };
        self.0.insert(split, marks);
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

    /// This is known to be committed. What we did not ask for last in this assignment says nothing: it is
    /// from before.
    pub(super) fn committed(&mut self, split: SplitId, due: Due) {
        if let Some(marks) = self.0.get_mut(&split)
            && marks.asked == Some(due)
        {
            marks.committed = true;
        }
    }

    /// This is not taken because nobody may read the topic, or it is gone. It stays due.
    pub(super) fn refused(&mut self, split: SplitId, due: Due) {
        if let Some(marks) = self.0.get_mut(&split)
            && marks.asked == Some(due)
        {
            marks.refused = true;
        }
    }

    /// A checkpoint with these positions is confirmed.
    pub(super) fn confirmed(&mut self, positions: &BTreeMap<SplitId, Safe>) {
        for (split, marks) in &mut self.0 {
            if let (Some(first), Some(safe)) = (marks.first, positions.get(split)) {
                marks.is_known |= safe.position >= first;
            }
        }
    }

    /// Whether the cluster is known to have these positions, as far as it takes them.
    pub(super) fn has_committed(&self, safe: &BTreeMap<SplitId, Safe>) -> bool {
        self.0.iter().all(|(split, marks)| {
            let (Some(first), Some(safe)) = (marks.first, safe.get(split)) else {
                return true;
            };
            let is_asked = |asked: Due| asked.safe.position == safe.position;
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
    pub(super) fn due(&mut self, safe: &BTreeMap<SplitId, Safe>) -> Vec<(SplitId, Due)> {
        let mut due = Vec::new();
        for (split, marks) in &mut self.0 {
            let (Some(first), Some(safe)) = (marks.first, safe.get(split).copied()) else {
                continue;
            };
            if safe.position < first {
                continue;
            }
            let from = (!marks.is_known).then_some(first);
            let wanted = Due { safe, from };
            if marks.asked != Some(wanted) {
                marks.asked = Some(wanted);
                marks.committed = false;
                marks.refused = false;
            }
            if !marks.committed {
                due.push((*split, wanted));
            }
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

    /// The same as it is committed by a single instance.
    fn due(position: u64, written: i64) -> Due {
        Due {
            safe: safe(position, written),
            from: None,
        }
    }

    #[test]
    fn where_reading_began_is_committed_until_a_checkpoint_is_confirmed() {
        let mut offsets = Offsets::default();
        offsets.assigned(A, false);
        offsets.read(A, 10);
        let from = |position, from| Due {
            from,
            ..due(position, 5)
        };
        let at = |position| BTreeMap::from([(A, safe(position, 5))]);
        assert_eq!(offsets.due(&at(12)), [(A, from(12, Some(10)))]);
        offsets.committed(A, from(12, Some(10)));
        assert_eq!(offsets.due(&at(12)), []);
        offsets.confirmed(&at(9));
        assert_eq!(offsets.due(&at(12)), [], "that one is of before");
        offsets.confirmed(&at(12));
        assert_eq!(offsets.due(&at(12)), [(A, from(12, None))]);
        offsets.committed(A, from(12, None));
        assert_eq!(offsets.due(&at(13)), [(A, from(13, None))]);
    }

    #[test]
    fn each_position_is_due_until_it_is_committed() {
        let mut offsets = Offsets::default();
        for split in [A, B] {
            offsets.assigned(split, true);
            offsets.read(split, 10);
            offsets.read(split, 11);
        }
        let both = BTreeMap::from([(A, safe(11, 5)), (B, safe(12, 5))]);
        assert_eq!(offsets.due(&both), [(A, due(11, 5)), (B, due(12, 5))]);
        assert_eq!(offsets.due(&both), [(A, due(11, 5)), (B, due(12, 5))]);
        offsets.committed(A, due(11, 5));
        assert_eq!(offsets.due(&both), [(B, due(12, 5))]);
        offsets.committed(B, due(12, 5));
        assert_eq!(offsets.due(&both), []);
        let later = BTreeMap::from([(A, safe(13, 5)), (B, safe(12, 5))]);
        assert_eq!(offsets.due(&later), [(A, due(13, 5))]);
        offsets.doubt();
        assert_eq!(offsets.due(&later), [(A, due(13, 5)), (B, due(12, 5))]);
    }

    #[test]
    fn what_the_cluster_does_not_take_stays_due_and_is_not_waited_for() {
        let mut offsets = Offsets::default();
        for split in [A, B] {
            offsets.assigned(split, true);
        }
        let both = BTreeMap::from([(A, safe(11, 5)), (B, safe(12, 5))]);
        assert!(offsets.has_committed(&both), "nothing was read");
        for split in [A, B] {
            offsets.read(split, 10);
        }
        assert!(!offsets.has_committed(&both));
        offsets.due(&both);
        assert!(!offsets.has_committed(&both), "they are on their way");
        offsets.committed(A, due(11, 5));
        assert!(!offsets.has_committed(&both));
        offsets.refused(B, due(12, 5));
        assert!(offsets.has_committed(&both));
        assert_eq!(offsets.due(&both), [(B, due(12, 5))]);
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
        offsets.assigned(A, true);
        offsets.read(A, 10);
        assert_eq!(
            offsets.due(&BTreeMap::from([(A, safe(10, 5))])),
            [(A, due(10, 5))]
        );
        offsets.committed(A, due(10, 5));
        assert_eq!(offsets.due(&BTreeMap::from([(A, safe(10, 5))])), []);
        assert_eq!(
            offsets.due(&BTreeMap::from([(A, safe(10, 6))])),
            [(A, due(10, 6))]
        );
        assert_eq!(
            offsets.due(&BTreeMap::from([(A, safe(10, 6))])),
            [(A, due(10, 6))],
            "the cluster may have refused it"
        );
    }

    #[test]
    fn what_is_not_ours_or_left_over_is_not_committed() {
        let mut offsets = Offsets::default();
        offsets.assigned(A, true);
        let both = BTreeMap::from([(A, safe(100, 5)), (B, safe(100, 5))]);
        assert_eq!(offsets.due(&both), []);
        offsets.read(A, 500);
        assert_eq!(offsets.due(&both), []);
        offsets.committed(A, due(900, 5));
        assert_eq!(
            offsets.due(&BTreeMap::from([(A, safe(501, 5))])),
            [(A, due(501, 5))]
        );
        offsets.revoked(A);
        assert_eq!(offsets.due(&both), []);
    }
}
