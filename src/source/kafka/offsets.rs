//! Which offsets are to be committed.

use std::collections::BTreeMap;

use crate::model::SplitId;

/// What was read and committed of the partitions that we own.
#[derive(Debug, Default)]
pub(super) struct Offsets(BTreeMap<SplitId, Marks>);

#[derive(Debug, Default)]
struct Marks {
    first: Option<u64>,
    asked: Option<u64>,
    committed: Option<u64>,
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
            && marks.asked == Some(offset)
        {
            marks.committed = marks.asked;
        }
    }

    /// The offsets to commit, given which positions are safe.
    ///
    /// A position that is not beyond the first record of this assignment says nothing new: it may
    /// be left over from an earlier assignment, and committing it would throw back whoever owned
    /// the partition in between.
    pub(super) fn due(&mut self, safe: &BTreeMap<SplitId, u64>) -> Vec<(SplitId, u64)> {
        let mut due = Vec::new();
        for (split, marks) in &mut self.0 {
            let (Some(first), Some(safe)) = (marks.first, safe.get(split).copied()) else {
                continue;
            };
            if safe > first && marks.committed.is_none_or(|committed| safe > committed) {
                marks.asked = Some(safe);
                due.push((*split, safe));
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

    #[test]
    fn each_position_is_due_until_it_is_committed() {
        let mut offsets = Offsets::default();
        for split in [A, B] {
            offsets.assigned(split);
            offsets.read(split, 10);
            offsets.read(split, 11);
        }
        let safe = BTreeMap::from([(A, 11), (B, 12)]);
        assert_eq!(offsets.due(&safe), [(A, 11), (B, 12)]);
        assert_eq!(offsets.due(&safe), [(A, 11), (B, 12)]);
        offsets.committed(A, 11);
        assert_eq!(offsets.due(&safe), [(B, 12)]);
        offsets.committed(B, 12);
        assert_eq!(offsets.due(&safe), []);
        let safe = BTreeMap::from([(A, 13), (B, 11)]);
        assert_eq!(offsets.due(&safe), [(A, 13)]);
    }

    #[test]
    fn what_is_not_ours_or_left_over_is_not_committed() {
        let mut offsets = Offsets::default();
        offsets.assigned(A);
        let safe = BTreeMap::from([(A, 100), (B, 100)]);
        assert_eq!(offsets.due(&safe), []);
        offsets.read(A, 500);
        assert_eq!(offsets.due(&safe), []);
        offsets.committed(A, 900);
        let safe = BTreeMap::from([(A, 501)]);
        assert_eq!(offsets.due(&safe), [(A, 501)]);
        offsets.revoked(A);
        assert_eq!(offsets.due(&safe), []);
    }
}
