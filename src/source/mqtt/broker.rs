//! One broker: its session, its split, and its log where there is one.

use std::thread;

use tokio::runtime;

use crate::model::{Split, SplitId};

use super::super::config::MqttConfig;
use super::super::endpoint::{Endpoint, InvalidEndpoint};
use super::super::handover::{self, Consumer};
use super::super::log::{self, LogMetrics, LogSettings, Logged};
use super::super::metrics::SourceMetrics;
use super::super::{Context, SourceError, SourceOutput, StopSignal};
use super::acks::Acks;
use super::delivery::{Delivery, Handed, MessageFilter};
use super::leftover::LogPlace;
use super::logging::Logging;
use super::memory::Memory;
use super::metrics::{BrokerMetrics, MqttMetrics};
use super::options::Connecting;
use super::session::Session;

/// How many bytes may wait for the pipeline before no more are read from the connection.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// How many messages the broker may send before the first of them is acknowledged. It bounds what
/// is sent again after a lost connection.
const RECEIVE_MAXIMUM: u16 = 1_000;

/// The same where acknowledging waits for a sync of the log.
const LOGGED_RECEIVE_MAXIMUM: u16 = 10_000;

/// A broker whose messages are received.
#[derive(Debug)]
pub(super) struct Broker {
    /// Its name in messages: `mqtt 127.0.0.1:1883`.
    pub(super) name: String,
    pub(super) split: Split,
    pub(super) connecting: Connecting,
    pub(super) context: Context,
    pub(super) source_metrics: SourceMetrics,
    pub(super) metrics: BrokerMetrics,
    /// Taken out when it runs.
    pub(super) logged: Option<(Logged, Memory)>,
    /// Whether an earlier run had a session, as far as the log says.
    pub(super) had_session: bool,
    client_id: String,
}

impl Broker {
    /// A broker by its settings, with its name where there are several. Reads its password and
    /// certificates once; does not connect yet.
    ///
    /// # Errors
    /// The URL is none, or a file cannot be read.
    pub(super) fn new(
        label: Option<&str>,
        settings: MqttConfig,
        id: SplitId,
        context: &Context,
        metrics: &MqttMetrics,
        source_metrics: &SourceMetrics,
    ) -> Result<Self, SourceError> {
        let url = settings.url.as_deref().unwrap_or_default();
        let endpoint: Endpoint = url
            .parse()
            .map_err(|error: InvalidEndpoint| SourceError::new("mqtt", error.to_string()))?;
        let (name, derived) = names(label, &endpoint, &context.pipeline);
        let client_id = settings.client_id.clone().unwrap_or(derived);
        let receive_maximum = match context.log {
            Some(_) => LOGGED_RECEIVE_MAXIMUM,
            None => RECEIVE_MAXIMUM,
        };
        let at = endpoint.to_string();
        let clock = context.clock.clone();
        let connecting = Connecting::new(
            settings,
            endpoint,
            client_id.clone(),
            receive_maximum,
            clock,
        );
        connecting
            .options()
            .map_err(|message| SourceError::new(&name, message))?;
        Ok(Self {
            split: Split {
                id,
                name: name.as_str().into(),
            },
            metrics: metrics.broker(label.unwrap_or(&at), source_metrics),
            source_metrics: source_metrics.clone(),
            context: context.clone(),
            logged: None,
            had_session: false,
            client_id,
            connecting,
            name,
        })
    }

    /// Opens its log, which is read in the place of what comes.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub(super) fn open_log(
        &mut self,
        place: &LogPlace,
        metrics: LogMetrics,
    ) -> Result<(), SourceError> {
        let Some(settings) = &self.context.log else {
            return Ok(());
        };
        self.split.name = place.split_name.as_str().into();
        let settings = LogSettings {
            folder: place.folder.clone(),
            config: settings.config.clone(),
        };
        let keep_last = u64::from(LOGGED_RECEIVE_MAXIMUM);
        let failed = |error| self.error(format!("its log: {error}"));
        let opened = Logged::open_one(
            &settings,
            &self.split,
            keep_last,
            &self.context,
            &self.source_metrics,
            metrics,
        );
        let opened = opened.map_err(failed)?;
        let memory = Memory::open(&settings.folder, &self.client_id, &opened.appender);
        let memory = memory.map_err(failed)?;
        self.had_session = memory.had_session;
        self.logged = Some((opened, memory));
        Ok(())
    }

    /// Its split, which the source says for it.
    pub(super) fn begin(&mut self) -> Split {
        match &mut self.logged {
            Some((logged, _)) => logged.follower.begin(),
            None => self.split.clone(),
        }
    }

    /// Receives until the signal is set or the pipeline takes no more.
    ///
    /// # Errors
    /// The broker refuses us, or the log cannot be written or read.
    pub(super) fn run(
        mut self,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let (logged, mut memory) = self.logged.take().unzip();
        let failed = |message: String| self.error(message);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(format!("cannot start: {error}")))?;
        let options = self.connecting.options().map_err(failed)?;
        let (requests, events) = options.client();
        let (producer, handed) = handover::queue(BUFFER_BYTES);
        let acks = Acks::default();
        let session = Session::new(&self, requests, producer, &acks, stop);
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("mqtt".to_owned())
                .spawn_scoped(scope, || runtime.block_on(session.run(events)))
                .map_err(|error| failed(format!("cannot start its thread: {error}")))?;
            let read = match (logged, &mut memory) {
                (Some(logged), Some(memory)) => {
                    self.log(logged, memory, handed, &acks, output, stop)
                }
                _ => {
                    let filter = self.filter();
                    Delivery::new(self.split.clone(), &self.context, filter, &acks)
                        .run(handed, output);
                    Ok(())
                }
            };
            let received = thread
                .join()
                .unwrap_or_else(|_| Err(failed("its thread died".to_owned())));
            // Some acknowledgements are confirmed only when nothing is logged any more.
            if let Some(memory) = &mut memory {
                memory.heed(&acks);
                memory.save(&acks);
            }
            read.and(received)
        })
    }

    /// Appends what comes to the log on another thread, and hands over what the log has.
    fn log(
        &self,
        logged: Logged,
        memory: &mut Memory,
        handed: Consumer<Handed>,
        acks: &Acks,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let Logged { appender, follower } = logged;
        let logging = Logging::new(appender, memory, self.filter(), acks);
        log::follow(follower, || logging.run(handed, stop), output, stop)
            .map_err(|error| self.error(error.to_string()))
    }

    fn filter(&self) -> MessageFilter {
        MessageFilter {
            max_record_bytes: self.context.max_record_bytes,
            ignores_retained: self.connecting.ignores_retained(),
            metrics: self.source_metrics.clone(),
        }
    }

    pub(super) fn error(&self, message: String) -> SourceError {
        SourceError::new(&self.name, message)
    }
}

/// A broker's name in messages, and the client id of a pipeline that says none.
pub(super) fn names(label: Option<&str>, endpoint: &Endpoint, pipeline: &str) -> (String, String) {
    match label {
        None => (format!("mqtt {endpoint}"), format!("weir-{pipeline}")),
        Some(label) => (format!("mqtt {label}"), format!("weir-{pipeline}-{label}")),
    }
}
