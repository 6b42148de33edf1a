//! What is written in a pipeline file.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::decode::{DecodeConfig, EventConfig, UnwrapStep};
use crate::enrich::LookupConfig;
use crate::model::Duration;
use crate::source::{self, FileConfig, HttpConfig, KafkaConfig, KinesisConfig, MqttConfig};
use crate::window::{TimeConfig, WindowConfig};
use crate::write::{self, MetricType, dead_letters};

/// A weir pipeline: events in, samples out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineFile {
    /// The pipeline's name, in metrics and messages.
    pub pipeline: String,
    /// Where events come from.
    pub source: SourceSection,
    /// What an event consists of.
    pub event: EventConfig,
    /// How event time behaves.
    #[serde(default)]
    pub time: TimeConfig,
    /// Lookups in reference data, one after the other.
    #[serde(default)]
    pub enrich: Vec<LookupConfig>,
    /// Fields computed from others, by name. A field may use those before it.
    #[serde(default)]
    pub derive: IndexMap<String, String>,
    /// The metrics to form, by name.
    pub metrics: IndexMap<String, MetricConfig>,
    /// Where samples go.
    pub write: write::Config,
    /// Where records go that reached no window; without it they are counted and dropped.
    #[serde(default)]
    pub dead_letters: Option<dead_letters::Config>,
    /// What is kept on disk, so that a pipeline goes on where it was.
    #[serde(default)]
    pub state: StateConfig,
    /// How many workers decode and aggregate; one for each processor core where it is left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<u32>,
}

/// Where events come from: exactly one of `file`, `kafka`, `kinesis`, `mqtt`, `http` and `remote_write`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// Files or standard input, a record a line.
    #[serde(default)]
    pub file: Option<FileConfig>,
    /// Kafka topics.
    #[serde(default)]
    pub kafka: Option<KafkaConfig>,
    /// A Kinesis data stream.
    #[serde(default)]
    pub kinesis: Option<KinesisConfig>,
    /// MQTT brokers, of version 5 or 3.1.1.
    #[serde(default)]
    pub mqtt: Option<MqttConfig>,
    /// An address that records are sent to over HTTP.
    #[serde(default)]
    pub http: Option<HttpConfig>,
    /// An address that Prometheus and its agents write to with Remote-Write. Every sample is an event.
    #[serde(default)]
    pub remote_write: Option<HttpConfig>,
    /// How records are written.
    #[serde(default)]
    pub decode: DecodeConfig,
    /// What is around each record, the outermost first.
    #[serde(default)]
    pub unwrap: Vec<UnwrapStep>,
    /// Records of more bytes than this are dropped and counted.
    #[serde(default = "default_max_record_bytes")]
    #[schemars(range(min = 1, max = 134_217_728))]
    pub max_record_bytes: u32,
}

fn default_max_record_bytes() -> u32 {
    1_048_576
}

/// What is kept on disk, so that a pipeline goes on where it was.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateConfig {
    /// The folder of the pipeline's state, for this pipeline alone. Without it there are no
    /// checkpoints.
    pub dir: Option<String>,
    /// Where windows are kept that are open: `memory`, or `rocksdb` for more keys than fit there, in
    /// the folder; `memory` where it is left out.
    pub backend: Option<StateBackend>,
    /// With `rocksdb`: how many groups of a metric each worker holds in memory, and as many again as
    /// the owner of their series; 200000 where it is left out.
    #[schemars(range(min = 1))]
    pub groups_in_memory: Option<u32>,
    /// An object store that takes the checkpoints in place of the folder: s3://bucket/prefix or
    /// file:///path. The folder is needed all the same.
    pub checkpoints: Option<String>,
    /// When a checkpoint is made, and how many are kept.
    pub checkpoint: CheckpointConfig,
    /// The durable log of a source that cannot be read again.
    pub log: Option<source::LogConfig>,
    /// How a pipeline that has failed is started again.
    pub restart: RestartConfig,
}

/// Where open windows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateBackend {
    /// In memory.
    #[default]
    Memory,
    /// In memory as far as there is room, and in RocksDB.
    Rocksdb,
}

/// When a checkpoint is made, and how many are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// How often a checkpoint begins. Without a folder: how often Kafka's offsets are committed, with
    /// the windows that are written by then.
    pub every: Duration,
    /// How long a checkpoint may take before it is given up; 10m where it is left out.
    pub timeout: Option<Duration>,
    /// How long the pipeline runs between two checkpoints at least, where they take longer than
    /// `every`; 0s where it is left out.
    pub min_pause: Option<Duration>,
    /// How many checkpoints are kept; 3 where it is left out.
    #[schemars(range(min = 1, max = 1000))]
    pub keep: Option<u32>,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            timeout: None,
            min_pause: None,
            keep: None,
        }
    }
}

/// How a pipeline that has failed is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartConfig {
    /// The wait before the first restart; it doubles with every further failure.
    pub initial_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// How many failures within `within` are followed by a restart; the next one ends the pipeline. 0
    /// is none.
    #[schemars(range(max = 10_000))]
    pub max_failures: u32,
    /// For how long a failure counts.
    pub within: Duration,
}

impl Default for RestartConfig {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            max_failures: 10,
            within: Duration::from_secs(600),
        }
    }
}

/// How a metric is formed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricConfig {
    /// What the metric says, for people.
    #[serde(default)]
    pub help: Option<String>,
    /// The unit of its values, such as seconds, for people.
    #[serde(default)]
    pub unit: Option<String>,
    /// What kind of metric it is: gauge where this is left out, and gaugehistogram for distributions.
    /// Receivers are told; the values stay as they are.
    #[serde(default, rename = "type")]
    pub metric_type: Option<MetricType>,
    /// Only events for which this expression is true.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// How events are cut into windows. Without it every event is a sample at its own time, in
    /// order, one for each time.
    #[serde(default)]
    pub window: Option<WindowConfig>,
    /// First reduce the events of each key (a vehicle, say) to one row of named values; `value` then
    /// aggregates those rows.
    #[serde(default)]
    pub per: Option<PerConfig>,
    /// The text fields that become labels; a sample for each combination that occurs.
    #[serde(default)]
    pub by: Vec<String>,
    /// Without a window: the text fields that become labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// With a window: only the so many groups with the highest values have samples.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub topk: Option<u32>,
    /// With a window: only the so many groups with the lowest values have samples.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub bottomk: Option<u32>,
    /// With a window: how many groups have series of their own. Further ones are put together in one
    /// more, whose labels are all `other`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_series: Option<u32>,
    /// With a window: the lookup in whose table all devices are. Beside the metric, it is told for each
    /// window how many of them were expected, reported, came too late, and said nothing.
    #[serde(default)]
    pub completeness: Option<CompletenessConfig>,
    /// The sample's value: with a window an expression with aggregates, without one an expression
    /// over the event's fields.
    pub value: String,
}

/// Whose table has all devices: a lookup's name alone, or with the labels.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CompletenessConfig {
    /// The lookup; the labels are those of the metric.
    Lookup(String),
    /// The lookup and the labels.
    Detail(CompletenessDetail),
}

/// Whose table has all devices, and by which labels they are counted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletenessDetail {
    /// The lookup.
    pub lookup: String,
    /// The labels, each of them a text field that the lookup adds.
    #[serde(default)]
    pub by: Vec<String>,
}

impl CompletenessConfig {
    /// The lookup.
    pub fn lookup(&self) -> &str {
        match self {
            Self::Lookup(lookup) => lookup,
            Self::Detail(detail) => &detail.lookup,
        }
    }
}

/// One row of named values for each key in a window.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerConfig {
    /// The text field that tells the rows apart.
    pub key: String,
    /// The values by name, each an expression with aggregates over the key's events.
    #[serde(rename = "let")]
    pub values: IndexMap<String, String>,
    /// For how long a key's last values stand for it in windows in which it is silent, as those of
    /// a vehicle that sends on change do.
    #[serde(default)]
    pub hold: Option<Duration>,
    /// With `hold`: how many keys are remembered at most.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_held_keys: Option<u32>,
}
