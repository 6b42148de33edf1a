//! Metadata to a receiver of 1.0, in requests of its own.
//!
//! A receiver that refuses metadata does not lose a sample over it. With 2.0 it is in every series.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use prost::Message;
use tokio::time::Instant;

use crate::telemetry::{LogLimit, Registry};
use crate::write::metadata::{MetricMetadata, MetricsMetadata};

use super::protocol::Protocol;
use super::protocol::encode::Body;
use super::protocol::proto::{self, WriteRequest};
use super::shard::Transport;

/// How many metrics a request tells of, as Prometheus has it.
const METRICS_AT_ONCE: usize = 500;

/// How often a refusal is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(3_600);

/// Sends what is known of the metrics, from time to time.
#[derive(Debug)]
pub(super) struct MetadataSender {
    /// Each with the number of its metrics.
    requests: Vec<(Body, u64)>,
    every: Duration,
    /// When it is due; nothing is at once.
    due: Mutex<Option<Instant>>,
    log: Mutex<LogLimit>,
    sent: IntCounter,
    failed: IntCounter,
}

impl MetadataSender {
    /// Makes the requests once and for all, of at most `bytes` as in [`messages`]. Nothing is ever sent where
    /// `every` is 0.
    pub(super) fn new(
        metadata: &MetricsMetadata,
        bytes: usize,
        every: Duration,
        registry: &Registry,
    ) -> Self {
        let messages = messages(metadata, bytes);
        Self {
            requests: messages.iter().filter_map(body).collect(),
            every,
            due: Mutex::default(),
            log: Mutex::new(LogLimit::every(LOG_INTERVAL)),
            sent: registry.counter(
                "weir_remote_write_metadata_total",
                "Metrics whose type, help and unit the receiver took, at each time",
            ),
            failed: registry.counter(
                "weir_remote_write_metadata_failed_total",
                "Metrics whose type, help and unit did not reach the receiver, at each time",
            ),
        }
    }

    /// Sends everything where it is due, and tries once: the next time is soon enough.
    pub(super) async fn send_when_due(&self, transport: &impl Transport) {
        if !self.is_due() {
            return;
        }
        for (body, metrics) in &self.requests {
            match transport.post(body.clone(), 0).await.result {
                Ok(_) => self.sent.inc_by(*metrics),
                Err(failure) => {
                    self.failed.inc_by(*metrics);
                    let held_back = {
                        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                        log.admit()
                    };
                    if let Some(held_back) = held_back {
                        tracing::warn!(
                            metrics, held_back, %failure,
                            "the receiver was not told the types, helps and units of metrics; its \
                             samples are not concerned"
                        );
                    }
                }
            }
        }
    }

    /// Whether it is time; then it is not for another while.
    fn is_due(&self) -> bool {
        if self.requests.is_empty() || self.every.is_zero() {
            return false;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_due = due.is_none_or(|due| due <= now);
        if is_due {
            *due = Some(now + self.every);
        }
        is_due
    }
}

/// Requests of at most `bytes`, where one metric does not take more.
pub(super) fn messages(metadata: &MetricsMetadata, bytes: usize) -> Vec<WriteRequest> {
    let mut requests = Vec::new();
    let mut request = WriteRequest::default();
    for metric in metadata.metrics() {
        request.metadata.push(message(metric));
        let over = request.encoded_len() > bytes || request.metadata.len() > METRICS_AT_ONCE;
        if over && let Some(last) = request.metadata.pop() {
            requests.push(std::mem::take(&mut request));
            request.metadata.push(last);
        }
    }
    requests.push(request);
    requests.retain(|request| !request.metadata.is_empty());
    requests
}

fn message(metric: &MetricMetadata) -> proto::MetricMetadata {
    proto::MetricMetadata {
        r#type: metric.metric_type().number().cast_signed(),
        metric_family_name: metric.name().to_string(),
        help: metric.help().to_owned(),
        unit: metric.unit().to_owned(),
    }
}

/// Metadata never comes near snappy's 4 GiB.
fn body(request: &WriteRequest) -> Option<(Body, u64)> {
    let body = Body {
        bytes: proto::encode(request).ok()?,
        protocol: Protocol::V1,
        samples: 0,
        histograms: 0,
    };
    Some((body, request.metadata.len() as u64))
}
