//! Samples to a Prometheus Remote-Write receiver, in 1.0 or 2.0.
//!
//! A series belongs to one partition by its hash. Owners fill the partitions; a shard is a task that sends
//! what waits in some of them, one request at a time. How many shards there are follows the receiver's delay,
//! and so does what a request may have.

mod assignment;
mod batch;
mod checks;
pub mod config;
mod connection;
#[cfg(test)]
mod crash_tests;
mod delivery;
mod fatal;
mod flow;
mod journal;
mod last_sent;
pub mod limits;
mod metadata_sender;
mod metrics;
#[cfg(test)]
pub(crate) mod oracle;
mod partition;
mod partitions;
mod protocol;
#[cfg(test)]
mod receiver;
mod request_size;
#[cfg(test)]
pub(crate) mod scripted;
mod shard;
mod sharding;
#[cfg(test)]
mod tests;
mod waiting;

pub use batch::Group;
pub use config::{BackoffConfig, BatchConfig, RemoteWriteConfig};
pub use connection::authentication::config::{BasicAuth, OAuth2Config, SigV4Config, TlsSettings};
pub use journal::marks_file::rewrite_marks;

pub(super) use journal::folding::Limits;

pub use protocol::encode::{Body, RequestEncoder};
pub use protocol::{Protocol, ProtocolChoice};

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::model::{Clock, Sample, TimestampMs};

use super::acknowledge::Tracker;
use super::already_sent::Marks;
use super::metadata::MetricsMetadata;
use super::rejected::RejectedSamples;
use super::snapshot::DestinationSnapshot;
use super::{Context, Stopped, WriteError};
use assignment::Assignment;
use connection::client::HttpTransport;
use delivery::circuit::Circuit;
use fatal::Fatal;
use flow::Flow;
use journal::recovery::{Recovered, recover};
use journal::{JournalMetrics, Journals, Settings};
use last_sent::LastSent;
use metadata_sender::MetadataSender;
use metrics::{RequestMetrics, ShardGauges, register_oldest};
use partition::Common;
use partitions::Partitions;
use protocol::negotiation::Negotiation;
use protocol::size::metadata_bytes;
use request_size::{RequestSize, SharedRequestSize, Size};
use shard::{Shard, Shared, Transport};
use sharding::wanted::WantedShards;

/// The running shards.
#[derive(Debug)]
pub struct RemoteWriter {
    queues: Arc<Queues>,
    tasks: Vec<JoinHandle<()>>,
    /// Changes the number of shards, where it may change.
    sharding: Option<JoinHandle<()>>,
    /// Set, or dropped, when the shards are to give up.
    abandon: watch::Sender<bool>,
    fatal: Arc<Fatal>,
    runtime: Handle,
}

/// The way into all partitions.
#[derive(Debug)]
pub(super) struct Queues {
    partitions: Arc<Partitions>,
    tracker: Arc<Tracker>,
    journals: Option<Arc<Journals>>,
}

/// Where the time before the start is known from.
#[derive(Debug)]
pub(super) struct Past<'a> {
    /// The journal's folder, where there are checkpoints.
    pub(super) journal: Option<&'a Path>,
    /// Where samples are kept that the receiver does not take, unless the configuration says it.
    pub(super) rejected: Option<PathBuf>,
    /// The checkpoint to go on from; without one the journal is emptied.
    pub(super) checkpoint: Option<u64>,
    /// The newest checkpoint that there is.
    pub(super) newest: u64,
    /// Up to when everything was acknowledged at the checkpoint, ms since the epoch.
    pub(super) acknowledged: TimestampMs,
    /// How large the journal may become.
    pub(super) limits: Limits,
    /// What the checkpoint says.
    pub(super) state: DestinationSnapshot,
}

impl RemoteWriter {
    /// Starts the shards' tasks on the runtime, and gives the marks of the time before.
    ///
    /// # Errors
    /// The configuration is invalid, the HTTP client cannot be set up, or the journal cannot be read
    /// or written.
    pub(super) fn start(
        config: &RemoteWriteConfig,
        context: &Context,
        past: Past<'_>,
        runtime: Handle,
    ) -> Result<(Self, Marks), WriteError> {
        if let Some((path, message)) = config.validate().into_iter().next() {
            return Err(WriteError::Invalid {
                path: format!("remote_write.{}", path.join(".")),
                message,
            });
        }
        let transport = HttpTransport::new(config)?;
        Self::over(transport, config, context, past, runtime)
    }

    /// The same with any transport.
    fn over<T: Transport>(
        transport: T,
        config: &RemoteWriteConfig,
        context: &Context,
        past: Past<'_>,
        runtime: Handle,
    ) -> Result<(Self, Marks), WriteError> {
        let journal_metrics = JournalMetrics::new(&context.registry);
        let recovered = match (past.journal, past.checkpoint) {
            (Some(folder), Some(checkpoint)) => recover(folder, checkpoint, past.acknowledged)?,
            (Some(folder), None) => {
                journal::folder::clear(folder)?;
                Recovered::default()
            }
            (None, _) => Recovered::default(),
        };
        let checkpoint = past.checkpoint.unwrap_or_default().max(past.newest);
        let journals = past.journal.map(|folder| {
            let settings = Settings {
                folder,
                shards: config.max_shards,
                sync: config.journal_sync,
                limits: past.limits,
            };
            Journals::open(
                settings,
                checkpoint,
                recovered.next,
                journal_metrics.clone(),
            )
        });
        let journals = journals.transpose()?.map(Arc::new);
        let partitions = config.partitions();
        let tracker = Arc::new(Tracker::new(partitions, context.owners));
        let metrics = &context.metrics;
        let fatal = Arc::<Fatal>::default();
        let requests = RequestMetrics::new(&context.registry);
        let rejected = config.rejected.dir.clone().or(past.rejected);
        let largest = config.protocol.largest();
        let (limits, metadata) = with_metadata(config.batch, largest, &context.metadata);
        let request_size = RequestSize::new(
            Size {
                samples: limits.samples,
                bytes: limits.bytes,
            },
            config.timeout.to_std(),
        );
        let common = Common {
            capacity_bytes: (config.queue_bytes / partitions).max(1),
            on_throttle_limit: config.on_throttle_limit(context.is_one_of_several),
            rooms: Arc::clone(&context.rooms),
            gauges: metrics.queue("remote_write"),
            metrics: Arc::clone(metrics),
            assignment: Assignment::new(config.max_shards, config.min_shards),
            flow: Flow::default(),
        };
        let last_sent = LastSent::new(partitions);
        let partitions = Arc::new(Partitions::new(partitions, common));
        register_oldest(&context.registry, &partitions);
        let shared = Arc::new(Shared {
            partitions: Arc::clone(&partitions),
            last_sent,
            request_size: SharedRequestSize::new(request_size, &context.registry),
            circuit: Circuit::new(requests.circuit_open()),
            on_rejected: config.on_rejected(),
            receiver_limits: config.receiver_limits(),
            receiver: config.receiver_name(),
            rejected: rejected.map(|dir| RejectedSamples::new(dir, config.rejected.max_bytes)),
            clock: Clock::System,
            fatal: Arc::clone(&fatal),
            transport,
            limits,
            largest,
            metadata,
            negotiation: Negotiation::new(config.protocol, &context.registry),
            metadata_sender: MetadataSender::new(
                &context.metadata,
                config.batch.bytes,
                config.metadata_interval.to_std(),
                &context.registry,
            ),
            tracker: Arc::clone(&tracker),
            metrics: Arc::clone(metrics),
            requests,
            journals: journals.clone(),
        });
        let queues = Queues {
            partitions: Arc::clone(&partitions),
            tracker,
            journals,
        };
        journal_metrics.in_doubt.set(in_doubt_count(&recovered));
        let marks = queues.restore(recovered, past.state);
        let (abandon, abandoned) = watch::channel(false);
        let span = tracing::error_span!("remote_write", receiver = config.name());
        let tasks = (0..config.max_shards).map(|number| {
            let backoff = config.backoff.limits();
            let shard = Shard::new(number, Arc::clone(&shared), backoff, context.seed);
            let run = run_until(shard.run(), abandoned.clone(), Arc::clone(&fatal));
            runtime.spawn(run.instrument(span.clone()))
        });
        let tasks = tasks.collect();
        let gauges = ShardGauges::new(&context.registry, config.min_shards, config.max_shards);
        let sharding = (config.min_shards < config.max_shards).then(|| {
            let wanted = WantedShards::new(config.min_shards..=config.max_shards);
            let adapt = sharding::adapt(wanted, partitions, gauges);
            let adapt = run_until(adapt, abandoned, Arc::clone(&fatal));
            runtime.spawn(adapt.instrument(span))
        });
        let writer = Self {
            queues: Arc::new(queues),
            tasks,
            sharding,
            abandon,
            fatal,
            runtime,
        };
        Ok((writer, marks))
    }

    /// The way into the shards.
    pub(super) fn queues(&self) -> Arc<Queues> {
        Arc::clone(&self.queues)
    }

    /// Takes no more samples, and sends those that it has.
    pub(super) fn close(&self) {
        self.queues.partitions.close();
    }

    /// Takes no more samples and waits until all are sent, or until the deadline. Gives what has ended
    /// the shards before, if anything has.
    pub(super) fn finish(self, deadline: Option<Duration>) -> Option<WriteError> {
        let Self {
            queues,
            tasks,
            sharding,
            abandon,
            fatal,
            runtime,
        } = self;
        queues.partitions.close();
        if let Some(sharding) = sharding {
            sharding.abort();
        }
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
        if let Some(journals) = &queues.journals {
            journals.stop();
        }
        fatal.take()
    }
}

/// What a request of samples may have, and what it tells of the metrics. In 2.0 there is room for all of
/// their texts; where these would take more than a quarter of a request, they are left out.
fn with_metadata(
    mut limits: BatchConfig,
    largest: Protocol,
    metadata: &Arc<MetricsMetadata>,
) -> (BatchConfig, Arc<MetricsMetadata>) {
    let texts = match largest {
        Protocol::V1 => 0,
        Protocol::V2 => metadata_bytes(metadata),
    };
    if texts > limits.bytes / 4 {
        return (limits, Arc::new(metadata.without_texts()));
    }
    limits.bytes -= texts;
    (limits, Arc::clone(metadata))
}

/// A panic of a shard is logged; its samples stay counted as unsent.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a shard ended early");
    }
}

fn in_doubt_count(recovered: &Recovered) -> i64 {
    let samples: usize = recovered.in_doubt.iter().map(Vec::len).sum();
    i64::try_from(samples).unwrap_or(i64::MAX)
}

async fn run_until(
    task: impl Future<Output = ()>,
    mut abandoned: watch::Receiver<bool>,
    fatal: Arc<Fatal>,
) {
    tokio::select! {
        biased;
        () = fatal.is_set() => {}
        // An error means that the writer was dropped, which abandons its shards too.
        _ = abandoned.wait_for(|abandoned| *abandoned) => {}
        () = task => {}
    }
}

impl Queues {
    /// See [`Partitions::offer`].
    pub(super) fn offer(&self, owner: usize, samples: Vec<Sample>) -> Result<Vec<Sample>, Stopped> {
        self.partitions.offer(owner, samples)
    }

    /// Queues what is in doubt, each request for itself, and behind it what a checkpoint has kept and
    /// was not journaled since. Gives the marks of both.
    fn restore(&self, recovered: Recovered, state: DestinationSnapshot) -> Marks {
        let Recovered {
            mut marks,
            in_doubt,
            ..
        } = recovered;
        let earlier = state.marks();
        let mut waiting = state.samples;
        waiting.retain(|sample| !marks.covers(sample));
        marks.lift_to(&earlier);
        for sample in &waiting {
            marks.lift(&sample.series, sample.timestamp_ms);
        }
        for (number, samples) in (0..).zip(in_doubt.into_iter().chain([waiting])) {
            self.partitions.restore(number, samples);
        }
        marks
    }

    /// See [`Journals::next_checkpoint`]; 0 without a journal.
    pub(super) fn next_checkpoint(&self) -> u64 {
        let journals = self.journals.as_ref();
        journals.map_or(0, |journals| journals.next_checkpoint())
    }

    /// From now on everything is journaled for this checkpoint.
    pub(super) fn begin_checkpoint(&self, checkpoint: u64) -> Result<(), WriteError> {
        let Some(journals) = &self.journals else {
            return Ok(());
        };
        // The later request of a series must not stand in the file of an earlier checkpoint, as it would
        // where a partition went from a shard that has begun the new one to a shard that has not.
        let assignment = self.partitions.assignment();
        assignment.hold();
        let begun = journals.begin(checkpoint);
        assignment.let_go();
        begun
    }

    /// All samples that are not acknowledged, those of a series in their order.
    pub(super) fn unacknowledged(&self) -> Vec<Sample> {
        self.partitions.unacknowledged()
    }

    /// See [`Journals::completed`].
    pub(super) fn completed(&self, oldest_acknowledged: impl FnOnce() -> TimestampMs) {
        if let Some(journals) = &self.journals {
            journals.completed(oldest_acknowledged);
        }
    }

    /// Puts the owner's mark behind its samples in every partition.
    pub(super) fn flushed(&self, owner: usize, watermark: TimestampMs) {
        self.partitions.mark(owner, watermark);
    }

    /// Whether no more samples are taken: the shards have ended, or are about to.
    pub(super) fn has_ended(&self) -> bool {
        self.partitions.is_closed()
    }

    /// The watermark up to which everything is done.
    pub(super) fn acknowledged(&self) -> TimestampMs {
        self.tracker.acknowledged()
    }

    /// How many bytes of samples wait.
    pub(super) fn bytes(&self) -> usize {
        self.partitions.bytes()
    }
}
