//! The kinds of a pipeline file's `source` section.

mod kinesis;
mod security;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Duration;

use super::endpoint::Endpoint;
use super::http::HttpConfig;
use crate::model::Secret;

pub use kinesis::{
    Instance, KinesisConfig, KinesisMode, KinesisSigner, KinesisStart, OutsideShard,
};
pub use security::{SaslConfig, SaslMechanism, SignerConfig, TokenConfig};

/// librdkafka settings that weir sets itself, with what to write instead.
const CONTROLLED: [(&str, &str); 11] = [
    ("bootstrap.servers", "write it as `brokers`"),
    ("metadata.broker.list", "write it as `brokers`"),
    ("group.id", "write it as `group`"),
    ("auto.offset.reset", "write it as `start`"),
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

/// The smallest and greatest seconds that MQTT's keep-alive can be.
const KEEP_ALIVE_SECS: (u64, u64) = (5, 65_535);

/// The smallest and greatest packet limits, bytes; the greatest is that of the protocol.
const PACKET_BYTES: (u32, u32) = (1_024, 268_435_455);

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
    /// An MQTT 5 broker.
    #[serde(default)]
    pub mqtt: Option<MqttConfig>,
    /// An address that records are sent to over HTTP.
    #[serde(default)]
    pub http: Option<HttpConfig>,
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
    /// The topics.
    pub topics: Vec<String>,
    /// The consumer group. Instances with the same group share the partitions.
    pub group: String,
    /// Where the group begins with the partitions that there are when it starts for the first time.
    /// Those that are added later it reads from their beginning.
    #[serde(default)]
    pub start: StartPosition,
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

/// A time to begin at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTime {
    /// The first record counts that the brokers say was written at this time or later, as in RFC
    /// 3339: `2026-11-03T08:15:00Z`.
    pub timestamp: String,
}

/// An MQTT 5 broker. Messages are received with QoS 1 in a session that outlives a restart.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// Where the broker is: `mqtt://host:1883`, or `mqtts://host:8883` for TLS.
    pub url: String,
    /// The client id, which the broker knows the session by: every instance needs its own, and the
    /// same one after a restart. `weir-` and the pipeline's name where it is left out.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Topic filters: `fleet/+/telemetry`, `fleet/#`, `$share/weir/fleet/#`.
    pub topics: Vec<String>,
    /// How long the broker keeps messages for us while we are away.
    #[serde(default = "default_session_expiry")]
    pub session_expiry: Duration,
    /// After how long without messages the connection is probed.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: Duration,
    /// The user name.
    #[serde(default)]
    pub username: Option<String>,
    /// The password. Better: `password_file`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file with the password; a line end at its end does not count.
    #[serde(default)]
    pub password_file: Option<String>,
    /// Certificates, for `mqtts://`.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// The greatest packet that the broker may send, in bytes. It leaves out greater ones.
    #[serde(default = "default_max_packet_bytes")]
    pub max_packet_bytes: u32,
}

/// Certificates as PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// Our certificate, with its chain, where the broker asks for one.
    #[serde(default)]
    pub cert_file: Option<String>,
    /// The key of our certificate.
    #[serde(default)]
    pub key_file: Option<String>,
}

fn default_session_expiry() -> Duration {
    Duration::from_secs(3_600)
}

fn default_keep_alive() -> Duration {
    Duration::from_secs(30)
}

/// A record of the default greatest size, and room for its topic and properties.
fn default_max_packet_bytes() -> u32 {
    (1_024 + 64) * 1_024
}

/// What is wrong with a value: its path within the `source` section, and a message.
pub type Violation = (Vec<String>, String);

impl Config {
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
            http.check(&mut found);
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

    /// Checks that a list has elements and none of them twice.
    fn distinct(&mut self, path: &[&str], texts: &[&str], example: &str) {
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
    fn check(&self, found: &mut Findings) {
        found.not_blank(&["kafka", "brokers"], &self.brokers, "host:port");
        found.not_blank(&["kafka", "group"], &self.group, "a name of your choice");
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        found.distinct(&["kafka", "topics"], &topics, "a list of topic names");
        for topic in topics.iter().filter(|topic| !is_topic_name(topic)) {
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
        security::check(self, found);
        for (property, instead) in CONTROLLED {
            if self.properties.contains_key(property) {
                let message = format!("'{property}' is set by weir: {instead}");
                found.add(&["kafka", "properties", property], message);
            }
        }
    }
}

impl MqttConfig {
    fn check(&self, found: &mut Findings) {
        let endpoint = self.url.parse::<Endpoint>();
        if let Err(error) = &endpoint {
            found.add(&["mqtt", "url"], error.to_string());
        }
        if self.tls.is_some() && endpoint.is_ok_and(|endpoint| !endpoint.tls) {
            let message = format!("'{}' speaks no TLS; write mqtts://", self.url);
            found.add(&["mqtt", "tls"], message);
        }
        if let Some(client_id) = &self.client_id {
            found.not_blank(&["mqtt", "client_id"], client_id, "a name of your choice");
        }
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        found.distinct(&["mqtt", "topics"], &topics, "a list of topic filters");
        for topic in topics.iter().filter(|topic| !is_topic_filter(topic)) {
            let message = format!(
                "'{topic}' is not a topic filter; '+' stands for one whole level and '#' for all \
                 the rest"
            );
            found.add(&["mqtt", "topics"], message);
        }
        self.check_numbers(found);
        self.check_credentials(found);
    }

    fn check_numbers(&self, found: &mut Findings) {
        let expiry = self.session_expiry;
        if expiry < Duration::from_secs(1) || expiry.as_millis() / 1_000 >= u64::from(u32::MAX) {
            let message = format!(
                "{expiry} is out of range; at least 1s, or messages are lost at every reconnect"
            );
            found.add(&["mqtt", "session_expiry"], message);
        }
        let (least, most) = KEEP_ALIVE_SECS;
        let keep_alive = self.keep_alive;
        if keep_alive < Duration::from_secs(least) || keep_alive > Duration::from_secs(most) {
            let message = format!("{keep_alive} is out of range; from {least}s to {most}s");
            found.add(&["mqtt", "keep_alive"], message);
        }
        let (least, most) = PACKET_BYTES;
        if !(least..=most).contains(&self.max_packet_bytes) {
            let message = format!(
                "{} is out of range; from {least} to {most}",
                self.max_packet_bytes
            );
            found.add(&["mqtt", "max_packet_bytes"], message);
        }
    }

    fn check_credentials(&self, found: &mut Findings) {
        if self.password.is_some() && self.password_file.is_some() {
            found.add(
                &["mqtt", "password"],
                "is given twice; write it or password_file, not both",
            );
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        if has_password && self.username.is_none() {
            found.add(&["mqtt", "username"], "is missing; a password needs one");
        }
        let Some(tls) = &self.tls else { return };
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => found.add(
                &["mqtt", "tls", "key_file"],
                "is missing; cert_file needs it",
            ),
            (None, Some(_)) => found.add(
                &["mqtt", "tls", "cert_file"],
                "is missing; key_file needs it",
            ),
            _ => {}
        }
    }
}

fn is_topic_name(topic: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=249).contains(&topic.len()) && topic.chars().all(allowed) && topic != "." && topic != ".."
}

fn is_topic_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) || filter.contains('\0') {
        return false;
    }
    let last = filter.split('/').count() - 1;
    filter
        .split('/')
        .enumerate()
        .all(|(index, level)| match level {
            "#" => index == last,
            "+" => true,
            _ => !level.contains(['#', '+']),
        })
}
