//! The kinds of a pipeline file's `source` section.

mod kinesis;
mod mqtt;
#[cfg(test)]
mod tests;
mod topic_pattern;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http::HttpConfig;
use crate::auth::is_region;
use crate::model::{BrokerSecurity, SaslConfig, Secret, SignerConfig, TlsConfig};

pub use kinesis::{
    Instance, KinesisConfig, KinesisMode, KinesisSigner, KinesisStart, OutsideShard,
};
pub use mqtt::{BrokerConfig, MqttConfig, MqttProtocol, MqttTlsConfig, Retained};

/// librdkafka settings that weir sets itself, with what to write instead.
const CONTROLLED: [(&str, &str); 12] = [
    ("bootstrap.servers", "write it as `brokers`"),
    ("metadata.broker.list", "write it as `brokers`"),
    ("group.id", "write it as `group`"),
    ("auto.offset.reset", "write it as `start`"),
    ("isolation.level", "write it as `isolation`"),
    (
        "enable.auto.commit",
        "offsets are committed once their samples are written",
    ),
    (
        "auto.commit.enable",
        "offsets are committed once their samples are written",
    ),
    (
        "auto.commit.interval.ms",
        "offsets are committed once their samples are written",
    ),
    (
        "enable.auto.offset.store",
        "offsets are committed once their samples are written",
    ),
    (
        "enable.partition.eof",
        "weir must know when a partition is read to its end",
    ),
    (
        "statistics.interval.ms",
        "weir must know when a partition is read to its end",
    ),
    (
        "check.crcs",
        "a damaged record must never be taken for a measurement",
    ),
];

/// Where records come from: exactly one of these.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Files or standard input, a record a line.
    #[serde(default)]
    pub file: Option<FileConfig>,
    /// Kafka topics.
    #[serde(default)]
    pub kafka: Option<KafkaConfig>,
    /// A Kinesis data stream.
    #[serde(default)]
    pub kinesis: Option<KinesisConfig>,
    /// MQTT brokers.
    #[serde(default)]
    pub mqtt: Option<MqttConfig>,
    /// An address that records are sent to over HTTP.
    #[serde(default)]
    pub http: Option<HttpConfig>,
    /// An address that Prometheus and its agents write to with Remote-Write.
    #[serde(default)]
    pub remote_write: Option<HttpConfig>,
}

/// Files, a record a line. They are read once, from beginning to end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// A path or a list of them; `-` is standard input. Several files are read side by side.
    pub path: Paths,
}

/// One path or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Paths {
    /// One.
    One(String),
    /// Several, in the order of their splits.
    Many(Vec<String>),
}

impl Paths {
    /// All of them in order.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let paths = match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
        };
        paths.iter().map(String::as_str)
    }
}

/// Kafka topics, read as a member of a consumer group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Where the cluster is: `host:port`, several with commas.
    pub brokers: String,
    /// The topics: names, and regular expressions that begin with `^`.
    pub topics: Vec<String>,
    /// The consumer group. Instances with the same group share the partitions.
    pub group: String,
    /// The name of this instance, where several share the group: another one for each, and the same
    /// one after a restart.
    #[serde(default)]
    pub instance: Option<String>,
    /// Where the group begins with the partitions that there are when it starts for the first time.
    /// Those that are added later it reads from their beginning.
    #[serde(default)]
    pub start: StartPosition,
    /// Whether records of transactions are read that are open or were aborted.
    #[serde(default)]
    pub isolation: Isolation,
    /// TLS to the brokers, which is spoken where this is given; `{}` trusts the system's authorities.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Who we are to the brokers.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,
    /// Further settings of librdkafka, such as `fetch.min.bytes`. Their values are never printed.
    #[serde(default)]
    pub properties: BTreeMap<String, Secret>,
}

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartPosition {
    /// With the oldest record.
    #[default]
    Earliest,
    /// With what is written from the first start on.
    Latest,
    /// With what was written at a time or later.
    #[serde(untagged)]
    Timestamp(StartTime),
}

/// Which records of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Those of transactions that were committed; a partition is read up to its oldest open one.
    #[default]
    ReadCommitted,
    /// All, also what is aborted later.
    ReadUncommitted,
}

/// A time to begin at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTime {
    /// The first record counts that the brokers say was written at this time or later, as in RFC
    /// 3339: `2026-11-03T08:15:00Z`.
    pub timestamp: String,
}

/// What is wrong with a value: its path within the `source` section, and a message.
pub type Violation = (Vec<String>, String);

impl Config {
    /// The keys of all kinds, and whether each is given.
    pub fn kinds(&self) -> [(&'static str, bool); 6] {
        [
            ("file", self.file.is_some()),
            ("kafka", self.kafka.is_some()),
            ("kinesis", self.kinesis.is_some()),
            ("mqtt", self.mqtt.is_some()),
            ("http", self.http.is_some()),
            ("remote_write", self.remote_write.is_some()),
        ]
    }

    /// Which kind is given, by its key.
    pub fn kind(&self) -> &'static str {
        let given = self.kinds().into_iter().find(|(_, is_given)| *is_given);
        given.map_or("file", |(kind, _)| kind)
    }

    /// Checks what the types cannot: one entry for each wrong value. That exactly one kind is given
    /// is for the caller to check.
    pub fn validate(&self) -> Vec<Violation> {
        let mut found = Findings::default();
        if let Some(file) = &self.file {
            file.check(&mut found);
        }
        if let Some(kafka) = &self.kafka {
            kafka.check(&mut found);
        }
        if let Some(kinesis) = &self.kinesis {
            kinesis.check(&mut found);
        }
        if let Some(mqtt) = &self.mqtt {
            mqtt.check(&mut found);
        }
        if let Some(http) = &self.http {
            http.check("http", &mut found);
        }
        if let Some(remote_write) = &self.remote_write {
            remote_write.check("remote_write", &mut found);
        }
        found.0
    }
}

#[derive(Default)]
pub(super) struct Findings(Vec<Violation>);

impl Findings {
    pub(super) fn add(&mut self, path: &[&str], message: impl Into<String>) {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        self.0.push((path, message.into()));
    }

    pub(super) fn not_blank(&mut self, path: &[&str], text: &str, example: &str) {
        if text.trim().is_empty() {
            self.add(path, format!("is empty; write {example}"));
        }
    }

    pub(super) fn signer(&mut self, path: &[&str], signer: &SignerConfig) {
        signer.check(path, is_region, &mut |path, message| {
            self.add(path, message)
        });
    }

    /// Checks that a list has elements and none of them twice.
    pub(super) fn distinct(&mut self, path: &[&str], texts: &[&str], example: &str) {
        if texts.is_empty() {
            self.add(path, format!("is empty; write {example}"));
        }
        let mut seen = BTreeSet::new();
        for text in texts {
            if !seen.insert(text) {
                self.add(
                    path,
                    format!("'{text}' is there twice; its records would count twice"),
                );
            }
        }
    }
}

impl FileConfig {
    fn check(&self, found: &mut Findings) {
        let path = ["file", "path"];
        let paths: Vec<_> = self.path.all().collect();
        found.distinct(&path, &paths, "a path, or - for standard input");
        for text in paths {
            found.not_blank(&path, text, "a path, or - for standard input");
        }
    }
}

impl KafkaConfig {
    /// Who we are to the brokers, and how connections are protected.
    pub(super) fn security(&self) -> BrokerSecurity<'_> {
        BrokerSecurity {
            tls: self.tls.as_ref(),
            sasl: self.sasl.as_ref(),
            properties: &self.properties,
        }
    }

    fn check(&self, found: &mut Findings) {
        found.not_blank(&["kafka", "brokers"], &self.brokers, "host:port");
        found.not_blank(&["kafka", "group"], &self.group, "a name of your choice");
        self.check_instance(found);
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        found.distinct(&["kafka", "topics"], &topics, "a list of topic names");
        for (index, topic) in topics.iter().enumerate() {
            if topic.starts_with('^')
                && let Err(message) = topic_pattern::check(topic)
            {
                found.add(&["kafka", "topics", &index.to_string()], message);
            }
        }
        let names = topics.iter().filter(|topic| !topic.starts_with('^'));
        for topic in names.filter(|topic| !is_topic_name(topic)) {
            let message = format!(
                "'{topic}' is not a topic name; use letters, digits, '.', '_' and '-', at most 249"
            );
            found.add(&["kafka", "topics"], message);
        }
        if topics.len() > usize::from(u16::MAX) {
            let message = format!("{} topics are too many; at most 65535", topics.len());
            found.add(&["kafka", "topics"], message);
        }
        if let StartPosition::Timestamp(StartTime { timestamp: text }) = &self.start
            && text.parse::<jiff::Timestamp>().is_err()
        {
            let message = format!("'{text}' is not a time; write one such as 2026-11-03T08:15:00Z");
            found.add(&["kafka", "start", "timestamp"], message);
        }
        self.security().check(is_region, &mut |path, message| {
            found.add(&[&["kafka"], path].concat(), message);
        });
        for (property, instead) in CONTROLLED {
            if self.properties.contains_key(property) {
                let message = format!("'{property}' is set by weir: {instead}");
                found.add(&["kafka", "properties", property], message);
            }
        }
    }
}

impl KafkaConfig {
    fn check_instance(&self, found: &mut Findings) {
        let Some(instance) = &self.instance else {
            return;
        };
        if !is_topic_name(instance) {
            let message = format!(
                "'{instance}' is not a name of an instance; use letters, digits, '.', '_' and '-', \
                 at most 249"
            );
            found.add(&["kafka", "instance"], message);
        }
        for (property, why) in [
            ("group.instance.id", "weir sets it to `instance`"),
            (
                "partition.assignment.strategy",
                "only cooperative-sticky hands partitions over one by one",
            ),
        ] {
            if self.properties.contains_key(property) {
                let message = format!("'{property}' does not go with `instance`: {why}");
                found.add(&["kafka", "properties", property], message);
            }
        }
    }
}

fn is_topic_name(topic: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=249).contains(&topic.len()) && topic.chars().all(allowed) && topic != "." && topic != ".."
}
