//! What becomes of samples that the receiver is known to refuse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;

use super::super::config::OnRejected;
use super::super::limits::ReceiverLimits;
use super::super::shard::tests::{Bench, Setting, answer, limits, pass};
use crate::model::{Clock, Duration, Sample, TimestampMs};
use crate::telemetry::Registry;
use crate::write::rejected::{RejectedSample, RejectedSamples};
use crate::write::testing::sample;

const NOW: TimestampMs = 1_730_620_800_000;

fn hour_and_minute() -> ReceiverLimits {
    ReceiverLimits {
        label_value_bytes: Some(8),
        age: Some(Duration::from_secs(3_600)),
        ahead: Some(Duration::from_secs(60)),
        ..ReceiverLimits::default()
    }
}

/// A place for what is refused, and a shard that uses it.
fn bench(setting: Setting) -> (tempfile::TempDir, RejectedSamples, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let kept = RejectedSamples::new(folder.path().join("rejected"), 1 << 20);
    let bench = Setting {
        rejected: Some(kept.clone()),
        ..setting
    }
    .start();
    (folder, kept, bench)
}

fn push(bench: &Bench, samples: Vec<Sample>) {
    assert_eq!(bench.offer(samples), []);
}

/// How many were dropped, by reason, without those of which there are none.
fn dropped(bench: &Bench) -> BTreeMap<String, u64> {
    let text = Registry::text([&bench.registry]);
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("weir_samples_dropped_total{reason=\""));
    let counts = lines.map(|line| {
        let (reason, rest) = line.split_once('"').unwrap();
        let count = rest.rsplit_once(' ').unwrap().1;
        (reason.to_owned(), count.parse().unwrap())
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let expected = expected.iter();
    expected
        .map(|(reason, count)| ((*reason).to_owned(), *count))
        .collect()
}

fn kept_samples(kept: &RejectedSamples) -> Vec<Sample> {
    let samples = kept.read().unwrap().samples.into_iter();
    samples.map(|kept| kept.sample).collect()
}

#[tokio::test(start_paused = true)]
async fn they_are_kept_without_a_status_and_all_others_are_sent() {
    let (_folder, kept, mut bench) = bench(Setting {
        receiver_limits: hour_and_minute(),
        clock: Clock::Fixed(NOW),
        on_rejected: OnRejected::Isolate,
        ..Setting::default()
    });
    let old = sample("old", &[], NOW - 3_600_001, 1.0);
    let ahead = sample("ahead", &[], NOW + 60_001, 2.0);
    let long = sample("long", &[("text", "123456789")], NOW, 3.0);
    push(
        &bench,
        vec![
            sample("good", &[], NOW - 3_600_000, 1.0),
            old.clone(),
            ahead.clone(),
            sample("good", &[], NOW, 2.0),
            long.clone(),
            // Behind one that is far ahead, and not late because of it.
            sample("ahead", &[], NOW + 60_000, 4.0),
        ],
    );
    bench.mark(NOW);
    bench.finish().await;
    assert_eq!(bench.acknowledged(), NOW);
    assert_eq!(bench.unacknowledged(), []);
    let expected = counts(&[
        ("label_value_too_long", 1),
        ("too_far_ahead", 1),
        ("too_old", 1),
    ]);
    assert_eq!(dropped(&bench), expected);
    let metrics = &bench.shared.metrics;
    assert_eq!((metrics.written(), metrics.waiting()), (3, 0));
    assert_eq!(bench.asked().len(), 1);
    let record = |sample: Sample, words: &str| RejectedSample {
        rejected_at_ms: NOW,
        receiver: "http://receiver/write".to_owned(),
        status: None,
        words: words.to_owned(),
        sample,
    };
    let expected = [
        record(
            old,
            "it is 1h1ms old, and the receiver takes samples of up to 1h; if it takes older ones, raise \
             limits.age",
        ),
        record(
            ahead,
            "it is 1m1ms ahead of this machine's clock, and the receiver takes samples of up to 1m; look \
             at the clocks of whoever sends the events, or raise limits.ahead",
        ),
        record(
            long,
            "the value of 'text' has 9 bytes, and the receiver takes 8; shorten it, or raise the \
             receiver's limit and limits.label_value_bytes",
        ),
    ];
    assert_eq!(kept.read().unwrap().samples, expected);
}

#[tokio::test(start_paused = true)]
async fn a_request_of_nothing_else_is_not_made() {
    let (_folder, kept, mut bench) = bench(Setting {
        receiver_limits: hour_and_minute(),
        clock: Clock::Fixed(NOW),
        ..Setting::default()
    });
    push(&bench, vec![sample("old", &[], 0, 1.0)]);
    bench.mark(7);
    bench.finish().await;
    assert_eq!(bench.acknowledged(), 7);
    assert_eq!(bench.asked(), []);
    assert_eq!(bench.unacknowledged(), []);
    assert_eq!(kept_samples(&kept).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn fail_fails_for_them_too_and_drops_nothing() {
    let (_folder, kept, mut bench) = bench(Setting {
        receiver_limits: hour_and_minute(),
        clock: Clock::Fixed(NOW),
        on_rejected: OnRejected::Fail,
        ..Setting::default()
    });
    let good = sample("good", &[], NOW, 1.0);
    push(
        &bench,
        vec![good, sample("long", &[("x", "123456789")], NOW, 1.0)],
    );
    bench.finish().await;
    let error = bench.shared.fatal.take().unwrap();
    assert_eq!(
        error.to_string(),
        "a sample of long{x=\"123456789\"} would be refused by the receiver: the value of 'x' has 9 \
         bytes, and the receiver takes 8; shorten it, or raise the receiver's limit and \
         limits.label_value_bytes"
    );
    assert_eq!(dropped(&bench), counts(&[]));
    assert_eq!(bench.asked(), []);
    assert_eq!(bench.unacknowledged().len(), 2);
    assert_eq!(kept_samples(&kept), []);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_too_old_while_the_receiver_is_away_is_not_sent_again() {
    let clock = Arc::new(AtomicI64::new(NOW));
    let (_folder, kept, mut bench) = bench(Setting {
        receiver_limits: hour_and_minute(),
        clock: Clock::Manual(Arc::clone(&clock)),
        answers: (0..3).map(|_| answer(503, "later")).collect(),
        limits: limits(3, 1_000),
        on_rejected: OnRejected::Isolate,
        ..Setting::default()
    });
    let aging = sample("aging", &[], NOW - 3_000_000, 1.0);
    push(
        &bench,
        vec![
            sample("young", &[], NOW - 10, 1.0),
            aging.clone(),
            sample("young", &[], NOW, 2.0),
        ],
    );
    bench.mark(NOW);
    pass(1).await;
    clock.store(NOW + 1_000_000, Ordering::Release);
    pass(60_000).await;
    let attempts: Vec<u32> = bench.asked().iter().map(|asked| asked.attempt).collect();
    // The waits go on growing, though the request has become smaller.
    assert_eq!(attempts, [0, 1, 2, 3]);
    assert_eq!(bench.acknowledged(), NOW);
    assert_eq!(dropped(&bench), counts(&[("too_old", 1)]));
    assert_eq!(kept_samples(&kept), [aging]);
    assert_eq!(bench.shared.metrics.written(), 2);
    clock.store(NOW + 10_000_000, Ordering::Release);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn when_all_of_a_request_becomes_too_old_the_next_one_goes_out() {
    let clock = Arc::new(AtomicI64::new(NOW));
    let (_folder, kept, mut bench) = bench(Setting {
        receiver_limits: hour_and_minute(),
        clock: Clock::Manual(Arc::clone(&clock)),
        answers: vec![answer(503, "later")],
        limits: limits(2, 1_000),
        ..Setting::default()
    });
    push(
        &bench,
        (0..4)
            .map(|number| sample("up", &[], NOW + number * 60_000 / 4, 1.0))
            .collect(),
    );
    pass(0).await;
    clock.store(NOW + 3_600_000 + 15_001, Ordering::Release);
    bench.finish().await;
    assert_eq!(dropped(&bench), counts(&[("too_old", 2)]));
    assert_eq!(kept_samples(&kept).len(), 2);
    assert_eq!(bench.shared.metrics.written(), 2);
    assert_eq!(bench.asked().len(), 2);
}

/// Samples of some series, in the order of their times within each; some beyond some limit.
fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let one = (0..6_i64, -200_i64..200, "[a-c]{1,4}", "[x]{0,5}");
    prop::collection::vec(one, 0..60).prop_map(|some| {
        let mut last = BTreeMap::new();
        let mut samples = Vec::new();
        for (number, step, label, value) in some {
            let name = format!("m{number}");
            let mut one = sample(&name, &[(&label, &value)], 0, step as f64);
            // Times of a series grow, now and then beyond what is taken.
            let time = last.entry(one.series.to_string()).or_insert(NOW - 150);
            *time += step.abs() + 1;
            one.timestamp_ms = *time;
            samples.push(one);
        }
        samples
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_taken_is_what_is_within_the_limits_in_its_order(
        samples in any_samples(),
        batch in 1_usize..20,
        label_name_bytes in prop::option::of(1_usize..4),
        label_value_bytes in prop::option::of(2_usize..5),
        age in prop::option::of(0_u64..150),
        ahead in prop::option::of(0_u64..150),
    ) {
        let receiver_limits = ReceiverLimits {
            label_names: None,
            label_name_bytes,
            label_value_bytes,
            age: age.map(Duration::from_millis),
            ahead: ahead.map(Duration::from_millis),
        };
        let is_good = |sample: &Sample| {
            let over = |limit: Option<usize>, bytes: usize| limit.is_some_and(|limit| bytes > limit);
            let age_ms = NOW - sample.timestamp_ms;
            let is_beyond = |limit: Option<u64>, ms: i64| limit.is_some_and(|limit| ms > limit as i64);
            !over(label_value_bytes, sample.series.name().len())
                && !is_beyond(age, age_ms)
                && !is_beyond(ahead, -age_ms)
                && sample.series.labels().iter().all(|(name, value)| {
                    !over(label_name_bytes, name.len()) && !over(label_value_bytes, value.len())
                })
        };
        let (good, bad): (Vec<Sample>, Vec<Sample>) = samples.iter().cloned().partition(is_good);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (_folder, kept, mut bench) = bench(Setting {
                receiver_limits,
                clock: Clock::Fixed(NOW),
                limits: limits(batch, 1_000),
                ..Setting::default()
            });
            push(&bench, samples);
            bench.mark(5);
            bench.finish().await;
            let sent = bench.shared.transport.taken();
            prop_assert_eq!(by_series(&sent), by_series(&good));
            prop_assert_eq!(by_series(&kept_samples(&kept)), by_series(&bad));
            let metrics = &bench.shared.metrics;
            let found = (metrics.written(), metrics.dropped(), metrics.waiting());
            prop_assert_eq!(found, (good.len() as u64, bad.len() as u64, 0));
            prop_assert_eq!(bench.acknowledged(), 5);
            Ok(())
        })?;
    }
}

/// The times and values of each series, in their order.
fn by_series(samples: &[Sample]) -> BTreeMap<String, Vec<(TimestampMs, f64)>> {
    let mut all: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for sample in samples {
        let known = all.entry(sample.series.to_string()).or_default();
        known.push((sample.timestamp_ms, sample.value.number().unwrap()));
    }
    all
}
