//! Records that are handed once more to where a source takes them from: produced to their Kafka topic,
//! published to their MQTT topic, or sent to our own HTTP address.

use std::collections::BTreeMap;

use super::{Config, HttpConfig, KafkaConfig, MqttConfig, SourceError, http};

#[cfg(feature = "kafka")]
use super::kafka::KafkaResend;
#[cfg(feature = "mqtt")]
use super::mqtt::MqttResend;
use http::{HttpResend, Protocol};

/// A record that is sent again as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResentRecord {
    /// Which record it is: a receiver that knows it already takes it for the same.
    pub id: String,
    /// Its topic; empty where there is none.
    pub topic: Vec<u8>,
    /// Its key; empty where there is none.
    pub key: Vec<u8>,
    /// Its headers, by name.
    pub headers: BTreeMap<String, Vec<u8>>,
    /// When its transport took it first, ms since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The way to a source that listens for HTTP, where the pipeline file does not say it.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpWay<'a> {
    /// Where it is to be reached, where its own address is not the right one.
    pub url: Option<&'a str>,
    /// The certificate authorities to trust instead of the system's, as a PEM file.
    pub ca_file: Option<&'a str>,
    /// Our certificate with its chain and its key, as PEM files.
    pub identity: Option<(&'a str, &'a str)>,
}

/// What came of records that were sent again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resent {
    /// Their numbers among those that were to be sent, of those that were acknowledged.
    pub acknowledged: Vec<usize>,
    /// The numbers of those that are refused for what they are, and would be again, and why.
    pub refused: Vec<(usize, String)>,
    /// Why others were not sent.
    pub error: Option<String>,
}

/// Why a record was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unsent {
    /// It is refused for what it is: others may be taken.
    Refused(String),
    /// The way is closed for all.
    Failed(String),
}

impl From<String> for Unsent {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

impl Resent {
    /// Takes note of what has become of a record; says whether to go on with the next.
    pub(super) fn note(&mut self, number: usize, sent: Result<(), Unsent>) -> bool {
        match sent {
            Ok(()) => self.acknowledged.push(number),
            Err(Unsent::Refused(message)) => self.refused.push((number, message)),
            Err(Unsent::Failed(message)) => {
                self.error.get_or_insert(message);
            }
        }
        self.error.is_none()
    }
}

/// The way back to a source.
#[derive(Debug)]
pub struct Resender(Way);

#[derive(Debug)]
enum Way {
    #[cfg(feature = "kafka")]
    Kafka(KafkaResend),
    #[cfg(feature = "mqtt")]
    Mqtt(Box<MqttResend>),
    Http(HttpResend),
}

impl Resender {
    /// Whether there is a way back to a source of this kind.
    pub fn exists_for(config: &Config) -> bool {
        config.kafka.is_some()
            || config.mqtt.is_some()
            || config.http.is_some()
            || config.remote_write.is_some()
    }

    /// Opens the way.
    ///
    /// # Errors
    /// A setting is refused, a file cannot be read, or nothing can be sent to such a source.
    pub fn open(config: &Config, pipeline: &str, way: &HttpWay<'_>) -> Result<Self, SourceError> {
        if let Some(kafka) = &config.kafka {
            return open_kafka(kafka);
        }
        if let Some(mqtt) = &config.mqtt {
            return open_mqtt(mqtt, pipeline);
        }
        if let Some(http) = &config.http {
            return open_http(http, Protocol::Records, pipeline, way);
        }
        if let Some(http) = &config.remote_write {
            return open_http(http, Protocol::RemoteWrite, pipeline, way);
        }
        let message = "nothing can be sent to it; write the records to a file";
        Err(SourceError::new(config.kind(), message))
    }

    /// Sends records in their order, and waits until all are acknowledged or refused, or the way is closed.
    pub fn send(&mut self, records: &[ResentRecord]) -> Resent {
        match &mut self.0 {
            #[cfg(feature = "kafka")]
            Way::Kafka(kafka) => kafka.send(records),
            #[cfg(feature = "mqtt")]
            Way::Mqtt(mqtt) => mqtt.send(records),
            Way::Http(http) => http.send(records),
        }
    }
}

fn open_http(
    config: &HttpConfig,
    protocol: Protocol,
    pipeline: &str,
    way: &HttpWay<'_>,
) -> Result<Resender, SourceError> {
    HttpResend::new(config, protocol, pipeline, way).map(|http| Resender(Way::Http(http)))
}

#[cfg(feature = "kafka")]
fn open_kafka(config: &KafkaConfig) -> Result<Resender, SourceError> {
    KafkaResend::new(config).map(|kafka| Resender(Way::Kafka(kafka)))
}

#[cfg(not(feature = "kafka"))]
fn open_kafka(config: &KafkaConfig) -> Result<Resender, SourceError> {
    let name = format!("kafka {}", config.brokers);
    let message = "this weir was built without Kafka; build it with --features kafka";
    Err(SourceError::new(name, message))
}

#[cfg(feature = "mqtt")]
fn open_mqtt(config: &MqttConfig, pipeline: &str) -> Result<Resender, SourceError> {
    MqttResend::new(config, pipeline).map(|mqtt| Resender(Way::Mqtt(Box::new(mqtt))))
}

#[cfg(not(feature = "mqtt"))]
fn open_mqtt(_: &MqttConfig, _: &str) -> Result<Resender, SourceError> {
    let message = "this weir was built without MQTT; build it with --features mqtt";
    Err(SourceError::new("mqtt", message))
}
