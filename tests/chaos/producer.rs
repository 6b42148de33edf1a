//! The events of the fleet on their way into a topic, faster than real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use crate::fleet::{Event, Fleet, PARTITIONS};

/// A step of event time in real time: event time runs ten times as fast.
const STEP: Duration = Duration::from_millis(10);

/// The longest wait until everything is acknowledged.
const LIMIT: Duration = Duration::from_secs(60);

/// What was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The events in the order of their partitions.
    pub(crate) events: Vec<Event>,
    /// The time of the events behind them that close all windows, ms since the epoch.
    pub(crate) flush_ms: i64,
}

/// A thread that sends.
#[derive(Debug)]
pub(crate) struct Producer {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<Sent>>,
}

impl Producer {
    /// Begins with the first step of a fleet.
    ///
    /// # Errors
    /// The client cannot be made.
    pub(crate) fn start(brokers: &str, topic: &str, fleet: Fleet) -> Result<Self> {
        let failed = Arc::new(AtomicBool::new(false));
        let producer: BaseProducer<Deliveries> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            // No event twice and none out of its order.
            .set("enable.idempotence", "true")
            .set("topic.metadata.propagation.max.ms", "0")
            .set("linger.ms", "5")
            .create_with_context(Deliveries(Arc::clone(&failed)))?;
        let done = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&done);
        let topic = topic.to_owned();
        let thread = thread::spawn(move || {
            let sent = send_all(&producer, &topic, fleet, &stopped)?;
            producer.flush(LIMIT)?;
            ensure!(!failed.load(Ordering::SeqCst), "events were not delivered");
            Ok(sent)
        });
        Ok(Self { done, thread })
    }

    /// Sends what closes all windows, and waits until the broker has everything.
    ///
    /// # Errors
    /// Something was not delivered.
    pub(crate) fn finish(self) -> Result<Sent> {
        self.done.store(true, Ordering::SeqCst);
        self.thread
            .join()
            .map_err(|_| anyhow!("the producer has panicked"))?
    }
}

/// Notes when something could not be delivered.
#[derive(Debug)]
struct Deliveries(Arc<AtomicBool>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

fn send_all(
    producer: &BaseProducer<Deliveries>,
    topic: &str,
    mut fleet: Fleet,
    done: &AtomicBool,
) -> Result<Sent> {
    let begun = Instant::now();
    let mut events = Vec::new();
    let mut steps = 0;
    while !done.load(Ordering::SeqCst) {
        for event in fleet.step() {
            send(producer, topic, event.partition(), &event.record())?;
            events.push(event);
        }
        steps += 1;
        producer.poll(Duration::ZERO);
        thread::sleep((STEP * steps).saturating_sub(begun.elapsed()));
    }
    let (record, flush_ms) = fleet.flush();
    for partition in 0..PARTITIONS {
        send(producer, topic, partition, &record)?;
    }
    Ok(Sent { events, flush_ms })
}

fn send(
    producer: &BaseProducer<Deliveries>,
    topic: &str,
    partition: u16,
    record: &str,
) -> Result<()> {
    loop {
        let message = BaseRecord::<(), str>::to(topic)
            .partition(i32::from(partition))
            .payload(record);
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(100));
            }
            Err((error, _)) => return Err(error).context("cannot send an event"),
        }
    }
}
