//! Partitions that go to other instances of the group.
//!
//! A partition goes once a checkpoint has all that was read of it, and the group knows that position.
//! Nothing of it is read meanwhile; the other partitions go on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};

use super::super::super::{SourceEvent, Stopped};
use super::super::group::Notice;
use super::super::sharing::let_go;
use super::{End, Reader};
use crate::model::SplitId;

/// How long a checkpoint may take. It must be well under `max.poll.interval.ms` (five minutes), which
/// is how long the group waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Partitions that are to go.
#[derive(Debug)]
pub(super) struct Leaving {
    splits: BTreeSet<SplitId>,
    deadline: Instant,
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
        }
        self.note_leaving(splits);
        Ok(())
    }

    /// Remembers which partitions are to go.
    pub(super) fn note_leaving(&mut self, splits: &[SplitId]) {
        let leaving = self.leaving.get_or_insert_with(|| Leaving {
            splits: BTreeSet::new(),
            deadline: Instant::now() + PATIENCE,
        });
        leaving.splits.extend(splits);
    }

    /// Lets the partitions go that are to, once a checkpoint has them.
    pub(super) fn let_leave(&mut self, now: Instant) -> Result<(), End> {
        let (Some(leaving), Some(sharing)) = (&self.leaving, self.consumer.context().sharing())
        else {
            return Ok(());
        };
        let checkpointed = &sharing.checkpointed;
        let is_saved = |split: &SplitId| {
            self.owned.get(split).is_none_or(|owned| {
                let position = checkpointed.position(&owned.split.name);
                owned.handed.is_none() || position >= owned.handed
            })
        };
        if !leaving.splits.iter().all(is_saved) {
            if now < leaving.deadline {
                checkpointed.ask();
                return Ok(());
            }
            checkpointed.forbid();
            let message = format!(
                "no checkpoint within {PATIENCE:?} has the partitions that go to other instances; \
                 going on from the last one"
            );
            return Err(End::Failed(self.error(message)));
        }
        // Where that fails, it is tried again.
        let group = self.consumer.context();
        if group.commit(&self.consumer, CommitMode::Sync) || now >= leaving.deadline {
            self.release_leaving()?;
        }
        Ok(())
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

    /// Reading is over: what is to go goes, and from now on so does everything at once.
    pub(super) fn end_sharing(&mut self) {
        while let Some(notice) = self.consumer.context().next_notice() {
            if let Notice::Leaving(splits) = notice {
                self.note_leaving(&splits);
            }
        }
        if let Some(leaving) = self.leaving.take() {
            let list = self.partitions(leaving.splits.iter().copied());
            let_go(&self.consumer, &list);
        }
        if let Some(sharing) = self.consumer.context().sharing() {
            sharing.end();
        }
    }
}
