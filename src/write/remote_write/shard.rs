//! One shard: a task that sends what waits in its partitions, one request at a time.
//!
//! One request at a time, and no other shard at a partition meanwhile, is what keeps the order of a series:
//! a later sample cannot overtake an earlier one whose request is being repeated.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use crate::model::{Backoff, BackoffLimits, Clock, Encoder};
use crate::telemetry::LogLimit;
use crate::write::acknowledge::Tracker;
use crate::write::metadata::MetricsMetadata;
use crate::write::metrics::{DropReason, Metrics};
use crate::write::rejected::RejectedSamples;
use crate::write::samples::SampleWriter;

use super::batch::{Batch, Sealed};
use super::config::{BatchConfig, OnRejected};
use super::delivery::circuit::Circuit;
use super::delivery::reply::Reply;
use super::delivery::{Delivery, Ends};
use super::fatal::Fatal;
use super::journal::{Journal, Journals};
use super::last_sent::LastSent;
use super::limits::ReceiverLimits;
use super::metadata_sender::MetadataSender;
use super::metrics::RequestMetrics;
use super::partition::{Collected, Mark};
use super::partitions::{Filled, Partitions};
use super::protocol::Protocol;
use super::protocol::encode::Body;
use super::protocol::negotiation::Negotiation;
use super::request_size::SharedRequestSize;

/// How often a shard logs the same kind of failure.
pub(super) const LOG_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

/// Takes a request to the receiver.
pub(super) trait Transport: Send + Sync + 'static {
    /// Sends a request and gives the answer. `attempt` counts from 0.
    fn post(&self, body: Body, attempt: u32) -> impl Future<Output = Reply> + Send;
}

/// What all shards of a writer share.
#[derive(Debug)]
pub(super) struct Shared<T> {
    pub(super) transport: T,
    pub(super) partitions: Arc<Partitions>,
    pub(super) last_sent: LastSent,
    /// What a request may have at most.
    pub(super) limits: BatchConfig,
    /// What it may have now.
    pub(super) request_size: SharedRequestSize,
    /// The protocol whose requests may be the larger ones, of those that may be spoken.
    pub(super) largest: Protocol,
    /// What goes into each series of 2.0.
    pub(super) metadata: Arc<MetricsMetadata>,
    pub(super) negotiation: Negotiation,
    pub(super) metadata_sender: MetadataSender,
    pub(super) tracker: Arc<Tracker>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) requests: RequestMetrics,
    pub(super) journals: Option<Arc<Journals>>,
    pub(super) circuit: Circuit,
    pub(super) on_rejected: OnRejected,
    /// What the receiver is known to take.
    pub(super) receiver_limits: ReceiverLimits,
    /// The receiver's address, without credentials.
    pub(super) receiver: String,
    /// Where samples are kept that the receiver does not take.
    pub(super) rejected: Option<RejectedSamples>,
    /// When samples were rejected, and how old those are that are sent.
    pub(super) clock: Clock,
    /// Why the writer has to end, where it has to.
    pub(super) fatal: Arc<Fatal>,
}

/// The state of one shard.
#[derive(Debug)]
pub(super) struct Shard<T> {
    number: usize,
    /// The partition that the next batch begins with.
    first: usize,
    /// Where there are checkpoints.
    journal: Option<Arc<Journal>>,
    shared: Arc<Shared<T>>,
    /// For the journal.
    backoff: Backoff,
    delivery: Delivery<T>,
    journal_log: LogLimit,
}

/// Closes the partitions when the task ends in whatever way, so that nobody waits for it for ever.
struct CloseAtEnd {
    partitions: Arc<Partitions>,
    shard: usize,
}

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.partitions.ended(self.shard);
    }
}

impl<T: Transport> Shard<T> {
    /// A shard that has sent nothing. Its waits follow from the writer's seed.
    pub(super) fn new(
        number: usize,
        shared: Arc<Shared<T>>,
        backoff: BackoffLimits,
        seed: u64,
    ) -> Self {
        // What waits for the disk and what waits for the receiver must not wait for the same times.
        let seed = seed.wrapping_add(2 * number as u64);
        let [backoff, of_delivery] =
            [seed, seed.wrapping_add(1)].map(|seed| Backoff::new(backoff, seed));
        let delivery = Delivery::new(number, Arc::clone(&shared), of_delivery);
        let journals = shared.journals.as_ref();
        let journal = journals.and_then(|journals| journals.shard(number));
        Self {
            number,
            first: 0,
            journal,
            shared,
            backoff,
            delivery,
            journal_log: LogLimit::every(LOG_INTERVAL),
        }
    }

    /// Sends until the partitions are closed and empty. The task may be dropped at any moment: what was
    /// not acknowledged then stays counted as waiting.
    pub(super) async fn run(mut self) {
        let _close = CloseAtEnd {
            partitions: Arc::clone(&self.shared.partitions),
            shard: self.number,
        };
        while let Some(Collected {
            mut batch,
            marks,
            partitions,
        }) = self.next_batch().await
        {
            let shared = &self.shared;
            let samples = batch.samples();
            let now_ms = shared.clock.now_ms();
            let refused = batch.refuse(&shared.receiver_limits, &shared.last_sent, now_ms);
            if self.delivery.refuse(&refused).await.is_err() {
                return;
            }
            let sealed = batch.seal(&self.shared.last_sent);
            self.shared
                .metrics
                .drop_samples(DropReason::Duplicate, sealed.duplicates);
            self.shared
                .metrics
                .drop_samples(DropReason::OutOfOrder, sealed.out_of_order);
            let started = Instant::now();
            if sealed.samples > 0 && self.send(&sealed).await.is_err() {
                return;
            }
            let flow = self.shared.partitions.flow();
            flow.done(samples);
            flow.busy(started.elapsed());
            self.shared.partitions.done(self.number, &partitions);
            for mark in marks {
                reach(&self.shared.tracker, mark);
            }
            if self.shared.negotiation.is_v1() {
                let sender = &self.shared.metadata_sender;
                sender.send_when_due(&self.shared.transport).await;
            }
        }
    }

    /// Collects until the batch is full, its first sample has waited long enough, or the partitions are
    /// closed. `None` when there will be no more.
    async fn next_batch(&mut self) -> Option<Collected> {
        let shared = Arc::clone(&self.shared);
        let limit = shared.request_size.now();
        let batch = Batch::new(shared.limits, shared.largest).within(limit);
        let mut collected = Collected::into(batch);
        let mut cut_at = None;
        let partitions = &shared.partitions;
        loop {
            let reached = |mark| reach(&shared.tracker, mark);
            match partitions.collect(self.number, &mut self.first, &mut collected, reached) {
                Filled::Closed if collected.batch.is_empty() => return None,
                Filled::Full | Filled::Behind | Filled::Closed => return Some(collected),
                Filled::Waiting => {}
            }
            let woken = partitions.assignment().woken(self.number);
            if collected.batch.is_empty() {
                woken.await;
                continue;
            }
            let cut_at =
                *cut_at.get_or_insert_with(|| Instant::now() + shared.limits.deadline.to_std());
            if timeout_at(cut_at, woken).await.is_err() {
                return Some(collected);
            }
        }
    }

    /// Sends a request until it goes through or is refused for good; first it is in the journal. Only when
    /// the journal says that it is done may another shard send what is behind it: else a checkpoint that
    /// begins now could take this one for the last of its series.
    async fn send(&mut self, sealed: &Sealed) -> Result<(), Ends> {
        let noted = self.note(sealed).await;
        self.delivery.deliver(sealed).await?;
        if let Some((journal, number)) = noted {
            self.settle(journal, number).await;
        }
        Ok(())
    }

    /// Notes a request in the journal, and waits until that is possible: a request that nobody knows
    /// of after a crash could be followed by older samples.
    async fn note(&mut self, sealed: &Sealed) -> Option<(Arc<Journal>, u64)> {
        let journal = Arc::clone(self.journal.as_ref()?);
        let mut samples = SampleWriter::default();
        for group in &sealed.groups {
            for (timestamp_ms, value) in &group.points {
                samples.push(&group.series, *timestamp_ms, value);
            }
        }
        let mut bytes = Encoder::new();
        samples.encode(&mut bytes);
        let bytes = Arc::new(bytes.into_bytes());
        let mut attempt = 0;
        loop {
            let (to, bytes) = (Arc::clone(&journal), Arc::clone(&bytes));
            let error = match on_disk(move || to.request(&bytes)).await {
                Ok(number) => return Some((journal, number)),
                Err(error) => error,
            };
            attempt += 1;
            let wait = self.backoff.wait(attempt, None);
            self.journal_failed(&error, "nothing is sent: the journal cannot be written");
            sleep(wait).await;
        }
    }

    /// Notes that a request is done. Where that is not possible, it may be sent once more after a
    /// restart, which does no harm.
    async fn settle(&mut self, journal: Arc<Journal>, number: u64) {
        if let Err(error) = on_disk(move || journal.acknowledge(number)).await {
            self.journal_failed(
                &error,
                "an acknowledgement cannot be written to the journal",
            );
        }
    }

    fn journal_failed(&mut self, error: &io::Error, what: &'static str) {
        if let Some(journals) = &self.shared.journals {
            journals.count_failure();
        }
        if let Some(held_back) = self.journal_log.admit() {
            let shard = self.number;
            tracing::warn!(shard, %error, held_back, "{what}");
        }
    }
}

fn reach(tracker: &Tracker, mark: Mark) {
    tracker.reach(mark.partition, mark.owner, mark.watermark);
}

/// Does something that may wait for the disk, away from the tasks.
pub(super) async fn on_disk<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
pub(in crate::write::remote_write) mod tests;
