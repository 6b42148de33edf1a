//! Samples out: to a Remote-Write receiver or to a file.
//!
//! The pipeline's workers own disjoint sets of series. Each hands over its samples through a
//! [`WriterHandle`], waits while a queue is full, and says up to which watermark it has handed
//! over everything; the writer says up to which watermark everything is written.
//!
//! Where there are several receivers, each has an intake of its own, with its queues, its position and
//! its failures: none waits for another, unless the pipeline file wants it so.
//!
//! A checkpoint begins here ([`WriterHandle::begin_checkpoint`]), passes through the pipeline, and
//! takes from here what is formed and not acknowledged ([`WriterHandle::snapshot`]). A restart from it
//! sends every sample that was not acknowledged, none with another value, and none behind a later one
//! of its series.

mod acknowledge;
mod admission;
mod already_sent;
mod compact_marks;
pub mod config;
pub mod dead_letters;
pub mod file;
mod guard;
mod histogram;
mod intake;
mod line;
mod metadata;
mod metrics;
mod receiver_folders;
pub mod rejected;
pub mod relabel;
pub mod remote_write;
mod rooms;
mod samples;
mod snapshot;
#[cfg(test)]
mod testing;

pub use config::{Config, FileConfig, Problem, Receivers};
pub use dead_letters::{
    DeadLetter, DeadLetterHandle, DeadLetterMetrics, DeadLetters, DeadLettersError, Origin,
};
pub use file::FileWriter;
pub use metadata::{MAX_METADATA_BYTES, MetricMetadata, MetricType, MetricsMetadata};
pub use remote_write::{RemoteWriteConfig, RemoteWriter, rewrite_marks};
pub use snapshot::WriterSnapshot;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tokio::runtime::Handle;

use crate::model::{Corrupt, Sample, TimestampMs};
use crate::telemetry::Registry;

use admission::Admission;
use already_sent::Marks;
use config::FILE;
use guard::Guard;
use intake::{Intake, Way};
use metrics::Metrics;
use relabel::Relabelling;
use remote_write::limits::LABEL_VALUE_BYTES;
use remote_write::{Limits, Past};
use rooms::Rooms;

/// How many samples are offered to the destinations at once. Those that one does not take are held for it,
/// so they must not be too many.
const OFFERED_AT_ONCE: usize = 1_024;

/// The label of metrics that tells the destinations of a pipeline apart.
const LABEL: &str = "receiver";

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    handle: WriterHandle,
    destinations: Vec<Destination>,
}

#[derive(Debug)]
enum Destination {
    RemoteWrite(RemoteWriter),
    File(FileWriter),
}

/// Where a writer goes on. The default is a fresh start without checkpoints.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    /// The folder of the state, for the journals of what is sent by Remote-Write, which checkpoints need.
    /// No other process may use them.
    pub folder: Option<PathBuf>,
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

/// What a destination is started with.
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
    /// Whether there are other destinations, which are not to wait for this one.
    is_one_of_several: bool,
}

impl Context {
    /// Of a destination that is alone.
    fn new(owners: usize, registry: &Registry, seed: u64) -> Self {
        Self {
            owners,
            registry: registry.clone(),
            metrics: Arc::new(Metrics::new(registry)),
            rooms: Arc::new(Rooms::new(owners)),
            metadata: Arc::default(),
            seed,
            is_one_of_several: false,
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
    /// The configuration is invalid, a file cannot be opened, an HTTP client cannot be set up, or
    /// a journal or the state cannot be read.
    pub fn start(
        config: &Config,
        owners: usize,
        registry: &Registry,
        runtime: Handle,
        resume: Resume,
    ) -> Result<Self, WriteError> {
        let mut state = match &resume.state {
            Some(bytes) => WriterSnapshot::decode(bytes)?,
            None => WriterSnapshot::default(),
        };
        match (&config.remote_write, &config.file) {
            (Some(receivers), None) => {
                let common = Common {
                    owners,
                    registry,
                    metadata: &config.metadata,
                    resume: &resume,
                };
                Self::to_receivers(receivers.all(), state, &common, &runtime)
            }
            (None, Some(config)) => {
                let context = Context::new(owners, &registry.with_label(LABEL, FILE), 0);
                let of_file = state.take(&[FILE]).pop().unwrap_or_default();
                tell_of_left(&state);
                let (writer, marks) = FileWriter::start(config, &context, of_file)?;
                let guard = Guard::new(Some(LABEL_VALUE_BYTES), Arc::clone(&context.metrics));
                let destination = Destination::File(writer);
                let admission = Admission::new(Relabelling::default(), guard, &context);
                let intake = destination.intake(FILE, admission, marks, &context);
                Ok(Self::of(vec![(destination, intake)], context.rooms))
            }
            (None, None) => Err(WriteError::Destinations(0)),
            (Some(_), Some(_)) => Err(WriteError::Destinations(2)),
        }
    }

    fn to_receivers(
        receivers: &[RemoteWriteConfig],
        mut state: WriterSnapshot,
        common: &Common<'_>,
        runtime: &Handle,
    ) -> Result<Self, WriteError> {
        let Common { owners, resume, .. } = *common;
        if let ([only], Some(folder)) = (receivers, &resume.folder) {
            receiver_folders::adopt(folder, only.name())?;
        }
        let rooms = Arc::new(Rooms::new(owners));
        let names: Vec<_> = receivers.iter().map(RemoteWriteConfig::name).collect();
        let states = state.take(&names);
        tell_of_left(&state);
        let mut destinations = Vec::new();
        for (receiver, state) in receivers.iter().zip(states) {
            let name = receiver.name();
            let relabelling = receiver.relabelling().map_err(|(path, message)| {
                let path = format!("remote_write.{}", path.join("."));
                WriteError::Invalid { path, message }
            })?;
            let context = Context {
                rooms: Arc::clone(&rooms),
                metadata: Arc::new(common.metadata.relabelled(&relabelling)),
                is_one_of_several: receivers.len() > 1,
                ..Context::new(
                    owners,
                    &common.registry.with_label(LABEL, name),
                    fastrand::u64(..),
                )
            };
            let folder = resume.folder.as_deref();
            let folder = folder.map(|folder| receiver.folder(folder));
            let journal = folder.as_ref().map(|folder| folder.join("journal"));
            let past = Past {
                journal: journal.as_deref(),
                rejected: folder.map(|folder| folder.join("rejected")),
                checkpoint: resume.checkpoint,
                newest: resume.newest,
                acknowledged: resume.acknowledged.unwrap_or(TimestampMs::MIN),
                limits: Limits::default(),
                state,
            };
            let (writer, marks) = RemoteWriter::start(receiver, &context, past, runtime.clone())?;
            // Its limits are looked at before each request, where what is refused can be kept.
            let guard = Guard::new(None, Arc::clone(&context.metrics));
            let destination = Destination::RemoteWrite(writer);
            let admission = Admission::new(relabelling, guard, &context);
            let intake = destination.intake(name, admission, marks, &context);
            destinations.push((destination, intake));
        }
        Ok(Self::of(destinations, rooms))
    }

    fn of(destinations: Vec<(Destination, Intake)>, rooms: Arc<Rooms>) -> Self {
        let (destinations, intakes): (_, Vec<_>) = destinations.into_iter().unzip();
        Self {
            handle: WriterHandle {
                intakes: intakes.into(),
                rooms,
            },
            destinations,
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
    pub fn completed(&self, oldest_acknowledged: impl Fn() -> TimestampMs) {
        self.handle.completed(oldest_acknowledged);
    }

    /// Takes no more samples and waits until all are written, or until the deadline; without one
    /// it waits as long as the receiver takes to come back. To be called from a thread outside the
    /// runtime.
    pub fn finish(self, deadline: Option<Duration>) -> WriteSummary {
        let end = deadline.map(|deadline| Instant::now() + deadline);
        for destination in &self.destinations {
            destination.close();
        }
        let mut error = None;
        for destination in self.destinations {
            let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
            let ended = match destination {
                Destination::RemoteWrite(writer) => writer.finish(rest),
                Destination::File(writer) => writer.finish(rest),
            };
            error = error.or(ended);
        }
        let metrics = || self.handle.intakes.iter().map(Intake::metrics);
        WriteSummary {
            written: metrics().map(Metrics::written).sum(),
            dropped: metrics().map(Metrics::dropped).sum(),
            unsent: self.handle.intakes.iter().map(Intake::waiting).sum(),
            error,
        }
    }
}

/// What all receivers are started with.
struct Common<'a> {
    owners: usize,
    registry: &'a Registry,
    metadata: &'a Arc<MetricsMetadata>,
    resume: &'a Resume,
}

/// Says what a checkpoint has of destinations that the pipeline file does not name any more.
fn tell_of_left(state: &WriterSnapshot) {
    for left in &state.destinations {
        let (receiver, samples) = (&left.name, left.samples.len());
        if samples > 0 {
            tracing::error!(
                receiver,
                samples,
                "samples are lost that waited for a receiver that is no longer in the pipeline file; \
                 put it back under its name and restore the checkpoint again to send them"
            );
        }
    }
}

impl Destination {
    fn intake(&self, name: &str, admission: Admission, marks: Marks, context: &Context) -> Intake {
        let way = match self {
            Self::RemoteWrite(writer) => Way::RemoteWrite(writer.queues()),
            Self::File(writer) => Way::File(writer.inbox()),
        };
        Intake::new(name, admission, marks, way, context)
    }

    /// Takes no more, and goes on with what it has.
    fn close(&self) {
        match self {
            Self::RemoteWrite(writer) => writer.close(),
            // It is alone, and finishes at once.
            Self::File(_) => {}
        }
    }
}

/// Hands samples to a writer.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    intakes: Arc<[Intake]>,
    rooms: Arc<Rooms>,
}

impl WriterHandle {
    /// Hands over as many samples as there is room for, from the front, and says whether all samples of
    /// the owner have found room in all destinations; never blocks. The samples of a series all come
    /// from one owner, in the order in which they are to be sent.
    ///
    /// # Errors
    /// [`Stopped`] once the writer takes no more; some of the samples may have been taken.
    pub fn offer(&self, owner: usize, samples: &mut VecDeque<Sample>) -> Result<bool, Stopped> {
        loop {
            let mut has_room = true;
            for intake in &*self.intakes {
                has_room &= intake.release(owner)?;
            }
            if !has_room || samples.is_empty() {
                return Ok(has_room);
            }
            let some = samples.len().min(OFFERED_AT_ONCE);
            if let [only] = &*self.intakes {
                only.take(owner, samples.drain(..some))?;
                continue;
            }
            let some: Vec<_> = samples.drain(..some).collect();
            for intake in &*self.intakes {
                intake.take(owner, some.iter().cloned())?;
            }
        }
    }

    /// Whether samples of an owner have not found room in some destination.
    pub fn holds(&self, owner: usize) -> bool {
        self.intakes.iter().any(|intake| intake.holds(owner))
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

    /// Says that the owner has handed over all its samples up to `watermark`, ms since the epoch, and
    /// that all have found room. Never blocks.
    pub fn flushed(&self, owner: usize, watermark: TimestampMs) {
        for intake in &*self.intakes {
            intake.flushed(owner, watermark);
        }
    }

    /// The lowest number for the first checkpoint of this run: attempts of earlier runs, which have
    /// come to nothing, have left something under the numbers before.
    pub fn next_checkpoint(&self) -> u64 {
        let numbers = self.intakes.iter().map(Intake::next_checkpoint);
        numbers.max().unwrap_or_default()
    }

    /// A checkpoint begins; to be called before any owner is asked for its state, with numbers that
    /// grow. May wait for the disk.
    ///
    /// # Errors
    /// A journal cannot be written. The checkpoint must be given up; the writer goes on.
    pub fn begin_checkpoint(&self, number: u64) -> Result<(), WriteError> {
        for intake in &*self.intakes {
            intake.begin_checkpoint(number)?;
        }
        Ok(())
    }

    /// The writer's part of the checkpoint that was begun last; to be called when all owners have
    /// given their state. With a file it waits until all that was handed over is written or held.
    ///
    /// # Errors
    /// [`Stopped`] when the file takes no more.
    pub fn snapshot(&self) -> Result<WriterSnapshot, Stopped> {
        let destinations = self.intakes.iter().map(Intake::snapshot);
        Ok(WriterSnapshot {
            destinations: destinations.collect::<Result<_, _>>()?,
        })
    }

    /// A checkpoint is complete. What is known of the past is kept as far as it is needed: where it is
    /// worth it, `oldest_acknowledged` is asked up to when (ms since the epoch) every sample was
    /// acknowledged in each state that can still be restored.
    pub fn completed(&self, oldest_acknowledged: impl Fn() -> TimestampMs) {
        for intake in &*self.intakes {
            intake.completed(&oldest_acknowledged);
        }
    }

    /// The watermark (ms since the epoch) up to which every owner has handed over everything and
    /// all of it is written everywhere, or dropped for a permanent reason; `i64::MIN` at first. It never
    /// goes back.
    pub fn acknowledged(&self) -> TimestampMs {
        let acknowledged = self.intakes.iter().map(Intake::acknowledged);
        acknowledged.min().unwrap_or(TimestampMs::MIN)
    }

    /// Whether a destination takes no more: it has failed, or the writer is finished.
    pub fn has_ended(&self) -> bool {
        self.intakes.iter().any(Intake::has_ended)
    }

    /// How many bytes of samples wait to be written, requests in flight not counted.
    pub fn queued_bytes(&self) -> usize {
        self.intakes.iter().map(Intake::queued_bytes).sum()
    }
}
