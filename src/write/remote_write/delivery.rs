//! A request on its way: repeated, held, cut, or without the samples that are to blame.

pub(in crate::write::remote_write) mod circuit;
pub(in crate::write::remote_write) mod failure;
pub(in crate::write::remote_write) mod isolation;
mod refusal;
#[cfg(test)]
mod refusal_tests;
pub(in crate::write::remote_write) mod reply;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::model::{Backoff, TimestampMs};
use crate::telemetry::LogLimit;
use crate::write::WriteError;
use crate::write::metrics::DropReason;
use crate::write::rejected::RejectedSample;

use super::batch::{Group, Sealed, cut, points_of, refuse_outdated};
use super::config::OnRejected;
use super::protocol::Protocol;
use super::protocol::encode::{Body, RequestEncoder};
use super::protocol::negotiation::Verdict;
use super::request_size::Size;
use super::shard::{LOG_INTERVAL, Shared, Transport, on_disk};
use failure::{Course, Failure};
use isolation::{Isolation, Refusal};
use reply::Reply;

/// How many requests may be made for one that was refused, before what is refused then stays as a whole.
/// Ten guilty samples among 2,000 take about 110.
const ISOLATION_REQUESTS: usize = 256;
/// Where that is never enough, because almost all is refused, it is halved each time down to this.
const FEWEST_ISOLATION_REQUESTS: usize = 8;

/// After so many times 500 in a row it is asked whether the receiver is well.
const SUSPECT_AFTER: u32 = 3;

/// The writer ends, because a request was refused and the pipeline file wants it so.
#[derive(Debug)]
pub(super) struct Ends;

/// How a shard gets its requests through.
#[derive(Debug)]
pub(super) struct Delivery<T> {
    shard: usize,
    shared: Arc<Shared<T>>,
    backoff: Backoff,
    /// The extent of the request that is sent, also while pieces of it are.
    size: Size,
    /// The limit of that request, where it is as large as it may be.
    full: Option<Size>,
    encoder: RequestEncoder,
    isolation_requests: usize,
    retry_log: LogLimit,
    hold_log: LogLimit,
    rejection_log: LogLimit,
    refusal_log: LogLimit,
}

/// Where a request has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// The receiver has taken it, after so many attempts that failed.
    Taken(u32),
    /// Something in it has become too old before the receiver could be asked for this attempt.
    Outdated(u32),
}

/// Samples that stay refused.
#[derive(Debug)]
struct Guilty {
    samples: Range<usize>,
    failure: Failure,
}

impl<T: Transport> Delivery<T> {
    pub(super) fn new(shard: usize, shared: Arc<Shared<T>>, backoff: Backoff) -> Self {
        Self {
            shard,
            full: None,
            size: Size {
                samples: 0,
                bytes: 0,
            },
            encoder: RequestEncoder::new(Arc::clone(&shared.metadata)),
            shared,
            backoff,
            isolation_requests: ISOLATION_REQUESTS,
            retry_log: LogLimit::every(LOG_INTERVAL),
            hold_log: LogLimit::every(LOG_INTERVAL),
            rejection_log: LogLimit::every(LOG_INTERVAL),
            refusal_log: LogLimit::every(LOG_INTERVAL),
        }
    }

    /// Sends a request until all of it has gone through, or is dropped for good.
    ///
    /// # Errors
    /// It was refused, and the pipeline is to fail then.
    pub(super) async fn deliver(&mut self, sealed: &Sealed) -> Result<(), Ends> {
        (self.size, self.full) = (sealed.size, sealed.full);
        let result = self.deliver_or_fail(sealed).await;
        self.shared.partitions.set_stuck(self.shard, false);
        result
    }

    async fn deliver_or_fail(&mut self, sealed: &Sealed) -> Result<(), Ends> {
        let mut groups = Cow::Borrowed(sealed.groups.as_slice());
        let (mut attempt, started) = (0, Instant::now());
        let failure = loop {
            match self.send_in_time(&groups, attempt, true).await {
                Ok(Sent::Taken(failed)) => {
                    if let (0, Some(limit)) = (failed, sealed.full) {
                        self.shared.request_size.taken(limit, started.elapsed());
                    }
                    return Ok(());
                }
                Ok(Sent::Outdated(at)) => attempt = at,
                Err(failure) => break failure,
            }
            let limits = self.shared.receiver_limits;
            let now_ms = self.shared.clock.now_ms();
            let refused = refuse_outdated(groups.to_mut(), &limits, now_ms);
            self.refuse(&refused).await?;
            if groups.is_empty() {
                return Ok(());
            }
        };
        match (failure.course(), self.shared.on_rejected) {
            (Course::Split, _) | (_, OnRejected::Isolate) => self.isolate(&groups, failure).await,
            _ => self.reject(&groups, &failure).await,
        }
    }

    /// Sends a piece until it has gone through, or until that makes no sense. However old it becomes
    /// meanwhile: pieces are places in a request, which must stay as it is.
    async fn send(&mut self, groups: &[Group]) -> Result<(), Failure> {
        self.send_in_time(groups, 0, false).await.map(|_| ())
    }

    /// Sends groups until they have gone through, until that makes no sense, or, where that is to be
    /// looked at, until one of them is too old for the receiver. `attempt` counts from 0.
    async fn send_in_time(
        &mut self,
        groups: &[Group],
        mut attempt: u32,
        is_timed: bool,
    ) -> Result<Sent, Failure> {
        let shared = Arc::clone(&self.shared);
        let mut body = self.encoder.encode(groups, shared.negotiation.next())?;
        let (samples, highest) = extent(groups);
        let oldest = is_timed.then(|| oldest(groups)).flatten();
        let mut internal_errors = 0;
        let mut probe = None;
        loop {
            if probe.is_none() && shared.circuit.is_open() {
                // While another shard asks, the receiver takes nothing of this one either.
                shared.partitions.set_stuck(self.shard, true);
                probe = shared.circuit.enter().await;
                shared.partitions.set_stuck(self.shard, probe.is_some());
            }
            let now_ms = shared.clock.now_ms();
            let age = |oldest| shared.receiver_limits.refuse_age(oldest, now_ms);
            if oldest.and_then(age).is_some() {
                return Ok(Sent::Outdated(attempt));
            }
            let failure = match self.post(&body, attempt).await {
                Verdict::Answered(Ok(_)) => {
                    shared.metrics.write(samples);
                    shared.requests.acknowledge(highest);
                    return Ok(Sent::Taken(attempt));
                }
                Verdict::Answered(Err(failure)) => failure,
                Verdict::InV1 => {
                    body = self.encoder.encode(groups, Protocol::V1)?;
                    continue;
                }
            };
            let course = failure.course();
            if !matches!(course, Course::Repeat | Course::Hold) {
                return Err(failure);
            }
            internal_errors = match failure.may_be_content() {
                true => internal_errors + 1,
                false => 0,
            };
            if internal_errors >= SUSPECT_AFTER
                && internal_errors.is_multiple_of(SUSPECT_AFTER)
                && shared.on_rejected == OnRejected::Isolate
                && self.is_well(body.protocol).await
            {
                return Err(failure);
            }
            if let Some(limit) = self.full.filter(|_| failure.is_too_slow()) {
                shared.request_size.slow(limit);
            }
            attempt += 1;
            shared.partitions.flow().repeat();
            shared.partitions.set_stuck(self.shard, true);
            let wait = self.backoff.wait(attempt, failure.retry_after());
            shared.requests.retry(samples);
            self.tell_of_wait(samples, attempt, wait, &failure);
            sleep(wait).await;
            let protocol = shared.negotiation.repetition(body.protocol);
            if protocol != body.protocol {
                body = self.encoder.encode(groups, protocol)?;
            }
        }
    }

    /// Whether the receiver takes a request with nothing in it. What it answers 500 to is to blame then.
    async fn is_well(&mut self, protocol: Protocol) -> bool {
        let Ok(body) = self.encoder.encode(&[], protocol) else {
            return false;
        };
        match self.ask(&body, 0).await.result {
            Ok(_) => true,
            Err(failure) => failure.course() == Course::Isolate,
        }
    }

    async fn post(&self, body: &Body, attempt: u32) -> Verdict {
        let reply = self.ask(body, attempt).await;
        self.shared.negotiation.judge(body, reply)
    }

    async fn ask(&self, body: &Body, attempt: u32) -> Reply {
        let Shared {
            transport,
            requests,
            circuit,
            ..
        } = &*self.shared;
        let started = Instant::now();
        let reply = transport.post(body.clone(), attempt).await;
        requests.request(&reply.result, body.bytes.len(), started.elapsed());
        match &reply.result {
            Err(failure) if matches!(failure.course(), Course::Repeat | Course::Hold) => {
                circuit.failed();
            }
            _ => circuit.answered(),
        }
        reply
    }

    /// Sends the pieces of a refused request, and keeps those that stay refused.
    async fn isolate(&mut self, groups: &[Group], failure: Failure) -> Result<(), Ends> {
        let (samples, _) = extent(groups);
        if samples == 1 && !failure.may_be_content() {
            return self.reject(groups, &failure).await;
        }
        let refusal = refusal_of(&failure);
        self.shared.requests.isolated();
        if refusal == Refusal::Content
            && let Some(held_back) = self.rejection_log.admit()
        {
            let shard = self.shard;
            tracing::warn!(
                shard, samples, held_back, %failure,
                "a request is refused; its samples are sent again in pieces"
            );
        }
        let guilty = self.search(groups, samples, refusal).await;
        // Where single samples are too large, smaller requests help nobody.
        let is_too_large = |guilty: &Guilty| guilty.failure.course() == Course::Split;
        if refusal == Refusal::Size && !guilty.iter().any(is_too_large) {
            self.shared.request_size.refused(self.size);
        }
        for Guilty { samples, failure } in guilty {
            self.reject(&cut(groups, samples), &failure).await?;
        }
        Ok(())
    }

    async fn search(&mut self, groups: &[Group], samples: usize, refusal: Refusal) -> Vec<Guilty> {
        let mut isolation = Isolation::new(samples, refusal, self.isolation_requests);
        let mut guilty = Vec::new();
        while let Some(piece) = isolation.next() {
            let part = cut(groups, piece.clone());
            let mut result = self.send(&part).await;
            if piece.len() == 1 && result.as_ref().is_err_and(Failure::may_be_content) {
                // It may have become well just before it was asked.
                result = self.send(&part).await;
            }
            let Err(failure) = result else {
                isolation.taken(&piece);
                continue;
            };
            let refusal = refusal_of(&failure);
            if refusal == Refusal::Content && self.shared.on_rejected != OnRejected::Isolate {
                guilty.push(Guilty {
                    samples: piece,
                    failure,
                });
            } else if let Some(samples) = isolation.refused(piece, refusal) {
                guilty.push(Guilty { samples, failure });
            }
        }
        self.isolation_requests = match isolation.is_exhausted() {
            true => (self.isolation_requests / 2).max(FEWEST_ISOLATION_REQUESTS),
            false => (self.isolation_requests * 2).min(ISOLATION_REQUESTS),
        };
        guilty
    }

    /// Drops samples that the receiver will never take, and keeps them where there is a place for it.
    ///
    /// # Errors
    /// The pipeline is to fail in place of that.
    async fn reject(&mut self, groups: &[Group], failure: &Failure) -> Result<(), Ends> {
        if self.shared.on_rejected == OnRejected::Fail {
            return Err(self.fail(failure));
        }
        let (samples, _) = extent(groups);
        let is_kept = self.keep(groups, failure).await;
        let metrics = &self.shared.metrics;
        metrics.drop_samples(DropReason::Rejected, samples);
        if let Some(held_back) = self.rejection_log.admit() {
            let shard = self.shard;
            let first = groups.first().map(|group| group.series.to_string());
            let first = first.unwrap_or_default();
            if is_kept {
                tracing::error!(
                    shard, samples, first, held_back, %failure,
                    "samples are refused, and kept: weir rejected list shows them"
                );
            } else {
                tracing::error!(shard, samples, first, held_back, %failure, "samples are dropped");
            }
        }
        Ok(())
    }

    /// Keeps samples that the receiver has refused.
    async fn keep(&mut self, groups: &[Group], failure: &Failure) -> bool {
        let now_ms = self.shared.clock.now_ms();
        let (receiver, status, words) = (&self.shared.receiver, failure.status(), failure.words());
        let records = points_of(groups).map(|sample| RejectedSample {
            rejected_at_ms: now_ms,
            receiver: receiver.clone(),
            status,
            words: words.clone(),
            sample,
        });
        let records = records.collect();
        self.write_down(records).await
    }

    /// Writes rejected samples down, and waits until that is possible; says whether there is a place for
    /// them.
    async fn write_down(&mut self, records: Vec<RejectedSample>) -> bool {
        let Some(rejected) = self.shared.rejected.clone() else {
            return false;
        };
        let records = Arc::new(records);
        let mut attempt = 0;
        loop {
            let (to, what) = (rejected.clone(), Arc::clone(&records));
            let error = match on_disk(move || to.keep(&what)).await {
                Ok(gone) => {
                    self.shared.requests.kept(records.len(), gone);
                    return true;
                }
                Err(error) => error,
            };
            attempt += 1;
            if let Some(held_back) = self.hold_log.admit() {
                let (shard, path) = (self.shard, rejected.folder().display());
                tracing::warn!(
                    shard, %path, %error, held_back,
                    "nothing is sent: rejected samples cannot be written down"
                );
            }
            sleep(self.backoff.wait(attempt, None)).await;
        }
    }

    fn fail(&self, failure: &Failure) -> Ends {
        self.shared
            .fatal
            .set(WriteError::Rejected(failure.to_string()));
        Ends
    }

    fn tell_of_wait(&mut self, samples: usize, attempt: u32, wait: Duration, failure: &Failure) {
        let shard = self.shard;
        if failure.course() == Course::Hold {
            if let Some(held_back) = self.hold_log.admit() {
                tracing::error!(
                    shard, samples, attempt, ?wait, held_back, %failure,
                    if_full = self.shared.partitions.when_full(),
                    "nothing is sent until this is mended"
                );
            }
        } else if let Some(held_back) = self.retry_log.admit() {
            tracing::warn!(
                shard, samples, attempt, ?wait, held_back, %failure,
                "a request failed and will be repeated"
            );
        }
    }
}

fn refusal_of(failure: &Failure) -> Refusal {
    match failure.course() {
        Course::Split => Refusal::Size,
        _ => Refusal::Content,
    }
}

/// How many samples there are, and the latest of their times, ms since the epoch.
fn extent(groups: &[Group]) -> (usize, i64) {
    let points = groups.iter().flat_map(|group| &group.points);
    points.fold((0, i64::MIN), |(samples, highest), (timestamp, _)| {
        (samples + 1, highest.max(*timestamp))
    })
}

/// The earliest time of groups, ms since the epoch.
fn oldest(groups: &[Group]) -> Option<TimestampMs> {
    let points = groups.iter().flat_map(|group| &group.points);
    points.map(|(timestamp, _)| *timestamp).min()
}

#[cfg(test)]
#[path = "delivery/tests.rs"]
mod tests;
