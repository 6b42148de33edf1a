//! Several instances that share a group: what a partition that moves has to be read from.
//!
//! Each instance keeps the windows of the events that it has read, in its own checkpoints. So an event
//! counts once if it is read by one instance alone, and every commit is a position that a checkpoint
//! of its instance has: whoever gets the partition goes on from there. A partition that is to go stays
//! until a checkpoint has all that was read of it.

use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};

use super::super::Checkpointed;
use super::group::Group;
use super::metadata::Instance;

/// An instance among others.
#[derive(Debug)]
pub(super) struct Sharing {
    /// The name of the instance.
    pub(super) instance: String,
    /// What its latest checkpoint has.
    pub(super) checkpointed: Checkpointed,
    /// Set when partitions are let go at once, because nothing more comes of what was read.
    pub(super) ending: AtomicBool,
}

impl Sharing {
    pub(super) fn new(instance: String, checkpointed: Checkpointed) -> Self {
        Self {
            instance,
            checkpointed,
            ending: AtomicBool::new(false),
        }
    }

    /// Whether partitions that are to go stay until a checkpoint has them.
    pub(super) fn hands_over(&self) -> bool {
        !self.ending.load(Ordering::Acquire)
    }

    /// From now on partitions go at once.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// From where a partition is read that has become ours, given its name, and what was committed and
    /// by which instance; none where the cluster is to say it.
    pub(super) fn start(
        &self,
        split_name: &str,
        committed: Option<(u64, Option<Instance<'_>>)>,
    ) -> Option<u64> {
        start(
            self.checkpointed.position(split_name),
            committed,
            &self.instance,
        )
    }
}

/// Another instance's commit counts where it is ahead: it has the partition, or had it since. The offset of
/// our own says nothing new: a checkpoint that is older than it was gone back to on purpose, or because it
/// was not confirmed. If that was the first one with the partition since it has come to us, the commit says
/// from where it was read: what is before has been counted by others, or by nobody.
fn start(
    checkpointed: Option<u64>,
    committed: Option<(u64, Option<Instance<'_>>)>,
    instance: &str,
) -> Option<u64> {
    match committed {
        Some((_, Some(by))) if by.name == instance => checkpointed.max(by.from),
        Some((offset, Some(_))) => checkpointed.map(|position| position.max(offset)),
        _ => checkpointed,
    }
}

/// Takes on partitions, as the protocol of the group wants it.
pub(super) fn take_on(consumer: &BaseConsumer<Group>, list: &TopicPartitionList) {
    let taken = match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        _ => consumer.assign(list),
    };
    if let Err(error) = taken {
        tracing::warn!(%error, "partitions cannot be taken on");
    }
}

/// Lets partitions go.
pub(super) fn let_go(consumer: &BaseConsumer<Group>, list: &TopicPartitionList) {
    let gone = match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        _ => consumer.unassign(),
    };
    if let Err(error) = gone {
        tracing::warn!(%error, "partitions cannot be given back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_position_of_our_own_gives_way_and_no_other() {
        let by = |name, from| Some(Instance { name, from });
        let (ours, other) = (by("a", None), by("b", None));
        for (checkpointed, committed, expected) in [
            (None, Some((9, other)), None),
            (None, Some((9, by("b", Some(3)))), None),
            (None, Some((9, ours)), None),
            (None, None, None),
            (Some(5), None, Some(5)),
            // An older checkpoint was restored, and nobody else had the partition since.
            (Some(5), Some((9, ours)), Some(5)),
            (Some(5), Some((9, None)), Some(5)),
            // The first checkpoint with the partition was not confirmed; others had it before.
            (None, Some((9, by("a", Some(3)))), Some(3)),
            (Some(2), Some((9, by("a", Some(3)))), Some(3)),
            (Some(5), Some((9, by("a", Some(3)))), Some(5)),
            (Some(5), Some((9, other)), Some(9)),
            // The other one's commit is older than what we have of it.
            (Some(9), Some((5, other)), Some(9)),
        ] {
            let found = start(checkpointed, committed, "a");
            assert_eq!(found, expected, "{checkpointed:?} {committed:?}");
        }
    }
}
