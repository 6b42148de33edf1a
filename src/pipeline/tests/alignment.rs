//! Splits of uneven speed: what is open stays bounded, and the samples are the same.

use std::collections::VecDeque;

use super::bench::{Setup, event, split};
use crate::model::SplitId;
use crate::source::SourceEvent;

/// How much event time each of the splits has in all.
const SPAN_MS: i64 = 6 * 3_600_000;
const WINDOW_MS: i64 = 60_000;
const MAX_DRIFT_MS: i64 = 300_000;
const DISORDER_MS: i64 = 2_000;
const BATCH: usize = 10;
/// The time between two events of each split, ms: in batches of ten, the first split goes twenty
/// times as fast through event time as the last.
const STEPS_MS: [i64; 8] = [60_000, 31_000, 17_000, 11_000, 7_000, 5_000, 4_000, 3_000];

const METRICS: &str = "
  events: { window: { tumbling: 1m }, by: [region], value: count(*) }
  reporting: { window: { tumbling: 1m }, value: count(DISTINCT vehicle) }";

/// The batches of each split, with the time of the last event.
fn batches(step_ms: i64) -> VecDeque<Vec<String>> {
    let count = SPAN_MS / step_ms;
    let events: Vec<_> = (0..count)
        .map(|number| {
            let millis = number * step_ms - (number % 3) * (DISORDER_MS / 2);
            let vehicle = format!("V{}", (number + step_ms) % 97);
            event(millis.max(0), &vehicle, "UK", 1.0)
        })
        .collect();
    events.chunks(BATCH).map(<[_]>::to_vec).collect()
}

/// What became of a run in which the splits hand over a batch each in turns.
struct Outcome {
    samples: Vec<String>,
    /// The most windows that were open at once, of the metric that has more.
    peak: f64,
    pauses: f64,
}

fn replay(time: &'static str, workers: usize) -> Outcome {
    let bench = Setup {
        metrics: METRICS,
        time,
        workers,
        ..Setup::default()
    }
    .start();
    let splits = || (0..).zip(STEPS_MS);
    bench.assign(&splits().map(|(id, _)| id).collect::<Vec<_>>());
    let mut unread: Vec<_> = splits().map(|(id, step)| (id, 0, batches(step))).collect();
    while !unread.is_empty() {
        unread.retain_mut(|(id, position, batches)| {
            let Some(batch) = batches.pop_front() else {
                bench.say(SourceEvent::Finished(SplitId(*id)));
                return false;
            };
            bench.records(*id, *position, &batch);
            *position += BATCH as u64;
            true
        });
    }
    let registry = bench.running.registry().clone();
    let (finished, samples) = bench.end();
    assert!(finished.error.is_none(), "{:?}", finished.error);
    assert_eq!(finished.status.late, 0);
    let value = |name: &str| super::bench::metric(&registry, name);
    Outcome {
        samples,
        // Both metrics have the same windows.
        peak: value("weir_open_windows_peak") / 2.0,
        pauses: value("weir_split_pauses_total"),
    }
}

#[test]
fn a_replay_of_uneven_splits_holds_a_bounded_number_of_windows_open() {
    let free = replay(
        "out_of_order: 2s, idle_after: 10s, max_ahead: 10h, max_drift: 1000d",
        1,
    );
    assert_eq!(free.pauses, 0.0);
    let windows = |millis: i64| (millis as f64 / WINDOW_MS as f64).ceil();
    assert!(free.peak > windows(SPAN_MS) / 2.0, "{}", free.peak);
    // What is open begins at the watermark; a batch of the fastest split may go beyond the drift,
    // and a window is open at both ends.
    let in_flight_ms = STEPS_MS[0] * BATCH as i64;
    let bound = windows(MAX_DRIFT_MS + DISORDER_MS + in_flight_ms) + 2.0;
    for workers in [1, 3] {
        let aligned = replay(
            "out_of_order: 2s, idle_after: 10s, max_ahead: 10h, max_drift: 5m",
            workers,
        );
        assert!(aligned.pauses > 0.0);
        // With several workers the peaks of all are added.
        let bound = bound * workers as f64;
        assert!(aligned.peak <= bound, "{} > {bound}", aligned.peak);
        assert_eq!(aligned.samples, free.samples, "{workers} workers");
    }
}

#[test]
fn what_waits_for_the_others_is_dropped_with_its_split() {
    let bench = Setup::default().start();
    bench.assign(&[0, 1]);
    let times = |millis: &[i64]| super::bench::events(millis);
    bench.records(0, 0, &times(&[100]));
    bench.records(1, 0, &times(&[600_100]));
    bench.await_metric("weir_splits{state=\"paused\",pipeline=\"test\"} 1");
    bench.records(1, 1, &times(&[600_200, 600_300]));
    bench.say(SourceEvent::Revoked(SplitId(1)));
    bench.await_metric("weir_splits{state=\"paused\",pipeline=\"test\"} 0");
    // Somebody else had the records and gave the split back behind them.
    bench.say(SourceEvent::Assigned(split(1)));
    bench.records(1, 3, &times(&[600_400]));
    let (finished, samples) = bench.end();
    assert_eq!(samples, ["m{UK} @1000=1", "m{UK} @601000=2"]);
    assert_eq!(finished.status.events, 3);
}

#[test]
fn what_waits_for_the_others_goes_on_when_its_split_is_to_go() {
    let bench = Setup::default().start();
    bench.assign(&[0, 1]);
    let times = |millis: &[i64]| super::bench::events(millis);
    bench.records(0, 0, &times(&[100]));
    bench.records(1, 0, &times(&[600_100]));
    bench.await_metric("weir_splits{state=\"paused\",pipeline=\"test\"} 1");
    bench.records(1, 1, &times(&[600_200, 700_300]));
    assert_eq!(bench.running.status().events, 2);
    bench.say(SourceEvent::Leaving(SplitId(1)));
    assert!(super::bench::until(|| bench.running.status().events == 4));
    bench.await_metric("weir_splits{state=\"paused\",pipeline=\"test\"} 0");
    assert!(!bench.has_written(), "windows still wait for the others");
    // It is gone, and comes back behind what somebody else has read.
    bench.idle(1, 1);
    bench.say(SourceEvent::Assigned(split(1)));
    bench.records(1, 7, &times(&[800_000]));
    bench.await_metric("weir_splits{state=\"paused\",pipeline=\"test\"} 1");
    let (finished, samples) = bench.end();
    assert_eq!(
        samples,
        [
            "m{UK} @1000=1",
            "m{UK} @601000=2",
            "m{UK} @701000=1",
            "m{UK} @801000=1"
        ]
    );
    assert_eq!(finished.status.events, 5);
}

#[test]
fn a_split_that_falls_silent_lets_the_others_go_on() {
    let bench = Setup::default().start();
    bench.assign(&[0, 1]);
    let times = |millis: &[i64]| super::bench::events(millis);
    bench.records(0, 0, &times(&[100]));
    bench.records(1, 0, &times(&[600_100]));
    bench.records(1, 1, &times(&[700_000]));
    bench.await_metric("weir_splits{state=\"paused\",pipeline=\"test\"} 1");
    assert!(!bench.has_written(), "the other one has not come so far");
    assert!((bench.metric("weir_drift_seconds") - 600.0).abs() < 1e-9);
    bench.idle(0, 1);
    assert_eq!(bench.await_samples(2), ["m{UK} @1000=1", "m{UK} @601000=1"]);
    let (_, samples) = bench.end();
    assert_eq!(samples.len(), 3);
}
