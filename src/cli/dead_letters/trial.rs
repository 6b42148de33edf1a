//! What a pipeline file as it is now makes of a record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use tokio::runtime::{Builder, Runtime};
use tracing::subscriber::NoSubscriber;

use crate::config::Pipeline;
use crate::decode::{DecodeMetrics, Decoder, RegistryConfig, SchemaRegistry};
use crate::model::{Clock, Interner, RecordBatch, Split, SplitId, TimestampMs};
use crate::source::StopSignal;
use crate::telemetry::Registry;
use crate::write::dead_letters::StoredLetter;

/// After how many records their texts are forgotten.
const REMEMBERED: usize = 1_000;

/// How long an answer of a schema registry is waited for, once for all records.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(30);

/// How often a wait looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The reason of those whose schemas nobody gives.
const REGISTRY_AWAY: &str = "registry_away";

/// The reason of those that would get another time.
const TRANSPORT_TIME: &str = "transport_time";

/// What a record lacks in a file.
const WITHOUT_TRANSPORT: &str = "without its topic, key, headers and time";

/// What a record still has of its transport (topic, key, headers, time) where it is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// All that it had.
    Kept,
    /// Another time: that of the replay.
    TimeAnew,
    /// Nothing.
    Gone,
}

/// Decodes records without anything being made of them.
pub(super) struct Trial {
    decoder: Decoder,
    transport: Transport,
    schemas: Option<Schemas>,
    /// The headers that fields are taken from.
    headers: Arc<[Arc<str>]>,
    interner: Interner,
    tried: usize,
    stop: StopSignal,
}

/// Where schemas are that records name by a number.
struct Schemas {
    /// Asks for them.
    _runtime: Runtime,
    /// Filled when one has come.
    come: Receiver<()>,
    /// How long answers are waited for: nothing once the registry has been silent, until it is heard of.
    patience: Duration,
}

/// Why a record cannot be decoded yet.
enum Unready {
    Away,
    Stopped,
}

impl Schemas {
    fn new(config: &RegistryConfig, registry: &Registry, decoder: &mut Decoder) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let schemas = SchemaRegistry::build(config, runtime.handle().clone(), registry)
            .map_err(anyhow::Error::msg)?;
        let (wake, come) = bounded(1);
        decoder.ask_for_schemas(Arc::new(schemas), wake);
        Ok(Self {
            _runtime: runtime,
            come,
            patience: REGISTRY_PATIENCE,
        })
    }

    /// Waits for the schemas of a batch.
    fn wait(
        &mut self,
        decoder: &mut Decoder,
        batch: &RecordBatch,
        stop: &StopSignal,
    ) -> Result<(), Unready> {
        let mut heard = Instant::now();
        while !decoder.is_ready_for(batch) {
            if stop.is_stopped() {
                return Err(Unready::Stopped);
            }
            let left = self.patience.saturating_sub(heard.elapsed());
            match self.come.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(()) => {
                    self.patience = REGISTRY_PATIENCE;
                    heard = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => {
                    self.patience = Duration::ZERO;
                    return Err(Unready::Away);
                }
            }
        }
        Ok(())
    }
}

/// What comes of a record.
pub(super) enum Verdict {
    /// So many events.
    Events(usize),
    /// Nothing, or not all of it.
    Wrong(Wrong),
    /// Nobody waits for it any more.
    Stopped,
}

/// Why a record, or a part of it, still gives no event.
pub(super) struct Wrong {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

impl Trial {
    /// For records that are sent to where so much is left of their transport. Until it is told to `stop`, it
    /// waits for a registry.
    pub(super) fn new(pipeline: &Pipeline, transport: Transport, stop: StopSignal) -> Result<Self> {
        let registry = Registry::new(&pipeline.name);
        let mut decoder = pipeline.decoder(DecodeMetrics::new(&registry))?;
        decoder.keep_rejected();
        let schemas = match pipeline.format.registry() {
            Some(config) => Some(Schemas::new(config, &registry, &mut decoder)?),
            None => None,
        };
        Ok(Self {
            decoder,
            transport,
            schemas,
            headers: Arc::clone(&pipeline.headers),
            interner: Interner::new(),
            tried: 0,
            stop,
        })
    }

    /// How many events a record gives, or what is wrong with it or with one of them.
    pub(super) fn decode(&mut self, letter: &StoredLetter) -> Verdict {
        self.tried += 1;
        if self.tried.is_multiple_of(REMEMBERED) {
            self.interner = Interner::new();
        }
        let now_ms = Clock::System.now_ms();
        let batch = self.batch(letter, Transport::Kept, now_ms);
        let ready = match &mut self.schemas {
            Some(schemas) => schemas.wait(&mut self.decoder, &batch, &self.stop),
            None => Ok(()),
        };
        match ready {
            Ok(()) => {}
            Err(Unready::Stopped) => return Verdict::Stopped,
            Err(Unready::Away) => {
                return Verdict::Wrong(Wrong {
                    reason: REGISTRY_AWAY,
                    detail: format!("the registry has not answered within {REGISTRY_PATIENCE:?}"),
                });
            }
        }
        let times = match self.times(&batch) {
            Ok(times) => times,
            Err(wrong) => return Verdict::Wrong(wrong),
        };
        match self.arrives(letter, &times, now_ms) {
            Ok(()) => Verdict::Events(times.len()),
            Err(wrong) => Verdict::Wrong(wrong),
        }
    }

    /// A record with what it has of its transport.
    fn batch(
        &self,
        letter: &StoredLetter,
        transport: Transport,
        now_ms: TimestampMs,
    ) -> RecordBatch {
        let split = Split {
            id: SplitId(0),
            name: letter.split.as_str().into(),
        };
        let mut batch = RecordBatch::new(split, now_ms);
        if transport == Transport::Gone {
            batch.push(&letter.record, letter.position);
            return batch;
        }
        let number = letter.split.rsplit('/').next();
        if let Some(partition) = number.and_then(|number| number.parse().ok()) {
            batch = batch.of_partition(partition, Arc::clone(&self.headers));
        }
        batch.push_enveloped(&letter.record, letter.position, &letter.topic, &letter.key);
        batch.set_headers(|name| letter.headers.get(name).map(Vec::as_slice));
        let timestamp_ms = match transport {
            Transport::TimeAnew => Some(now_ms),
            Transport::Kept | Transport::Gone => letter.timestamp_ms,
        };
        if let Some(timestamp_ms) = timestamp_ms {
            batch.set_timestamp(timestamp_ms);
        }
        batch
    }

    /// The times of a record's events, or what is wrong with it or with one of them.
    fn times(&mut self, batch: &RecordBatch) -> Result<Vec<TimestampMs>, Wrong> {
        let (decoder, interner) = (&mut self.decoder, &mut self.interner);
        // What is wrong is told once for all records together.
        let events = tracing::subscriber::with_default(NoSubscriber::default(), || {
            decoder.decode(batch, batch.received_ms(), interner)
        });
        match self.decoder.rejected().first() {
            Some(rejected) => Err(Wrong {
                reason: rejected.reason.name(),
                detail: rejected.detail.clone(),
            }),
            None => Ok(events.times),
        }
    }

    /// Whether a record gives the same events where it is sent to.
    fn arrives(
        &mut self,
        letter: &StoredLetter,
        times: &[TimestampMs],
        now_ms: TimestampMs,
    ) -> Result<(), Wrong> {
        if self.transport == Transport::Kept {
            return Ok(());
        }
        let batch = self.batch(letter, self.transport, now_ms);
        let arriving = self.times(&batch).map_err(|wrong| Wrong {
            detail: match wrong.detail.is_empty() {
                true => WITHOUT_TRANSPORT.to_owned(),
                false => format!("{WITHOUT_TRANSPORT}: {}", wrong.detail),
            },
            ..wrong
        })?;
        if arriving == times {
            return Ok(());
        }
        let remedy = match self.transport {
            Transport::TimeAnew => "; --time-of-replay sends it with that",
            _ => "",
        };
        Err(Wrong {
            reason: TRANSPORT_TIME,
            detail: format!(
                "its time is that of its transport, and would be that of the replay{remedy}"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::thread;

    use super::*;
    use crate::config::{self, Overrides};

    const LONG: Duration = Duration::from_secs(3_600);

    /// A trial whose registry takes connections and never answers.
    fn trial(stop: &StopSignal) -> (Trial, TcpListener) {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "pipeline: cars
source:
  file: {{ path: events.ndjson }}
  decode: {{ format: avro, registry: {{ url: 'http://{}', timeout: 1h }} }}
event: {{ time: {{ from: t }}, fields: {{ speed: number }} }}
metrics:
  speed: {{ window: {{ tumbling: 5s }}, value: sum(speed) }}
write: {{ file: {{ path: samples.ndjson }} }}
",
            silent.local_addr().unwrap()
        );
        let overrides = Overrides::default();
        let pipeline = config::load_text("cars.yaml", &text, PathBuf::new(), &overrides, &|_| None);
        let pipeline = pipeline.unwrap_or_else(|problems| panic!("{problems:#}"));
        (
            Trial::new(&pipeline, Transport::Kept, stop.clone()).unwrap(),
            silent,
        )
    }

    fn letter(schema: u8) -> StoredLetter {
        let line = format!(
            r#"{{"pipeline":"cars","split":"events.ndjson","position":1,"reason":"unknown_schema",
                "dropped_at_ms":5,"record":"\u0000\u0000\u0000\u0000\u{schema:04x}"}}"#
        );
        StoredLetter::read(line.as_bytes()).unwrap()
    }

    fn patience(trial: &mut Trial) -> &mut Duration {
        &mut trial.schemas.as_mut().unwrap().patience
    }

    #[test]
    fn a_silent_registry_is_waited_for_once() {
        let (mut trial, _silent) = trial(&StopSignal::default());
        *patience(&mut trial) = Duration::from_millis(10);
        for schema in 1..4 {
            let verdict = trial.decode(&letter(schema));
            assert!(
                matches!(&verdict, Verdict::Wrong(wrong) if wrong.reason == REGISTRY_AWAY),
                "{schema}"
            );
            assert_eq!(*patience(&mut trial), Duration::ZERO);
        }
    }

    #[test]
    fn nobody_waits_any_more_once_it_is_to_stop() {
        let stop = StopSignal::default();
        let (mut trial, _silent) = trial(&stop);
        *patience(&mut trial) = LONG;
        let stopping = thread::spawn(move || stop.stop());
        assert!(matches!(trial.decode(&letter(1)), Verdict::Stopped));
        stopping.join().unwrap();
    }
}
