//! What becomes of requests that are refused, held or throttled.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::super::config::{OnRejected, OnThrottleLimit};
use super::super::partition::sample_bytes;
use super::super::shard::tests::{Bench, Judge, Setting, answer, limits, pass};
use super::failure::Failure;
use crate::model::Sample;
use crate::telemetry::Registry;
use crate::write::rejected::RejectedSamples;
use crate::write::testing::sample;

/// One sample of each of these series.
fn series(names: impl IntoIterator<Item = usize>) -> Vec<Sample> {
    let names = names.into_iter();
    names
        .map(|number| sample(&format!("m{number:04}"), &[], 10, number as f64))
        .collect()
}

fn push(bench: &Bench, samples: Vec<Sample>) {
    assert_eq!(bench.offer(samples), []);
}

/// The names in the requests that were taken, in their order.
fn names(bench: &Bench) -> Vec<Vec<String>> {
    bench.asked().into_iter().map(|asked| asked.names).collect()
}

fn value(bench: &Bench, line: &str) -> u64 {
    let text = Registry::text([&bench.registry]);
    let found = text.lines().find_map(|found| found.strip_prefix(line));
    found
        .unwrap_or_else(|| panic!("no {line} in {text}"))
        .trim()
        .parse()
        .unwrap()
}

fn dropped(bench: &Bench, reason: &str) -> u64 {
    value(
        bench,
        &format!("weir_samples_dropped_total{{reason=\"{reason}\",pipeline=\"test\"}}"),
    )
}

/// Refuses what has one of two series in it.
fn judge(names: &[String], _: usize) -> Result<u16, Failure> {
    let guilty = names
        .iter()
        .find(|name| ["m0007", "m0041"].contains(&name.as_str()));
    match guilty {
        Some(name) => answer(400, &format!("out of order sample of {name}")),
        None => Ok(204),
    }
}

#[tokio::test(start_paused = true)]
async fn the_guilty_are_kept_and_the_others_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let kept = RejectedSamples::new(folder.path().join("rejected"), 1 << 20);
    let mut bench = Setting {
        judge,
        on_rejected: OnRejected::Isolate,
        rejected: Some(kept.clone()),
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..100));
    bench.mark(10);
    push(
        &bench,
        vec![sample("m0007", &[], 20, 1.0), sample("m0008", &[], 20, 1.0)],
    );
    bench.finish().await;
    assert_eq!(bench.acknowledged(), 10);
    let contents = kept.read().unwrap();
    let found = contents.samples.iter().map(|kept| {
        let name = kept.sample.series.name().to_string();
        (
            name,
            kept.sample.timestamp_ms,
            kept.status,
            &*kept.words,
            &*kept.receiver,
            kept.rejected_at_ms,
        )
    });
    let here = "http://receiver/write";
    let expected = [
        (
            "m0007".to_owned(),
            10,
            Some(400),
            "out of order sample of m0007",
            here,
            99,
        ),
        (
            "m0041".to_owned(),
            10,
            Some(400),
            "out of order sample of m0041",
            here,
            99,
        ),
        (
            "m0007".to_owned(),
            20,
            Some(400),
            "out of order sample of m0007",
            here,
            99,
        ),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(
        (bench.shared.metrics.written(), dropped(&bench, "rejected")),
        (99, 3)
    );
    assert_eq!(bench.shared.metrics.waiting(), 0);
    let requests = names(&bench);
    assert!(requests.len() <= 24, "{} requests", requests.len());
    // Nobody was asked twice for what was taken.
    let taken = requests
        .iter()
        .filter(|names| judge(names, 0).is_ok())
        .flatten();
    let mut taken: Vec<&String> = taken.collect();
    let count = taken.len();
    taken.sort();
    taken.dedup();
    assert_eq!((count, taken.len()), (99, 98), "m0008 has two");
}

#[tokio::test(start_paused = true)]
async fn without_a_place_they_are_counted() {
    let mut bench = Setting {
        judge,
        on_rejected: OnRejected::Isolate,
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..100));
    bench.finish().await;
    assert_eq!(
        (bench.shared.metrics.written(), dropped(&bench, "rejected")),
        (98, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn drop_asks_once() {
    let mut bench = Setting {
        judge,
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..100));
    bench.finish().await;
    assert_eq!(names(&bench).len(), 1);
    assert_eq!(
        (bench.shared.metrics.written(), dropped(&bench, "rejected")),
        (0, 100)
    );
}

#[tokio::test(start_paused = true)]
async fn fail_ends_the_writer_and_drops_nothing() {
    let mut bench = Setting {
        judge,
        on_rejected: OnRejected::Fail,
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..100));
    bench.finish().await;
    let error = bench.shared.fatal.take().unwrap();
    assert_eq!(
        error.to_string(),
        "the receiver refused with 400: out of order sample of m0007"
    );
    assert_eq!(bench.unacknowledged().len(), 100);
    assert_eq!(dropped(&bench, "rejected"), 0);
}

#[tokio::test(start_paused = true)]
async fn fail_holds_for_a_piece_of_what_was_too_large() {
    let cases: [Judge; 2] = [
        |names, _| match names.len() {
            0..=30 => judge(names, 0),
            _ => answer(413, "too large"),
        },
        |_, _| answer(413, "too large"),
    ];
    for judge in cases {
        let mut bench = Setting {
            judge,
            on_rejected: OnRejected::Fail,
            ..Setting::default()
        }
        .start();
        push(&bench, series(0..100));
        bench.finish().await;
        assert!(bench.shared.fatal.take().is_some());
        assert_eq!(dropped(&bench, "rejected"), 0);
        assert_eq!(bench.unacknowledged().len(), 100);
    }
}

/// How many samples the limit is.
fn limit(bench: &Bench) -> u64 {
    value(
        bench,
        "weir_remote_write_batch_limit_samples{pipeline=\"test\"}",
    )
}

#[tokio::test(start_paused = true)]
async fn full_requests_grow_while_they_are_taken_quickly() {
    let mut bench = Setting {
        limits: limits(700, 1_000),
        is_adaptive: true,
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..2_000));
    push(&bench, series(2_000..2_010));
    bench.finish().await;
    let sizes: Vec<_> = names(&bench).iter().map(Vec::len).collect();
    assert_eq!(sizes, [100, 200, 400, 700, 610]);
    assert_eq!(limit(&bench), 700);
}

#[tokio::test(start_paused = true)]
async fn after_413_requests_stay_below_it() {
    let mut bench = Setting {
        judge: |names, _| match names.len() {
            0..=300 => Ok(204),
            _ => answer(413, "too large"),
        },
        limits: limits(1_000, 1_000),
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..2_600));
    bench.finish().await;
    let sizes: Vec<_> = names(&bench).iter().map(Vec::len).collect();
    let first = [1_000, 500, 250, 250, 500, 250, 250];
    let second = [500, 250, 250];
    assert_eq!(sizes[..10], [&first[..], &second].concat());
    assert_eq!(sizes[10..], [250, 250, 250, 250, 100]);
    assert_eq!(limit(&bench), 250);
    assert_eq!(bench.shared.metrics.written(), 2_600);
}

#[tokio::test(start_paused = true)]
async fn one_sample_that_is_too_large_does_not_make_requests_small() {
    let mut bench = Setting {
        judge: |names, _| match names.contains(&"m0007".to_owned()) {
            true => answer(413, "too large"),
            false => Ok(204),
        },
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..100));
    bench.finish().await;
    assert_eq!(limit(&bench), 100);
    assert_eq!(dropped(&bench, "rejected"), 1);
    assert_eq!(bench.shared.metrics.written(), 99);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_makes_the_following_ones_smaller() {
    let timed_out = || Err(Failure::TimedOut("30s".to_owned()));
    let mut bench = Setting {
        answers: vec![timed_out(), timed_out(), timed_out()],
        limits: limits(400, 1_000),
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..900));
    bench.finish().await;
    let sizes: Vec<_> = names(&bench).iter().map(Vec::len).collect();
    // The request itself is repeated as it is: the receiver may have it.
    assert_eq!(sizes, [400, 400, 400, 400, 200, 200, 100]);
    assert_eq!(limit(&bench), 200);
}

#[tokio::test(start_paused = true)]
async fn a_small_request_that_takes_too_long_says_nothing_of_the_size() {
    let timed_out = || Err(Failure::TimedOut("30s".to_owned()));
    let mut bench = Setting {
        answers: vec![timed_out(), timed_out()],
        limits: limits(400, 1_000),
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..1));
    bench.finish().await;
    assert_eq!(names(&bench).len(), 3);
    assert_eq!(limit(&bench), 400);
}

#[tokio::test(start_paused = true)]
async fn the_circuit_is_open_while_the_receiver_takes_nothing() {
    let later = |_| {
        Err(Failure::of_answer(
            503,
            "later".into(),
            Some(Duration::from_secs(10)),
        ))
    };
    let mut bench = Setting {
        answers: (0..6).map(later).collect(),
        ..Setting::default()
    }
    .start();
    let is_open =
        |bench: &Bench| value(bench, r#"weir_remote_write_circuit_open{pipeline="test"}"#);
    push(&bench, series(0..3));
    // The fifth failure comes after the batch's deadline and four waits.
    pass(40_500).await;
    assert_eq!((is_open(&bench), names(&bench).len()), (0, 4));
    pass(1_000).await;
    assert_eq!((is_open(&bench), names(&bench).len()), (1, 1));
    pass(20_000).await;
    assert_eq!(is_open(&bench), 0);
    bench.finish().await;
    assert_eq!(bench.shared.metrics.written(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_goes_in_pieces_whatever_is_done_about_refusals() {
    for on_rejected in [OnRejected::Isolate, OnRejected::Drop, OnRejected::Fail] {
        let mut bench = Setting {
            judge: |names, _| match names.len() {
                0..=30 => Ok(204),
                _ => answer(413, "too large"),
            },
            on_rejected,
            ..Setting::default()
        }
        .start();
        push(&bench, series(0..100));
        bench.finish().await;
        let sizes: Vec<usize> = names(&bench).iter().map(Vec::len).collect();
        assert_eq!(sizes, [100, 50, 25, 25, 50, 25, 25]);
        assert_eq!(bench.shared.metrics.written(), 100);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_misconfigured_is_held_until_it_is_mended() {
    for status in [401, 403, 404, 302] {
        let mut bench = Setting {
            answers: (0..9).map(|_| answer(status, "no")).collect(),
            ..Setting::default()
        }
        .start();
        push(&bench, series(0..3));
        pass(100_000).await;
        assert_eq!(names(&bench).len(), 10, "{status}");
        assert_eq!(bench.shared.metrics.written(), 3);
        assert_eq!(bench.shared.metrics.dropped(), 0);
        bench.finish().await;
    }
}

/// Answers 500 to what has a guilty series in it, as Prometheus 2.42 does to samples that are too old.
fn fails_at_the_guilty(names: &[String], _: usize) -> Result<u16, Failure> {
    match judge(names, 0) {
        Ok(status) => Ok(status),
        Err(_) => answer(500, "too old sample"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_500_that_the_samples_draw_does_not_block_the_others_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let kept = RejectedSamples::new(folder.path().join("rejected"), 1 << 20);
    let mut bench = Setting {
        judge: fails_at_the_guilty,
        on_rejected: OnRejected::Isolate,
        rejected: Some(kept.clone()),
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..100));
    bench.finish().await;
    let contents = kept.read().unwrap();
    let found: Vec<_> = contents
        .samples
        .iter()
        .map(|kept| kept.sample.series.name().to_string())
        .collect();
    assert_eq!(found, ["m0007", "m0041"]);
    assert_eq!(
        (bench.shared.metrics.written(), dropped(&bench, "rejected")),
        (98, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_at_everything_loses_nothing() {
    let mut bench = Setting {
        judge: |_, asked| match asked {
            0..500 => answer(500, "disk on fire"),
            _ => Ok(204),
        },
        on_rejected: OnRejected::Isolate,
        ..Setting::default()
    }
    .start();
    push(&bench, series(0..20));
    bench.finish().await;
    assert_eq!(
        (
            bench.shared.metrics.written(),
            bench.shared.metrics.dropped()
        ),
        (20, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn when_all_is_refused_the_requests_are_bounded() {
    let mut bench = Setting {
        limits: limits(1_000, 1_000),
        judge: |_, _| answer(400, "per-user series limit of 10 exceeded"),
        on_rejected: OnRejected::Isolate,
        ..Setting::default()
    }
    .start();
    for _ in 0..6 {
        push(&bench, series(0..1_000));
        pass(10).await;
    }
    bench.finish().await;
    assert_eq!(
        dropped(&bench, "rejected") + dropped(&bench, "out_of_order"),
        6_000
    );
    let requests = names(&bench).len();
    assert!(requests < 300, "{requests} requests");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_give_way_only_while_the_receiver_takes_nothing() {
    let all = series(0..10);
    let mut bench = Setting {
        limits: limits(2, 1_000),
        answers: vec![Err(Failure::of_answer(
            429,
            "slow".into(),
            Some(Duration::from_secs(60)),
        ))],
        on_throttle_limit: OnThrottleLimit::DropOldest,
        queue_bytes: 4 * sample_bytes(&all[0]),
        ..Setting::default()
    }
    .start();
    // The receiver has not been asked yet.
    let left = bench.offer(series(0..6));
    assert_eq!(left, series(4..6));
    pass(10).await;
    push(&bench, series(4..10));
    assert_eq!(dropped(&bench, "queue_full"), 4);
    bench.mark(10);
    sleep(Duration::from_secs(61)).await;
    bench.finish().await;
    let taken: Vec<String> = names(&bench).into_iter().skip(1).flatten().collect();
    assert_eq!(
        taken,
        ["m0000", "m0001", "m0006", "m0007", "m0008", "m0009"]
    );
    assert_eq!(bench.acknowledged(), 10);
    assert_eq!(bench.shared.metrics.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn samples_give_way_also_while_another_shard_asks_the_receiver() {
    let all = series(0..1);
    let mut bench = Setting {
        limits: limits(2, 1_000),
        on_throttle_limit: OnThrottleLimit::DropOldest,
        queue_bytes: 4 * sample_bytes(&all[0]),
        ..Setting::default()
    }
    .start();
    let shared = Arc::clone(&bench.shared);
    (0..5).for_each(|_| shared.circuit.failed());
    let probe = shared.circuit.enter().await;
    assert!(probe.is_some());
    push(&bench, series(0..2));
    pass(10).await;
    // The shard has these, has asked nobody, and waits for the other.
    assert_eq!(bench.asked().len(), 0);
    push(&bench, series(2..10));
    assert_eq!(dropped(&bench, "queue_full"), 4);
    shared.circuit.answered();
    drop(probe);
    bench.finish().await;
    let taken: Vec<String> = names(&bench).into_iter().flatten().collect();
    assert_eq!(
        taken,
        ["m0000", "m0001", "m0006", "m0007", "m0008", "m0009"]
    );
}
