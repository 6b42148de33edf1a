//! Samples out: to a Remote-Write receiver or to a file.
//!
//! The pipeline's workers own disjoint sets of series. Each hands over its samples through a
//! [`WriterHandle`], waits while a queue is full, and says up to which watermark it has handed
//! over everything; the writer says up to which watermark everything is written.
//!
//! A checkpoint begins here ([`WriterHandle::begin_checkpoint`]), passes through the pipeline, and
//! takes from here what is formed and not acknowledged ([`WriterHandle::snapshot`]). A restart from it
//! sends every sample that was not acknowledged, none with another value, and none behind a later one
//! of its series.

mod acknowledge;
mod already_sent;
mod compact_marks;
pub mod config;
pub mod dead_letters;
pub mod file;
mod guard;
mod histogram;
mod line;
mod metadata;
mod metrics;
pub mod rejected;
pub mod remote_write;
mod rooms;
mod samples;
mod snapshot;
#[cfg(test)]
mod testing;

pub use config::{Config, FileConfig, Problem};
pub use dead_letters::{
    DeadLetter, DeadLetterHandle, DeadLetterMetrics, DeadLetters, DeadLettersError,
};
pub use file::FileWriter;
pub use metadata::{MAX_METADATA_BYTES, MetricMetadata, MetricType, MetricsMetadata};
pub use remote_write::{RemoteWriteConfig, RemoteWriter, rewrite_marks};
pub use snapshot::WriterSnapshot;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::runtime::Handle;

use crate::model::{Corrupt, Sample, TimestampMs};
use crate::telemetry::Registry;

use already_sent::{AlreadySent, Marks};
use guard::Guard;
use metrics::{DropReason, Metrics};
use remote_write::limits::LABEL_VALUE_BYTES;
use remote_write::{Limits, Past};
use rooms::Rooms;

/// How many samples are offered to the destination at once. Those that it does not take are looked at
/// again with the next offer, so they must not be too many.
const OFFERED_AT_ONCE: usize = 1_024;

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    handle: WriterHandle,
    metrics: Arc<Metrics>,
    destination: Destination,
}

#[derive(Debug)]
enum Destination {
    RemoteWrite(RemoteWriter),
    File(FileWriter),
}

/// Where a writer goes on. The default is a fresh start without checkpoints.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    /// The folder of the journal of what is sent by Remote-Write, which checkpoints need. No other
    /// process may use it.
    pub journal: Option<PathBuf>,
    /// The folder of samples that the receiver does not take, where the configuration names no other.
    pub rejected: Option<PathBuf>,
    /// The checkpoint that the pipeline goes on from; without one the journal is emptied.
    pub checkpoint: Option<u64>,
    /// The newest checkpoint that there is, also where an older one or none is gone on from: what is
    /// sent from now on is news to it as well.
    pub newest: u64,
    /// Up to when every sample was acknowledged at the checkpoint, ms since the epoch, where that is
    /// known: nothing of that time or before it comes again, so it need not be known what of it was
    /// sent.
    pub acknowledged: Option<TimestampMs>,
    /// What [`WriterSnapshot::encode`] has given for that checkpoint.
    pub state: Option<Vec<u8>>,
}

/// What the destinations share.
#[derive(Debug)]
struct Context {
    owners: usize,
    registry: Registry,
    metrics: Arc<Metrics>,
    rooms: Arc<Rooms>,
    /// What receivers are told of the metrics.
    metadata: Arc<MetricsMetadata>,
    /// For the waits between attempts.
    seed: u64,
}

impl Context {
    fn new(owners: usize, registry: &Registry, seed: u64) -> Self {
        Self {
            owners,
            registry: registry.clone(),
            metrics: Arc::new(Metrics::new(registry)),
            rooms: Arc::new(Rooms::new(owners)),
            metadata: Arc::default(),
            seed,
        }
    }
}

/// What became of all samples that were handed over.
#[derive(Debug)]
pub struct WriteSummary {
    /// Samples that the receiver acknowledged or the file took.
    pub written: u64,
    /// Samples that were dropped for a permanent reason, which the metrics name.
    pub dropped: u64,
    /// Samples that were abandoned: at the deadline, or because of `error`. A receiver may have
    /// taken those of a request that was in flight.
    pub unsent: u64,
    /// What stopped the writer before its time.
    pub error: Option<WriteError>,
}

/// Why a writer cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Not exactly one destination.
    #[error("write has {0} destinations; give exactly one of remote_write and file")]
    Destinations(usize),
    /// A value that validation would have refused.
    #[error("write.{path} {message}")]
    Invalid {
        /// The keys that lead to the value.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A password or token file cannot be read.
    #[error("cannot read the credentials in {path}: {error}", path = path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the http client: {0}")]
    Client(#[source] reqwest::Error),
    /// The file cannot be opened.
    #[error("cannot open {path} for writing: {error}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The file took no more.
    #[error("cannot write to {path}: {error}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The receiver refused a request, and `on_rejected` is `fail`.
    #[error("{0}")]
    Rejected(String),
    /// The journal cannot be read or written.
    #[error("the journal in {path}: {error}", path = path.display())]
    Journal {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The writer's part of a checkpoint cannot be understood.
    #[error("the state of the writer: {0}")]
    State(#[from] Corrupt),
    /// The operating system gave no thread.
    #[error("cannot start the thread that writes the file: {0}")]
    Thread(#[source] io::Error),
}

/// The writer takes no more samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the writer has stopped")]
pub struct Stopped;

impl Writer {
    /// Starts writing for `owners` owners, numbered from 0. Remote-Write runs on the runtime, a
    /// file on a thread of its own.
    ///
    /// # Errors
    /// The configuration is invalid, a file cannot be opened, the HTTP client cannot be set up, or
    /// the journal or the state cannot be read.
    pub fn start(
        config: &Config,
        owners: usize,
        registry: &Registry,
        runtime: Handle,
        resume: Resume,
    ) -> Result<Self, WriteError> {
        let context = Context {
            metadata: Arc::clone(&config.metadata),
            ..Context::new(owners, registry, fastrand::u64(..))
        };
        let state = match &resume.state {
            Some(bytes) => WriterSnapshot::decode(bytes)?,
            None => WriterSnapshot::default(),
        };
        match (&config.remote_write, &config.file) {
            (Some(config), None) => {
                let past = Past {
                    journal: resume.journal.as_deref(),
                    rejected: resume.rejected,
                    checkpoint: resume.checkpoint,
                    newest: resume.newest,
                    acknowledged: resume.acknowledged.unwrap_or(TimestampMs::MIN),
                    limits: Limits::default(),
                    state,
                };
                let (writer, marks) = RemoteWriter::start(config, &context, past, runtime)?;
                // Its limits are looked at before each request, where what is refused can be kept.
                let guard = Guard::new(None, Arc::clone(&context.metrics));
                Ok(Self::of(
                    Destination::RemoteWrite(writer),
                    guard,
                    marks,
                    context,
                ))
            }
            (None, Some(config)) => {
                let (writer, marks) = FileWriter::start(config, &context, state)?;
                let guard = Guard::new(Some(LABEL_VALUE_BYTES), Arc::clone(&context.metrics));
                Ok(Self::of(Destination::File(writer), guard, marks, context))
            }
            (None, None) => Err(WriteError::Destinations(0)),
            (Some(_), Some(_)) => Err(WriteError::Destinations(2)),
        }
    }

    fn of(destination: Destination, guard: Guard, marks: Marks, context: Context) -> Self {
        let way = match &destination {
            Destination::RemoteWrite(writer) => Way::RemoteWrite(writer.queues()),
            Destination::File(writer) => Way::File(writer.inbox()),
        };
        let gauge = context.metrics.already_sent_series();
        Self {
            handle: WriterHandle {
                guard: Arc::new(guard),
                already_sent: Arc::new(AlreadySent::new(marks, context.owners, gauge)),
                rooms: context.rooms,
                metrics: Arc::clone(&context.metrics),
                way,
            },
            metrics: context.metrics,
            destination,
        }
    }

    /// The way to hand over samples; one clone for each owner.
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// See [`WriterHandle::begin_checkpoint`].
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn begin_checkpoint(&self, number: u64) -> Result<(), WriteError> {
        self.handle.begin_checkpoint(number)
    }

    /// See [`WriterHandle::snapshot`].
    ///
    /// # Errors
    /// [`Stopped`] when the file takes no more.
    pub fn snapshot(&self) -> Result<WriterSnapshot, Stopped> {
        self.handle.snapshot()
    }

    /// See [`WriterHandle::completed`].
    pub fn completed(&self, oldest_acknowledged: impl FnOnce() -> TimestampMs) {
        self.handle.completed(oldest_acknowledged);
    }

    /// Takes no more samples and waits until all are written, or until the deadline; without one
    /// it waits as long as the receiver takes to come back. To be called from a thread outside the
    /// runtime.
    pub fn finish(self, deadline: Option<Duration>) -> WriteSummary {
        let error = match self.destination {
            Destination::RemoteWrite(writer) => writer.finish(deadline),
            Destination::File(writer) => writer.finish(deadline),
        };
        WriteSummary {
            written: self.metrics.written(),
            dropped: self.metrics.dropped(),
            unsent: self.metrics.waiting(),
            error,
        }
    }
}

/// Hands samples to a writer.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    guard: Arc<Guard>,
    already_sent: Arc<AlreadySent>,
    rooms: Arc<Rooms>,
    metrics: Arc<Metrics>,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    RemoteWrite(Arc<remote_write::Queues>),
    File(file::Inbox),
}

impl WriterHandle {
    /// Hands over as many samples as there is room for, from the front, and says whether these were
    /// all; never blocks. The samples of a series all come from one owner, in the order in which they
    /// are to be sent. Samples of different series may change places among those that are left.
    ///
    /// # Errors
    /// [`Stopped`] once the writer takes no more; some of the samples may have been taken.
    pub fn offer(&self, owner: usize, samples: &mut VecDeque<Sample>) -> Result<bool, Stopped> {
        let marks = self.already_sent.marks();
        while !samples.is_empty() {
            let mut some = Vec::with_capacity(samples.len().min(OFFERED_AT_ONCE));
            while some.len() < OFFERED_AT_ONCE {
                let Some(sample) = samples.pop_front() else {
                    break;
                };
                if marks.as_ref().is_some_and(|marks| marks.covers(&sample)) {
                    self.metrics.drop_samples(DropReason::AlreadySent, 1);
                } else if self.guard.admits(&sample) {
                    some.push(sample);
                }
            }
            if some.is_empty() {
                break;
            }
            let refused = match &self.way {
                Way::RemoteWrite(queues) => queues.offer(owner, some)?,
                Way::File(inbox) => inbox.offer(owner, some)?,
            };
            if !refused.is_empty() {
                for sample in refused.into_iter().rev() {
                    samples.push_front(sample);
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Filled when it is worth the owner's while to [`offer`](Self::offer) again what was not taken,
    /// or when the writer has stopped.
    pub fn room(&self, owner: usize) -> Receiver<()> {
        self.rooms.of(owner)
    }

    /// Hands over samples as [`offer`](Self::offer) does; blocks while there is no room, so it must
    /// not be called from a task.
    ///
    /// # Errors
    /// [`Stopped`] once the writer takes no more; some of the samples may have been taken.
    pub fn send(&self, owner: usize, samples: Vec<Sample>) -> Result<(), Stopped> {
        let mut samples = VecDeque::from(samples);
        let room = self.room(owner);
        while !self.offer(owner, &mut samples)? {
            room.recv().map_err(|_| Stopped)?;
        }
        Ok(())
    }

    /// Says that the owner has handed over all its samples up to `watermark`, ms since the epoch.
    /// Never blocks.
    pub fn flushed(&self, owner: usize, watermark: TimestampMs) {
        match &self.way {
            Way::RemoteWrite(queues) => queues.flushed(owner, watermark),
            Way::File(inbox) => inbox.flushed(owner, watermark),
        }
        self.already_sent.flushed(owner, watermark);
    }

    /// The lowest number for the first checkpoint of this run: attempts of earlier runs, which have
    /// come to nothing, have left something under the numbers before.
    pub fn next_checkpoint(&self) -> u64 {
        match &self.way {
            Way::RemoteWrite(queues) => queues.next_checkpoint(),
            Way::File(_) => 0,
        }
    }

    /// A checkpoint begins; to be called before any owner is asked for its state, with numbers that
    /// grow. May wait for the disk.
    ///
    /// # Errors
    /// The journal cannot be written. The checkpoint must be given up; the writer goes on.
    pub fn begin_checkpoint(&self, number: u64) -> Result<(), WriteError> {
        self.already_sent.begin_checkpoint();
        match &self.way {
            Way::RemoteWrite(queues) => queues.begin_checkpoint(number),
            Way::File(_) => Ok(()),
        }
    }

    /// The writer's part of the checkpoint that was begun last; to be called when all owners have
    /// given their state. With a file it waits until all that was handed over is written or held.
    ///
    /// # Errors
    /// [`Stopped`] when the file takes no more.
    pub fn snapshot(&self) -> Result<WriterSnapshot, Stopped> {
        let (samples, file) = match &self.way {
            Way::RemoteWrite(queues) => (queues.unacknowledged(), None),
            Way::File(inbox) => {
                let (samples, position) = inbox.snapshot()?;
                (samples, Some(position))
            }
        };
        Ok(WriterSnapshot {
            samples,
            marks: self.already_sent.at_checkpoint(),
            file,
        })
    }

    /// A checkpoint is complete. What is known of the past is kept as far as it is needed: where it is
    /// worth it, `oldest_acknowledged` is asked up to when (ms since the epoch) every sample was
    /// acknowledged in each state that can still be restored.
    pub fn completed(&self, oldest_acknowledged: impl FnOnce() -> TimestampMs) {
        if let Way::RemoteWrite(queues) = &self.way {
            queues.completed(oldest_acknowledged);
        }
    }

    /// The watermark (ms since the epoch) up to which every owner has handed over everything and
    /// all of it is written, or dropped for a permanent reason; `i64::MIN` at first. It never goes
    /// back.
    pub fn acknowledged(&self) -> TimestampMs {
        match &self.way {
            Way::RemoteWrite(queues) => queues.acknowledged(),
            Way::File(inbox) => inbox.acknowledged(),
        }
    }

    /// How many bytes of samples wait to be written, requests in flight not counted.
    pub fn queued_bytes(&self) -> usize {
        match &self.way {
            Way::RemoteWrite(queues) => queues.bytes(),
            Way::File(inbox) => inbox.bytes(),
        }
    }
}
