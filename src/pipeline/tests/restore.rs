//! A run that is cut, and goes on from what was saved with another number of workers, gives the samples
//! of a run that is not cut.

use std::sync::Arc;

use crossbeam_channel::bounded;
use fastrand::Rng;
use proptest::prelude::*;

use super::super::exchange::texts_of;
use super::super::lookup_state::LookupState;
use super::super::metrics::PipelineMetrics;
use super::super::restoring::{Restoration, RestoreError, Target};
use super::super::route::Route;
use super::bench::START_MS;
use super::setting::Setting;
use crate::enrich::{EventLookup, Looked};
use crate::model::{
    Batch, Column, HoldsSymbols, Interner, LiveSymbols, Sample, Split, SplitId, Symbol, Texts,
    TimestampMs,
};
use crate::pipeline::owner::keyed::KeyedState;
use crate::pipeline::owner::owned::OwnedMetric;
use crate::pipeline::owner::snapshot::{HeadPane, OwnedPart, PartHead, SnapshotPart, pane_parts};
use crate::pipeline::worker::split_state::{SplitStates, all_of, decode_splits, encode_splits};
use crate::pipeline::worker::splits::Splits;
use crate::pipeline::worker::stage::{BatchProgress, MetricStage};
use crate::state::MemoryStore;
use crate::telemetry::Registry;
use crate::window::aggregate::SymbolMap;
use crate::window::{END_OF_TIME, Groups, PaneKey};

const SPLITS: u32 = 3;

const OUT_OF_ORDER_MS: i64 = 400;

/// An event: its time in ms after the beginning, vehicle, region and value.
pub(super) type Event = (i64, String, &'static str, f64);

/// Batches with their splits. Times go forward with disorder, some of it too great, and with pauses.
pub(super) fn script(seed: u64) -> Vec<(u32, Vec<Event>)> {
    let mut random = Rng::with_seed(seed);
    let mut now = [0_i64; SPLITS as usize];
    let batches = 0..60;
    batches
        .map(|_| {
            let split = random.u32(0..SPLITS);
            let now = &mut now[split as usize];
            let events = (0..random.usize(1..12)).map(|_| {
                *now += random.i64(0..120);
                if random.u8(..) < 3 {
                    *now += random.i64(0..6_000);
                }
                let disorder = if random.u8(..) < 12 { 4_000 } else { 300 };
                let vehicle = format!("V{}", random.u32(0..16));
                let region = ["UK", "US", "FR", ""][random.usize(0..4)];
                let x = f64::from(random.u32(0..100)) / 10.0;
                (*now - random.i64(0..disorder), vehicle, region, x)
            });
            (split, events.collect())
        })
        .collect()
}

/// A worker and owner without their thread.
pub(super) struct Worker {
    pub(super) interner: Interner,
    lookups: Vec<EventLookup>,
    splits: Splits,
    pub(super) stages: Vec<MetricStage>,
    pub(super) owned: Vec<OwnedMetric>,
    flushed: TimestampMs,
}

/// All workers of a run.
pub(super) struct Run<'s> {
    setting: &'s Setting,
    pub(super) workers: Vec<Worker>,
    /// The next position of each split.
    positions: [u64; SPLITS as usize],
    pub(super) samples: Vec<Sample>,
}

/// What a checkpoint holds of a run.
pub(super) struct Saved {
    /// Of each metric the parts.
    pub(super) parts: Vec<Vec<(SnapshotPart, Texts)>>,
    splits: Vec<u8>,
    watermark: TimestampMs,
    positions: [u64; SPLITS as usize],
}

impl<'s> Run<'s> {
    pub(super) fn new(setting: &'s Setting, workers: usize) -> Self {
        let metrics = PipelineMetrics::new(&Registry::new("test"));
        let described = &setting.pipeline.metrics;
        let worker = |_| {
            let (wake, _) = bounded(1);
            let counters: Vec<_> = described
                .iter()
                .map(|metric| metrics.of_metric(&metric.name))
                .collect();
            let both = || described.iter().zip(&counters);
            Worker {
                interner: Interner::new(),
                lookups: setting
                    .references
                    .lookups(&setting.pipeline, &wake)
                    .unwrap(),
                splits: Splits::new(OUT_OF_ORDER_MS),
                stages: both()
                    .map(|(metric, counters)| MetricStage::new(metric, counters))
                    .collect(),
                owned: both()
                    .map(|(metric, counters)| {
                        let mut owned = OwnedMetric::new(metric, counters, &setting.tables);
                        setting.keyed.iter().for_each(|keyed| owned.keep_in(keyed));
                        owned
                    })
                    .collect(),
                flushed: TimestampMs::MIN,
            }
        };
        let mut run = Self {
            setting,
            workers: (0..workers).map(worker).collect(),
            positions: [0; SPLITS as usize],
            samples: Vec::new(),
        };
        // A restored run assigns its splits once it is restored.
        run.workers[0].interner.intern("so that symbols differ");
        run
    }

    pub(super) fn assign(&mut self) {
        for id in 0..SPLITS {
            let name = format!("split/{id}").into();
            let worker = id as usize % self.workers.len();
            let id = SplitId(id);
            self.workers[worker].splits.assign(&Split { id, name });
        }
    }

    /// Processes a batch; then the workers of which `flushes` says so send what is closed.
    pub(super) fn batch(&mut self, split: u32, events: &[Event], flushes: impl FnMut() -> bool) {
        let number = split as usize % self.workers.len();
        let worker = &mut self.workers[number];
        let interner = &mut worker.interner;
        let first = self.positions[split as usize];
        let next = first + events.len() as u64;
        self.positions[split as usize] = next;
        let mut batch = Batch::new(SplitId(split));
        batch.times = events.iter().map(|event| START_MS + event.0).collect();
        batch.positions = (first..next).collect();
        let text = |interner: &mut Interner, text: &dyn Fn(&Event) -> String| {
            let symbols = events.iter().map(|event| interner.intern(&text(event)));
            Column::Text(symbols.collect())
        };
        batch.columns = vec![
            text(interner, &|event| event.1.clone()),
            text(interner, &|event| event.2.to_owned()),
            Column::Number(events.iter().map(|event| event.3).collect()),
        ];
        worker.splits.begin(batch.split, first);
        let highest = worker.splits.observe(&mut batch, None);
        for lookup in &mut worker.lookups {
            let Looked::Up(columns, None) = lookup.look_up(&batch, None, interner) else {
                panic!("a table answers at once, and drops nothing");
            };
            batch.columns.extend(columns);
        }
        let times = || batch.times.iter().copied();
        let progress = BatchProgress {
            span: (times().min().unwrap(), times().max().unwrap()),
            last_watermark: worker.splits.watermark(batch.split),
            written: TimestampMs::MIN,
        };
        let mut early = Vec::new();
        for (index, stage) in worker.stages.iter_mut().enumerate() {
            stage.ingest(&batch, &progress, interner);
            if let Some(keyed) = &self.setting.keyed {
                let panes = stage.hand_over_beyond(keyed.limit()).into_iter();
                early.extend(panes.map(|(key, groups)| (index, key, groups)));
            }
        }
        let split = batch.split;
        worker.splits.processed(split, first, next, None, highest);
        for (index, key, groups) in early {
            self.send(number, index, key, groups);
        }
        self.flush(self.watermark(), flushes);
    }

    fn watermark(&self) -> TimestampMs {
        let watermark = |split: u32| {
            let worker = &self.workers[split as usize % self.workers.len()];
            worker.splits.watermark(SplitId(split))
        };
        (0..SPLITS).map(watermark).min().unwrap()
    }

    fn flush(&mut self, watermark: TimestampMs, mut flushes: impl FnMut() -> bool) {
        let owners = self.workers.len();
        for number in 0..owners {
            if !flushes() || watermark <= self.workers[number].flushed {
                continue;
            }
            self.workers[number].flushed = watermark;
            for index in 0..self.setting.pipeline.metrics.len() {
                for (key, groups) in self.workers[number].stages[index].close(watermark) {
                    self.send(number, index, key, groups);
                }
            }
        }
        let complete = self.workers.iter().map(|worker| worker.flushed).min();
        let reached = self
            .workers
            .iter()
            .map(|worker| worker.splits.furthest_watermark())
            .max();
        for worker in &mut self.workers {
            for owned in &mut worker.owned {
                let (complete, reached) = (complete.unwrap(), reached.unwrap());
                let (interner, samples) = (&mut worker.interner, &mut self.samples);
                while !owned.advance(complete, reached, interner, samples).unwrap() {}
            }
        }
    }

    /// Sends groups of a worker to their owners.
    fn send(&mut self, from: usize, metric: usize, key: PaneKey, groups: Groups) {
        let route = Route::of(&self.setting.pipeline.metrics[metric]);
        let (owners, interner) = (self.workers.len(), &self.workers[from].interner);
        let owner_of = |key: &[Symbol]| route.owner_of(key, owners, interner);
        for routed in groups.route(owners, owner_of) {
            let texts = texts_of(&routed.groups, &self.workers[from].interner);
            let mut table = vec![Symbol::NULL; self.workers[from].interner.len()];
            let Worker {
                interner, owned, ..
            } = &mut self.workers[routed.owner];
            for (symbol, text) in texts {
                table[symbol.index()] = interner.intern(&text);
            }
            owned[metric].merge(key, routed.groups, &SymbolMap::Table(&table));
            owned[metric].make_room(interner).unwrap();
        }
    }

    /// The samples, in an order that does not depend on the owners.
    pub(super) fn end(mut self) -> Vec<String> {
        self.ends_here();
        let samples = std::mem::take(&mut self.samples);
        described(&samples)
    }

    /// The input is over.
    pub(super) fn ends_here(&mut self) {
        let last = self
            .workers
            .iter()
            .filter_map(|worker| worker.splits.highest());
        let last = last.max().unwrap_or(TimestampMs::MIN);
        for owned in self.workers.iter_mut().flat_map(|worker| &mut worker.owned) {
            owned.ends_behind(last);
        }
        let closed = self.workers.iter().map(|worker| worker.flushed).min();
        self.flush(END_OF_TIME, || true);
        self.end_series(closed.unwrap());
    }

    /// All series end, of which windows were formed up to `closed`.
    pub(super) fn end_series(&mut self, closed: TimestampMs) {
        for worker in &mut self.workers {
            for owned in &mut worker.owned {
                let (interner, samples) = (&mut worker.interner, &mut self.samples);
                while !owned.end_series(closed, interner, samples) {}
            }
        }
    }

    pub(super) fn freeze(&mut self) -> Saved {
        let mut parts: Vec<Vec<(SnapshotPart, Texts)>> = Vec::new();
        parts.resize_with(self.setting.pipeline.metrics.len(), Vec::new);
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let texts = worker.interner.texts();
            let (stages, owned) = (&mut worker.stages, &mut worker.owned);
            for ((parts, stage), owned) in parts.iter_mut().zip(stages).zip(owned) {
                let mut all = pane_parts(stage.freeze(), &format!("worker-{number}"));
                all.extend(owned.freeze().parts(&format!("owner-{number}")));
                parts.extend(all.into_iter().map(|part| (part, texts.clone())));
            }
        }
        let splits = self.workers.iter().map(|worker| worker.splits.snapshot());
        Saved {
            parts,
            splits: encode_splits(&all_of(splits, &SplitStates::new())),
            watermark: self
                .workers
                .iter()
                .map(|worker| worker.flushed)
                .max()
                .unwrap(),
            positions: self.positions,
        }
    }

    /// A worker lets go of the texts that nothing of it needs; gives how many these were.
    pub(super) fn compact(&mut self, number: usize) -> usize {
        let Worker {
            interner,
            lookups,
            stages,
            owned,
            ..
        } = &mut self.workers[number];
        let before = interner.len();
        let mut live = LiveSymbols::new(before);
        lookups.mark_live(&mut live);
        stages.mark_live(&mut live);
        owned.mark_live(&mut live);
        let numbers = interner.compact(&live);
        lookups.renumber(&numbers);
        stages.renumber(&numbers);
        owned.renumber(&numbers);
        before - interner.len()
    }

    /// A run that goes on from what was saved.
    pub(super) fn restore(setting: &'s Setting, workers: usize, saved: &Saved) -> Self {
        let mut run = Self::new(setting, workers);
        let splits = Arc::new(decode_splits(&saved.splits).unwrap());
        for worker in &mut run.workers {
            worker.splits.restore(splits.clone());
            for stage in &mut worker.stages {
                stage.restore(saved.watermark);
            }
        }
        run.assign();
        run.positions = saved.positions;
        for (index, (metric, parts)) in setting
            .pipeline
            .metrics
            .iter()
            .zip(&saved.parts)
            .enumerate()
        {
            let targets = run.workers.iter_mut().map(|worker| Target {
                metric: &mut worker.owned[index],
                interner: &mut worker.interner,
            });
            let mut restoration = Restoration::new(Route::of(metric), targets.collect()).unwrap();
            for (part, texts) in parts {
                restoration.part(&part.encode(texts).unwrap()).unwrap();
            }
            restoration.finish().unwrap();
        }
        run
    }
}

fn described(samples: &[Sample]) -> Vec<String> {
    let mut all: Vec<_> = samples
        .iter()
        .map(|sample| {
            let Sample {
                series,
                timestamp_ms,
                value,
            } = sample;
            let at = timestamp_ms - START_MS;
            match value.is_staleness_marker() {
                true => format!("{series:?} ends @{at}"),
                false => format!("{series:?} @{at} = {value:?}"),
            }
        })
        .collect();
    all.sort_unstable();
    all
}

pub(super) fn uncut(setting: &Setting, script: &[(u32, Vec<Event>)]) -> Vec<String> {
    let mut run = Run::new(setting, 1);
    run.assign();
    for (split, events) in script {
        run.batch(*split, events, || true);
    }
    run.end()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 30,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_cut_changes_no_sample(
        seed in any::<u64>(),
        cuts in prop::collection::vec(0_usize..60, 1..4),
        workers in prop::collection::vec(1_usize..4, 4),
        // Without a store, or with memory for so many groups.
        limit in prop::option::of(0_usize..8),
    ) {
        let mut setting = Setting::new();
        let script = script(seed);
        let expected = uncut(&setting, &script);
        setting.keyed = limit.map(|limit| KeyedState::new(Arc::new(MemoryStore::new()), limit));
        let mut random = Rng::with_seed(seed);
        let mut cuts = cuts;
        cuts.sort_unstable();
        let mut samples = Vec::new();
        let mut run = Run::new(&setting, workers[0]);
        run.assign();
        let mut next = 0;
        for (cut, workers) in cuts.into_iter().zip(&workers[1..]) {
            for (split, events) in &script[next.min(cut)..cut] {
                run.batch(*split, events, || random.bool());
            }
            next = cut;
            let saved = run.freeze();
            samples.extend(described(&run.samples));
            let formed = run.samples.len();
            // What is saved stays as it is while the run goes on.
            for (split, events) in &script[cut..] {
                run.batch(*split, events, || true);
            }
            prop_assert!(run.samples.len() >= formed);
            run = Run::restore(&setting, *workers, &saved);
        }
        for (split, events) in &script[next..] {
            run.batch(*split, events, || random.bool());
        }
        samples.extend(run.end());
        samples.sort_unstable();
        for (found, expected) in samples.iter().zip(&expected) {
            prop_assert_eq!(found, expected);
        }
        prop_assert_eq!(samples.len(), expected.len());
    }
}

#[test]
fn every_metric_has_samples_and_what_was_saved_is_saved_again_as_it_is() {
    let setting = Setting::new();
    let script = script(7);
    let samples = uncut(&setting, &script);
    for metric in &setting.pipeline.metrics {
        let name = format!("\"{}", metric.name);
        let count = samples
            .iter()
            .filter(|sample| sample.contains(&name))
            .count();
        assert!(count > 3, "{count} of {}", metric.name);
    }

    let tables = setting.references.states(&setting.pipeline);
    let table = |state: &LookupState| (state.lookup.clone(), state.version, state.rows);
    let tables: Vec<_> = tables.iter().map(table).collect();
    assert_eq!(tables, [("fleet".to_owned(), 1, 5)]);

    let mut run = Run::new(&setting, 2);
    run.assign();
    for (split, events) in &script[..40] {
        run.batch(*split, events, || true);
    }
    let pieces = |saved: &Saved| -> Vec<u64> {
        let parts = saved.parts.iter().flatten();
        parts.filter_map(|(part, _)| part.piece).collect()
    };
    let (first, second) = (run.freeze(), run.freeze());
    assert!(pieces(&first).len() > 20);
    assert_eq!(pieces(&first), pieces(&second), "nothing has changed");
    for parts in &first.parts {
        let mut names: Vec<_> = parts.iter().map(|(part, _)| &part.part).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), parts.len(), "each part has a name of its own");
    }
}

#[test]
fn parts_that_are_cut_off_or_of_another_metric_are_refused() {
    let setting = Setting::new();
    let mut run = Run::new(&setting, 2);
    run.assign();
    for (split, events) in &script(7)[..40] {
        run.batch(*split, events, || true);
    }
    let saved = run.freeze();
    for (index, parts) in saved.parts.iter().enumerate() {
        let layout = run.workers[0].owned[index].layout();
        for (part, texts) in parts {
            let bytes = part.encode(texts).unwrap();
            let read = |bytes: &[u8]| OwnedPart::decode(bytes, &layout, &mut Interner::new());
            let (pane, groups) = match read(&bytes).unwrap() {
                OwnedPart::Pane(key, groups) => (Some(HeadPane::Due(key)), groups.len()),
                OwnedPart::Sliding(start, groups) => (Some(HeadPane::Sliding(start)), groups.len()),
                OwnedPart::Sessions(groups) => (Some(HeadPane::Sessions), groups.len()),
                OwnedPart::Forming(_) | OwnedPart::Gathered(..) | OwnedPart::Living(_) => (None, 0),
            };
            let groups = groups as u64;
            assert_eq!(PartHead::decode(&bytes), Ok(PartHead { pane, groups }));
            for end in 0..bytes.len() {
                let error = read(&bytes[..end]).unwrap_err();
                assert!(!error.reason.is_empty());
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(read(&longer).unwrap_err().reason, "1 bytes too many");
        }
    }

    let index = |name: &str| {
        let metrics = &mut setting.pipeline.metrics.iter();
        metrics.position(|metric| &*metric.name == name).unwrap()
    };
    let refusal = |from: &str, to: &str, part: &str| {
        let mut fresh = Run::new(&setting, 1);
        let worker = &mut fresh.workers[0];
        let target = Target {
            metric: &mut worker.owned[index(to)],
            interner: &mut worker.interner,
        };
        let metric = &setting.pipeline.metrics[index(to)];
        let mut restoration = Restoration::new(Route::of(metric), vec![target]).unwrap();
        let parts = &saved.parts[index(from)];
        let parts = parts.iter().filter(|(known, _)| known.part.contains(part));
        let bytes: Vec<_> = parts
            .map(|(part, texts)| part.encode(texts).unwrap())
            .collect();
        let mut parts = bytes.iter().map(|bytes| restoration.part(bytes));
        match parts.find_map(Result::err) {
            Some(RestoreError::Corrupt(corrupt)) => corrupt.reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refusal("held", "firsts", "forming"),
        "the state is of a metric with held values, and this one is without"
    );
    assert_eq!(
        refusal("devices", "few", "forming"),
        "the state is of a metric without a budget of series, and this one is with"
    );
    assert_eq!(
        refusal("moving", "best", "sliding"),
        "panes of sliding windows, of which there are none"
    );
}

#[test]
fn a_window_that_was_formed_takes_in_nothing_more() {
    let setting = Setting::new();
    let mut run = Run::new(&setting, 1);
    run.assign();
    for (split, events) in &script(7)[..40] {
        run.batch(*split, events, || true);
    }
    let early = run.freeze();
    for (split, events) in &script(7)[40..] {
        run.batch(*split, events, || true);
    }
    let late = run.freeze();
    let mut fresh = Run::new(&setting, 1);
    let worker = &mut fresh.workers[0];
    let target = Target {
        metric: &mut worker.owned[0],
        interner: &mut worker.interner,
    };
    let metric = &setting.pipeline.metrics[0];
    let mut restoration = Restoration::new(Route::of(metric), vec![target]).unwrap();
    for (saved, wanted) in [(&early, "panes"), (&late, "forming")] {
        for (part, texts) in &saved.parts[0] {
            if part.part.contains(wanted) {
                restoration.part(&part.encode(texts).unwrap()).unwrap();
            }
        }
    }
    let error = restoration.finish().unwrap_err();
    assert!(
        error
            .reason
            .starts_with("something is left of the window that ends at "),
        "{error}"
    );
}
