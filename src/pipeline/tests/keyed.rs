//! State that is larger than memory: what is held there is bounded, and what is not is on disk for as long
//! as somebody needs it.

use std::sync::Arc;

use super::restore::{Event, Run, script, uncut};
use super::setting::Setting;
use crate::pipeline::owner::keyed::KeyedState;
use crate::state::{MemoryStore, Store, StoreErrorKind};
use crate::window::END_OF_TIME;

/// How many groups of a metric a worker holds, and an owner.
const LIMIT: usize = 100;

/// Metrics of tumbling windows with a group for each vehicle or more.
const BY_KEY: [&str; 5] = ["firsts", "held", "best", "few", "latest"];

fn with_store() -> (Setting, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut setting = Setting::new();
    setting.keyed = Some(KeyedState::new(store.clone(), LIMIT));
    (setting, store)
}

/// Batches of 50 events of vehicles that all report twice within the first second.
fn many(vehicles: u32) -> Vec<(u32, Vec<Event>)> {
    let event = |number: u32| {
        let region = if number.is_multiple_of(3) { "UK" } else { "FR" };
        let vehicle = format!("V{}", number % vehicles);
        (i64::from(number % 900), vehicle, region, f64::from(number))
    };
    let starts = (0..2 * vehicles).step_by(50);
    starts
        .map(|start| (start / 50 % 3, (start..start + 50).map(event).collect()))
        .collect()
}

/// The most groups and bytes that a worker or owner has had in memory of metrics by key, and the most
/// bytes that were on disk.
#[derive(Debug, Default)]
struct Most {
    groups: usize,
    bytes: usize,
    stored: usize,
}

impl Most {
    fn see(&mut self, run: &Run<'_>, setting: &Setting) {
        for worker in &run.workers {
            for (index, metric) in setting.pipeline.metrics.iter().enumerate() {
                if BY_KEY.contains(&&*metric.name) {
                    let store = worker.stages[index].store();
                    let (_, groups, bytes) = worker.owned[index].state();
                    self.groups = self.groups.max(groups).max(store.open_groups());
                    self.bytes = self.bytes.max(bytes).max(store.byte_len());
                    self.stored = self.stored.max(worker.owned[index].stored_bytes());
                }
            }
        }
    }
}

/// Lets all vehicles report, looks at the memory meanwhile, and gives the samples as well.
fn run_of(vehicles: u32) -> (Most, Vec<String>) {
    let (setting, store) = with_store();
    let mut run = Run::new(&setting, 2);
    run.assign();
    let mut most = Most::default();
    for (split, events) in many(vehicles) {
        run.batch(split, &events, || true);
        most.see(&run, &setting);
    }
    assert!(run.samples.is_empty(), "no window has closed yet");
    let samples = run.end();
    assert_eq!(store.list("").unwrap(), Vec::<String>::new());
    (most, samples)
}

#[test]
fn more_keys_take_more_disk_and_no_more_memory() {
    let (few, _) = run_of(400);
    let (many_keys, samples) = run_of(3_200);
    assert!(few.groups <= LIMIT && many_keys.groups <= LIMIT);
    assert!(few.bytes > 0);
    assert!(
        many_keys.bytes <= few.bytes * 3 / 2,
        "{few:?} {many_keys:?}"
    );
    assert!(many_keys.stored > 6 * few.stored, "{few:?} {many_keys:?}");

    let in_memory = uncut(&Setting::new(), &many(3_200));
    assert!(in_memory.len() > 3_200);
    assert_eq!(samples, in_memory);
}

#[test]
fn what_a_checkpoint_refers_to_stays_until_it_is_written_and_is_not_written_again() {
    let (setting, store) = with_store();
    let mut run = Run::new(&setting, 2);
    run.assign();
    for (split, events) in &many(400) {
        run.batch(*split, events, || true);
    }
    let (first, second) = (run.freeze(), run.freeze());
    let blocks = |saved: &super::restore::Saved| -> Vec<(String, Option<u64>)> {
        let parts = saved.parts.iter().flatten();
        let blocks = parts.filter(|(part, _)| part.part.contains("/blocks/"));
        blocks
            .map(|(part, _)| (part.part.clone(), part.piece))
            .collect()
    };
    assert_eq!(blocks(&first).len(), store.list("").unwrap().len());
    assert!(blocks(&first).len() > 64);
    assert_eq!(blocks(&first), blocks(&second), "nothing has changed");
    drop(second);

    let rest = run.end();
    for (part, texts) in first.parts.iter().flatten() {
        assert!(part.encode(texts).unwrap().len() > 10, "{}", part.part);
    }
    let again = Run::restore(&setting, 3, &first);
    drop(first);
    assert_eq!(again.end(), rest);
    assert_eq!(store.list("").unwrap(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_back_is_an_error_and_no_sample() {
    let (setting, store) = with_store();
    let mut run = Run::new(&setting, 1);
    run.assign();
    for (split, events) in &many(400) {
        run.batch(*split, events, || true);
    }
    for name in store.list("").unwrap() {
        // No texts, the version, and a kind that there is none.
        store.put(&name, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 7]).unwrap();
    }
    let metrics = &setting.pipeline.metrics;
    for name in BY_KEY {
        let index = metrics.iter().position(|metric| &*metric.name == name);
        let worker = &mut run.workers[0];
        let owned = &mut worker.owned[index.unwrap()];
        assert!(owned.stored_bytes() > 0, "{name}");
        let mut samples = Vec::new();
        let error = owned
            .advance(END_OF_TIME, 0, &mut worker.interner, &mut samples)
            .unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Corrupt);
        assert_eq!(error.words, "7 is no kind of state");
        assert!(samples.is_empty(), "{name}");
    }
}

#[test]
fn every_kind_of_metric_forms_the_same_samples_with_room_for_nothing() {
    let script = script(11);
    let expected = uncut(&Setting::new(), &script);
    for limit in [0, 1, 5] {
        let mut setting = Setting::new();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        setting.keyed = Some(KeyedState::new(store.clone(), limit));
        assert_eq!(uncut(&setting, &script), expected, "{limit}");
        assert_eq!(store.list("").unwrap(), Vec::<String>::new());
    }
}
