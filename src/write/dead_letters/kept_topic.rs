//! The dead letters of a Kafka topic, a partition after the other, each to its end.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::kept::Take;
use super::{KafkaConfig, LetterError, StoredLetter};

/// How long the brokers may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for a record before looking at the time.
const POLL: Duration = Duration::from_millis(200);

/// Reads until every partition is at its end.
///
/// # Errors
/// A setting is refused, there is no such topic, or the brokers do not answer.
pub(super) fn read_topic(config: &KafkaConfig, take: &mut Take<'_>) -> Result<(), LetterError> {
    let failed = |message: String| LetterError::Topic {
        brokers: config.brokers.clone(),
        topic: config.topic.clone(),
        message,
    };
    let told = |error: KafkaError| failed(error.to_string());
    let mut client = ClientConfig::new();
    for (key, value) in &config.properties {
        client.set(key, value.reveal());
    }
    client
        .set("bootstrap.servers", &config.brokers)
        // Of a consumer without positions of its own.
        .set("group.id", "weir-dead-letters")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    // The value is left out: it may be a password.
    let consumer: BaseConsumer = client.create().map_err(|error| match error {
        KafkaError::ClientConfig(_, reason, key, _) => {
            failed(format!("property '{key}' is refused: {reason}"))
        }
        other => told(other),
    })?;
    let metadata = consumer
        .fetch_metadata(Some(&config.topic), PATIENCE)
        .map_err(told)?;
    let topic = metadata
        .topics()
        .iter()
        .find(|topic| topic.name() == config.topic);
    let partitions = topic.map(|topic| topic.partitions()).unwrap_or_default();
    if partitions.is_empty() {
        return Err(failed("there is no such topic".to_owned()));
    }
    let mut ids: Vec<_> = partitions.iter().map(|partition| partition.id()).collect();
    ids.sort_unstable();
    let mut number = 0;
    for id in ids {
        let mut assigned = TopicPartitionList::new();
        assigned
            .add_partition_offset(&config.topic, id, Offset::Beginning)
            .map_err(told)?;
        consumer.assign(&assigned).map_err(told)?;
        let mut heard = Instant::now();
        loop {
            match consumer.poll(POLL) {
                None if heard.elapsed() >= PATIENCE => {
                    return Err(failed("the brokers do not answer".to_owned()));
                }
                None => continue,
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == id => break,
                // Of a partition before.
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_passing) => {
                    if heard.elapsed() >= PATIENCE {
                        return Err(told(error));
                    }
                    continue;
                }
                Some(Err(error)) => return Err(told(error)),
                Some(Ok(message)) => {
                    number += 1;
                    let letter = StoredLetter::read(message.payload().unwrap_or_default());
                    if let ControlFlow::Break(()) = take(number, letter) {
                        return Ok(());
                    }
                }
            }
            heard = Instant::now();
        }
    }
    Ok(())
}

/// What librdkafka mends itself.
fn is_passing(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::Resolve
    )
}
