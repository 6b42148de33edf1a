//! One shard: a task that sends its series' samples, one request at a time.
//!
//! One request at a time is what keeps the order of a series: a later sample cannot overtake an
//! earlier one whose request is being repeated.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use crate::model::{Backoff, Clock, Encoder};
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
use super::protocol::Protocol;
use super::protocol::encode::Body;
use super::protocol::negotiation::Negotiation;
use super::queue::{Drained, Mark, Queue};

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
    pub(super) limits: BatchConfig,
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
    queue: Arc<Queue>,
    /// Where there are checkpoints.
    journal: Option<Arc<Journal>>,
    shared: Arc<Shared<T>>,
    backoff: Backoff,
    last_sent: LastSent,
    delivery: Delivery<T>,
    journal_log: LogLimit,
}

/// Closes the queue when the task ends in whatever way, so that no owner waits for it for ever.
struct CloseAtEnd(Arc<Queue>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T: Transport> Shard<T> {
    /// A shard that has sent nothing.
    pub(super) fn new(
        number: usize,
        queue: Arc<Queue>,
        shared: Arc<Shared<T>>,
        backoff: Backoff,
    ) -> Self {
        let delivery = Delivery::new(
            number,
            Arc::clone(&queue),
            Arc::clone(&shared),
            backoff.clone(),
        );
        let journals = shared.journals.as_ref();
        let journal = journals.and_then(|journals| journals.shard(number));
        Self {
            number,
            queue,
            journal,
            shared,
            backoff,
            last_sent: LastSent::new(),
            delivery,
            journal_log: LogLimit::every(LOG_INTERVAL),
        }
    }

    /// Sends until the queue is closed and empty. The task may be dropped at any moment: what was
    /// not acknowledged then stays counted as waiting.
    pub(super) async fn run(mut self) {
        let _close = CloseAtEnd(Arc::clone(&self.queue));
        while let Some((mut batch, marks)) = self.next_batch().await {
            let now_ms = self.shared.clock.now_ms();
            let refused = batch.refuse(&self.shared.receiver_limits, &self.last_sent, now_ms);
            if self.delivery.refuse(&refused).await.is_err() {
                return;
            }
            let sealed = batch.seal(&mut self.last_sent);
            self.shared
                .metrics
                .drop_samples(DropReason::Duplicate, sealed.duplicates);
            self.shared
                .metrics
                .drop_samples(DropReason::OutOfOrder, sealed.out_of_order);
            if sealed.samples == 0 {
                self.queue.done();
            } else if self.send(&sealed).await.is_err() {
                return;
            }
            for mark in marks {
                self.reach(mark);
            }
            if self.shared.negotiation.is_v1() {
                let sender = &self.shared.metadata_sender;
                sender.send_when_due(&self.shared.transport).await;
            }
        }
    }

    fn reach(&self, mark: Mark) {
        self.shared
            .tracker
            .reach(self.number, mark.owner, mark.watermark);
    }

    /// Collects until the batch is full, its first sample has waited long enough, or the queue is
    /// closed. `None` when there will be no more.
    async fn next_batch(&self) -> Option<(Batch, Vec<Mark>)> {
        let mut batch = Batch::new(self.shared.limits, self.shared.largest);
        let mut marks = Vec::new();
        let mut cut_at = None;
        loop {
            match self.queue.drain(&mut batch, &mut marks) {
                Drained::Reached(mark) => {
                    self.reach(mark);
                    continue;
                }
                Drained::Closed if batch.is_empty() => return None,
                Drained::Full | Drained::Closed => return Some((batch, marks)),
                Drained::Empty => {}
            }
            if batch.is_empty() {
                self.queue.changed().await;
                continue;
            }
            let cut_at = *cut_at
                .get_or_insert_with(|| Instant::now() + self.shared.limits.deadline.to_std());
            if timeout_at(cut_at, self.queue.changed()).await.is_err() {
                return Some((batch, marks));
            }
        }
    }

    /// Sends a request until it goes through or is refused for good; first it is in the journal.
    async fn send(&mut self, sealed: &Sealed) -> Result<(), Ends> {
        let noted = self.note(sealed).await;
        self.delivery.deliver(sealed).await?;
        self.queue.done();
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
