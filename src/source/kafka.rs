//! Kafka topics. What is promised of them is in `docs/kafka.md`.
//!
//! One thread polls librdkafka and a second one hands over, because a consumer that does not poll
//! for some minutes is thrown out of its group, however long the pipeline is busy. A third one commits,
//! because only who waits for the answer gets it.

mod answers;
mod beginning;
mod connection;
mod gather;
mod group;
mod intake;
mod metadata;
mod offsets;
mod reader;
mod resend;
mod settings;
mod sharing;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod tokens;
mod topics;
mod trouble;
mod vanished;

use std::sync::atomic::AtomicBool;
use std::thread;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use rdkafka::ClientConfig;

use crate::telemetry::Registry;

use super::config::KafkaConfig;
use super::handover;
use super::metrics::{SourceMetrics, kafka_errors, kafka_lag, kafka_partitions};
use super::{Context, Source, SourceError, SourceOutput, StopSignal};
use beginning::Beginning;
use group::Group;
use reader::Reader;
use sharing::Sharing;
use status::Reading;

use topics::Topics;
use trouble::Trouble;

pub(super) use resend::KafkaResend;
pub(super) use tokens::Tokens;

/// How many bytes may wait for the pipeline before polling fetches no more.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Reads topics as a member of a consumer group.
pub(super) struct KafkaSource {
    name: String,
    client: ClientConfig,
    topics: Topics,
    beginning: Beginning,
    /// Its name among others, where several share the group.
    instance: Option<String>,
    tokens: Option<Tokens>,
    context: Context,
    metrics: SourceMetrics,
    lag: IntGaugeVec,
    partitions: IntGauge,
    errors: IntCounterVec,
}

impl KafkaSource {
    /// Checks the settings; does not connect yet.
    ///
    /// # Errors
    /// librdkafka refuses a setting, or the password's file cannot be read.
    pub(super) fn new(
        config: &KafkaConfig,
        context: Context,
        registry: &Registry,
    ) -> Result<Self, SourceError> {
        let name = settings::source_name(config);
        let beginning =
            Beginning::new(&config.start).map_err(|message| SourceError::new(&name, message))?;
        let tokens = Tokens::new(config.sasl.as_ref(), &context.clock)
            .map_err(|message| SourceError::new(&name, message))?;
        let source = Self {
            name,
            beginning,
            instance: config.instance.clone(),
            tokens,
            client: settings::client_config(config)?,
            topics: Topics::new(&config.topics, &context.resume),
            context,
            metrics: SourceMetrics::new(registry),
            lag: kafka_lag(registry),
            partitions: kafka_partitions(registry),
            errors: kafka_errors(registry),
        };
        // All kinds are there from the start, at 0: a rate misses the first step of a new series.
        for trouble in Trouble::ALL {
            source.errors(trouble);
        }
        Ok(source)
    }

    /// How often something of a kind went wrong.
    fn errors(&self, trouble: Trouble) -> IntCounter {
        self.errors.with_label_values(&[trouble.name()])
    }
}

impl Source for KafkaSource {
    fn keeps_positions(&self) -> bool {
        true
    }

    fn run(
        mut self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let name = self.name.clone();
        let failed = |message: String| SourceError::new(&name, message);
        let reading = Reading {
            silence_limit_us: settings::silence_limit_us(&self.client),
            committed_only: settings::reads_committed(&self.client),
        };
        let safe = self.context.safe.clone();
        let resume = self.context.resume.clone();
        let tokens = self.tokens.take();
        let sharing = self.instance.take();
        let sharing = sharing.map(|name| Sharing::new(name, self.context.checkpointed.clone()));
        let group = Group::new(
            self.topics.clone(),
            safe,
            (resume, self.beginning),
            reading,
            tokens,
            (sharing, self.context.tokens.clone()),
        );
        let consumer = self
            .client
            .create_with_context(group)
            .map_err(|error| failed(format!("cannot start: {error}")))?;
        let (producer, handed) = handover::queue(BUFFER_BYTES);
        let reader = Reader::new(*self, consumer, producer);
        let refused = AtomicBool::new(false);
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("kafka".to_owned())
                .spawn_scoped(scope, || reader.run(stop, &refused))
                .map_err(|error| failed(format!("cannot start its thread: {error}")))?;
            handover::hand_over(handed, output, &refused);
            // The reader stays in the group and commits what the pipeline makes of the rest.
            output.end();
            thread
                .join()
                .unwrap_or_else(|_| Err(failed("its thread died".to_owned())))
        })
    }
}
