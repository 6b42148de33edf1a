//! What a pipeline file means, checked and compiled.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{RestartConfig, StateBackend};
use crate::decode::{DecodeConfig, DecodeMetrics, Decoder, EventConfig, InvalidPath, UnwrapStep};
use crate::enrich::{LookupConfig, LookupInput};
use crate::expr::{AggregateExpression, Program};
use crate::model::{Duration, Schema};
use crate::state::StoreLocation;
use crate::window::aggregate::Output;
use crate::window::{TimeConfig, Windows};
use crate::write::{MetricType, dead_letters};
use crate::{source, write};

/// A pipeline that can be run.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Where its file lies; reference data is looked for there as well.
    pub folder: PathBuf,
    /// Where events come from.
    pub source: source::Config,
    /// Records of more bytes than this are dropped.
    pub max_record_bytes: usize,
    /// How records are written.
    pub format: DecodeConfig,
    /// What is around each record, the outermost first.
    pub unwrap: Vec<UnwrapStep>,
    /// What an event consists of.
    pub event: EventConfig,
    /// Whether a field comes from a record's topic or key.
    pub needs_envelope: bool,
    /// The Kafka headers that fields come from.
    pub headers: Arc<[Arc<str>]>,
    /// How event time behaves.
    pub time: TimeConfig,
    /// How the clocks of devices are judged, where they are.
    pub clocks: Option<Clocks>,
    /// Lookups, with the columns that each one reads.
    pub lookups: Vec<(LookupConfig, LookupInput)>,
    /// Computed fields, in order.
    pub derived: Vec<Derived>,
    /// All columns of an event: decoded, looked up, derived.
    pub schema: Schema,
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// Where samples go.
    pub write: write::Config,
    /// Where records go that reached no window.
    pub dead_letters: Option<dead_letters::Config>,
    /// What is kept on disk, where something is.
    pub state: Option<StateSettings>,
    /// How often a source that keeps positions commits them.
    pub commit_every: Duration,
    /// How it is started again after a failure. Nothing where it would begin anew: with files and
    /// without state.
    pub restart: Option<RestartConfig>,
    /// How many workers; one for each core where it is not said.
    pub workers: Option<usize>,
}

impl Pipeline {
    /// A decoder of its records.
    ///
    /// # Errors
    /// A path that cannot be read.
    pub fn decoder(&self, metrics: DecodeMetrics) -> Result<Decoder, InvalidPath> {
        let max_ahead_ms = self.time.max_ahead.as_signed_millis();
        let decoder = Decoder::build(&self.format, &self.event, max_ahead_ms, metrics)?;
        let decoder = decoder.with_unwrap(&self.unwrap, self.max_record_bytes)?;
        Ok(match &self.source.mqtt {
            Some(mqtt) => decoder.with_topics(mqtt.templates()),
            None => decoder,
        })
    }
}

/// What is kept on disk, so that a pipeline goes on where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSettings {
    /// The folder, for this pipeline alone, relative to the working folder.
    pub dir: PathBuf,
    /// Where open windows are kept.
    pub backend: StateBackend,
    /// How many groups of a metric a worker holds in memory with RocksDB, and an owner.
    pub groups_in_memory: usize,
    /// The object store of the checkpoints; without it they are in the folder.
    pub checkpoints: Option<StoreLocation>,
    /// When a checkpoint is made, and how many are kept.
    pub checkpoint: CheckpointSettings,
    /// How the durable log of a source that cannot be read again is kept.
    pub log: source::LogConfig,
}

impl StateSettings {
    /// The store of the checkpoints and savepoints.
    pub fn location(&self) -> StoreLocation {
        match &self.checkpoints {
            Some(location) => location.clone(),
            None => StoreLocation::Rocks(checkpoints_below(&self.dir)),
        }
    }
}

/// The database of checkpoints and savepoints in a folder of state.
pub fn checkpoints_below(dir: &Path) -> PathBuf {
    dir.join("checkpoints")
}

/// When a checkpoint is made, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// From the beginning of a checkpoint to that of the next.
    pub every: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// From the end of a checkpoint to the beginning of the next at least.
    pub min_pause: Duration,
    /// How many are kept, at least one.
    pub keep: u32,
}

/// How the clocks of devices are judged.
#[derive(Debug, Clone)]
pub struct Clocks {
    /// The column that tells devices apart, which is decoded.
    pub device: usize,
    /// What devices with wrong clocks are counted by: names and columns.
    pub by: Vec<(Arc<str>, usize)>,
    /// By how much a clock may be wrong, ms.
    pub max_skew_ms: i64,
    /// Whether the events of wrong clocks are dropped.
    pub quarantine: bool,
}

/// A computed field.
#[derive(Debug, Clone)]
pub struct Derived {
    /// Its name.
    pub name: String,
    /// Its value.
    pub program: Program,
}

/// A metric.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Its name.
    pub name: Arc<str>,
    /// What it says.
    pub help: Option<String>,
    /// The unit of its values.
    pub unit: Option<String>,
    /// What kind of metric receivers take it for.
    pub metric_type: MetricType,
    /// Which events it is for.
    pub filter: Option<Program>,
    /// Its windows. A metric without a window is gathered in windows as well, so that its samples
    /// can be put in order.
    pub windows: Windows,
    /// Its labels: their names and the columns of their values.
    pub by: Vec<(Arc<str>, usize)>,
    /// How its values are formed.
    pub shape: Shape,
    /// What its samples are.
    pub output: Output,
    /// Where only the groups with the highest or lowest values have samples.
    pub top: Option<Top>,
    /// How many series it may have; further ones are put together.
    pub max_series: Option<usize>,
}

impl Metric {
    /// Whether its samples depend on all of its groups together.
    pub fn needs_all_groups(&self) -> bool {
        matches!(
            self.shape,
            Shape::Per { hold: Some(_), .. } | Shape::Completeness(_)
        ) || self.top.is_some()
            || self.max_series.is_some()
    }
}

/// The groups with the highest or lowest values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Top {
    /// Which side.
    pub side: Side,
    /// How many.
    pub count: usize,
}

/// A side of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The highest values: `topk`.
    Highest,
    /// The lowest values: `bottomk`.
    Lowest,
}

/// Which devices a window is to have heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completeness {
    /// The column of the device.
    pub device: usize,
    /// The number of the lookup in whose table the devices are.
    pub lookup: usize,
    /// The table's columns that are the labels, by their places in the lookup's `add`.
    pub columns: Vec<usize>,
}

/// A bounded memory of the last values of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// For how long after a key's last event its values stand for it.
    pub duration: Duration,
    /// How many keys are remembered at most.
    pub max_keys: usize,
}

/// How the values of a metric are formed.
#[derive(Debug, Clone)]
pub enum Shape {
    /// From the events of a window and group.
    Aggregate {
        /// The value, over the schema's columns.
        value: AggregateExpression,
    },
    /// From one row for each key of a window and group.
    Per {
        /// The column of the key.
        key: usize,
        /// The rows' named values, over the schema's columns.
        values: Vec<AggregateExpression>,
        /// For how long a key's values stand for it while it is silent.
        hold: Option<Hold>,
        /// The value, over rows of the labels, the key and the named values, in this order.
        value: AggregateExpression,
    },
    /// From the devices of a reference table and those that have reported.
    Completeness(Completeness),
    /// From each event by itself.
    Raw {
        /// The value, over the schema's columns.
        value: Program,
    },
}
