//! What all seeds have in common: a pipeline with metrics of every shape.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::config::{CheckpointSettings, Pipeline, StateBackend, StateSettings};
use crate::enrich::LookupMetrics;
use crate::model::{Clock, Duration};
use crate::pipeline::references::References;
use crate::pipeline::tests::bench::{START_MS, pipeline};
use crate::source::LogConfig;
use crate::telemetry::Registry;

const METRICS: &str = "
  sums: { window: { tumbling: 1s }, by: [region], value: sum(x) }
  devices: { window: { tumbling: 2s, allowed_lateness: 1s }, by: [region], value: count(DISTINCT vehicle) }
  moving: { window: { sliding: 3s, slide: 1s }, by: [vehicle], value: avg(x) + median(x) }
  trips: { window: { session: 700ms }, by: [vehicle], value: count(*) + session_duration }
  firsts:
    window: { tumbling: 1s }
    per: { key: vehicle, let: { first: first(x), last: last(x) } }
    by: [region]
    value: sum(first + 1000 * last)
  held:
    window: { tumbling: 1s }
    per: { key: vehicle, let: { last: last(x), where: last(region) }, hold: 3s }
    by: [region]
    value: sum(last) + count(DISTINCT where)
  best: { window: { tumbling: 1s }, by: [vehicle], topk: 2, value: sum(x) }
  latest: { labels: [region, vehicle], value: x }";

/// By how much events are out of order before they are late, ms.
pub(super) const OUT_OF_ORDER_MS: u64 = 400;

/// The pipeline, with a folder for its state.
pub(super) struct Setting {
    pub(super) pipeline: Pipeline,
    pub(super) references: References,
    /// What has happened since the last beginning, for messages.
    pub(super) history: RefCell<Vec<String>>,
    _folder: TempDir,
    dir: PathBuf,
}

impl Setting {
    pub(super) fn new() -> Self {
        // A disk would take most of the time.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let mut pipeline = pipeline("[]", METRICS);
        pipeline.time.out_of_order = Duration::from_millis(OUT_OF_ORDER_MS);
        pipeline.time.max_drift = Duration::from_secs(4);
        let runtime = Runtime::new().unwrap();
        let metrics = LookupMetrics::new(&Registry::new("test"));
        let clock = Clock::Fixed(START_MS);
        let loaded = References::load(&pipeline, metrics, &clock, runtime.handle());
        Self {
            pipeline,
            references: loaded.unwrap().0,
            history: RefCell::default(),
            dir: folder.path().join("state"),
            _folder: folder,
        }
    }

    /// Empties the folder, for a pipeline that takes checkpoints so.
    pub(super) fn begin(&mut self, checkpoint: CheckpointSettings) {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).unwrap();
        }
        self.history.take();
        self.pipeline.state = Some(StateSettings {
            dir: self.dir.clone(),
            backend: StateBackend::Memory,
            groups_in_memory: 0,
            checkpoints: None,
            checkpoint,
            log: LogConfig::default(),
        });
    }
}
