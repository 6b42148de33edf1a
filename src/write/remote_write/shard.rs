//! One shard: a task that sends its series' samples, one request at a time.
//!
//! One request at a time is what keeps the order of a series: a later sample cannot overtake an
//! earlier one whose request is being repeated.

use std::future::Future;
use std::io;
use std::sync::Arc;

use prost::bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use crate::model::{Backoff, Encoder};
use crate::telemetry::LogLimit;
use crate::write::acknowledge::Tracker;
use crate::write::metrics::{DropReason, Metrics};
use crate::write::samples::SampleWriter;

use super::batch::{Batch, Sealed};
use super::config::BatchConfig;
use super::failure::Failure;
use super::journal::{Journal, Journals};
use super::last_sent::LastSent;
use super::metrics::RequestMetrics;
use super::proto::encode;
use super::queue::{Drained, Mark, Queue};

/// How often a shard logs the same kind of failure.
const LOG_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

/// Takes a request to the receiver.
pub(super) trait Transport: Send + Sync + 'static {
    /// Sends a compressed request and gives the HTTP status of its success. `attempt` counts from
    /// 0.
    fn post(&self, body: Bytes, attempt: u32) -> impl Future<Output = Result<u16, Failure>> + Send;
}

/// What all shards of a writer share.
#[derive(Debug)]
pub(super) struct Shared<T> {
    pub(super) transport: T,
    pub(super) limits: BatchConfig,
    pub(super) tracker: Arc<Tracker>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) requests: RequestMetrics,
    pub(super) journals: Option<Arc<Journals>>,
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
    retry_log: LogLimit,
    rejection_log: LogLimit,
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
        let journals = shared.journals.as_ref();
        let journal = journals.and_then(|journals| journals.shard(number));
        Self {
            number,
            queue,
            journal,
            shared,
            backoff,
            last_sent: LastSent::new(),
            retry_log: LogLimit::every(LOG_INTERVAL),
            rejection_log: LogLimit::every(LOG_INTERVAL),
            journal_log: LogLimit::every(LOG_INTERVAL),
        }
    }

    /// Sends until the queue is closed and empty. The task may be dropped at any moment: what was
    /// not acknowledged then stays counted as waiting.
    pub(super) async fn run(mut self) {
        let _close = CloseAtEnd(Arc::clone(&self.queue));
        while let Some((batch, marks)) = self.next_batch().await {
            let sealed = batch.seal(&mut self.last_sent);
            self.shared
                .metrics
                .drop_samples(DropReason::Duplicate, sealed.duplicates);
            self.shared
                .metrics
                .drop_samples(DropReason::OutOfOrder, sealed.out_of_order);
            if sealed.samples > 0 {
                self.send(&sealed).await;
            } else {
                self.queue.done();
            }
            for mark in marks {
                self.reach(mark);
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
        let mut batch = Batch::new(self.shared.limits);
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
    async fn send(&mut self, sealed: &Sealed) {
        let body = match encode(&sealed.request) {
            Ok(body) => body,
            Err(error) => {
                self.queue.done();
                return self.reject(sealed, &error.into());
            }
        };
        let noted = self.note(sealed).await;
        self.deliver(sealed, body).await;
        self.queue.done();
        if let Some((journal, number)) = noted {
            self.settle(journal, number).await;
        }
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

    /// Sends a request until it goes through or is refused for good.
    async fn deliver(&mut self, sealed: &Sealed, body: Bytes) {
        let mut attempt = 0;
        loop {
            let started = Instant::now();
            let result = self.shared.transport.post(body.clone(), attempt).await;
            self.shared
                .requests
                .request(&result, body.len(), started.elapsed());
            let failure = match result {
                Ok(_) => {
                    self.shared.metrics.write(sealed.samples);
                    self.shared.requests.acknowledge(sealed.highest);
                    return;
                }
                Err(failure) => failure,
            };
            if !failure.is_retryable() {
                return self.reject(sealed, &failure);
            }
            attempt = attempt.saturating_add(1);
            let wait = self.backoff.wait(attempt, failure.retry_after());
            self.shared.requests.retry(sealed.samples);
            if let Some(held_back) = self.retry_log.admit() {
                let (shard, samples) = (self.number, sealed.samples);
                tracing::warn!(
                    shard, samples, attempt, ?wait, held_back, %failure,
                    "a request failed and will be repeated"
                );
            }
            sleep(wait).await;
        }
    }

    fn reject(&mut self, sealed: &Sealed, failure: &Failure) {
        self.shared
            .metrics
            .drop_samples(DropReason::Rejected, sealed.samples);
        if let Some(held_back) = self.rejection_log.admit() {
            let (shard, samples) = (self.number, sealed.samples);
            tracing::error!(shard, samples, held_back, %failure, "samples are dropped");
        }
    }
}

/// Does something that may wait for the disk, away from the tasks.
async fn on_disk<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
