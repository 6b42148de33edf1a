//! The dead letters of a Kafka topic, a partition after the other, each to its end.

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::OAuthToken;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};

use super::kafka::{connect, refusal, token};
use super::kept::Take;
use super::{KafkaConfig, LetterError, StoredLetter};
use crate::model::BrokerTokens;

/// How long the brokers may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for a record before looking at the time.
const POLL: Duration = Duration::from_millis(200);

/// Reads without a group.
struct Reader {
    tokens: Option<Arc<dyn BrokerTokens>>,
}

impl ClientContext for Reader {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token(self.tokens.as_deref())
    }
}

impl ConsumerContext for Reader {}

/// Reads until every partition is at its end.
///
/// # Errors
/// A setting is refused, there is no such topic, or the brokers do not answer.
pub(super) fn read_topic(
    config: &KafkaConfig,
    tokens: Option<Arc<dyn BrokerTokens>>,
    take: &mut Take<'_>,
) -> Result<(), LetterError> {
    let failed = |message: String| LetterError::Topic {
        brokers: config.brokers.clone(),
        topic: config.topic.clone(),
        message,
    };
    let told = |error: KafkaError| failed(error.to_string());
    let mut client = ClientConfig::new();
    connect(config, &mut client).map_err(failed)?;
    client
        // Of a consumer without positions of its own.
        .set("group.id", "weir-dead-letters")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Reader> = client
        .create_with_context(Reader { tokens })
        .map_err(|error| failed(refusal(&error)))?;
    // The brokers are talked to once there is a token, and that is asked for here.
    if let Some(Err(error)) = consumer.poll(POLL)
        && !error.rdkafka_error_code().is_some_and(is_passing)
    {
        return Err(told(error));
    }
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
    let count = ids.len() as u64;
    for (index, id) in (0_u64..).zip(ids) {
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
                    // What is written meanwhile, to whichever partition, leaves it the same.
                    let offset = message.offset().max(0) as u64;
                    let number = offset * count + index + 1;
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
