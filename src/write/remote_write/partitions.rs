//! All partitions of a receiver. A series belongs to one of them by its hash, for ever; which shard sends a
//! partition changes with the number of shards ([`Assignment`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Sample, TimestampMs};
use crate::write::Stopped;

use super::assignment::Assignment;
use super::config::OnThrottleLimit;
use super::flow::Flow;
use super::partition::{Collected, Common, Drained, Mark, Partition};

/// The partitions, and the shards' way to them.
#[derive(Debug)]
pub(super) struct Partitions {
    all: Vec<Partition>,
    common: Arc<Common>,
}

/// How far a shard has come with its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filled {
    /// Nothing will come any more.
    Closed,
    /// More may come.
    Waiting,
    /// Something waits that goes into another request.
    Behind,
    /// It has what it may have.
    Full,
}

impl Partitions {
    /// So many empty ones.
    pub(super) fn new(partitions: usize, common: Common) -> Self {
        let common = Arc::new(common);
        let new = |number| Partition::new(number, Arc::clone(&common));
        Self {
            all: (0..partitions).map(new).collect(),
            common,
        }
    }

    /// Which shards run, and what they send.
    pub(super) fn assignment(&self) -> &Assignment {
        &self.common.assignment
    }

    /// What comes in and goes out.
    pub(super) fn flow(&self) -> &Flow {
        &self.common.flow
    }

    /// Hands samples to their partitions, and gives back those for which there is no room.
    ///
    /// # Errors
    /// [`Stopped`] when they are closed; some of the samples may have been taken.
    pub(super) fn offer(&self, owner: usize, samples: Vec<Sample>) -> Result<Vec<Sample>, Stopped> {
        let now = Instant::now();
        let mut refused = Vec::new();
        for (partition, samples) in self.all.iter().zip(self.divide(samples)) {
            if !samples.is_empty() {
                refused.append(&mut partition.offer(owner, samples, now)?);
            }
        }
        Ok(refused)
    }

    /// Adds samples of the time before the start, whatever room there is; those of one number go out
    /// together, and nothing else with them.
    pub(super) fn restore(&self, number: u64, samples: Vec<Sample>) {
        let now = Instant::now();
        for (partition, samples) in self.all.iter().zip(self.divide(samples)) {
            partition.restore(number, samples, now);
        }
    }

    fn divide(&self, samples: Vec<Sample>) -> Vec<Vec<Sample>> {
        let mut divided: Vec<Vec<Sample>> = vec![Vec::new(); self.all.len()];
        for sample in samples {
            let partition = sample.series.hash() % self.all.len() as u64;
            if let Some(samples) = divided.get_mut(partition as usize) {
                samples.push(sample);
            }
        }
        divided
    }

    /// Puts the owner's mark behind its samples in every partition.
    pub(super) fn mark(&self, owner: usize, watermark: TimestampMs) {
        for partition in &self.all {
            partition.mark(owner, watermark);
        }
    }

    /// Fills a batch with what waits in the shard's partitions, and tells of marks that are reached. It
    /// begins with the partition behind the one that has filled the batch before, which is kept in `first`:
    /// one that is never empty must not keep the others waiting.
    pub(super) fn collect(
        &self,
        shard: usize,
        first: &mut usize,
        into: &mut Collected,
        mut reached: impl FnMut(Mark),
    ) -> Filled {
        loop {
            let running = self.common.assignment.running();
            let filled = self.collect_of(running, shard, first, into, &mut reached);
            // Once they are closed the number stays, so that the shards that end are those that have
            // nothing left to do.
            if filled != Filled::Closed || running == self.common.assignment.running() {
                return filled;
            }
        }
    }

    fn collect_of(
        &self,
        running: usize,
        shard: usize,
        first: &mut usize,
        into: &mut Collected,
        reached: &mut impl FnMut(Mark),
    ) -> Filled {
        let is_closed = self.common.assignment.is_closed();
        let mut filled = match is_closed {
            true => Filled::Closed,
            false => Filled::Waiting,
        };
        let (before, from) = self.all.split_at((*first).min(self.all.len()));
        let numbers = (before.len()..self.all.len()).chain(0..before.len());
        for (number, partition) in numbers.zip(from.iter().chain(before)) {
            if number % running != shard {
                continue;
            }
            let drained = loop {
                match partition.drain(shard, into) {
                    Drained::Reached(mark) => reached(mark),
                    other => break other,
                }
            };
            filled = filled.max(match drained {
                Drained::Full => {
                    *first = number + 1;
                    return Filled::Full;
                }
                Drained::Behind => {
                    // It begins the next batch: what others have by then must not come before it again.
                    if filled < Filled::Behind {
                        *first = number;
                    }
                    Filled::Behind
                }
                Drained::Empty | Drained::Busy => Filled::Waiting,
                Drained::Reached(_) | Drained::Closed => Filled::Closed,
            });
        }
        if into.batch.is_full() {
            return Filled::Full;
        }
        // Of an earlier run no more will come. Once they are closed it can only come from another shard's
        // request, and that shard may wait for this one in the same way.
        let is_all = is_closed || into.batch.is_restored();
        match is_all && filled == Filled::Waiting && !into.batch.is_empty() {
            true => Filled::Behind,
            false => filled,
        }
    }

    /// A shard's request is done: what it has of these partitions is acknowledged, or dropped for a
    /// permanent reason.
    pub(super) fn done(&self, shard: usize, partitions: &[usize]) {
        for number in partitions {
            if let Some(partition) = self.all.get(*number) {
                partition.done(shard);
            }
        }
    }

    /// Gives the partitions to so many shards.
    pub(super) fn run(&self, shards: usize) {
        let assignment = &self.common.assignment;
        assignment.run(shards);
        // A partition that is full may have come to a shard that is repeating a request.
        for shard in (0..shards).filter(|shard| assignment.is_stuck(*shard)) {
            for partition in &self.all {
                partition.may_drop(shard);
            }
        }
    }

    /// What becomes of samples that there is no room for while the receiver takes nothing, in words.
    pub(super) fn when_full(&self) -> &'static str {
        match self.common.on_throttle_limit {
            OnThrottleLimit::Wait => "the pipeline waits",
            OnThrottleLimit::DropOldest => "the oldest samples are dropped",
        }
    }

    /// Whether no more samples are taken.
    pub(super) fn is_closed(&self) -> bool {
        self.common.assignment.is_closed()
    }

    /// Whether the receiver does not take a shard's request, and will be asked again.
    pub(super) fn set_stuck(&self, shard: usize, is_stuck: bool) {
        if self.common.assignment.set_stuck(shard, is_stuck) && is_stuck {
            for partition in &self.all {
                partition.may_drop(shard);
            }
        }
    }

    /// All samples that are not done, those of a series in their order.
    pub(super) fn unacknowledged(&self) -> Vec<Sample> {
        let all = self.all.iter();
        all.flat_map(|partition| partition.unacknowledged())
            .collect()
    }

    /// For how long the oldest sample has waited that is not done.
    pub(super) fn oldest(&self) -> Duration {
        let now = Instant::now();
        let ages = self.all.iter().map(|partition| partition.oldest(now));
        ages.max().unwrap_or_default()
    }

    /// How many bytes of samples wait.
    pub(super) fn bytes(&self) -> usize {
        self.all.iter().map(|partition| partition.bytes()).sum()
    }

    /// Takes no more; what is there can still be sent.
    pub(super) fn close(&self) {
        // First: a shard ends once all of its partitions are closed, and must get no other ones then.
        self.common.assignment.close();
        for partition in &self.all {
            partition.close();
        }
        self.common.rooms.open_all();
        self.common.assignment.wake_all();
    }

    /// A shard has ended, in whatever way. So no owner waits for it for ever, and no other shard.
    pub(super) fn ended(&self, shard: usize) {
        for partition in &self.all {
            partition.ended(shard);
        }
        self.close();
    }
}

#[cfg(test)]
#[path = "partitions_tests.rs"]
mod tests;
