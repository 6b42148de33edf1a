//! Partitions that go to other instances of the group.
//!
//! A partition goes once a checkpoint has all that was read of it, and the group knows that position.
//! Nothing of it is read meanwhile; the other partitions go on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::super::super::{SourceEvent, Stopped};
use super::super::sharing::let_go;
use super::{End, Reader};
use crate::model::SplitId;

/// How long a checkpoint may take. It must be well under `max.poll.interval.ms` (five minutes), which
/// is how long the group waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the last commit is tried: less than the pipeline waits for it.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// The wait after a commit that has failed.
const RETRY: Duration = Duration::from_secs(1);

/// How often it is looked whether it is noted that the group has a checkpoint.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Partitions that are to go.
#[derive(Debug)]
pub(super) struct Leaving {
    splits: BTreeSet<SplitId>,
    deadline: Instant,
    /// Whether the group has taken a commit of ours since they were to go.
    is_member: bool,
    next_try: Instant,
}

/// What has come of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Done,
    /// Another try may succeed.
    Failed,
    /// The group does not count us among its members any more.
    ThrownOut,
}

impl Commit {
    fn of(result: &KafkaResult<()>) -> Self {
        let Err(error) = result else {
            return Self::Done;
        };
        match error.rdkafka_error_code() {
            Some(
                Code::UnknownMemberId
                | Code::IllegalGeneration
                | Code::FencedInstanceId
                | Code::FencedMemberEpoch
                | Code::StaleMemberEpoch
                | Code::Fenced
                | Code::Fatal,
            ) => Self::ThrownOut,
            // The topic was deleted, or may not be read any more: nobody reads on from there. All
            // others are committed.
            Some(
                Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::TopicAuthorizationFailed,
            ) => Self::Done,
            _ => Self::Failed,
        }
    }
}

/// What is to be done with partitions that are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// They go.
    Release,
    /// The group has them, and that is not noted yet.
    AwaitNote,
    /// No checkpoint has them yet.
    AwaitCheckpoint,
    /// The commit is tried again.
    CommitAgain,
    /// Others have them already.
    Lost,
    /// No checkpoint has them in time.
    NoCheckpoint,
    /// The group does not take them in time.
    NotCommitted,
}

impl Step {
    /// The next one after a commit: whether a checkpoint has the partitions, whether it is noted that the group
    /// has that checkpoint, and whether all of it has taken too long.
    fn after(commit: Commit, is_saved: bool, is_confirmed: bool, is_late: bool) -> Self {
        match (commit, is_saved) {
            (Commit::Done, true) if is_confirmed => Self::Release,
            // However long it takes: whoever gets the partitions begins there, and a run that ended now would
            // go on from the checkpoint before. What is between them would be nowhere.
            (Commit::Done, true) => Self::AwaitNote,
            (Commit::Done, false) if !is_late => Self::AwaitCheckpoint,
            (Commit::Done, false) => Self::NoCheckpoint,
            (Commit::Failed, _) if !is_late => Self::CommitAgain,
            (Commit::Failed, _) => Self::NotCommitted,
            (Commit::ThrownOut, _) => Self::Lost,
        }
    }
}

impl Reader {
    /// Partitions are to go: nothing more is read of them, and what was read goes to the pipeline.
    pub(super) fn leave(&mut self, splits: &[SplitId]) -> Result<(), Stopped> {
        for split in splits {
            if let Some(owned) = self.owned.get_mut(split) {
                owned.leaves = true;
            }
            let rest = self.gather.take(*split);
            self.push(Vec::from_iter(rest))?;
            self.producer.push(SourceEvent::Leaving(*split), 0)?;
        }
        self.note_leaving(splits);
        Ok(())
    }

    /// Remembers which partitions are to go.
    pub(super) fn note_leaving(&mut self, splits: &[SplitId]) {
        let leaving = self.leaving.get_or_insert_with(|| Leaving {
            splits: BTreeSet::new(),
            deadline: Instant::now() + PATIENCE,
            is_member: false,
            next_try: Instant::now(),
        });
        leaving.splits.extend(splits);
    }

    /// Lets the partitions go that are to, once a checkpoint has them.
    pub(super) fn let_leave(&mut self, now: Instant) -> Result<(), End> {
        let group = self.consumer.context();
        let (Some(leaving), Some(sharing)) = (&mut self.leaving, group.sharing()) else {
            return Ok(());
        };
        if now < leaving.next_try {
            return Ok(());
        }
        let checkpointed = &sharing.checkpointed;
        let is_late = now >= leaving.deadline;
        let is_saved = leaving.splits.iter().all(|split| {
            self.owned.get(split).is_none_or(|owned| {
                let position = checkpointed.position(&owned.split.name);
                owned.handed.is_none() || position >= owned.handed
            })
        });
        // Where the group has thrown us out, others have read on from our last commit: no checkpoint may
        // be made then of what we have read since.
        let commit = match (leaving.is_member, is_saved) {
            _ if self.consumer.assignment_lost() => Commit::ThrownOut,
            (false, _) => Commit::of(&group.commit_again(&self.consumer)),
            (true, true) => Commit::of(&group.commit(&self.consumer)),
            (true, false) => Commit::Done,
        };
        leaving.is_member |= commit == Commit::Done;
        let is_confirmed = !checkpointed.is_unconfirmed();
        let message = match Step::after(commit, is_saved, is_confirmed, is_late) {
            Step::Release => return Ok(self.release_leaving()?),
            Step::AwaitNote => {
                // Who commits notes it as well: a store may take its time.
                self.committing.ask();
                leaving.next_try = now + LOOK_AGAIN;
                return Ok(());
            }
            Step::AwaitCheckpoint => {
                checkpointed.ask();
                return Ok(());
            }
            Step::CommitAgain => {
                leaving.next_try = now + RETRY;
                return Ok(());
            }
            Step::Lost => {
                checkpointed.forbid();
                let splits = leaving.splits.iter();
                let names = splits.filter_map(|split| self.source.topics.name(*split));
                let names: Vec<_> = names.collect();
                return Err(self.lost(&names.join(", ")));
            }
            Step::NoCheckpoint => format!(
                "no checkpoint within {PATIENCE:?} has the partitions that go to other instances; \
                 going on from the last one"
            ),
            Step::NotCommitted => format!(
                "the positions of partitions that go to other instances could not be committed within \
                 {PATIENCE:?}; going on from the last checkpoint"
            ),
        };
        checkpointed.forbid();
        Err(End::Failed(self.error(message)))
    }

    fn release_leaving(&mut self) -> Result<(), Stopped> {
        let Some(leaving) = self.leaving.take() else {
            return Ok(());
        };
        for split in &leaving.splits {
            self.consumer.context().handed_over(*split);
            self.idle.revoked(*split);
            self.ahead.remove(split);
            let Some(owned) = self.owned.remove(split) else {
                continue;
            };
            tracing::info!(
                split = %owned.split,
                position = owned.handed,
                "kafka partition handed over to another instance"
            );
            drop(self.source.lag.remove_label_values(&[&owned.split.name]));
            // Its events are in windows of ours, which close in step with our other partitions, or by
            // the clock where there are none: as those of a partition that has fallen silent.
            self.producer.push(SourceEvent::Idle(*split), 0)?;
        }
        let_go(
            &self.consumer,
            &self.partitions(leaving.splits.iter().copied()),
        );
        Ok(())
    }

    /// Commits for the last time. Where others go on from there, it is tried for a while: in the midst of
    /// a rebalance none is taken, and a store may not take at once that one was.
    pub(super) fn commit_at_last(&mut self) {
        let deadline = Instant::now() + LAST_COMMIT;
        let group = self.consumer.context();
        loop {
            let commit = Commit::of(&group.commit(&self.consumer));
            group.confirm();
            let is_over = match commit {
                Commit::Done => !self.is_unconfirmed(),
                Commit::Failed => false,
                Commit::ThrownOut => true,
            };
            if is_over || group.sharing().is_none() || Instant::now() >= deadline {
                break;
            }
            drop(self.consumer.poll(RETRY));
        }
    }

    /// Reading is over: what is to go goes, and from now on so does everything at once.
    pub(super) fn end_sharing(&mut self) {
        self.heed_last_notices();
        if let Some(leaving) = self.leaving.take() {
            let list = self.partitions(leaving.splits.iter().copied());
            let_go(&self.consumer, &list);
        }
        if let Some(sharing) = self.consumer.context().sharing() {
            sharing.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::KafkaError;

    use super::*;

    #[test]
    fn what_the_group_has_is_waited_for_until_it_is_noted() {
        for (commit, is_saved, is_confirmed, is_late, expected) in [
            (Commit::Done, false, true, false, Step::AwaitCheckpoint),
            (Commit::Done, false, true, true, Step::NoCheckpoint),
            (Commit::Done, true, false, false, Step::AwaitNote),
            (Commit::Done, true, false, true, Step::AwaitNote),
            (Commit::Done, true, true, false, Step::Release),
            (Commit::Done, true, true, true, Step::Release),
            (Commit::Failed, true, false, false, Step::CommitAgain),
            (Commit::Failed, true, false, true, Step::NotCommitted),
            (Commit::ThrownOut, true, true, false, Step::Lost),
        ] {
            assert_eq!(
                Step::after(commit, is_saved, is_confirmed, is_late),
                expected,
                "{commit:?}, saved: {is_saved}, confirmed: {is_confirmed}, late: {is_late}"
            );
        }
    }

    #[test]
    fn a_commit_of_a_member_that_was_thrown_out_is_not_tried_again() {
        for (code, expected) in [
            (Code::UnknownMemberId, Commit::ThrownOut),
            (Code::IllegalGeneration, Commit::ThrownOut),
            (Code::FencedInstanceId, Commit::ThrownOut),
            (Code::UnknownTopicOrPartition, Commit::Done),
            (Code::TopicAuthorizationFailed, Commit::Done),
            (Code::RebalanceInProgress, Commit::Failed),
            (Code::CoordinatorLoadInProgress, Commit::Failed),
            (Code::OperationTimedOut, Commit::Failed),
        ] {
            let result = Err(KafkaError::ConsumerCommit(code));
            assert_eq!(Commit::of(&result), expected, "{code:?}");
        }
        assert_eq!(Commit::of(&Ok(())), Commit::Done);
    }
}
