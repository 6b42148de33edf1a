//! When the group is told what is finished with, and how long it takes until it has taken that.
//!
//! Answers are waited for on a thread of its own: a coordinator that is away would hold up reading, and
//! what is polled would hold up the answers.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::super::group::Group;
use super::{LOG_EVERY, Reader};
use crate::telemetry::LogLimit;

/// When a checkpoint is committed again that others are to know of: no other is made before they do.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);

/// After how long it is told that the group does not know a checkpoint: usually it takes milliseconds.
const TELL_AFTER: Duration = Duration::from_secs(10);

/// What is to be committed next, and what is waited for.
#[derive(Debug)]
pub(super) struct Committing {
    /// Who commits when asked, and ends when nobody can ask any more.
    committer: Option<(SyncSender<()>, JoinHandle<()>)>,
    /// The checkpoint that was committed last, by its generation.
    checkpoint: u64,
    next: Instant,
    /// Since when the group does not know the latest checkpoint.
    unconfirmed_since: Option<Instant>,
    log: LogLimit,
}

impl Committing {
    /// Nobody commits yet.
    pub(super) fn new() -> Self {
        Self {
            committer: None,
            checkpoint: 0,
            next: Instant::now(),
            unconfirmed_since: None,
            log: LogLimit::every(LOG_EVERY),
        }
    }

    /// From now on it is committed when that is asked for.
    ///
    /// # Errors
    /// There can be no thread.
    pub(super) fn start(&mut self, consumer: Arc<BaseConsumer<Group>>) -> io::Result<()> {
        // One that waits takes all that is due by then.
        let (asked, requests) = sync_channel(1);
        let committer = Builder::new()
            .name("kafka-commit".to_owned())
            .spawn(move || {
                for () in requests {
                    let group = consumer.context();
                    // What has failed is noticed.
                    group.commit(&consumer).ok();
                    group.confirm();
                }
            })?;
        self.committer = Some((asked, committer));
        Ok(())
    }

    /// Waits for the commit that is at work. Nothing more is committed by its thread.
    pub(super) fn finish(&mut self) {
        if let Some((asked, committer)) = self.committer.take() {
            drop(asked);
            committer.join().ok();
        }
    }

    /// When it is committed next, whatever happens.
    pub(super) fn at(&mut self, next: Instant) {
        self.next = next;
    }

    /// Has committed what is due, and noted what the group has: soon, by a thread of its own.
    pub(super) fn ask(&self) {
        if let Some((asked, _)) = &self.committer {
            // Where one waits already, that one is enough.
            asked.try_send(()).ok();
        }
    }

    /// For how long the latest checkpoint has waited for the group, where that is to be told.
    fn is_held_up(&mut self, is_unconfirmed: bool, now: Instant) -> Option<Duration> {
        if !is_unconfirmed {
            self.unconfirmed_since = None;
            return None;
        }
        let since = *self.unconfirmed_since.get_or_insert(now);
        let waited = now.saturating_duration_since(since);
        (waited >= TELL_AFTER && self.log.admit().is_some()).then_some(waited)
    }
}

impl Reader {
    /// Has committed what is due.
    pub(super) fn commit(&mut self, now: Instant) {
        if self.is_checkpointed() || now >= self.committing.next {
            self.committing.ask();
            let every = self.source.context.commit_every.to_std();
            self.committing.next = now
                + match self.is_unconfirmed() {
                    true => every.min(COMMIT_AGAIN),
                    false => every,
                };
        }
        let is_unconfirmed = self.is_unconfirmed();
        let Some(waited) = self.committing.is_held_up(is_unconfirmed, now) else {
            return;
        };
        let seconds = waited.as_secs();
        match self.consumer.context().has_latest_checkpoint() {
            true => tracing::warn!(
                seconds,
                "the kafka group has taken the positions of the latest checkpoint, and that cannot be noted \
                 beside it; no other one begins before it is"
            ),
            false => tracing::warn!(
                seconds,
                "the kafka group has not taken the positions of the latest checkpoint; no other one \
                 begins before it has"
            ),
        }
    }

    /// Whether the group does not know the latest checkpoint.
    pub(super) fn is_unconfirmed(&self) -> bool {
        let sharing = self.consumer.context().sharing();
        sharing.is_some_and(|sharing| sharing.checkpointed.is_unconfirmed())
    }

    /// Whether there is a checkpoint that others go on from where it is committed. The sooner that is
    /// so, the less counts twice when we crash.
    fn is_checkpointed(&mut self) -> bool {
        let Some(sharing) = self.consumer.context().sharing() else {
            return false;
        };
        let generation = sharing.checkpointed.generation();
        std::mem::replace(&mut self.committing.checkpoint, generation) != generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_the_group_does_not_take_is_told_at_a_bounded_rate() {
        let mut committing = Committing::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, is_unconfirmed, told) in [
            (0, false, None),
            (1, true, None),
            (10, true, None),
            // It is confirmed, and the next one waits.
            (11, false, None),
            (12, true, None),
            (21, true, None),
            (22, true, Some(10)),
            (23, true, None),
        ] {
            let held_up = committing.is_held_up(is_unconfirmed, at(seconds));
            let expected = told.map(Duration::from_secs);
            assert_eq!(held_up, expected, "after {seconds} s");
        }
    }
}
