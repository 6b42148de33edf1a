//! From where a partition is read when it becomes ours.
//!
//! Usually the cluster knows: it is what the group has committed. A partition that the state has a
//! position for is read from there instead, because the state holds exactly what came before. What
//! the group had committed until then is of an earlier run and counts no more.

use std::collections::BTreeMap;

use crate::model::{Split, SplitId};

use super::super::Resume;

/// Where the partitions begin that the state has positions for.
#[derive(Debug)]
pub(super) struct Starts {
    resume: Resume,
    resumed: BTreeMap<SplitId, Resumed>,
}

/// A partition that was read from the position of the state.
#[derive(Debug)]
struct Resumed {
    /// What the group had committed then.
    outdated: Option<u64>,
    /// From where all windows of this process can be formed again.
    from: u64,
}

impl Starts {
    /// No partition was assigned yet.
    pub(super) fn new(resume: Resume) -> Self {
        Self {
            resume,
            resumed: BTreeMap::new(),
        }
    }

    /// From where to read a partition that has become ours, given what the group has committed, as
    /// far as that is known; none where the cluster is to say it.
    ///
    /// When it comes back to us, the commit counts, which is ours or that of the instance that had
    /// it meanwhile. If there was none, reading begins at what we still need; what of it was
    /// processed in this process does not count again.
    pub(super) fn assigned(&mut self, split: &Split, committed: Option<u64>) -> Option<u64> {
        if let Some(resumed) = self.resumed.get(&split.id) {
            let is_outdated = committed.is_none() || committed == resumed.outdated;
            return is_outdated.then_some(resumed.from);
        }
        let from = self.resume.position(&split.name)?;
        let outdated = committed;
        self.resumed.insert(split.id, Resumed { outdated, from });
        Some(from)
    }

    /// A partition is of a topic that was made anew: nothing that was known of its offsets counts.
    pub(super) fn forget(&mut self, split: &Split) {
        self.resumed.remove(&split.id);
        self.resume.forget(&split.name);
    }

    /// A partition is no longer ours, and is needed from `position` on.
    pub(super) fn revoked(&mut self, split: SplitId, position: u64) {
        if let Some(resumed) = self.resumed.get_mut(&split) {
            resumed.from = resumed.from.max(position);
        }
    }
}

/// Whether a partition still has the record at a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It does, or will have it next.
    There,
    /// It begins later: the records between are lost.
    Lost,
    /// It has never come that far: it is another topic of the same name.
    Anew,
}

/// Looks for a position in a partition that has the offsets from `first` up to, not including, `end`.
pub(super) fn find(position: u64, first: u64, end: u64) -> Found {
    if position > end {
        Found::Anew
    } else if position < first {
        Found::Lost
    } else {
        Found::There
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(id: u32) -> Split {
        Split {
            id: SplitId(id),
            name: format!("events/{id}").into(),
        }
    }

    fn starts() -> Starts {
        Starts::new(Resume::from_iter([("events/0".to_owned(), 100)]))
    }

    #[test]
    fn only_what_the_state_knows_is_not_left_to_the_cluster() {
        let mut starts = starts();
        assert_eq!(starts.assigned(&split(0), Some(500)), Some(100));
        assert_eq!(starts.assigned(&split(1), Some(500)), None);
        assert_eq!(starts.assigned(&split(1), None), None);
    }

    #[test]
    fn the_commit_of_an_earlier_run_never_counts() {
        let mut starts = starts();
        starts.assigned(&split(0), Some(500));
        starts.revoked(SplitId(0), 130);
        assert_eq!(starts.assigned(&split(0), Some(500)), Some(130));
        starts.revoked(SplitId(0), 120);
        assert_eq!(starts.assigned(&split(0), None), Some(130));
    }

    #[test]
    fn a_later_commit_counts() {
        let mut starts = starts();
        starts.assigned(&split(0), None);
        assert_eq!(starts.assigned(&split(0), None), Some(100));
        starts.revoked(SplitId(0), 130);
        assert_eq!(starts.assigned(&split(0), Some(130)), None, "ours");
        assert_eq!(starts.assigned(&split(0), Some(900)), None, "another's");
    }

    #[test]
    fn of_a_topic_made_anew_nothing_is_known() {
        let mut starts = starts();
        starts.assigned(&split(0), None);
        starts.forget(&split(0));
        assert_eq!(starts.assigned(&split(0), None), None);
    }

    #[test]
    fn a_position_is_looked_for_within_the_partition() {
        for (position, expected) in [
            (9, Found::Lost),
            (10, Found::There),
            (19, Found::There),
            (20, Found::There),
            (21, Found::Anew),
        ] {
            assert_eq!(find(position, 10, 20), expected, "{position}");
        }
        assert_eq!(find(0, 0, 0), Found::There);
    }
}
