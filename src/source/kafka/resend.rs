//! Records that are produced to their topics again.

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use crate::model::Clock;

use super::super::SourceError;
use super::super::config::KafkaConfig;
use super::super::resend::{Resent, ResentRecord, Unsent};
use super::settings;
use super::tokens::Tokens;

/// The settings that are those of a producer alone.
const SETTINGS: [(&str, &str); 5] = [
    // Order within a partition, whatever has to be repeated.
    ("enable.idempotence", "true"),
    // How long a record may be on its way, and how long its topic may be unknown before it is refused.
    ("message.timeout.ms", "30000"),
    ("topic.metadata.propagation.max.ms", "10000"),
    // The brokers' limit counts, not that of a client: a record that they had can be of any size.
    ("message.max.bytes", "1000000000"),
    // Brokers refuse a batch as a whole, and no record is to be refused for another one.
    ("batch.num.messages", "1"),
];

/// How long all records that are sent at once may be on their way together.
const PATIENCE: Duration = Duration::from_secs(60);

/// Produces records to their topics.
pub(in crate::source) struct KafkaResend {
    producer: BaseProducer<Deliveries>,
    brokers: String,
}

impl fmt::Debug for KafkaResend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaResend")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

/// Hears what became of each record.
#[derive(Debug)]
struct Deliveries {
    tokens: Option<Tokens>,
    resent: Mutex<Resent>,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let tokens = self.tokens.as_ref();
        let tokens = tokens.ok_or("sasl.mechanism is OAUTHBEARER; write it as `sasl`")?;
        Ok(tokens.token()?)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes with a delivery.
        tracing::debug!(?level, facility, "{message}");
    }
}

impl ProducerContext for Deliveries {
    /// The record's number.
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        let mut resent = self.resent();
        match result {
            Ok(_) => resent.acknowledged.push(*number),
            Err((error, _)) => {
                resent.note(*number, Err(unsent(error)));
            }
        }
    }
}

/// Whether a record is refused for what it is, or for its topic.
fn unsent(error: &KafkaError) -> Unsent {
    use RDKafkaErrorCode::{
        InvalidRecord, InvalidTimestamp, InvalidTopic, MessageSizeTooLarge, PolicyViolation,
        TopicAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition,
    };
    let message = error.to_string();
    match error {
        KafkaError::MessageProduction(
            InvalidRecord
            | InvalidTimestamp
            | InvalidTopic
            | MessageSizeTooLarge
            | PolicyViolation
            | TopicAuthorizationFailed
            | UnknownTopic
            | UnknownTopicOrPartition,
        ) => Unsent::Refused(message),
        _ => Unsent::Failed(message),
    }
}

impl Deliveries {
    fn resent(&self) -> MutexGuard<'_, Resent> {
        self.resent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KafkaResend {
    /// Checks the settings; does not connect yet.
    ///
    /// # Errors
    /// librdkafka refuses a setting, or a file cannot be read.
    pub(in crate::source) fn new(config: &KafkaConfig) -> Result<Self, SourceError> {
        let failed = |message: String| SourceError::new(settings::source_name(config), message);
        let mut client = settings::client_config(config)?;
        for (key, value) in SETTINGS {
            client.set(key, value);
        }
        let tokens = Tokens::new(config.sasl.as_ref(), &Clock::System).map_err(failed)?;
        let deliveries = Deliveries {
            tokens,
            resent: Mutex::default(),
        };
        let producer = client
            .create_with_context(deliveries)
            .map_err(|error| failed(settings::refusal(&error)))?;
        Ok(Self {
            producer,
            brokers: config.brokers.clone(),
        })
    }

    /// Produces records, and waits until all are acknowledged or have failed.
    pub(in crate::source) fn send(&mut self, records: &[ResentRecord]) -> Resent {
        for (number, record) in records.iter().enumerate() {
            let Err(unsent) = self.produce(number, record) else {
                continue;
            };
            if !self.producer.context().resent().note(number, Err(unsent)) {
                break;
            }
        }
        let late = self.producer.flush(PATIENCE).err();
        let mut resent = std::mem::take(&mut *self.producer.context().resent());
        resent.acknowledged.sort_unstable();
        resent.refused.sort_unstable();
        let error = resent.error.take();
        let error = error.or_else(|| late.map(|error| error.to_string()));
        resent.error = error.map(|error| format!("kafka {}: {error}", self.brokers));
        resent
    }

    fn produce(&self, number: usize, record: &ResentRecord) -> Result<(), Unsent> {
        let topic = std::str::from_utf8(&record.topic).unwrap_or_default();
        if topic.is_empty() {
            return Err(Unsent::Refused("it has no topic".to_owned()));
        }
        let mut message: BaseRecord<'_, [u8], [u8], _> =
            BaseRecord::with_opaque_to(topic, Box::new(number)).payload(&record.bytes);
        // Without a key any partition will do; an empty one would name always the same.
        if !record.key.is_empty() {
            message = message.key(&record.key);
        }
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (name, value) in &record.headers {
                headers = headers.insert(Header {
                    key: name,
                    value: Some(value),
                });
            }
            message = message.headers(headers);
        }
        if let Some(timestamp_ms) = record.timestamp_ms {
            message = message.timestamp(timestamp_ms);
        }
        self.producer
            .send(message)
            .map_err(|(error, _)| unsent(&error))?;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }
}
