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
use crate::pipeline::tests::bench::{START_MS, remote_pipeline};
use crate::source::LogConfig;
use crate::telemetry::Registry;

/// `STALE` is where `stale_after` belongs, if series end.
const METRICS: &str = "
  sums: { window: { tumbling: 1s STALE }, by: [region], value: sum(x) }
  devices: { window: { tumbling: 2s, allowed_lateness: 1s STALE }, by: [region], value: count(DISTINCT vehicle) }
  moving: { window: { sliding: 3s, slide: 1s STALE }, by: [vehicle], value: avg(x) + median(x) }
  trips: { window: { session: 700ms }, by: [vehicle], value: count(*) + session_duration }
  firsts:
    window: { tumbling: 1s STALE }
    per: { key: vehicle, let: { first: first(x), last: last(x) } }
    by: [region]
    value: sum(first + 1000 * last)
  held:
    window: { tumbling: 1s STALE }
    per: { key: vehicle, let: { last: last(x), where: last(region) }, hold: 3s }
    by: [region]
    value: sum(last) + count(DISTINCT where)
  best: { window: { tumbling: 1s STALE }, by: [vehicle], topk: 2, value: sum(x) }
  latest: { labels: [region, vehicle], value: x }";

/// Not a multiple of any window, so that a series does not end where its time is over.
pub(super) const STALE_AFTER_MS: i64 = 2_300;

/// By how much events are out of order before they are late, ms.
pub(super) const OUT_OF_ORDER_MS: u64 = 400;

/// The pipelines, with a folder for their state.
pub(super) struct Setting {
    /// Whose series end, and whose do not.
    ends: Pipeline,
    lives: Pipeline,
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
        let with = |stale: &str| {
            let mut pipeline = remote_pipeline("[]", &METRICS.replace(" STALE", stale));
            pipeline.time.out_of_order = Duration::from_millis(OUT_OF_ORDER_MS);
            pipeline.time.max_drift = Duration::from_secs(4);
            pipeline
        };
        let lives = with("");
        let ends = with(&format!(", stale_after: {STALE_AFTER_MS}ms"));
        let runtime = Runtime::new().unwrap();
        let metrics = LookupMetrics::new(&Registry::new("test"));
        let clock = Clock::Fixed(START_MS);
        let loaded = References::load(&lives, metrics, &clock, runtime.handle());
        Self {
            ends,
            lives,
            references: loaded.unwrap().0,
            history: RefCell::default(),
            dir: folder.path().join("state"),
            _folder: folder,
        }
    }

    /// The pipeline whose series end, or that whose series do not.
    pub(super) fn pipeline(&self, series_end: bool) -> &Pipeline {
        match series_end {
            true => &self.ends,
            false => &self.lives,
        }
    }

    /// Empties the folder, for a pipeline that takes checkpoints so.
    pub(super) fn begin(&mut self, checkpoint: CheckpointSettings) {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).unwrap();
        }
        self.history.take();
        let state = StateSettings {
            dir: self.dir.clone(),
            backend: StateBackend::Memory,
            groups_in_memory: 0,
            checkpoints: None,
            checkpoint,
            log: LogConfig::default(),
        };
        self.ends.state = Some(state.clone());
        self.lives.state = Some(state);
    }
}
