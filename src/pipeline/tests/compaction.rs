//! Texts that nothing needs any more are let go of, and no sample shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use proptest::prelude::*;

use super::bench::{Setup, event, until};
use super::restore::{Event, Run, Saved, script, uncut};
use super::service::Service;
use super::setting::Setting;
use crate::pipeline::owner::keyed::KeyedState;
use crate::state::MemoryStore;

/// A script in which many names are of a time, as those of trips are. Twice all are silent for longer than
/// anything is remembered.
fn churning(seed: u64) -> Vec<(u32, Vec<Event>)> {
    let mut script = script(seed);
    let batches = script.iter_mut().enumerate();
    let events =
        batches.flat_map(|(batch, (_, events))| events.iter_mut().map(move |event| (batch, event)));
    for (batch, (millis, vehicle, ..)) in events {
        *millis += batch as i64 / 20 * 15_000;
        // V1 to V9 stay.
        if vehicle.len() > 2 {
            *vehicle = format!("{vehicle}-{}", *millis / 300);
        }
    }
    script
}

/// The bytes of all parts that were saved, by metric and name.
fn bytes(saved: &Saved) -> BTreeMap<(usize, String), Vec<u8>> {
    let metrics = saved.parts.iter().enumerate();
    let parts = metrics.flat_map(|(metric, parts)| parts.iter().map(move |part| (metric, part)));
    parts
        .map(|(metric, (part, texts))| ((metric, part.part.clone()), part.encode(texts).unwrap()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 30,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_sample_and_no_byte_of_the_state_shows_that_texts_are_let_go_of(
        seed in any::<u64>(),
        workers in prop::collection::vec(1_usize..4, 2),
        // Without a store, or with memory for so many groups.
        limit in prop::option::of(0_usize..8),
        // In how many of 256 batches this happens.
        often in prop_oneof![Just(10_u8), Just(128), Just(255)],
        cut in 0_usize..60,
    ) {
        let mut setting = Setting::new();
        let script = churning(seed);
        let expected = uncut(&setting, &script);
        setting.keyed = limit.map(|limit| KeyedState::new(Arc::new(MemoryStore::new()), limit));
        let mut random = Rng::with_seed(seed);
        let mut run = Run::new(&setting, workers[0]);
        run.assign();
        let mut cut_run = None;
        for (number, (split, events)) in script.iter().enumerate() {
            if number == cut {
                let before = run.freeze();
                for worker in 0..workers[0] {
                    run.compact(worker);
                }
                let after = run.freeze();
                prop_assert_eq!(bytes(&before), bytes(&after));
                let pieces = |saved: &Saved| -> Vec<Option<u64>> {
                    saved.parts.iter().flatten().map(|(part, _)| part.piece).collect()
                };
                prop_assert_eq!(pieces(&before), pieces(&after));
                cut_run = Some((before, run.samples.clone()));
            }
            run.batch(*split, events, || random.bool());
            for worker in 0..workers[0] {
                if random.u8(..) < often {
                    run.compact(worker);
                }
            }
        }
        prop_assert_eq!(&run.end(), &expected);

        // What was saved before is still read by the texts that it came with.
        let (saved, samples) = cut_run.unwrap();
        let mut run = Run::restore(&setting, workers[1], &saved);
        run.samples = samples;
        for (split, events) in &script[cut..] {
            run.batch(*split, events, || random.bool());
            run.compact(random.usize(0..workers[1]));
        }
        prop_assert_eq!(&run.end(), &expected);
    }
}

#[test]
fn texts_of_closed_windows_are_let_go_of() {
    let setting = Setting::new();
    let mut run = Run::new(&setting, 1);
    run.assign();
    let mut let_go = 0;
    for (split, events) in &churning(3) {
        run.batch(*split, events, || true);
        let_go += run.compact(0);
    }
    assert!(let_go > 50, "{let_go}");
    assert_eq!(run.compact(0), 0, "none twice");
}

#[test]
fn the_texts_of_a_hundred_windows_take_no_more_than_those_of_a_few() {
    const WINDOWS: u64 = 100;
    /// Vehicles of each window and split, which no other one has.
    const VEHICLES: u64 = 50;
    let bench = Setup {
        metrics: "
  m: { window: { tumbling: 1s }, by: [vehicle], value: count(*) }
  trips: { window: { session: 500ms }, by: [vehicle], value: count(*) }",
        workers: 2,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0, 1]);
    let mut most = (0.0, 0.0);
    for window in 0..WINDOWS {
        for split in [0, 1] {
            let of_vehicle = |number: u64| {
                let name = format!("a vehicle on its trip {window}-{split}-{number}");
                event((window * 1_000 + number) as i64, &name, "UK", 1.0)
            };
            let records: Vec<_> = (0..VEHICLES).map(of_vehicle).collect();
            bench.records(split, window * VEHICLES, &records);
        }
        // One window after the other: of the last one nothing is written yet.
        let formed = (2 * VEHICLES * window * 2) as f64;
        assert!(until(|| bench.metric("weir_samples_total") >= formed));
        let texts = bench.metric("weir_interned_texts");
        let bytes = bench.metric("weir_interned_bytes");
        most = (texts.max(most.0), bytes.max(most.1));
    }
    assert!(bench.metric("weir_interner_compaction_seconds_count") >= 20.0);
    bench.end();
    // Both workers have texts of the window at hand, as workers and as owners, and of the two windows
    // before for their series.
    let (texts, bytes) = most;
    let of_a_window = (2 * VEHICLES) as f64;
    assert!(texts < 12.0 * of_a_window, "{texts}");
    assert!(bytes < 12.0 * of_a_window * 150.0, "{bytes}");
}

#[test]
fn batches_that_wait_for_answers_keep_their_texts() {
    let service = Service::start();
    service.knows(&[
        ("V1", r#"{"model":"Helion"}"#),
        ("V2", r#"{"model":"Polara"}"#),
    ]);
    service.hold("V1");
    let bench = Setup {
        metrics: "
  gone: { where: x > 1, window: { tumbling: 1s }, by: [region], value: count(*) }
  m: { where: vehicle = 'V1', window: { tumbling: 1s }, by: [region, model], value: count(*) }
  all: { where: region <> 'FR', window: { tumbling: 1s }, by: [model], value: count(*) }",
        enrich: format!(
            "[{{ lookup: vehicles, key: vehicle, add: [model], otherwise: {{ model: unknown }},
                from: {{ http: {{ url: '{}', timeout: 60s }} }} }}]",
            service.url()
        ),
        ..Setup::default()
    }
    .start();
    // What comes first has the first symbols, and is not needed any more when its windows are over.
    bench.assign(&[1]);
    let gone: Vec<_> = (0..100)
        .map(|number| event(100, "V2", &format!("gone {number}"), 2.0))
        .collect();
    bench.records(1, 0, &gone);
    for (position, millis) in (100..).zip([2_000, 4_000, 6_000, 8_000]) {
        bench.records(1, position, &[event(millis, "V2", "FR", 2.0)]);
    }
    bench.await_samples(104);
    bench.assign(&[0]);
    let waiting = [("V1", "UK"), ("V2", "FR")];
    bench.records(
        0,
        0,
        &waiting.map(|(key, region)| event(8_100, key, region, 1.0)),
    );
    bench.await_metric("weir_lookup_parked_batches{lookup=\"vehicles\",pipeline=\"test\"} 1");
    for round in 0..50 {
        let of_region = |number: u64| event(8_100, "V2", &format!("region {round} {number}"), 1.0);
        let records: Vec<_> = (0..100).map(of_region).collect();
        bench.records(1, 104 + round * 100, &records);
    }
    assert!(until(|| bench.metric("weir_events_total") >= 5_106.0));
    assert!(until(|| bench.metric("weir_interned_texts") < 300.0));
    service.release();
    let (_, samples) = bench.end();
    let mut samples: Vec<_> = samples
        .iter()
        .filter(|sample| !sample.starts_with("gone"))
        .collect();
    samples.sort_unstable();
    let expected = [
        "all{Helion} @9000=1",
        "all{Polara} @1000=100",
        "all{Polara} @9000=5000",
        "m{Helion,UK} @9000=1",
    ];
    assert_eq!(samples, expected);
    assert_eq!(service.asked(), ["V1", "V2"], "each once");
}
