//! A pipeline on a bench: the test says what its source says and what the time is.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::{Finished, Options, Restore, Running, SourceOf};
use crate::config::{self, Overrides, Pipeline};
use crate::model::{Clock, RecordBatch, Split, SplitId};
use crate::source::{FileProgress, Source, SourceError, SourceEvent, SourceOutput, StopSignal};
use crate::telemetry::Registry;

/// A multiple of every window in these tests, ms since the epoch.
pub(super) const START_MS: i64 = 1_730_621_750_000;

/// What a bench is made with.
pub(super) struct Setup {
    pub(super) metrics: &'static str,
    /// How records are written.
    pub(super) decode: &'static str,
    /// The `time` section.
    pub(super) time: &'static str,
    /// The `enrich` section's lookups.
    pub(super) enrich: String,
    pub(super) workers: usize,
    pub(super) replayable: bool,
    /// Whether the clock stands still, as for files: nothing is known of when events came.
    pub(super) fixed_clock: bool,
    /// The `write` section; a file of the bench's own where there is none.
    pub(super) write: Option<String>,
    /// Whether late events are diverted to a file of the bench's own.
    pub(super) divert: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            metrics: COUNT,
            decode: "json",
            time: TIME,
            enrich: "[]".to_owned(),
            workers: 1,
            replayable: true,
            fixed_clock: false,
            write: None,
            divert: false,
        }
    }
}

/// No disorder.
const TIME: &str = "out_of_order: 0s, idle_after: 10s, max_ahead: 1h";

/// Counts events by region in windows of a second.
const COUNT: &str = "
  m: { window: { tumbling: 1s }, by: [region], value: count(*) }";

/// A running pipeline with the test's hands on it.
pub(super) struct Bench {
    pub(super) running: Running,
    /// What the source says; it ends when this is dropped.
    says: Option<Sender<SourceEvent>>,
    /// Held by everything of the pipeline that asks for the time.
    pub(super) clock: Arc<AtomicI64>,
    output: PathBuf,
    letters: PathBuf,
    _folder: TempDir,
    _runtime: Runtime,
}

impl Setup {
    pub(super) fn start(self) -> Bench {
        let (says, said) = channel();
        let source = Script {
            said,
            replayable: self.replayable,
        };
        let mut bench = self.start_with(Box::new(source));
        bench.says = Some(says);
        bench
    }

    pub(super) fn start_with(self, source: Box<dyn Source>) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("samples.ndjson");
        let file = format!("file: {{ path: '{}' }}", output.display());
        let write = self.write.unwrap_or(file);
        let letters = folder.path().join("dead-letters.ndjson");
        let (late, dead_letters) = match self.divert {
            true => (
                "divert",
                format!("dead_letters: {{ file: '{}' }}", letters.display()),
            ),
            false => ("drop", String::new()),
        };
        let time = format!("{}, late: {late}", self.time);
        let text = pipeline_text(self.decode, &time, &self.enrich, self.metrics, &write);
        let pipeline = pipeline_of(&format!("{text}{dead_letters}\n"));
        let clock = Arc::new(AtomicI64::new(START_MS));
        let options = Options {
            workers: Some(self.workers),
            clock: if self.fixed_clock {
                Clock::Fixed(START_MS)
            } else {
                Clock::Manual(clock.clone())
            },
            ..options()
        };
        let runtime = Runtime::new().unwrap();
        let source = SourceOf::Made(Box::new(move |_| source));
        let running =
            Running::start(&pipeline, source, &options, runtime.handle().clone()).unwrap();
        Bench {
            running,
            says: None,
            clock,
            output,
            letters,
            _folder: folder,
            _runtime: runtime,
        }
    }
}

/// A pipeline file over the events of [`event`].
fn pipeline_text(decode: &str, time: &str, enrich: &str, metrics: &str, write: &str) -> String {
    format!(
        "pipeline: test
source: {{ kafka: {{ brokers: none, topics: [none], group: none }}, decode: {decode} }}
event:
  time: {{ from: t, unit: ms }}
  fields: {{ vehicle: text, region: text, x: number }}
time: {{ {time} }}
enrich: {enrich}
metrics:{metrics}
write: {{ {write} }}
"
    )
}

pub(super) fn pipeline_of(text: &str) -> Pipeline {
    let nothing = |_: &str| None;
    let overrides = Overrides::default();
    config::load_text("test.yaml", text, PathBuf::new(), &overrides, &nothing)
        .unwrap_or_else(|problems| panic!("{problems:#}"))
}

/// A pipeline with these lookups and metrics that is not to be run as a whole.
pub(in crate::pipeline) fn pipeline(enrich: &str, metrics: &str) -> Pipeline {
    let write = "file: { path: none.ndjson }";
    pipeline_of(&pipeline_text("json", TIME, enrich, metrics, write))
}

/// One whose records are written otherwise.
pub(super) fn decoding_pipeline(decode: &str) -> Pipeline {
    let write = "file: { path: none.ndjson }";
    pipeline_of(&pipeline_text(decode, TIME, "[]", COUNT, write))
}

/// The same with a receiver, which is never asked.
pub(in crate::pipeline) fn remote_pipeline(enrich: &str, metrics: &str) -> Pipeline {
    let write = "remote_write: { url: 'http://localhost:1/write' }";
    pipeline_of(&pipeline_text("json", TIME, enrich, metrics, write))
}

impl Bench {
    /// Makes the source say something; a source that has ended says nothing.
    pub(super) fn say(&self, event: SourceEvent) {
        drop(self.says.as_ref().unwrap().send(event));
    }

    pub(super) fn assign(&self, splits: &[u32]) {
        for split in splits {
            self.say(SourceEvent::Assigned(self::split(*split)));
        }
    }

    /// Records of a split from a position on.
    pub(super) fn records(&self, split: u32, position: u64, records: &[String]) {
        self.say(SourceEvent::Records(batch(split, position, records)));
    }

    /// Says that a split is idle, and waits until so many are known to be.
    pub(super) fn idle(&self, split: u32, idle: usize) {
        self.say(SourceEvent::Idle(SplitId(split)));
        self.await_metric(&format!(
            "weir_splits{{state=\"idle\",pipeline=\"test\"}} {idle}"
        ));
    }

    /// The dead letters that were written so far, in their order.
    pub(super) fn letters(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&self.letters).unwrap();
        let letters = text.lines().map(serde_json::from_str);
        letters.collect::<Result<_, _>>().unwrap()
    }

    pub(super) fn advance_clock(&self, millis: i64) {
        self.clock.fetch_add(millis, Ordering::AcqRel);
    }

    pub(super) fn await_metric(&self, line: &str) {
        let shows = || {
            Registry::text([self.running.registry()])
                .lines()
                .any(|known| known == line)
        };
        if !until(shows) {
            panic!("no {line} in {}", Registry::text([self.running.registry()]));
        }
    }

    /// Waits until so many samples are written while the pipeline runs.
    pub(super) fn await_samples(&self, count: usize) -> Vec<String> {
        assert!(
            until(|| samples(&self.output).len() >= count),
            "{:?}",
            samples(&self.output)
        );
        samples(&self.output)
    }

    /// The sum of the series of one of the pipeline's metrics, now.
    pub(super) fn metric(&self, name: &str) -> f64 {
        metric(self.running.registry(), name)
    }

    /// Whether any sample is written by now.
    pub(super) fn has_written(&self) -> bool {
        !samples(&self.output).is_empty()
    }

    /// Lets the source end; nothing waits for what follows.
    pub(super) fn end_source(&mut self) {
        self.says = None;
    }

    /// Lets the source end, and gives what was written.
    pub(super) fn end(self) -> (Finished, Vec<String>) {
        self.finish(Duration::from_secs(60))
    }

    /// Stops, and gives what was written.
    pub(super) fn stop(self, drain: Duration) -> (Finished, Vec<String>) {
        self.running.stop_signal().stop();
        self.finish(drain)
    }

    fn finish(self, drain: Duration) -> (Finished, Vec<String>) {
        drop(self.says);
        let finished = self.running.finish(drain);
        (finished, samples(&self.output))
    }
}

/// A start from the latest checkpoint with one worker, at a time that stays.
pub(super) fn options() -> Options {
    Options {
        workers: Some(1),
        clock: Clock::Fixed(START_MS),
        progress: FileProgress::default(),
        restore: Restore::Latest,
        allow_dropped_state: false,
    }
}

/// A source that says what a test says, and stops when all of it is said.
struct Script {
    said: Receiver<SourceEvent>,
    replayable: bool,
}

impl Source for Script {
    fn is_replayable(&self) -> bool {
        self.replayable
    }

    fn run(
        self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        loop {
            match self.said.recv_timeout(Duration::from_millis(5)) {
                Ok(event) => {
                    if output.send(event).is_err() {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) if !stop.is_stopped() => {}
                Err(_) => return Ok(()),
            }
        }
    }
}

pub(super) fn split(id: u32) -> Split {
    Split {
        id: SplitId(id),
        name: format!("split/{id}").into(),
    }
}

pub(super) fn batch(id: u32, position: u64, records: &[String]) -> RecordBatch {
    let mut batch = RecordBatch::new(split(id), START_MS);
    for (record, position) in records.iter().zip(position..) {
        batch.push(record.as_bytes(), position);
    }
    batch
}

/// An event of a time, in ms after [`START_MS`].
pub(super) fn event(millis: i64, vehicle: &str, region: &str, x: f64) -> String {
    let time = START_MS + millis;
    format!(r#"{{"t":{time},"vehicle":"{vehicle}","region":"{region}","x":{x}}}"#)
}

/// Events of one vehicle in the UK.
pub(super) fn events(millis: &[i64]) -> Vec<String> {
    millis
        .iter()
        .map(|millis| event(*millis, "V1", "UK", 1.0))
        .collect()
}

/// The sum of the series of a metric, now.
pub(super) fn metric(registry: &Registry, name: &str) -> f64 {
    let text = Registry::text([registry]);
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (known, _) = series.split_once('{')?;
        (known == name).then(|| value.parse::<f64>().unwrap())
    });
    values.sum()
}

/// Waits until something is so; whether it became so within a minute.
pub(super) fn until(mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > Duration::from_secs(60) {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// The complete lines of a file as `name{labels} @end=value`, the end in ms after [`START_MS`].
fn samples(path: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete
        .lines()
        .map(|line| {
            let sample: serde_json::Value = serde_json::from_str(line).unwrap();
            let labels = sample["labels"].as_object().unwrap();
            let labels: Vec<_> = labels
                .values()
                .map(|value| value.as_str().unwrap())
                .collect();
            format!(
                "{}{{{}}} @{}={}",
                sample["name"].as_str().unwrap(),
                labels.join(","),
                sample["timestamp_ms"].as_i64().unwrap() - START_MS,
                sample["value"].as_f64().unwrap(),
            )
        })
        .collect()
}
