//! Series that end: which, when, and when not.

use super::bench::{START_MS, remote_pipeline};
use super::restore::{Event, Run};
use super::setting::Setting;
use crate::config::Metric;
use crate::model::{Interner, Sample, TimestampMs};
use crate::pipeline::exchange::{Message, Sent};
use crate::pipeline::metrics::PipelineMetrics;
use crate::pipeline::owner::Owner;
use crate::pipeline::owner::living::Living;
use crate::pipeline::owner::snapshot::OwnedPart;
use crate::telemetry::Registry;
use crate::window::END_OF_TIME;

/// Samples as `region @end=value` or `region @end ends`, those of one series in their order.
fn told(samples: &[Sample]) -> Vec<String> {
    let told = samples.iter().map(|sample| {
        let values = sample.series.labels().iter().map(|(_, value)| &**value);
        let values: Vec<_> = values.collect();
        let (labels, at) = (values.join(","), sample.timestamp_ms - START_MS);
        match sample.value.number() {
            _ if sample.value.is_staleness_marker() => format!("{labels} @{at} ends"),
            Some(value) => format!("{labels} @{at}={value}"),
            None => format!("{labels} @{at} is a distribution"),
        }
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by(|one, other| one.split(' ').next().cmp(&other.split(' ').next()));
    told
}

/// An event of a region.
fn of(region: &'static str, millis: i64) -> Event {
    (millis, format!("V-{region}"), region, 1.0)
}

/// A run of one metric that has seen these events, with the watermark 400 ms behind the last one.
fn seen<'s>(setting: &'s Setting, events: &[Event]) -> Run<'s> {
    let mut run = Run::new(setting, 1);
    run.assign();
    for event in events {
        // Every split moves on, though the metric has the event of one only.
        let other = (event.0, event.1.clone(), event.2, -1.0);
        run.batch(0, std::slice::from_ref(event), || true);
        run.batch(1, std::slice::from_ref(&other), || true);
        run.batch(2, &[other], || true);
    }
    run
}

fn setting(metric: &str) -> Setting {
    Setting::with(&format!("\n  m: {{ where: x >= 0, {metric} }}"))
}

/// What is formed up to the watermark.
fn formed(metric: &str, events: &[Event]) -> Vec<String> {
    let setting = setting(metric);
    let run = seen(&setting, events);
    told(&run.samples)
}

#[test]
fn a_series_ends_at_the_first_window_that_is_late_enough_and_may_come_back() {
    let events = [
        of("UK", 100),
        of("US", 2_100),
        of("US", 3_900),
        of("US", 4_500),
        of("UK", 8_000),
        of("US", 12_000),
    ];
    let samples = formed(
        "window: { tumbling: 1s, stale_after: 2500ms }, by: [region], value: count(*)",
        &events,
    );
    assert_eq!(
        samples,
        [
            "UK @1000=1",
            "UK @4000 ends",
            "UK @9000=1",
            "US @3000=1",
            "US @4000=1",
            "US @5000=1",
            "US @8000 ends",
        ]
    );
}

#[test]
fn no_series_ends_where_that_is_not_said() {
    let events = [of("UK", 100), of("US", 900_000)];
    let samples = formed(
        "window: { tumbling: 1s }, by: [region], value: count(*)",
        &events,
    );
    assert_eq!(samples, ["UK @1000=1"]);
}

#[test]
fn a_series_of_sliding_windows_ends_a_slide_behind_its_last_window() {
    let samples = formed(
        "window: { sliding: 3s, slide: 1s, stale_after: 1s }, by: [region], value: count(*)",
        &[of("UK", 500), of("US", 9_500)],
    );
    assert_eq!(
        samples,
        ["UK @1000=1", "UK @2000=1", "UK @3000=1", "UK @4000 ends"]
    );
}

#[test]
fn a_series_lives_while_its_values_are_held() {
    let samples = formed(
        "window: { tumbling: 1s, stale_after: 1s }, by: [region], \
         per: { key: vehicle, let: { last: last(x) }, hold: 2s }, value: sum(last)",
        &[of("UK", 500), of("US", 9_500)],
    );
    assert_eq!(
        samples,
        ["UK @1000=1", "UK @2000=1", "UK @3000=1", "UK @4000 ends"]
    );
}

#[test]
fn a_series_that_is_not_among_the_first_any_more_ends() {
    let events = [of("UK", 100), of("US", 1_100), of("UK", 1_200)];
    let more = (1_300, "V2".to_owned(), "US", 1.0);
    let events = [&events[..], &[more, of("US", 3_000)]].concat();
    let samples = formed(
        "window: { tumbling: 1s, stale_after: 1s }, by: [region], topk: 1, value: count(*)",
        &events,
    );
    assert_eq!(samples, ["UK @1000=1", "UK @2000 ends", "US @2000=2"]);
}

#[test]
fn with_a_budget_the_series_that_are_silent_longest_end_before_their_time() {
    const HOUR_MS: i64 = 3_600_000;
    let hours = |hours: i64| hours * (HOUR_MS + 1_000);
    let events = [
        of("UK", hours(0)),
        of("US", hours(1)),
        of("FR", hours(2)),
        of("FR", hours(2) + 5_000),
    ];
    let samples = formed(
        "window: { tumbling: 1s, stale_after: 1d }, by: [region], max_series: 1, value: count(*)",
        &events,
    );
    assert_eq!(
        samples,
        [
            "FR @7203000=1",
            "UK @1000=1",
            "UK @7203000 ends",
            "US @3602000=1"
        ],
        "a place for one series, and one for the rest"
    );
}

#[test]
fn all_series_of_a_group_end() {
    let count = |metric: &str| {
        let samples = formed(metric, &[of("UK", 500), of("US", 9_500)]);
        let of_uk = samples.iter().filter(|line| line.contains("UK"));
        let (ends, values): (Vec<_>, Vec<_>) = of_uk.partition(|line| line.ends_with("@3000 ends"));
        (values.len(), ends.len())
    };
    let window = "window: { tumbling: 1s, stale_after: 2s }, by: [region]";
    assert_eq!(count(&format!("{window}, value: histogram(x)")), (1, 1));
    let buckets = format!("{window}, value: 'buckets(x, 1, 2)'");
    assert_eq!(count(&buckets), (5, 5), "three buckets, sum and count");
}

#[test]
fn completeness_ends_a_day_behind_the_last_event() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let setting = Setting::with(
        "
  m: { where: x >= 0, window: { tumbling: 1h, stale_after: 2h }, by: [model], completeness: fleet, value: count(*) }",
    );
    let events = [
        (0, "V0".to_owned(), "UK", 1.0),
        (DAY_MS * 2, "V2".to_owned(), "UK", 1.0),
    ];
    let run = seen(&setting, &events);
    let ends = run
        .samples
        .iter()
        .filter(|sample| sample.value.is_staleness_marker());
    let ends: Vec<_> = ends
        .filter(|sample| sample.series.name().starts_with("m_devices"))
        .map(|sample| sample.timestamp_ms)
        .collect();
    // The last window of silence ends a day behind the one with the event.
    let windows = run.samples.iter().filter(|sample| {
        sample.series.name().starts_with("m_devices") && !sample.value.is_staleness_marker()
    });
    let last = windows.map(|sample| sample.timestamp_ms).max().unwrap();
    assert_eq!(
        ends,
        vec![last + 2 * 3_600_000; 4 * 3],
        "four of each model"
    );
}

const WINDOW: &str = "window: { tumbling: 1s, stale_after: 4s }, by: [region], value: count(*)";

#[test]
fn at_the_end_of_the_input_all_series_end_behind_the_last_window() {
    let setting = setting(WINDOW);
    let mut run = seen(&setting, &[of("UK", 100), of("FR", 1_500), of("US", 5_500)]);
    run.ends_here();
    assert_eq!(
        told(&run.samples),
        [
            "FR @2000=1",
            "FR @6000 ends",
            "UK @1000=1",
            "UK @5000 ends",
            "US @6000=1",
            "US @7000 ends",
        ],
        "FR is as late in the last window as any watermark would have told"
    );
}

#[test]
fn at_a_stop_all_series_end_at_the_first_window_that_is_not_formed() {
    let setting = setting(WINDOW);
    let mut run = seen(&setting, &[of("UK", 100), of("US", 3_100), of("US", 4_300)]);
    // The watermark is at 3,900; the window that ends at 4,000 has an event, and is left.
    run.end_series(START_MS + 3_900);
    assert_eq!(
        told(&run.samples),
        ["UK @1000=1", "UK @4000 ends"],
        "US never had a sample"
    );
}

#[test]
fn what_is_over_sooner_after_a_restart_ends_behind_what_was_formed() {
    let long = setting("window: { tumbling: 1s, stale_after: 1h }, by: [region], value: count(*)");
    let mut run = seen(&long, &[of("UK", 100), of("US", 8_000)]);
    let saved = run.freeze();
    let short = setting("window: { tumbling: 1s, stale_after: 2s }, by: [region], value: count(*)");
    let mut run = Run::restore(&short, 1, &saved);
    for worker in &mut run.workers {
        worker.owned[0].go_on_behind(START_MS + 7_600);
    }
    for split in 0..3 {
        run.batch(split, &[of("US", 9_600)], || true);
    }
    assert_eq!(told(&run.samples), ["UK @8000 ends", "US @9000=1"]);
    let none = setting("window: { tumbling: 1s }, by: [region], value: count(*)");
    let mut run = Run::restore(&none, 2, &saved);
    run.ends_here();
    assert_eq!(told(&run.samples), ["US @9000=1"], "nothing ends any more");
}

/// An owner of a metric with a series that has had its last sample, and its interner.
fn owner(metrics: &[Metric], workers: usize) -> (Owner, Interner) {
    let counters = PipelineMetrics::new(&Registry::new("test"));
    let counters: Vec<_> = metrics
        .iter()
        .map(|metric| counters.of_metric(&metric.name))
        .collect();
    let mut owner = Owner::new(metrics, workers, &counters, &[]);
    let mut interner = Interner::new();
    let mut living = Living::new(&metrics[0]).unwrap();
    living.saw(&[interner.intern("UK")], START_MS + 1_000);
    let part = OwnedPart::Living((*living.freeze()).clone());
    owner.metric_mut(0).unwrap().restore(part).unwrap();
    (owner, interner)
}

/// What an owner of two workers says of its series while it hears of their ends.
fn heard(messages: impl IntoIterator<Item = (usize, Message)>) -> Vec<String> {
    let pipeline = remote_pipeline("[]", &format!("\n  m: {{ {WINDOW} }}"));
    let (mut owner, mut interner) = owner(&pipeline.metrics, 2);
    let mut heard = Vec::new();
    for (worker, message) in messages {
        let sent = Sent { worker, message };
        owner.receive(sent, &mut interner).unwrap();
        while owner.is_due() {
            let formed = owner.form(&mut interner).unwrap();
            heard.extend(told(&formed.samples));
            heard.extend(formed.watermark.map(|watermark| match watermark {
                END_OF_TIME => "all formed".to_owned(),
                watermark => format!("formed until {}", watermark - START_MS),
            }));
        }
    }
    assert_eq!(owner.is_done(), !heard.is_empty());
    heard
}

fn flushed(watermark: TimestampMs) -> Message {
    Message::Flushed {
        watermark,
        reached: START_MS + 2_000,
    }
}

fn last_event(millis: i64) -> Message {
    Message::SeriesEnd {
        last_event: START_MS + millis,
    }
}

#[test]
fn series_end_with_the_last_windows_and_before_these_are_said_to_be_formed() {
    let messages = [
        (0, last_event(2_100)),
        (0, flushed(END_OF_TIME)),
        (0, Message::Done),
        (1, last_event(1_100)),
        (1, flushed(END_OF_TIME)),
        (1, Message::Done),
    ];
    assert_eq!(heard(messages), ["UK @4000 ends", "all formed"]);
}

#[test]
fn series_live_on_where_a_worker_or_the_source_has_failed() {
    let failed = [
        (0, flushed(END_OF_TIME)),
        (0, Message::Done),
        (1, flushed(END_OF_TIME)),
        (1, Message::Done),
    ];
    assert_eq!(heard(failed), ["all formed"]);
    let one_is_missing = [
        (0, last_event(2_100)),
        (0, flushed(END_OF_TIME)),
        (0, Message::Done),
    ];
    assert_eq!(heard(one_is_missing), Vec::<String>::new());
}

#[test]
fn series_end_where_windows_are_left_and_nobody_goes_on() {
    let stopped = || Message::SeriesEnd {
        last_event: TimestampMs::MIN,
    };
    let messages = [
        (0, flushed(START_MS + 2_600)),
        (1, flushed(START_MS + 2_200)),
        (0, stopped()),
        (0, Message::Done),
        (1, stopped()),
        (1, Message::Done),
    ];
    assert_eq!(
        heard(messages),
        ["formed until 2200", "UK @3000 ends", "formed until 2200"]
    );
}
