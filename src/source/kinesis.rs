//! Kinesis data streams.
//!
//! One thread asks and a second one hands over. The first has a runtime of its own with a task for each
//! shard (`Reader`), by polling or by subscription, and a `Driver`, which knows the shards and decides
//! which may be read: a child of a split or a merge only behind its parents.
//!
//! A sequence number is too large for a position. Records are counted by shard instead, and the count's
//! [`PositionTokens`](super::PositionTokens) say where in the shard that is.

mod aggregated;
mod backoff;
mod began;
mod client;
mod driver;
mod fan_out;
mod hash_range;
mod metrics;
mod place;
mod poll;
mod reader;
mod shards;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::telemetry::{LogLimit, Registry};

use super::config::{Instance, KinesisConfig};
use super::handover::{self, Producer};
use super::metrics::SourceMetrics;
use super::{Context, Source, SourceError, SourceEvent, SourceOutput, StopSignal};
use backoff::Backoff;
use client::{Client, Trouble};
use driver::{Driver, Start};
use metrics::KinesisMetrics;
use reader::Shared;

pub use aggregated::{UserRecord, user_records};

/// How many bytes may wait for the pipeline before nothing more is asked for.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// How many answers of polling may be on their way at once. Each may have ten megabytes.
const REQUESTS: usize = 8;

/// How often the stop signal is looked for while the stream does not answer yet.
const TICK: Duration = Duration::from_millis(10);

/// How often it is told that the stream does not answer yet.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Reads a stream.
pub(super) struct KinesisSource {
    name: String,
    config: KinesisConfig,
    start: Start,
    instance: Option<Instance>,
    context: Context,
    source_metrics: SourceMetrics,
    metrics: KinesisMetrics,
}

impl KinesisSource {
    /// Checks the settings; does not connect yet.
    ///
    /// # Errors
    /// The settings are not those of a valid pipeline file.
    pub(super) fn new(
        config: &KinesisConfig,
        context: Context,
        registry: &Registry,
    ) -> Result<Self, SourceError> {
        let name = format!("kinesis {}", config.stream_name());
        let failed = |message: String| SourceError::new(&name, message);
        let start = Start::new(&config.start, context.clock.now_ms()).map_err(failed)?;
        let instance = config.instance.as_deref().map(str::parse);
        let instance = instance.transpose().map_err(failed)?;
        Ok(Self {
            name,
            start,
            instance,
            config: config.clone(),
            context,
            source_metrics: SourceMetrics::new(registry),
            metrics: KinesisMetrics::new(registry),
        })
    }

    /// Asks for the shards and reads them.
    ///
    /// # Errors
    /// What waiting does not mend: refused credentials, a stream that is not there.
    async fn read(
        self,
        producer: Producer<SourceEvent>,
        stop: &StopSignal,
        refused: &AtomicBool,
    ) -> Result<(), String> {
        let client = Client::new(&self.config, &self.context.clock).await?;
        let ends = || stop.is_stopped() || refused.load(Ordering::Acquire);
        let found = insist(|| client.find_credentials(), &ends).await?;
        if found.is_none() {
            return Ok(());
        }
        let Some(shards) = insist(|| client.shards(), &ends).await? else {
            return Ok(());
        };
        let mut consumer_arn = None;
        if let Some(name) = &self.config.consumer {
            consumer_arn = insist(|| client.consumer(name), &ends).await?;
            if consumer_arn.is_none() {
                return Ok(());
            }
        }
        let config = &self.config;
        let discover_every = config.discover_every.to_std();
        let driver = Driver::new(self.start, self.instance, discover_every, |reports| {
            Shared {
                stream: config.stream_name().to_owned(),
                client,
                context: self.context.clone(),
                producer,
                reports,
                source_metrics: self.source_metrics.clone(),
                metrics: self.metrics.clone(),
                mode: config.mode,
                consumer_arn,
                poll_every: config.poll_every.to_std(),
                outside_shard: config.outside_shard,
                requests: Semaphore::new(REQUESTS),
                closed: Default::default(),
                is_held: AtomicBool::new(false),
            }
        });
        driver.run(shards, stop, refused).await
    }
}

impl Source for KinesisSource {
    fn run(
        self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let name = self.name.clone();
        let failed = |message: String| SourceError::new(&name, message);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(format!("cannot start: {error}")))?;
        let (producer, handed) = handover::queue(BUFFER_BYTES);
        let refused = AtomicBool::new(false);
        thread::scope(|scope| {
            let refused = &refused;
            let thread = thread::Builder::new()
                .name("kinesis".to_owned())
                // With the runtime all tasks go, and with them the queue's end.
                .spawn_scoped(scope, move || {
                    let ended = runtime.block_on(self.read(producer, stop, refused));
                    runtime.shutdown_background();
                    ended
                })
                .map_err(|error| failed(format!("cannot start its thread: {error}")))?;
            handover::hand_over(handed, output, refused);
            let ended = thread.join();
            let ended = ended.unwrap_or_else(|_| Err("its thread died".to_owned()));
            ended.map_err(failed)
        })
    }
}

/// Asks until there is an answer; none where it is to end before.
///
/// # Errors
/// What waiting does not mend.
async fn insist<T, F>(ask: impl Fn() -> F, ends: &impl Fn() -> bool) -> Result<Option<T>, String>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let ended = async {
        while !ends() {
            sleep(TICK).await;
        }
    };
    let answered = async {
        let mut backoff = Backoff::new(0);
        let mut log = LogLimit::every(LOG_EVERY);
        loop {
            let trouble = match ask().await {
                Ok(answer) => return Ok(Some(answer)),
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Denied(words) => {
                    return Err(format!(
                        "{words}; see docs/kinesis.md for the permissions that are needed"
                    ));
                }
                Trouble::NotFound(words) | Trouble::Invalid(words) => return Err(words),
                Trouble::Throttled(_)
                | Trouble::ExpiredIterator
                | Trouble::InUse(_)
                | Trouble::Passing(_) => {
                    if let Some(held_back) = log.admit() {
                        let reason = trouble.words();
                        tracing::warn!(
                            reason,
                            held_back,
                            "kinesis, or who has the credentials for it, does not answer; it is asked again"
                        );
                    }
                    sleep(backoff.next()).await;
                }
            }
        }
    };
    tokio::select! {
        answer = answered => answer,
        () = ended => Ok(None),
    }
}
