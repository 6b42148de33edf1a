//! An MQTT 5 broker.
//!
//! One thread speaks to the broker and a second one hands over, so that a busy pipeline does not
//! keep us from answering the broker's pings. A message is acknowledged when the pipeline has it:
//! until then the broker sends it again after a lost connection, so a message may come twice.
//!
//! With a log there is a thread between the two: it appends the messages to the log and acknowledges
//! them as soon as they are durable, and the second thread reads the log.

mod acks;
mod backoff;
mod delivery;
mod logging;
mod options;
mod repeats;
mod session;

use std::thread;

use rumqttc::v5::mqttbytes::v5::Filter;
use rumqttc::v5::{AsyncClient, MqttOptions};
use tokio::runtime;

use crate::model::{Split, SplitId};
use crate::telemetry::Registry;

use super::config::MqttConfig;
use super::endpoint::{Endpoint, InvalidEndpoint};
use super::log::{self, Logged};
use super::metrics::SourceMetrics;
use super::{Context, Source, SourceError, SourceOutput, StopSignal, handover};
use acks::Acks;
use delivery::{Delivery, Handed};
use handover::Consumer;
use logging::Logging;
use repeats::Repeats;
use session::Session;

/// How many bytes may wait for the pipeline before no more are read from the connection.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// How many acknowledgements may wait within rumqttc; more wait on our side.
const REQUESTS: usize = 4_096;

/// How many messages the broker may send before the first of them is acknowledged, where that waits
/// for a sync of the log.
const LOGGED_RECEIVE_MAXIMUM: u16 = 10_000;

/// The split's name where a log is read. It is the same for every broker: what of the log is
/// processed does not depend on where new messages come from.
const LOG_SPLIT: &str = "log/mqtt";

/// Receives the messages of some topic filters.
pub(super) struct MqttSource {
    name: String,
    split: Split,
    options: MqttOptions,
    filters: Vec<Filter>,
    context: Context,
    metrics: SourceMetrics,
    /// Taken out when the source runs.
    logged: Option<(Logged, Repeats)>,
}

impl MqttSource {
    /// Reads the password and the certificates, and opens the log where there is to be one; does not
    /// connect yet.
    ///
    /// # Errors
    /// The URL is none, a file cannot be read, or the log cannot be opened.
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
        let mut options = options::options(config, &endpoint, &client_id)
            .map_err(|message| SourceError::new(&name, message))?;
        let metrics = SourceMetrics::new(registry);
        let mut split = Split {
            id: SplitId(0),
            name: name.as_str().into(),
        };
        let mut logged = None;
        if let Some(settings) = &context.log {
            split.name = LOG_SPLIT.into();
            options.set_receive_maximum(Some(LOGGED_RECEIVE_MAXIMUM));
            let failed = |error| SourceError::new(&name, format!("its log: {error}"));
            let keep_last = u64::from(LOGGED_RECEIVE_MAXIMUM);
            let opened = Logged::open(settings, &split, keep_last, &context, &metrics, registry);
            let opened = opened.map_err(failed)?;
            let repeats = logging::known(&opened.appender).map_err(failed)?;
            logged = Some((opened, repeats));
        }
        Ok(Self {
            split,
            name,
            options,
            filters: options::filters(config),
            context,
            metrics,
            logged,
        })
    }
}

impl Source for MqttSource {
    fn is_replayable(&self) -> bool {
        self.context.log.is_some()
    }

    fn run(
        mut self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let logged = self.logged.take();
        let failed = |message: String| self.error(message);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(format!("cannot start: {error}")))?;
        let (client, events) = AsyncClient::new(self.options.clone(), REQUESTS);
        let (producer, handed) = handover::queue(BUFFER_BYTES);
        let acks = Acks::default();
        let session = Session::new(&self, client, producer, &acks, stop);
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("mqtt".to_owned())
                .spawn_scoped(scope, || runtime.block_on(session.run(events)))
                .map_err(|error| failed(format!("cannot start its thread: {error}")))?;
            let read = match logged {
                Some((logged, repeats)) => self.log(logged, repeats, handed, &acks, output, stop),
                None => {
                    let delivery =
                        Delivery::new(self.split.clone(), &self.context, &self.metrics, &acks);
                    delivery.run(handed, output);
                    Ok(())
                }
            };
            let received = thread
                .join()
                .unwrap_or_else(|_| Err(failed("its thread died".to_owned())));
            read.and(received)
        })
    }
}

impl MqttSource {
    /// Appends what comes to the log on another thread, and hands over what the log has.
    fn log(
        &self,
        logged: Logged,
        repeats: Repeats,
        handed: Consumer<Handed>,
        acks: &Acks,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let Logged { appender, follower } = logged;
        let logging = Logging::new(appender, repeats, &self.context, &self.metrics, acks);
        log::follow(follower, || logging.run(handed, stop), output, stop)
            .map_err(|error| self.error(error.to_string()))
    }

    fn error(&self, message: String) -> SourceError {
        SourceError::new(&self.name, message)
    }
}
