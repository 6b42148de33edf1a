//! Where the events go: one file for each kind of target.

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod ndjson;

use std::io;
use std::path::PathBuf;

use crate::event::Event;
use crate::target::Target;

use ndjson::NdjsonSink;

/// An open target.
#[derive(Debug)]
pub enum Sink {
    /// Lines of a file or of standard output.
    Ndjson(NdjsonSink),
    /// A Kafka topic.
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaSink),
    /// Topics of an MQTT broker.
    #[cfg(feature = "mqtt")]
    Mqtt(mqtt::MqttSink),
}

/// Why a target takes no events.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file cannot be made.
    #[error("cannot create '{}'", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lines cannot be written.
    #[error("cannot write events")]
    Write(#[source] io::Error),
    /// The program was built without it.
    #[error("this build has no support for {0}; build it with the feature '{0}'")]
    NotBuilt(&'static str),
    /// Kafka takes no events.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] kafka::KafkaSinkError),
    /// MQTT takes no events.
    #[cfg(feature = "mqtt")]
    #[error(transparent)]
    Mqtt(#[from] mqtt::MqttSinkError),
}

impl SinkError {
    /// Whether the reader of our output has simply gone, as `head` does.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Sink {
    /// Opens a target, connected if it is a broker.
    ///
    /// # Errors
    /// When the file cannot be made, the broker does not answer within ten seconds or has no such
    /// topic, or the program was built without the target.
    pub fn open(target: &Target) -> Result<Self, SinkError> {
        match target {
            Target::Stdout => Ok(Self::Ndjson(NdjsonSink::stdout())),
            Target::File(path) => Ok(Self::Ndjson(NdjsonSink::create(path)?)),
            #[cfg(feature = "kafka")]
            Target::Kafka { brokers, topic } => {
                Ok(Self::Kafka(kafka::KafkaSink::open(brokers, topic)?))
            }
            #[cfg(not(feature = "kafka"))]
            Target::Kafka { .. } => Err(SinkError::NotBuilt("kafka")),
            #[cfg(feature = "mqtt")]
            Target::Mqtt { host, port, topic } => Ok(Self::Mqtt(mqtt::MqttSink::open(
                host,
                *port,
                topic.clone(),
            )?)),
            #[cfg(not(feature = "mqtt"))]
            Target::Mqtt { .. } => Err(SinkError::NotBuilt("mqtt")),
        }
    }

    /// Sends an event, perhaps only into a buffer; blocks while the target is busy.
    ///
    /// # Errors
    /// When the target takes no more.
    pub fn send(&mut self, event: &Event) -> Result<(), SinkError> {
        match self {
            Self::Ndjson(sink) => sink.send(event),
            #[cfg(feature = "kafka")]
            Self::Kafka(sink) => Ok(sink.send(event)?),
            #[cfg(feature = "mqtt")]
            Self::Mqtt(sink) => Ok(sink.send(event)?),
        }
    }

    /// Passes on what is buffered; called before a pause.
    ///
    /// # Errors
    /// When the target takes no more.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        match self {
            Self::Ndjson(sink) => sink.flush(),
            #[cfg(feature = "kafka")]
            Self::Kafka(sink) => Ok(sink.flush()?),
            #[cfg(feature = "mqtt")]
            Self::Mqtt(_) => Ok(()),
        }
    }

    /// Ends: waits until every event has been written or acknowledged.
    ///
    /// # Errors
    /// When some have not.
    pub fn finish(self) -> Result<(), SinkError> {
        match self {
            Self::Ndjson(mut sink) => sink.flush(),
            #[cfg(feature = "kafka")]
            Self::Kafka(sink) => Ok(sink.finish()?),
            #[cfg(feature = "mqtt")]
            Self::Mqtt(sink) => Ok(sink.finish()?),
        }
    }
}
