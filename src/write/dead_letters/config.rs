//! The `dead_letters` section of a pipeline file as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::is_region;
use crate::model::{BrokerSecurity, SaslConfig, Secret, TlsConfig};
use crate::write::Problem;

/// librdkafka settings that weir sets itself, with what to write instead.
const CONTROLLED: [(&str, &str); 3] = [
    ("bootstrap.servers", "write it as `brokers`"),
    ("metadata.broker.list", "write it as `brokers`"),
    (
        "message.max.bytes",
        "it follows from source.max_record_bytes",
    ),
];

/// The least that files of letters may have together, bytes.
const LEAST_BYTES: u64 = 1_048_576;

/// What they may have where nothing is said, bytes.
const DEFAULT_MAX_BYTES: u64 = 1024 * 1_048_576;

/// The longest name of a Kafka topic, characters.
const MAX_TOPIC_NAME: usize = 249;

/// Where records go that reached no window: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A file, a JSON object a line, which is created or appended to.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// A Kafka topic, a JSON object a record.
    #[serde(default)]
    pub kafka: Option<KafkaConfig>,
    /// How many bytes the file and the one before it may have together; the oldest letters go first.
    /// 1 GiB where it is left out.
    #[serde(default)]
    #[schemars(range(min = 1_048_576))]
    pub max_bytes: Option<u64>,
}

/// A Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Where the cluster is: `host:port`, several with commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// TLS to the brokers, which is spoken where this is given; `{}` trusts the system's authorities.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Who we are to the brokers.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,
    /// Further settings of librdkafka's producer, such as `compression.type`. Their values are never
    /// printed.
    #[serde(default)]
    pub properties: BTreeMap<String, Secret>,
    /// How long a record may be, bytes, which stands elsewhere in a pipeline file.
    #[serde(skip)]
    pub max_record_bytes: usize,
}

impl Config {
    /// The same for records that have no more bytes than this.
    #[must_use]
    pub fn with_max_record_bytes(mut self, bytes: usize) -> Self {
        if let Some(kafka) = &mut self.kafka {
            kafka.max_record_bytes = bytes;
        }
        self
    }

    /// What the types cannot check. Whether exactly one destination is given is for the caller to
    /// check: only it knows where the section stands.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(path) = &self.file {
            let message = match path.to_str() {
                Some("") => Some("is empty; give a file"),
                Some("-") => {
                    Some("is '-', but dead letters do not go to standard output; give a file")
                }
                _ => None,
            };
            problems.extend(message.map(|message| (keys(&["file"]), message.to_owned())));
        }
        if let Some(kafka) = &self.kafka {
            kafka.check(&mut problems);
        }
        if let Some(bytes) = self.max_bytes {
            let message = match self.file {
                None => Some("is of a file; a topic has its own retention".to_owned()),
                Some(_) if bytes < LEAST_BYTES => {
                    Some(format!("{bytes} is too small; at least {LEAST_BYTES}"))
                }
                Some(_) => None,
            };
            problems.extend(message.map(|message| (keys(&["max_bytes"]), message)));
        }
        problems
    }

    /// How many bytes the files may have together.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(DEFAULT_MAX_BYTES)
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

    fn check(&self, problems: &mut Vec<Problem>) {
        if self.brokers.trim().is_empty() {
            let message = "is empty; write host:port".to_owned();
            problems.push((keys(&["kafka", "brokers"]), message));
        }
        if !is_topic_name(&self.topic) {
            let message = format!(
                "'{}' is not a topic name; use letters, digits, '.', '_' and '-', at most 249",
                self.topic
            );
            problems.push((keys(&["kafka", "topic"]), message));
        }
        self.security().check(is_region, &mut |path, message| {
            problems.push((keys(&[&["kafka"], path].concat()), message));
        });
        for (property, instead) in CONTROLLED {
            if self.properties.contains_key(property) {
                let message = format!("'{property}' is set by weir: {instead}");
                problems.push((keys(&["kafka", "properties", property]), message));
            }
        }
    }
}

/// The names that brokers take.
fn is_topic_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= MAX_TOPIC_NAME
        && name != "."
        && name != ".."
        && name.chars().all(legal)
}

fn keys(path: &[&str]) -> Vec<String> {
    path.iter().map(|key| (*key).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_way_to_each_problem() {
        let config: Config = serde_json::from_str(
            r#"{"file": "-", "kafka": {"brokers": " ", "topic": "a b",
                "tls": {"key_file": "a"}, "sasl": {"mechanism": "plain", "username": "u"},
                "properties": {"bootstrap.servers": "x", "message.max.bytes": 9, "linger.ms": "5",
                "sasl.username": "u"}}, "max_bytes": 1000}"#,
        )
        .unwrap();
        let paths: Vec<_> = config
            .validate()
            .into_iter()
            .map(|(path, _)| path.join("/"))
            .collect();
        assert_eq!(
            paths,
            [
                "file",
                "kafka/brokers",
                "kafka/topic",
                "kafka/tls/cert_file",
                "kafka/sasl/password_file",
                "kafka/properties/sasl.username",
                "kafka/properties/bootstrap.servers",
                "kafka/properties/message.max.bytes",
                "max_bytes"
            ]
        );
    }

    #[test]
    fn knows_topic_names() {
        for (name, expected) in [
            ("weir-dead-letters", true),
            ("a.b_C9", true),
            (&*"x".repeat(249), true),
            (&*"x".repeat(250), false),
            ("", false),
            ("..", false),
            ("a/b", false),
        ] {
            assert_eq!(is_topic_name(name), expected, "{name}");
        }
    }
}
