//! A pipeline with every kind of metric, for runs without threads.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::references::References;
use super::bench::{START_MS, remote_pipeline};
use crate::config::Pipeline;
use crate::enrich::{LookupMetrics, SharedTable};
use crate::model::Clock;
use crate::pipeline::owner::keyed::KeyedState;
use crate::telemetry::Registry;

/// Every kind of window, shape and memory.
const METRICS: &str = "
  mean: { window: { tumbling: 1s }, by: [region], value: avg(x) + median(x) }
  span: { window: { tumbling: 3s, offset: 1s, allowed_lateness: 2s }, value: max(x) - min(x) }
  devices: { window: { tumbling: 2s, stale_after: 2s }, by: [region], value: count(DISTINCT vehicle) }
  moving: { window: { sliding: 4s, slide: 1s, stale_after: 2s }, by: [vehicle], value: sum(x) }
  widest: { window: { sliding: 5s, slide: 2s }, value: count(DISTINCT vehicle) + stddev(x) }
  trips: { window: { session: 900ms }, by: [vehicle], value: count(*) + session_duration }
  gathered:
    window: { session: 900ms, every: 5s }
    per: { key: vehicle, let: { length: session_duration, readings: count(*) } }
    by: [region]
    value: sum(length * 1000 + readings)
  firsts:
    window: { tumbling: 1s }
    per: { key: vehicle, let: { first: first(x), last: last(region) } }
    by: [region]
    value: sum(first) FILTER (WHERE last = 'UK') + count(*)
  held:
    window: { tumbling: 1s }
    per: { key: vehicle, let: { last: last(x), fast: max(x) > 5, where: last(region) }, hold: 4s, max_held_keys: 12 }
    by: [region]
    value: sum(last) + count(*) FILTER (WHERE fast) + count(DISTINCT where)
  held_few:
    window: { sliding: 2s, slide: 1s, stale_after: 2500ms }
    per: { key: vehicle, let: { last: last(x) }, hold: 5s }
    by: [vehicle]
    max_series: 4
    value: sum(last)
  best: { window: { tumbling: 1s, stale_after: 1s }, by: [vehicle], topk: 2, value: sum(x) }
  few: { window: { tumbling: 2s, stale_after: 1h }, by: [vehicle, region], max_series: 6, value: count(*) }
  spread: { window: { tumbling: 2s, stale_after: 3s }, by: [region], value: histogram(x) }
  classic: { window: { tumbling: 2s, stale_after: 5s }, by: [region], value: 'buckets(x, 1, 2, 5)' }
  fleet: { window: { tumbling: 1s, stale_after: 2s }, by: [model], completeness: fleet, value: count(*) }
  latest: { labels: [region, vehicle], value: x }";

const TABLE: &str = "id,model\nV0,kia\nV1,kia\nV2,ford\nV3,ford\nV77,lada\n";

/// What all runs have in common.
pub(super) struct Setting {
    pub(super) pipeline: Pipeline,
    /// Where groups go that are too many for memory, if they do.
    pub(super) keyed: Option<KeyedState>,
    pub(super) references: References,
    pub(super) tables: Vec<Option<Arc<SharedTable>>>,
    _folder: TempDir,
    _runtime: Runtime,
}

impl Setting {
    pub(super) fn new() -> Self {
        Self::with(METRICS)
    }

    /// Other metrics.
    pub(super) fn with(metrics: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("fleet.csv");
        fs::write(&table, TABLE).unwrap();
        let enrich = format!(
            "[{{ lookup: fleet, key: vehicle, from: {{ csv: '{}', key: id }}, add: [model], \
             otherwise: {{ model: none }} }}]",
            table.display()
        );
        let pipeline = remote_pipeline(&enrich, metrics);
        let runtime = Runtime::new().unwrap();
        let metrics = LookupMetrics::new(&Registry::new("test"));
        let clock = Clock::Fixed(START_MS);
        let (references, _) =
            References::load(&pipeline, metrics, &clock, runtime.handle()).unwrap();
        Self {
            tables: references.tables(),
            references,
            pipeline,
            keyed: None,
            _folder: folder,
            _runtime: runtime,
        }
    }
}
