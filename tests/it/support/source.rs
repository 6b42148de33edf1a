//! A source of the library without the rest of weir, so that a test says from where it reads and
//! when it is interrupted.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use weir::model::{self, Clock};
use weir::source::{
    self, Alignment, Checkpointed, Config, Context, FileProgress, KeptPositions, LogConfig,
    LogSettings, SafePositions, SourceError, SourceEvent, SourceOutput, StopSignal, Stopped,
};
use weir::telemetry::Registry;

use super::LIMIT;

/// Whatever has arrived is handed over sooner.
const MOMENT: Duration = Duration::from_millis(20);

/// A record with its position.
pub(crate) type Positioned = (u64, String);

/// A source that runs on a thread of its own. Nothing is taken from it but what the test asks for.
#[derive(Debug)]
pub(crate) struct RunningSource {
    events: Receiver<SourceEvent>,
    stop: StopSignal,
    safe: SafePositions,
    kept: KeptPositions,
    checkpointed: Checkpointed,
    registry: Registry,
    thread: JoinHandle<std::result::Result<(), SourceError>>,
}

/// Hands over one event at a time.
struct Output(SyncSender<SourceEvent>);

impl SourceOutput for Output {
    fn send(&mut self, event: SourceEvent) -> std::result::Result<(), Stopped> {
        self.0.send(event).map_err(|_| Stopped)
    }

    fn end(&mut self) {}
}

impl RunningSource {
    /// Starts a source that reads on from these positions of splits, with a log where there is a
    /// folder for it.
    ///
    /// # Errors
    /// It cannot be set up.
    pub(crate) fn start(
        config: &Config,
        positions: &[(&str, u64)],
        log: Option<&Path>,
    ) -> Result<Self> {
        let (safe, kept) = (SafePositions::default(), KeptPositions::default());
        let checkpointed = Checkpointed::default();
        let positions = positions.iter();
        let context = Context {
            pipeline: "test".to_owned(),
            idle_after: model::Duration::from_millis(200),
            commit_every: model::Duration::from_secs(1),
            max_record_bytes: 1_000_000,
            needs_envelope: false,
            headers: Default::default(),
            checkpointed: checkpointed.clone(),
            clock: Clock::System,
            safe: safe.clone(),
            resume: positions
                .map(|(name, position)| ((*name).to_owned(), *position))
                .collect(),
            kept: kept.clone(),
            tokens: weir::source::PositionTokens::default(),
            log: log.map(|folder| LogSettings {
                folder: folder.to_owned(),
                config: LogConfig::default(),
            }),
            alignment: Alignment::default(),
            progress: FileProgress::default(),
        };
        let registry = Registry::new("test");
        let source = source::build(config, context, &registry)?;
        let stop = StopSignal::default();
        let signal = stop.clone();
        let (sender, events) = sync_channel(0);
        let thread = std::thread::spawn(move || source.run(&mut Output(sender), &signal));
        Ok(Self {
            events,
            stop,
            safe,
            kept,
            checkpointed,
            registry,
            thread,
        })
    }

    /// Takes events until there are so many records.
    ///
    /// # Errors
    /// They do not come, or the source ends before.
    pub(crate) fn take(&self, count: usize) -> Result<Vec<Positioned>> {
        let mut records = Vec::new();
        while records.len() < count {
            let event = self.events.recv_timeout(LIMIT);
            let event = event.with_context(|| format!("{} of {count} records", records.len()))?;
            if let SourceEvent::Records(batch) = event {
                let texts = batch.records().map(|record| {
                    let text = String::from_utf8_lossy(record.bytes).into_owned();
                    (record.position, text)
                });
                records.extend(texts);
            }
        }
        Ok(records)
    }

    /// Takes what comes within a moment.
    pub(crate) fn take_some(&self) -> Vec<Positioned> {
        let mut records = Vec::new();
        while let Ok(event) = self.events.recv_timeout(MOMENT) {
            if let SourceEvent::Records(batch) = event {
                let texts = batch.records().map(|record| {
                    let text = String::from_utf8_lossy(record.bytes).into_owned();
                    (record.position, text)
                });
                records.extend(texts);
            }
        }
        records
    }

    /// Takes all events that come within a moment, as text.
    pub(crate) fn take_events(&self) -> Vec<String> {
        let mut events = Vec::new();
        while let Ok(event) = self.events.recv_timeout(MOMENT) {
            events.push(format!("{event:?}"));
        }
        events
    }

    /// Takes events until the split is idle, and fails where there are records before.
    ///
    /// # Errors
    /// There are records, or it never is.
    pub(crate) fn await_idle(&self) -> Result<()> {
        loop {
            match self.events.recv_timeout(LIMIT).context("idle")? {
                SourceEvent::Idle(_) => return Ok(()),
                SourceEvent::Records(batch) => {
                    anyhow::bail!("{} more records", batch.len());
                }
                _ => {}
            }
        }
    }

    /// What checkpoints need; the test sets it.
    pub(crate) fn kept(&self) -> &KeptPositions {
        &self.kept
    }

    /// What the latest checkpoint has, for a source that shares its splits; the test sets it.
    pub(crate) fn checkpointed(&self) -> &Checkpointed {
        &self.checkpointed
    }

    /// All metrics as text.
    pub(crate) fn metrics(&self) -> String {
        Registry::text([&self.registry])
    }

    /// Waits until the metrics have a line.
    ///
    /// # Errors
    /// They never do.
    pub(crate) fn await_metric(&self, line: &str) -> Result<()> {
        self.await_condition(line, || self.metrics().contains(line))
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It never is.
    pub(crate) fn await_condition(&self, what: &str, is_so: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "never {what}: {}",
                self.metrics()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The pipeline takes no more from one moment to the next, and makes nothing of what it has.
    ///
    /// # Errors
    /// The source fails.
    pub(crate) fn abandon(self) -> Result<()> {
        drop(self.events);
        // A source that has nothing to hand over would not notice.
        self.stop.stop();
        self.safe.close();
        join(self.thread)
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// The source fails.
    pub(crate) fn stop(self) -> Result<()> {
        self.stop.stop();
        self.safe.close();
        self.drain()?;
        join(self.thread)
    }

    /// Takes all events that still come, and makes nothing of them.
    fn drain(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !matches!(
            self.events.recv_timeout(LIMIT),
            Err(RecvTimeoutError::Disconnected)
        ) {
            anyhow::ensure!(Instant::now() < deadline, "the source does not end");
        }
        Ok(())
    }

    /// Waits until it has failed by itself.
    ///
    /// # Errors
    /// It ends without an error.
    pub(crate) fn failure(self) -> Result<String> {
        self.drain()?;
        let error = join(self.thread)
            .err()
            .context("the source has not failed")?;
        Ok(error.to_string())
    }
}

fn join(thread: JoinHandle<std::result::Result<(), SourceError>>) -> Result<()> {
    thread
        .join()
        .map_err(|_| anyhow!("the source panicked"))??;
    Ok(())
}
