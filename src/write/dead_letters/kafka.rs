//! Dead letters to a Kafka topic, one JSON object a record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::{DeadLetter, DeadLettersError, KafkaConfig, Ledger, Origin};

/// What is better than librdkafka's own defaults for letters that must not get lost, in bounded
/// memory; `properties` may change it.
const DEFAULTS: [(&str, &str); 6] = [
    ("client.id", "weir"),
    // A broker that is away is waited for: the queue fills, and then the pipeline waits as well.
    ("message.timeout.ms", "0"),
    ("queue.buffering.max.kbytes", "16384"),
    ("linger.ms", "100"),
    ("reconnect.backoff.max.ms", "5000"),
    ("log.connection.close", "false"),
];

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
    ledger: Mutex<Ledger>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// The letter's reason.
    type DeliveryOpaque = Box<&'static str>;

    fn delivery(&self, result: &DeliveryResult<'_>, reason: Self::DeliveryOpaque) {
        match result {
            Ok(_) => self.ledger(|ledger| ledger.write(&reason)),
            // At the end, `give_up_the_rest` counts those that nobody waits for any more.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue), _)) => {}
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeInflight), _)) => {}
            Err((error, _)) => self.ledger(|ledger| ledger.lose(&reason, &self.topic, error)),
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
    /// librdkafka refuses a setting.
    pub(super) fn open(
        config: &KafkaConfig,
        origin: &Origin,
        ledger: Ledger,
        abandoned: Arc<AtomicBool>,
    ) -> Result<Self, DeadLettersError> {
        let mut client = ClientConfig::new();
        for (key, value) in DEFAULTS {
            client.set(key, value);
        }
        for (key, value) in &config.properties {
            client.set(key, value.reveal());
        }
        client.set("bootstrap.servers", &config.brokers);
        let topic = config.topic.clone();
        let ledger = Mutex::new(ledger);
        let producer = client
            .create_with_context(Deliveries {
                topic: topic.clone(),
                ledger,
            })
            .map_err(|error| DeadLettersError::Kafka {
                brokers: config.brokers.clone(),
                message: refusal(&error),
            })?;
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
                    record = back;
                    self.producer.poll(POLL);
                }
                Err((error, _)) => return self.lose(letter, &error),
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

    /// Waits until every letter is delivered or refused, or until the rest is given up.
    pub(super) fn finish(self) {
        self.deliver();
    }

    /// The same, and goes on.
    pub(super) fn deliver(&self) {
        while self.producer.in_flight_count() > 0 && !self.is_abandoned() {
            // Asks the broker at once, without lingering, and hears the answers.
            if self.producer.flush(POLL).is_ok() {
                return;
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

/// The value is left out: it may be a password.
fn refusal(error: &KafkaError) -> String {
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
        let config = KafkaConfig {
            brokers: "localhost:9092".to_owned(),
            topic: "letters".to_owned(),
            properties: [("linger.ms".to_owned(), Secret::new("hunter2"))].into(),
        };
        let metrics = DeadLetterMetrics::new(&Registry::new("test"), []);
        let origin = Origin {
            pipeline: "cars".to_owned(),
            source: "file",
        };
        let opened = LetterTopic::open(&config, &origin, Ledger::new(metrics), Arc::default());
        let error = opened.err().unwrap().to_string();
        assert!(
            error.starts_with(
                "dead letters to kafka localhost:9092: property 'linger.ms' is refused: "
            ),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}
