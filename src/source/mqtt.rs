//! MQTT brokers, version 5 or 3.1.1.
//!
//! Each broker is a session and a split. One thread speaks to it and a second one hands over, so that
//! a busy pipeline does not keep us from answering the broker's pings. A message is acknowledged when
//! the pipeline has it: until then the broker sends it again after a lost connection, so a message may
//! come twice.
//!
//! With a log there is a thread between the two: it appends the messages to the broker's log and
//! acknowledges them as soon as they are durable, and the second thread reads the log.

mod acks;
mod backoff;
mod broker;
mod client;
mod confirming;
mod delivery;
mod failure;
mod leftover;
mod logging;
mod memory;
mod metrics;
mod options;
mod repeats;
mod resend;
mod session;
mod shared_output;
mod tls;
mod window;

use std::thread;
use std::time::Duration;

use crate::model::{Split, SplitId};
use crate::telemetry::Registry;

use super::config::MqttConfig;
use super::log::LogMetrics;
use super::metrics::SourceMetrics;
use super::{Context, Source, SourceError, SourceEvent, SourceOutput, StopSignal};
use broker::Broker;
use leftover::{Leftover, LogPlace};
use metrics::MqttMetrics;
use shared_output::SharedOutput;

/// How often the threads of the brokers are looked after.
const TICK: Duration = Duration::from_millis(20);
pub(super) use resend::MqttResend;

/// Receives the messages of some topic filters, of one broker or of several.
pub(super) struct MqttSource {
    is_logged: bool,
    parts: Vec<Part>,
}

/// A split of the source.
enum Part {
    Broker(Box<Broker>),
    Leftover(Box<Leftover>),
}

impl MqttSource {
    /// Reads passwords and certificates, and opens the logs where there are to be some; does not
    /// connect yet.
    ///
    /// # Errors
    /// A URL is none, a file cannot be read, or a log cannot be opened.
    pub(super) fn new(
        config: &MqttConfig,
        context: Context,
        registry: &Registry,
    ) -> Result<Self, SourceError> {
        let source_metrics = SourceMetrics::new(registry);
        let brokers = config.each();
        let metrics = MqttMetrics::new(registry, brokers.len());
        let logs = context.log.as_ref();
        let logs = logs.map(|settings| (&settings.folder, LogMetrics::new(registry)));
        let mut places = Vec::new();
        let mut parts = Vec::new();
        let mut ids = (0..).map(SplitId);
        for ((label, settings), id) in brokers.into_iter().zip(ids.by_ref()) {
            let mut broker = Broker::new(label, settings, id, &context, &metrics, &source_metrics)?;
            if let Some((folder, log_metrics)) = &logs {
                let place = LogPlace::new(folder, label);
                broker.open_log(&place, log_metrics.another())?;
                places.push(place);
            }
            parts.push(Part::Broker(Box::new(broker)));
        }
        if let Some((folder, log_metrics)) = &logs {
            let all = LogPlace::all(folder).map_err(|message| SourceError::new("mqtt", message))?;
            let others = all.iter().filter(|place| !places.contains(place));
            for (place, id) in others.zip(ids) {
                let metrics = log_metrics.another();
                let leftover = Leftover::open(place, id, &context, &source_metrics, metrics)?;
                parts.extend(leftover.map(|leftover| Part::Leftover(Box::new(leftover))));
            }
        }
        Ok(Self {
            is_logged: context.log.is_some(),
            parts,
        })
    }
}

impl Part {
    /// Its split, which the source says for it.
    fn begin(&mut self) -> Split {
        match self {
            Self::Broker(broker) => broker.begin(),
            Self::Leftover(leftover) => leftover.begin(),
        }
    }

    fn run(self, output: &mut dyn SourceOutput, stop: &StopSignal) -> Result<(), SourceError> {
        match self {
            Self::Broker(broker) => broker.run(output, stop),
            Self::Leftover(leftover) => leftover.run(output, stop),
        }
    }
}

impl Source for MqttSource {
    fn is_replayable(&self) -> bool {
        self.is_logged
    }

    fn run(
        mut self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let splits: Vec<_> = self.parts.iter_mut().map(Part::begin).collect();
        let output = SharedOutput::new(output);
        // Where one of them fails, the others stop as well.
        let ending = StopSignal::default();
        thread::scope(|scope| {
            // Nothing is handed over before all splits are known: none may let the watermark run ahead
            // of those yet to come. What the brokers have is received meanwhile.
            let mut first = output.lock();
            let mut running = Vec::new();
            let mut result = Ok(());
            for part in self.parts {
                let (mut output, ending) = (&output, &ending);
                let thread = thread::Builder::new()
                    .name("mqtt split".to_owned())
                    .spawn_scoped(scope, move || part.run(&mut output, ending));
                match thread {
                    Ok(thread) => running.push(thread),
                    Err(error) => {
                        let message = format!("cannot start its thread: {error}");
                        result = Err(SourceError::new("mqtt", message));
                    }
                }
            }
            for split in splits {
                if first.send(SourceEvent::Assigned(split)).is_err() {
                    break;
                }
            }
            drop(first);
            while !running.is_empty() {
                if stop.is_stopped() || result.is_err() {
                    ending.stop();
                }
                let (ended, others) = running.into_iter().partition(|thread| thread.is_finished());
                running = others;
                let ended: Vec<thread::ScopedJoinHandle<'_, _>> = ended;
                for thread in ended {
                    let died = |_| Err(SourceError::new("mqtt", "its thread died"));
                    result = result.and(thread.join().unwrap_or_else(died));
                }
                thread::sleep(TICK);
            }
            result
        })
    }
}
