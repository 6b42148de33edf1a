//! The source of the library without the rest of weir: the test says when a checkpoint is taken and when
//! everything since then is forgotten.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use weir::model::{self, Clock};
use weir::source::{
    self, Alignment, Context, FileProgress, KeptPositions, PositionToken, PositionTokens, Resume,
    SafePositions, SourceError, SourceEvent, SourceOutput, StopSignal, Stopped,
};
use weir::telemetry::Registry;

/// The longest wait for anything.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// What a pipeline would have: how far each split was read, and the numbers that came of each key, in the
/// order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    positions: BTreeMap<String, u64>,
    pub(super) seen: BTreeMap<String, Vec<u64>>,
}

impl Ledger {
    /// How many records were seen.
    pub(super) fn count(&self) -> usize {
        self.seen.values().map(Vec::len).sum()
    }
}

/// A checkpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct Saved {
    ledger: Ledger,
    tokens: BTreeMap<String, PositionToken>,
}

impl Saved {
    /// The same where the places are those of an earlier checkpoint: not every position has one.
    pub(super) fn with_places_of(mut self, earlier: &Self) -> Self {
        self.tokens.clone_from(&earlier.tokens);
        self
    }
}

/// A source that runs on a thread of its own.
pub(super) struct Session {
    events: Receiver<SourceEvent>,
    stop: StopSignal,
    tokens: PositionTokens,
    registry: Registry,
    thread: JoinHandle<std::result::Result<(), SourceError>>,
    names: BTreeMap<model::SplitId, String>,
    pub(super) ledger: Ledger,
}

struct Output(SyncSender<SourceEvent>);

impl SourceOutput for Output {
    fn send(&mut self, event: SourceEvent) -> std::result::Result<(), Stopped> {
        self.0.send(event).map_err(|_| Stopped)
    }

    fn end(&mut self) {}
}

/// The settings of a stream on a server, with some more.
pub(super) fn settings(endpoint: &str, stream: &str, more: &Value) -> Value {
    let mut settings = json!({
        "stream": stream, "endpoint": endpoint, "region": "us-east-1",
        "sigv4": { "access_key": "test", "secret_key": "test" },
        "discover_every": "200ms", "poll_every": "200ms",
    });
    if let (Some(all), Some(more)) = (settings.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    settings
}

impl Session {
    /// Goes on from a checkpoint.
    pub(super) fn start(settings: &Value, saved: &Saved) -> Result<Self> {
        let config = serde_json::from_value(json!({ "kinesis": settings }))?;
        let positions = saved.ledger.positions.clone().into_iter();
        let resume: Resume = positions.collect();
        let tokens = PositionTokens::kept(saved.tokens.clone());
        let context = Context {
            pipeline: "test".to_owned(),
            idle_after: model::Duration::from_millis(500),
            commit_every: model::Duration::from_secs(1),
            max_record_bytes: 1_000,
            needs_envelope: true,
            headers: Default::default(),
            checkpointed: Default::default(),
            clock: Clock::System,
            safe: SafePositions::default(),
            resume: resume.with_tokens(saved.tokens.clone()),
            kept: KeptPositions::default(),
            tokens: tokens.clone(),
            log: None,
            alignment: Alignment::default(),
            progress: FileProgress::default(),
        };
        let registry = Registry::new("test");
        let source = source::build(&config, context, &registry)?;
        let stop = StopSignal::default();
        let signal = stop.clone();
        let (sender, events) = sync_channel(0);
        let thread = std::thread::spawn(move || source.run(&mut Output(sender), &signal));
        Ok(Self {
            events,
            stop,
            tokens,
            registry,
            thread,
            names: BTreeMap::new(),
            ledger: saved.ledger.clone(),
        })
    }

    /// Takes the next event, and says whether it has made a split idle; none where none comes soon.
    pub(super) fn take(&mut self, patience: Duration) -> Result<Option<SourceEvent>> {
        let event = match self.events.recv_timeout(patience) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the source has ended"),
        };
        match &event {
            SourceEvent::Assigned(split) => {
                self.names.insert(split.id, split.name.to_string());
            }
            SourceEvent::Records(batch) => {
                let name = self.names.get(&batch.split().id);
                let name = name.context("records of a split that is not assigned")?;
                for record in batch.records() {
                    let next = self.ledger.positions.entry(name.clone()).or_default();
                    // What was processed does not count again.
                    if record.position < *next {
                        continue;
                    }
                    ensure!(record.position == *next, "{} for {next}", record.position);
                    *next += 1;
                    let text = String::from_utf8_lossy(record.bytes).into_owned();
                    let (key, number) = text.split_once(':').context("no number")?;
                    ensure!(record.key == key.as_bytes(), "{text} with another key");
                    ensure!(record.timestamp.is_some(), "{text} without a time");
                    let seen = self.ledger.seen.entry(key.to_owned()).or_default();
                    seen.push(number.parse()?);
                }
            }
            _ => {}
        }
        Ok(Some(event))
    }

    /// Takes events until there are so many records, also those of earlier sessions.
    pub(super) fn take_until(&mut self, count: usize) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while self.ledger.count() < count {
            let here = self.ledger.count();
            ensure!(
                Instant::now() < deadline,
                "{here} of {count} records: {}",
                self.metrics()
            );
            self.take(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Takes events until so many splits are assigned.
    pub(super) fn take_assigned(&mut self, count: usize) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while self.names.len() < count {
            ensure!(
                Instant::now() < deadline,
                "{} of {count} splits",
                self.names.len()
            );
            self.take(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Takes events until a split is idle: it was read to its end.
    pub(super) fn take_idle(&mut self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            ensure!(Instant::now() < deadline, "no split is idle");
            if let Some(SourceEvent::Idle(_)) = self.take(Duration::from_millis(20))? {
                return Ok(());
            }
        }
    }

    /// Takes events until the metrics have a line.
    pub(super) fn take_metric(&mut self, line: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !self.metrics().contains(line) {
            ensure!(
                Instant::now() < deadline,
                "never {line}: {}",
                self.metrics()
            );
            self.take(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// A checkpoint of what was taken.
    pub(super) fn save(&self) -> Saved {
        let ledger = self.ledger.clone();
        let tokens = self.tokens.at(|split| ledger.positions.get(split).copied());
        self.tokens.saved(&tokens);
        Saved { ledger, tokens }
    }

    /// All metrics as text.
    pub(super) fn metrics(&self) -> String {
        Registry::text([&self.registry])
    }

    /// The value of a metric, of all its labels together.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{")));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Nothing more is taken, from one moment to the next.
    pub(super) fn crash(self) -> Result<()> {
        drop(self.events);
        self.stop.stop();
        let ended = self
            .thread
            .join()
            .map_err(|_| anyhow!("the source panicked"))?;
        Ok(ended?)
    }

    /// Waits until it has failed by itself, and gives the message.
    pub(super) fn failure(self) -> Result<String> {
        loop {
            match self.events.recv_timeout(LIMIT) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("the source has not failed"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let ended = self
            .thread
            .join()
            .map_err(|_| anyhow!("the source panicked"))?;
        let error = ended.err().context("the source has not failed")?;
        Ok(error.to_string())
    }
}
