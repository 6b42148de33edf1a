//! Bytes in: the splits of files, Kafka topics, Kinesis streams, MQTT sessions and HTTP requests.
//!
//! A source runs on a thread of its own and hands over record batches, in order within a split.
//! `send` blocks while the worker that owns the split is busy: that is the back-pressure.

mod alignment;
mod broker_tokens;
mod checkpointed;
mod config;
mod endpoint;
mod file;
mod handover;
mod http;
mod idle;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
mod lines;
mod log;
mod metrics;
#[cfg(feature = "mqtt")]
mod mqtt;
mod position_tokens;
mod progress;
mod resend;
mod resume;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Clock, Duration, RecordBatch, Split, SplitId, TimestampMs};
use crate::telemetry::Registry;

pub use alignment::Alignment;
pub use broker_tokens::broker_tokens;
pub use checkpointed::{Checkpointed, ConfirmationNote};
pub use config::{
    BrokerConfig, Config, FileConfig, Instance, Isolation, KafkaConfig, KinesisConfig, KinesisMode,
    KinesisSigner, KinesisStart, MqttConfig, MqttProtocol, MqttTlsConfig, OutsideShard, Paths,
    Retained, StartPosition, StartTime, Violation,
};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use http::{
    Bodies, BodyFormat, HttpConfig, LEAST_RECORD_BYTES, ServerTlsConfig, body_records,
    remote_write_records,
};
#[cfg(feature = "kinesis")]
pub use kinesis::{UserRecord, user_records};
pub use log::{Always, Fsync, LogConfig, LogSettings, MAX_LOGGED_BYTES, WhenFull};
pub use metrics::{DropReason, SourceMetrics, SplitMetrics};
pub use position_tokens::{PositionToken, PositionTokens};
pub use progress::FileProgress;
pub use resend::{HttpWay, Resender, Resent, ResentRecord};
pub use resume::{KeptPositions, Resume};

/// The size from which a record is dropped, where a pipeline says nothing else: 1 MiB, in bytes.
pub const DEFAULT_MAX_RECORD_BYTES: usize = 1024 * 1024;

/// Everything that a source can say.
#[derive(Debug)]
pub enum SourceEvent {
    /// A split begins; said before anything else about it.
    Assigned(Split),
    /// Records of a split.
    Records(RecordBatch),
    /// The source is connected and the split has had nothing to read for `idle_after`: it no longer
    /// holds back the watermark until its next records.
    Idle(SplitId),
    /// The split was idle and holds back the watermark again, though there are no records yet: the
    /// connection is lost, so its silence means nothing.
    Active(SplitId),
    /// The split has ended: bounded input was read to its end.
    Finished(SplitId),
    /// The split is to go to somebody else as soon as a checkpoint has what came of it: nothing of that waits
    /// until other splits have caught up.
    Leaving(SplitId),
    /// The split now belongs to somebody else.
    Revoked(SplitId),
    /// The positions of the split begin again: something else with the same name is there now, and what
    /// was known of the split's positions counts no more.
    Anew(SplitId),
    /// Said after a split was assigned: an earlier run has written all windows that end at or before
    /// `until` (ms since the epoch) with this split's events. What is read again of them is only
    /// there for the windows after.
    Written {
        /// The split.
        split: SplitId,
        /// Up to when.
        until: TimestampMs,
    },
}

impl SourceEvent {
    /// The split that it is about.
    pub fn split(&self) -> SplitId {
        match self {
            Self::Assigned(split) => split.id,
            Self::Records(batch) => batch.split().id,
            Self::Idle(id)
            | Self::Active(id)
            | Self::Finished(id)
            | Self::Leaving(id)
            | Self::Revoked(id)
            | Self::Anew(id) => *id,
            Self::Written { split, .. } => *split,
        }
    }
}

/// The pipeline has stopped taking input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline has stopped")]
pub struct Stopped;

/// Where a source's events go.
pub trait SourceOutput: Send {
    /// Hands over an event; blocks while there is no room.
    ///
    /// # Errors
    /// [`Stopped`] once the pipeline takes no more.
    fn send(&mut self, event: SourceEvent) -> Result<(), Stopped>;

    /// Says that nothing more comes, though windows are still open: for a source that stays to
    /// commit what the pipeline makes of the rest.
    fn end(&mut self);
}

/// Set once when a source is to stop reading: it hands over what it has and returns.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Asks the source to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// From where a split must be read again after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Safe {
    /// The first position that is still needed.
    pub position: u64,
    /// All windows that end at or before this are written, ms since the epoch.
    pub written: TimestampMs,
}

/// From where each split must be read again after a restart. The pipeline sets it, a source commits
/// it where its protocol keeps positions.
#[derive(Debug, Clone, Default)]
pub struct SafePositions {
    splits: Arc<Mutex<BTreeMap<SplitId, Safe>>>,
    closed: Arc<AtomicBool>,
}

impl SafePositions {
    /// Sets from where a split must be read again.
    pub fn set(&self, split: SplitId, safe: Safe) {
        self.lock().insert(split, safe);
    }

    /// All splits.
    pub fn all(&self) -> BTreeMap<SplitId, Safe> {
        self.lock().clone()
    }

    /// Forgets a split that belongs to somebody else now.
    pub fn remove(&self, split: SplitId) {
        self.lock().remove(&split);
    }

    /// Says that nothing will change any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether nothing will change any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SplitId, Safe>> {
        self.splits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source, run on a thread of its own.
pub trait Source: Send {
    /// Whether what was read can be read again after a restart. If not, stopping closes all windows:
    /// what they hold could not be had again.
    fn is_replayable(&self) -> bool {
        true
    }

    /// Whether it keeps its positions elsewhere, so that a later start goes on from there also where the
    /// pipeline keeps no state.
    fn keeps_positions(&self) -> bool {
        false
    }

    /// Reads until the input ends, the signal is set or the output has stopped. A lost connection
    /// is not an end: the source reconnects.
    ///
    /// # Errors
    /// What cannot be mended by waiting: a missing file, a refused setting, refused credentials.
    fn run(
        self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError>;
}

/// Why a source gave up.
#[derive(Debug, thiserror::Error)]
#[error("source {source_name}: {message}")]
pub struct SourceError {
    /// Which source: `file events.ndjson`, `kafka 127.0.0.1:9092`.
    pub source_name: String,
    /// What happened and what would help.
    pub message: String,
}

impl SourceError {
    fn new(source_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            source_name: source_name.into(),
            message: message.into(),
        }
    }
}

/// What a pipeline tells its source, whatever its kind.
#[derive(Debug, Clone)]
pub struct Context {
    /// The pipeline's name; the MQTT client id is made from it where none is given.
    pub pipeline: String,
    /// After how long without records a split steps aside. Files are never idle.
    pub idle_after: Duration,
    /// How often positions are committed, where the protocol keeps them.
    pub commit_every: Duration,
    /// Records of more bytes than this are dropped and counted.
    pub max_record_bytes: usize,
    /// Whether a field is taken from `@topic` or `@key`; if not, they are not copied.
    pub needs_envelope: bool,
    /// The Kafka headers that fields are taken from; no others are copied.
    pub headers: Arc<[Arc<str>]>,
    /// Says when a batch was received.
    pub clock: Clock,
    /// What the pipeline has finished with.
    pub safe: SafePositions,
    /// From where the splits are read.
    pub resume: Resume,
    /// From where any of them may have to be read again.
    pub kept: KeptPositions,
    /// Where a source leaves what its positions stand for, if they are more than numbers.
    pub tokens: PositionTokens,
    /// What the latest checkpoint has, where there are any.
    pub checkpointed: Checkpointed,
    /// The durable log, for a source that cannot be read again: without it, what was received and
    /// not processed is lost in a crash.
    pub log: Option<LogSettings>,
    /// Which splits are not to be read for now.
    pub alignment: Alignment,
    /// Told how far the files are read.
    pub progress: FileProgress,
}

/// Makes the source of a pipeline: opens files and certificates and checks all settings, but does
/// not connect yet.
///
/// # Errors
/// No kind of source is given, a file cannot be opened, a setting is refused, or this weir was
/// built without the source.
pub fn build(
    config: &Config,
    context: Context,
    registry: &Registry,
) -> Result<Box<dyn Source>, SourceError> {
    if let Some(file) = &config.file {
        return Ok(Box::new(file::FileSource::open(file, context, registry)?));
    }
    if let Some(kafka) = &config.kafka {
        return build_kafka(kafka, context, registry);
    }
    if let Some(kinesis) = &config.kinesis {
        return build_kinesis(kinesis, context, registry);
    }
    if let Some(mqtt) = &config.mqtt {
        return build_mqtt(mqtt, context, registry);
    }
    if let Some(http) = &config.http {
        let protocol = http::Protocol::Records;
        let source = http::HttpSource::new(http, protocol, context, registry)?;
        return Ok(Box::new(source));
    }
    if let Some(http) = &config.remote_write {
        let protocol = http::Protocol::RemoteWrite;
        let source = http::HttpSource::new(http, protocol, context, registry)?;
        return Ok(Box::new(source));
    }
    Err(SourceError::new(
        "of the pipeline",
        "none is given; write one of file, kafka, kinesis, mqtt, http or remote_write",
    ))
}

#[cfg(feature = "kafka")]
fn build_kafka(
    config: &KafkaConfig,
    context: Context,
    registry: &Registry,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(kafka::KafkaSource::new(
        config, context, registry,
    )?))
}

#[cfg(not(feature = "kafka"))]
fn build_kafka(
    config: &KafkaConfig,
    _: Context,
    _: &Registry,
) -> Result<Box<dyn Source>, SourceError> {
    let name = format!("kafka {}", config.brokers);
    Err(SourceError::new(
        name,
        "this weir was built without Kafka; build it with --features kafka",
    ))
}

#[cfg(feature = "kinesis")]
fn build_kinesis(
    config: &KinesisConfig,
    context: Context,
    registry: &Registry,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(kinesis::KinesisSource::new(
        config, context, registry,
    )?))
}

#[cfg(not(feature = "kinesis"))]
fn build_kinesis(
    config: &KinesisConfig,
    _: Context,
    _: &Registry,
) -> Result<Box<dyn Source>, SourceError> {
    let name = format!("kinesis {}", config.stream_name());
    Err(SourceError::new(
        name,
        "this weir was built without Kinesis; build it with --features kinesis",
    ))
}

#[cfg(feature = "mqtt")]
fn build_mqtt(
    config: &MqttConfig,
    context: Context,
    registry: &Registry,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(mqtt::MqttSource::new(config, context, registry)?))
}

#[cfg(not(feature = "mqtt"))]
fn build_mqtt(_: &MqttConfig, _: Context, _: &Registry) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::new(
        "mqtt",
        "this weir was built without MQTT; build it with --features mqtt",
    ))
}
