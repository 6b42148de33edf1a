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

/// What is known of a partition that has become ours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// From where it is to be read, as the state says.
    pub(super) start: Option<u64>,
    /// What the group has committed.
    pub(super) committed: Option<u64>,
    /// How far it was read when it was ours before.
    pub(super) left: Option<u64>,
    /// Its first offset, and the one behind its last.
    pub(super) offsets: Option<(u64, u64)>,
}

/// Where a partition is read from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody knows of it: where the group begins.
    Untouched,
    /// From here on.
    At(u64),
    /// It begins later than where it was to be read: the records between are lost.
    Lost {
        /// From where it was to be read.
        wanted: u64,
        /// The first offset that there is.
        first: u64,
    },
    /// From its beginning: it is of another topic of the same name.
    Anew,
    /// It has never come as far as the state: it is of a topic that the state does not know.
    Foreign {
        /// How far the state has read.
        wanted: u64,
        /// Where the partition ends.
        end: u64,
    },
}

impl Known {
    /// Where the partition is read from. Where its offsets are not known, what is wanted is taken to be
    /// there: the first record that comes shows it.
    pub(super) fn place(&self) -> Place {
        let end = self.offsets.map(|(_, end)| end);
        // With a topic, its brokers forget what was committed.
        if self.committed.is_none()
            && end.is_some_and(|end| self.left.is_some_and(|left| end < left))
        {
            return Place::Anew;
        }
        let Some(wanted) = self.start.or(self.committed) else {
            return Place::Untouched;
        };
        match self.offsets {
            Some((_, end)) if wanted > end && self.start.is_some() => {
                Place::Foreign { wanted, end }
            }
            Some((_, end)) if wanted > end => Place::Anew,
            Some((first, _)) if wanted < first => Place::Lost { wanted, first },
            _ => Place::At(wanted),
        }
    }
}

/// Why a record comes whose offset is before what was read already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// Its topic was deleted and made anew, and is read from its beginning.
    Anew,
    /// The end of the partition is lost, as when a broker leads it that had not all of it: what comes
    /// now is new.
    Truncated,
    /// The same, but the client reads from the beginning what was read before.
    Again,
}

/// Why the client goes back to `offset` though everything before `next` was read, in a partition with
/// these offsets.
///
/// The client knows where a log was cut off, and goes on there. Only where it has lost its place does it
/// begin with the first record: in another topic of the same name, which is not as long yet.
pub(super) fn went_back(offset: u64, next: u64, offsets: (u64, u64)) -> Back {
    match offsets {
        (first, _) if offset > first => Back::Truncated,
        (_, end) if end >= next => Back::Again,
        _ => Back::Anew,
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
        let offsets = Some((10, 20));
        for (wanted, by_state, by_commit) in [
            (
                9,
                Place::Lost {
                    wanted: 9,
                    first: 10,
                },
                Place::Lost {
                    wanted: 9,
                    first: 10,
                },
            ),
            (10, Place::At(10), Place::At(10)),
            (20, Place::At(20), Place::At(20)),
            (
                21,
                Place::Foreign {
                    wanted: 21,
                    end: 20,
                },
                Place::Anew,
            ),
        ] {
            let start = Some(wanted);
            let known = Known {
                start,
                offsets,
                ..Known::default()
            };
            assert_eq!(known.place(), by_state, "{wanted}");
            let known = Known {
                committed: start,
                offsets,
                ..Known::default()
            };
            assert_eq!(known.place(), by_commit, "{wanted}");
            let known = Known {
                start,
                ..Known::default()
            };
            assert_eq!(known.place(), Place::At(wanted), "nothing else is known");
        }
        let known = Known {
            offsets,
            ..Known::default()
        };
        assert_eq!(known.place(), Place::Untouched);
    }

    #[test]
    fn a_partition_that_ends_before_where_we_left_it_is_of_a_topic_made_anew() {
        let left = |left, committed, start| Known {
            left: Some(left),
            committed,
            start,
            offsets: Some((0, 20)),
        };
        assert_eq!(left(21, None, None).place(), Place::Anew);
        assert_eq!(left(21, None, Some(5)).place(), Place::Anew);
        assert_eq!(left(20, None, None).place(), Place::Untouched);
        assert_eq!(
            left(21, Some(7), None).place(),
            Place::At(7),
            "known to the group"
        );
    }

    #[test]
    fn a_log_that_was_cut_off_is_no_topic_made_anew() {
        for (offset, offsets, expected) in [
            (0, (0, 4), Back::Anew),
            (3, (3, 4), Back::Anew),
            (90, (0, 95), Back::Truncated),
            (90, (0, 200), Back::Truncated),
            (0, (0, 100), Back::Again),
            (0, (0, 120), Back::Again),
        ] {
            assert_eq!(
                went_back(offset, 100, offsets),
                expected,
                "{offset} {offsets:?}"
            );
        }
    }
}
