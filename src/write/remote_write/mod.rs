//! Samples to a Prometheus Remote-Write 1.0 receiver.
//!
//! A series belongs to one shard by its hash. Owners fill the shards' queues; each shard is a task
//! that sends one request at a time.

mod batch;
mod client;
pub mod config;
mod failure;
mod histogram;
mod last_sent;
mod metrics;
mod proto;
mod queue;
#[cfg(test)]
mod receiver;
mod shard;
#[cfg(test)]
mod tests;

pub use config::{BackoffConfig, BasicAuth, BatchConfig, RemoteWriteConfig};

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::model::{Backoff, Sample, TimestampMs};
use crate::telemetry::Registry;

use super::acknowledge::Tracker;
use super::metrics::Metrics;
use super::{Stopped, WriteError};
use client::HttpTransport;
use metrics::RequestMetrics;
use queue::{Mark, Queue};
use shard::{Shard, Shared, Transport};

/// The running shards.
#[derive(Debug)]
pub struct RemoteWriter {
    queues: Arc<Queues>,
    tasks: Vec<JoinHandle<()>>,
    /// Set, or dropped, when the shards are to give up.
    abandon: watch::Sender<bool>,
    runtime: Handle,
}

/// The way into all shards.
#[derive(Debug)]
pub(super) struct Queues {
    queues: Vec<Arc<Queue>>,
    tracker: Arc<Tracker>,
    metrics: Arc<Metrics>,
}

impl RemoteWriter {
    /// Starts the shards' tasks on the runtime.
    ///
    /// # Errors
    /// The configuration is invalid, or the HTTP client cannot be set up.
    pub(super) fn start(
        config: &RemoteWriteConfig,
        owners: usize,
        registry: &Registry,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Result<Self, WriteError> {
        if let Some((path, message)) = config.validate().into_iter().next() {
            return Err(WriteError::Invalid {
                path: format!("remote_write.{}", path.join(".")),
                message,
            });
        }
        let tracker = Arc::new(Tracker::new(config.shards, owners));
        let shared = Arc::new(Shared {
            transport: HttpTransport::new(config)?,
            limits: config.batch,
            tracker: Arc::clone(&tracker),
            metrics: Arc::clone(&metrics),
            requests: RequestMetrics::new(registry),
        });
        let (abandon, abandoned) = watch::channel(false);
        let seed = fastrand::u64(..);
        let mut queues = Vec::with_capacity(config.shards);
        let mut tasks = Vec::with_capacity(config.shards);
        for number in 0..config.shards {
            let gauges = metrics.queue(&format!("shard-{number}"));
            let queue = Arc::new(Queue::new(config.queue_bytes, gauges));
            let backoff = Backoff::new(config.backoff.limits(), seed.wrapping_add(number as u64));
            let shard = Shard::new(number, Arc::clone(&queue), Arc::clone(&shared), backoff);
            tasks.push(runtime.spawn(run_until(shard, abandoned.clone())));
            queues.push(queue);
        }
        let queues = Arc::new(Queues {
            queues,
            tracker,
            metrics,
        });
        Ok(Self {
            queues,
            tasks,
            abandon,
            runtime,
        })
    }

    /// The way into the shards.
    pub(super) fn queues(&self) -> Arc<Queues> {
        Arc::clone(&self.queues)
    }

    /// Takes no more samples and waits until all are sent, or until the deadline.
    pub(super) fn finish(self, deadline: Option<Duration>) {
        self.queues.close();
        let Self {
            tasks,
            abandon,
            runtime,
            ..
        } = self;
        let (finished, is_finished) = mpsc::channel::<()>();
        runtime.spawn(async move {
            let mut tasks = tasks;
            let drained = async {
                for task in &mut tasks {
                    report(task.await);
                }
            };
            let in_time = match deadline {
                Some(deadline) => tokio::time::timeout(deadline, drained).await.is_ok(),
                None => {
                    drained.await;
                    true
                }
            };
            if !in_time {
                abandon.send_replace(true);
                for task in tasks {
                    if !task.is_finished() {
                        report(task.await);
                    }
                }
            }
            drop(finished);
        });
        // Nothing is ever sent: the channel breaks when the task is done, or when the runtime is
        // shut down, which ends the shards as well.
        is_finished.recv().ok();
    }
}

/// A panic of a shard is logged; its samples stay counted as unsent.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a shard ended early");
    }
}

async fn run_until<T: Transport>(shard: Shard<T>, mut abandoned: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        // An error means that the writer was dropped, which abandons its shards too.
        _ = abandoned.wait_for(|abandoned| *abandoned) => {}
        () = shard.run() => {}
    }
}

impl Queues {
    /// Hands samples to their shards; blocks while one of them is full.
    pub(super) fn send(&self, samples: Vec<Sample>) -> Result<(), Stopped> {
        let mut by_shard: Vec<Vec<Sample>> = vec![Vec::new(); self.queues.len()];
        for sample in samples {
            let shard = sample.series.hash() % self.queues.len() as u64;
            if let Some(samples) = by_shard.get_mut(shard as usize) {
                samples.push(sample);
            }
        }
        for (queue, samples) in self.queues.iter().zip(by_shard) {
            if !samples.is_empty() {
                queue.push(samples, &self.metrics)?;
            }
        }
        Ok(())
    }

    /// Puts the owner's mark behind its samples in every shard.
    pub(super) fn flushed(&self, owner: usize, watermark: TimestampMs) {
        for queue in &self.queues {
            queue.mark(Mark { owner, watermark });
        }
    }

    /// The watermark up to which everything is done.
    pub(super) fn acknowledged(&self) -> TimestampMs {
        self.tracker.acknowledged()
    }

    /// How many bytes of samples wait in all shards.
    pub(super) fn bytes(&self) -> usize {
        self.queues.iter().map(|queue| queue.bytes()).sum()
    }

    fn close(&self) {
        for queue in &self.queues {
            queue.close();
        }
    }
}
