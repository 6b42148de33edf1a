//! Events into a Kafka topic, keyed by vehicle, so that a vehicle's events stay in order.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::event::Event;

/// How long the brokers and the topic are waited for at the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end waits for the next acknowledgement before it gives up.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before the topic is asked for again, and while the queue is full.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Acknowledgements are collected once in so many events.
const POLL_EVERY: u32 = 256;

/// A Kafka topic, behind an idempotent producer.
pub struct KafkaSink {
    producer: BaseProducer<Deliveries>,
    topic: String,
    key: Vec<u8>,
    payload: Vec<u8>,
    since_poll: u32,
}

/// Why a topic takes no events.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSinkError {
    /// The client cannot be made.
    #[error("cannot set up the Kafka producer")]
    Setup(#[source] KafkaError),
    /// Nobody answers.
    #[error(
        "no Kafka broker answers at {brokers}; check that it runs and that its address is right"
    )]
    Unreachable {
        /// The addresses tried.
        brokers: String,
        /// What the client said.
        source: KafkaError,
    },
    /// The topic is not there.
    #[error("the brokers at {brokers} have no topic '{topic}'; create it first")]
    NoTopic {
        /// The addresses asked.
        brokers: String,
        /// The topic asked for.
        topic: String,
    },
    /// An event was refused.
    #[error("topic '{topic}' takes no more events")]
    Rejected {
        /// The topic.
        topic: String,
        /// Why not.
        source: KafkaError,
    },
    /// Some events were not acknowledged.
    #[error("{unacknowledged} events to topic '{topic}' are not acknowledged after 30 seconds")]
    Unacknowledged {
        /// How many.
        unacknowledged: i32,
        /// The topic.
        topic: String,
    },
}

/// Keeps the first delivery that failed: nothing may get lost in silence.
#[derive(Debug, Default)]
struct Deliveries(Mutex<Option<KafkaError>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, _)) = result else { return };
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.clone());
    }
}

impl KafkaSink {
    /// Connects to the brokers, `host:port` separated by commas, and looks for the topic.
    ///
    /// # Errors
    /// When no broker answers within ten seconds, or there is no such topic.
    pub fn open(brokers: &str, topic: &str) -> Result<Self, KafkaSinkError> {
        let producer: BaseProducer<Deliveries> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "weirgen")
            .set("enable.idempotence", "true")
            // A load is made of small messages: fill batches rather than save 20 ms.
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("compression.type", "lz4")
            // The default of 1 GiB would hide a broker that is too slow.
            .set("queue.buffering.max.kbytes", "65536")
            .create_with_context(Deliveries::default())
            .map_err(KafkaSinkError::Setup)?;
        find_topic(&producer, brokers, topic)?;
        Ok(Self {
            producer,
            topic: topic.to_owned(),
            key: Vec::new(),
            payload: Vec::new(),
            since_poll: 0,
        })
    }

    /// Queues an event; blocks while the queue is full.
    pub(super) fn send(&mut self, event: &Event) -> Result<(), KafkaSinkError> {
        self.key.clear();
        event.vehicle_id().write(&mut self.key);
        self.payload.clear();
        event.write_json(&mut self.payload);
        self.since_poll += 1;
        if self.since_poll >= POLL_EVERY {
            self.flush()?;
        }
        loop {
            let record = BaseRecord::to(&self.topic)
                .key(&self.key)
                .payload(&self.payload);
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(RETRY_PAUSE);
                    self.check()?;
                }
                Err((error, _)) => return Err(self.rejected(error)),
            }
        }
    }

    /// Collects acknowledgements; the client sends what is queued on its own.
    pub(super) fn flush(&mut self) -> Result<(), KafkaSinkError> {
        self.since_poll = 0;
        self.producer.poll(Duration::ZERO);
        self.check()
    }

    /// Waits until everything is acknowledged, as long as acknowledgements keep coming.
    pub(super) fn finish(self) -> Result<(), KafkaSinkError> {
        let mut unacknowledged = self.producer.in_flight_count();
        let mut progressed = Instant::now();
        while unacknowledged > 0 {
            // A flush sends without lingering; whether it came to its end is seen below.
            drop(self.producer.flush(RETRY_PAUSE));
            self.check()?;
            let left = self.producer.in_flight_count();
            if left < unacknowledged {
                progressed = Instant::now();
            }
            unacknowledged = left;
            if progressed.elapsed() > ACK_TIMEOUT {
                return Err(KafkaSinkError::Unacknowledged {
                    unacknowledged,
                    topic: self.topic,
                });
            }
        }
        self.check()
    }

    /// Fails if a delivery has failed.
    fn check(&self) -> Result<(), KafkaSinkError> {
        let failure = self
            .producer
            .context()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match failure.as_ref() {
            Some(error) => Err(self.rejected(error.clone())),
            None => Ok(()),
        }
    }

    fn rejected(&self, source: KafkaError) -> KafkaSinkError {
        KafkaSinkError::Rejected {
            topic: self.topic.clone(),
            source,
        }
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// Waits until the topic is known. A broker that makes topics on demand, or is just starting, says
/// for a moment that there is none.
fn find_topic(
    producer: &BaseProducer<Deliveries>,
    brokers: &str,
    topic: &str,
) -> Result<(), KafkaSinkError> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let metadata = match producer.client().fetch_metadata(Some(topic), left) {
            Ok(metadata) => metadata,
            Err(source) => {
                return Err(KafkaSinkError::Unreachable {
                    brokers: brokers.to_owned(),
                    source,
                });
            }
        };
        let found = |known: &rdkafka::metadata::MetadataTopic| {
            known.name() == topic && known.error().is_none() && !known.partitions().is_empty()
        };
        if metadata.topics().iter().any(found) {
            return Ok(());
        }
        if left < 2 * RETRY_PAUSE {
            let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
            return Err(KafkaSinkError::NoTopic { brokers, topic });
        }
        thread::sleep(RETRY_PAUSE);
    }
}
