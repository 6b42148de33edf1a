//! Which shard sends which partitions.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Partition `p` belongs to shard `p mod running`. Shards beyond the running ones have nothing to do.
///
/// Nothing waits for a change of the number: a shard that has a partition's samples in a request finishes
/// it, and the shard that the partition belongs to now takes it over then.
#[derive(Debug)]
pub(super) struct Assignment {
    running: AtomicUsize,
    /// Once it is closed the number of shards stays.
    closed: Mutex<bool>,
    /// While this is so no partition goes over to another shard.
    held: AtomicBool,
    shards: Vec<Signals>,
}

#[derive(Debug, Default)]
struct Signals {
    /// There may be something to do.
    wake: Notify,
    /// The receiver does not take the shard's request, which is repeated.
    is_stuck: AtomicBool,
}

impl Assignment {
    /// Of at most `most` shards, of which so many run.
    pub(super) fn new(most: usize, running: usize) -> Self {
        Self {
            running: AtomicUsize::new(running.clamp(1, most.max(1))),
            closed: Mutex::new(false),
            held: AtomicBool::new(false),
            shards: (0..most.max(1)).map(|_| Signals::default()).collect(),
        }
    }

    /// How many shards run.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// The shard that a partition belongs to.
    pub(super) fn shard_of(&self, partition: usize) -> usize {
        partition % self.running()
    }

    /// Gives the partitions to so many shards; not once it is closed.
    pub(super) fn run(&self, shards: usize) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return;
        }
        let shards = shards.clamp(1, self.shards.len());
        self.running.store(shards, Ordering::SeqCst);
        drop(closed);
        // Behind the change: who was woken for a partition before may not be its shard any more.
        self.wake_all();
    }

    /// From now on the number of shards stays.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until [`let_go`](Self::let_go) no partition goes over to another shard.
    pub(super) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Ends what [`hold`](Self::hold) began.
    pub(super) fn let_go(&self) {
        self.held.store(false, Ordering::SeqCst);
        self.wake_all();
    }

    /// Whether no partition may go over to another shard.
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// Tells the shard of a partition that there may be something to do.
    pub(super) fn wake_shard_of(&self, partition: usize) {
        if let Some(shard) = self.shards.get(self.shard_of(partition)) {
            shard.wake.notify_one();
        }
    }

    /// Tells all shards.
    pub(super) fn wake_all(&self) {
        for shard in &self.shards {
            shard.wake.notify_one();
        }
    }

    /// Waits until the shard was told that there may be something to do, since its last wait.
    pub(super) async fn woken(&self, shard: usize) {
        if let Some(shard) = self.shards.get(shard) {
            shard.wake.notified().await;
        }
    }

    /// Notes whether the receiver does not take a shard's request; says whether that is news.
    pub(super) fn set_stuck(&self, shard: usize, is_stuck: bool) -> bool {
        let shard = self.shards.get(shard);
        shard.is_some_and(|shard| shard.is_stuck.swap(is_stuck, Ordering::SeqCst) != is_stuck)
    }

    /// Whether the receiver does not take a shard's request.
    pub(super) fn is_stuck(&self, shard: usize) -> bool {
        let shard = self.shards.get(shard);
        shard.is_some_and(|shard| shard.is_stuck.load(Ordering::SeqCst))
    }

    /// Whether the receiver does not take the request of some shard.
    pub(super) fn is_any_stuck(&self) -> bool {
        (0..self.shards.len()).any(|shard| self.is_stuck(shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_partition_to_one_running_shard() {
        let assignment = Assignment::new(4, 1);
        for (asked, running) in [(1, 1), (3, 3), (0, 1), (9, 4)] {
            assignment.run(asked);
            assert_eq!(assignment.running(), running);
            let shards: Vec<_> = (0..8).map(|p| assignment.shard_of(p)).collect();
            let expected: Vec<_> = (0..8).map(|p| p % running).collect();
            assert_eq!(shards, expected);
        }
        assignment.close();
        assignment.run(2);
        assert_eq!(assignment.running(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn wakes_the_shard_that_has_the_partition_now() {
        let assignment = Assignment::new(3, 1);
        let woken = async |shard: usize| {
            let wait = std::time::Duration::from_millis(1);
            tokio::time::timeout(wait, assignment.woken(shard))
                .await
                .is_ok()
        };
        assignment.wake_shard_of(2);
        assert!(woken(0).await && !woken(0).await && !woken(2).await);
        assignment.run(3);
        // All look whether something is theirs now.
        assert!(woken(0).await && woken(1).await && woken(2).await);
        assignment.wake_shard_of(2);
        assert!(woken(2).await && !woken(0).await);
    }
}
