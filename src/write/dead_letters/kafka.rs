//! Dead letters to a Kafka topic, one JSON object a record.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::OAuthToken;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::{DeadLetter, DeadLettersError, KafkaConfig, Ledger, Origin};
use crate::model::BrokerTokens;

/// What is better than librdkafka's own defaults for letters that must not get lost, in bounded
/// memory; `properties` may change it.
const DEFAULTS: [(&str, &str); 5] = [
    ("client.id", "weir"),
    // A broker that is away is waited for: the queue fills, and then the pipeline waits as well.
    ("message.timeout.ms", "0"),
    ("linger.ms", "100"),
    ("reconnect.backoff.max.ms", "5000"),
    ("log.connection.close", "false"),
];

/// What letters may take in memory, KiB; `properties` may change it.
const QUEUE_KBYTES: usize = 16_384;

/// How many bytes of a letter a byte of its record may take: a control character is `\\u0000` in JSON.
const BYTES_OF_A_BYTE: usize = 6;

/// What stands in a letter beside its record, bytes; more only where its topic and key are that long.
const BESIDE_RECORD: usize = 256 << 10;

/// The greatest message that librdkafka can be told to send, bytes.
const MAX_MESSAGE_BYTES: usize = 1_000_000_000;

/// How long to wait for an answer before looking whether the rest is given up.
const POLL: Duration = Duration::from_millis(100);

/// A topic that letters are sent to.
pub(super) struct LetterTopic {
    producer: BaseProducer<Deliveries>,
    topic: String,
    origin: Origin,
    abandoned: Arc<AtomicBool>,
}

/// Hears what became of each letter.
struct Deliveries {
    topic: String,
    tokens: Option<Arc<dyn BrokerTokens>>,
    ledger: Mutex<Ledger>,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token(self.tokens.as_deref())
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.ledger(|ledger| ledger.wait(&self.topic, reason));
    }
}

impl ProducerContext for Deliveries {
    /// The letter's reason.
    type DeliveryOpaque = Box<&'static str>;

    fn delivery(&self, result: &DeliveryResult<'_>, reason: Self::DeliveryOpaque) {
        match result {
            Ok(_) => self.ledger(|ledger| ledger.write(&reason)),
            // At the end, `give_up_the_rest` counts those that nobody waits for any more.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue), _)) => {}
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeInflight), _)) => {}
            Err((error, _)) => {
                let why = why(error);
                self.ledger(|ledger| ledger.lose(&reason, &self.topic, &why));
            }
        }
    }
}

impl Deliveries {
    fn ledger(&self, note: impl FnOnce(&mut Ledger)) {
        note(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl LetterTopic {
    /// Checks the settings; does not connect yet.
    ///
    /// # Errors
    /// librdkafka refuses a setting, or a file cannot be read.
    pub(super) fn open(
        config: &KafkaConfig,
        tokens: Option<Arc<dyn BrokerTokens>>,
        origin: &Origin,
        ledger: Ledger,
        abandoned: Arc<AtomicBool>,
    ) -> Result<Self, DeadLettersError> {
        let failed = |message| DeadLettersError::Kafka {
            brokers: config.brokers.clone(),
            message,
        };
        let limit = message_bytes(config.max_record_bytes);
        let queue = QUEUE_KBYTES.max(2 * limit / 1_024);
        let mut client = ClientConfig::new();
        for (key, value) in DEFAULTS {
            client.set(key, value);
        }
        client.set("queue.buffering.max.kbytes", queue.to_string());
        connect(config, &mut client).map_err(failed)?;
        // The brokers' limit counts, not that of a client.
        client.set("message.max.bytes", limit.to_string());
        let topic = config.topic.clone();
        let ledger = Mutex::new(ledger);
        let producer = client
            .create_with_context(Deliveries {
                topic: topic.clone(),
                tokens,
                ledger,
            })
            .map_err(|error| failed(refusal(&error)))?;
        Ok(Self {
            producer,
            topic,
            origin: origin.clone(),
            abandoned,
        })
    }

    /// Sends letters; waits while librdkafka's queue is full.
    pub(super) fn write(&self, letters: Vec<DeadLetter>) {
        for letter in letters {
            self.send(&letter);
        }
        self.poll();
    }

    fn send(&self, letter: &DeadLetter) {
        let mut payload = Vec::new();
        if let Err(error) = letter.write_json(&self.origin, &mut payload) {
            return self.lose(letter, &error);
        }
        let mut record: BaseRecord<'_, [u8], [u8], _> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(letter.reason)).payload(&payload);
        // Without a key any partition will do; an empty one would name always the same.
        if !letter.key.is_empty() {
            record = record.key(&letter.key);
        }
        // Given up: what was not sent is counted in the end.
        while !self.is_abandoned() {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    if self.producer.in_flight_count() == 0 {
                        let why = "it is larger than queue.buffering.max.kbytes; raise that";
                        return self.lose(letter, &why);
                    }
                    record = back;
                    self.producer.poll(POLL);
                }
                Err((error, _)) => return self.lose(letter, &why(&error)),
            }
        }
    }

    fn lose(&self, letter: &DeadLetter, why: &dyn std::fmt::Display) {
        let deliveries = self.producer.context();
        deliveries.ledger(|ledger| ledger.lose(letter.reason, &self.topic, why));
    }

    /// Takes note of what was delivered.
    pub(super) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until every letter is delivered or refused, or until the rest is given up. Says whether none
    /// is on its way any more.
    pub(super) fn deliver(&self) -> bool {
        while self.producer.in_flight_count() > 0 {
            // Asks the broker at once, without lingering, and hears the answers.
            if self.is_abandoned() || self.producer.flush(POLL).is_ok() {
                break;
            }
        }
        self.producer.in_flight_count() == 0
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

/// How long a letter may be whose record has no more bytes than this.
fn message_bytes(max_record_bytes: usize) -> usize {
    let bytes = max_record_bytes.saturating_mul(BYTES_OF_A_BYTE);
    bytes.saturating_add(BESIDE_RECORD).min(MAX_MESSAGE_BYTES)
}

/// Sets where the brokers are and who we are to them.
///
/// # Errors
/// A file cannot be read; the message names it.
pub(super) fn connect(config: &KafkaConfig, client: &mut ClientConfig) -> Result<(), String> {
    for (key, value) in &config.properties {
        client.set(key, value.reveal());
    }
    for (key, value) in config.security().properties()? {
        client.set(key, value.reveal());
    }
    client.set("bootstrap.servers", &config.brokers);
    Ok(())
}

/// A token of those who give some.
pub(super) fn token(tokens: Option<&dyn BrokerTokens>) -> Result<OAuthToken, Box<dyn Error>> {
    let tokens = tokens.ok_or("sasl.mechanism is OAUTHBEARER; write it as `sasl`")?;
    let token = tokens.token()?;
    Ok(OAuthToken {
        token: token.value,
        principal_name: token.principal,
        lifetime_ms: token.end_ms,
    })
}

/// Why a letter was not taken, with what helps.
fn why(error: &KafkaError) -> String {
    match error {
        KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge) => {
            format!("{error}; raise max.message.bytes of the topic")
        }
        other => other.to_string(),
    }
}

/// The value is left out: it may be a password.
pub(super) fn refusal(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, key, _) => {
            format!("property '{key}' is refused: {reason}")
        }
        other => format!("properties are refused: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::DeadLetterMetrics;
    use super::*;
    use crate::model::Secret;
    use crate::telemetry::Registry;

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        let mut config: KafkaConfig =
            serde_json::from_str(r#"{"brokers": "localhost:9092", "topic": "letters"}"#).unwrap();
        config.properties = [("linger.ms".to_owned(), Secret::new("hunter2"))].into();
        let metrics = DeadLetterMetrics::new(&Registry::new("test"), []);
        let origin = Origin {
            pipeline: "cars".to_owned(),
            source: "file",
        };
        let ledger = Ledger::new(metrics);
        let opened = LetterTopic::open(&config, None, &origin, ledger, Arc::default());
        let error = opened.err().unwrap().to_string();
        assert!(
            error.starts_with(
                "dead letters to kafka localhost:9092: property 'linger.ms' is refused: "
            ),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_letter_of_the_longest_record_may_be_sent() {
        let origin = Origin {
            pipeline: "cars".to_owned(),
            source: "mqtt",
        };
        for byte in [b'a', b'"', 0x01, 0xff] {
            let record = vec![byte; 100_000];
            let topic = vec![byte; 65_535 / BYTES_OF_A_BYTE];
            let letter = DeadLetter {
                split: "cars".into(),
                position: 1,
                reason: "late",
                metrics: vec![],
                event_time_ms: None,
                watermark_ms: None,
                timestamp_ms: None,
                received_at_ms: 4,
                dropped_at_ms: 5,
                events_used: 0,
                detail: "x".repeat(1_000),
                topic,
                key: vec![],
                headers: vec![],
                record,
            };
            let mut json = Vec::new();
            letter.write_json(&origin, &mut json).unwrap();
            assert!(json.len() > 100_000);
            assert!(json.len() <= message_bytes(100_000), "{byte}");
        }
        // That of the longest records that a pipeline file can ask for.
        assert!(message_bytes(134_217_728) < MAX_MESSAGE_BYTES);
        assert_eq!(message_bytes(usize::MAX), MAX_MESSAGE_BYTES);
    }
}
