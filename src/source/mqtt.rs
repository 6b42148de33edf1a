//! An MQTT 5 broker.
//!
//! One thread speaks to the broker and a second one hands over, so that a busy pipeline does not
//! keep us from answering the broker's pings. A message is acknowledged when the pipeline has it:
//! until then the broker sends it again after a lost connection, so a message may come twice.

mod acks;
mod backoff;
mod delivery;
mod options;
mod session;

use std::thread;

use rumqttc::v5::mqttbytes::v5::Filter;
use rumqttc::v5::{AsyncClient, MqttOptions};
use tokio::runtime;

use crate::model::{Split, SplitId};
use crate::telemetry::Registry;

use super::config::MqttConfig;
use super::endpoint::{Endpoint, InvalidEndpoint};
use super::metrics::SourceMetrics;
use super::{Context, Source, SourceError, SourceOutput, StopSignal, handover};
use acks::Acks;
use delivery::Delivery;
use session::Session;

/// How many bytes may wait for the pipeline before no more are read from the connection.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// How many acknowledgements may wait within rumqttc; more wait on our side.
const REQUESTS: usize = 4_096;

/// Receives the messages of some topic filters.
pub(super) struct MqttSource {
    name: String,
    split: Split,
    options: MqttOptions,
    filters: Vec<Filter>,
    context: Context,
    metrics: SourceMetrics,
}

impl MqttSource {
    /// Reads the password and the certificates; does not connect yet.
    ///
    /// # Errors
    /// The URL is none, or a file cannot be read.
    pub(super) fn new(
        config: &MqttConfig,
        context: Context,
        registry: &Registry,
    ) -> Result<Self, SourceError> {
        let endpoint: Endpoint = config
            .url
            .parse()
            .map_err(|error: InvalidEndpoint| SourceError::new("mqtt", error.to_string()))?;
        let name = format!("mqtt {endpoint}");
        let derived = || format!("weir-{}", context.pipeline);
        let client_id = config.client_id.clone().unwrap_or_else(derived);
        let options = options::options(config, &endpoint, &client_id)
            .map_err(|message| SourceError::new(&name, message))?;
        Ok(Self {
            split: Split {
                id: SplitId(0),
                name: name.as_str().into(),
            },
            name,
            options,
            filters: options::filters(config),
            context,
            metrics: SourceMetrics::new(registry),
        })
    }
}

impl Source for MqttSource {
    fn is_replayable(&self) -> bool {
        false
    }

    fn run(
        self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let failed = |message: String| SourceError::new(&self.name, message);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(format!("cannot start: {error}")))?;
        let (client, events) = AsyncClient::new(self.options.clone(), REQUESTS);
        let (producer, handed) = handover::queue(BUFFER_BYTES);
        let acks = Acks::default();
        let delivery = Delivery::new(self.split.clone(), &self.context, &self.metrics, &acks);
        let session = Session::new(&self, client, producer, &acks, stop);
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("mqtt".to_owned())
                .spawn_scoped(scope, || runtime.block_on(session.run(events)))
                .map_err(|error| failed(format!("cannot start its thread: {error}")))?;
            delivery.run(handed, output);
            thread
                .join()
                .unwrap_or_else(|_| Err(failed("its thread died".to_owned())))
        })
    }
}
