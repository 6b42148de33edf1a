//! Devices whose clocks are wrong.

use fastrand::Rng;

use super::bench::{START_MS, Setup, batch, event, events};
use crate::source::SourceEvent;

const DAY_MS: i64 = 86_400_000;
const DEVICES: usize = 500;

/// Ten seconds of a fleet in order, each device once a second; one of them is a day ahead.
fn fleet(is_ahead: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for second in 0..10 {
        for device in 0..DEVICES {
            let millis = second * 1_000 + (device * 1_000 / DEVICES) as i64;
            // The wrong one comes first of all.
            let ahead = if is_ahead && device == 0 { DAY_MS } else { 0 };
            lines.push(event(millis + ahead, &format!("V{device}"), "UK", 1.0));
        }
    }
    lines
}

/// The samples of a run that hands over the lines in batches of these sizes, in turn, and the
/// number of late events. Each line is received at the time that is said of it, if any.
fn run(
    time: &'static str,
    fixed_clock: bool,
    lines: &[String],
    sizes: &[usize],
    received: impl Fn(usize) -> Option<i64>,
) -> (Vec<String>, u64) {
    let bench = Setup {
        time,
        fixed_clock,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0]);
    let mut position = 0;
    for size in sizes.iter().cycle() {
        let end = (position + size).min(lines.len());
        let mut records = batch(0, position as u64, &[]);
        for (index, line) in lines.iter().enumerate().take(end).skip(position) {
            records.push(line.as_bytes(), index as u64);
            if let Some(millis) = received(index) {
                records.set_timestamp(START_MS + millis);
            }
        }
        bench.say(SourceEvent::Records(records));
        position = end;
        if position == lines.len() {
            break;
        }
    }
    let (finished, samples) = bench.end();
    assert!(finished.error.is_none(), "{:?}", finished.error);
    (samples, finished.status.late)
}

fn second(index: usize) -> Option<i64> {
    Some((index / DEVICES) as i64 * 1_000 + 1_000)
}

const WITHOUT: &str = "out_of_order: 1s, max_ahead: 2d";
const KEPT: &str = "out_of_order: 1s, max_ahead: 2d, clock: { device: vehicle }";
const DROPPED: &str =
    "out_of_order: 1s, max_ahead: 2d, clock: { device: vehicle, quarantine: true }";

/// The samples of the fleet, with those of the day after.
fn expected(of_a_second: usize, of_the_day_after: usize) -> Vec<String> {
    let line = |offset: i64, count: usize| {
        move |second: i64| format!("m{{UK}} @{}={count}", offset + second * 1_000)
    };
    let mut lines: Vec<_> = (1..=10).map(line(0, of_a_second)).collect();
    if of_the_day_after > 0 {
        lines.extend((1..=10).map(line(DAY_MS, of_the_day_after)));
    }
    lines
}

#[test]
fn one_device_a_day_ahead_does_not_make_the_others_late() {
    let lines = fleet(true);
    let (_, late) = run(WITHOUT, false, &lines, &[64], second);
    assert!(
        late > 4_000,
        "only {late} events are late without a judgement"
    );
    for sizes in [&[64][..], &[1, 700, 3], &[5_000]] {
        // The transport says when each event came.
        let (samples, late) = run(KEPT, false, &lines, sizes, second);
        assert_eq!((samples, late), (expected(499, 1), 0));
        let (samples, late) = run(DROPPED, false, &lines, sizes, second);
        assert_eq!((samples, late), (expected(499, 0), 0));
        // Nothing is known but the events themselves; then none of them is dropped.
        for time in [KEPT, DROPPED] {
            let (samples, late) = run(time, true, &lines, sizes, |_| None);
            assert_eq!((samples, late), (expected(499, 1), 0));
        }
    }
}

#[test]
fn right_clocks_give_the_same_with_and_without_a_judgement() {
    let lines = fleet(false);
    let (samples, late) = run(WITHOUT, false, &lines, &[64], second);
    assert_eq!((&samples, late), (&expected(500, 0), 0));
    for (fixed, received) in [(false, second as fn(usize) -> _), (true, |_| None)] {
        let (found, late) = run(DROPPED, fixed, &lines, &[64], received);
        assert_eq!((&found, late), (&samples, 0));
    }
}

#[test]
fn a_gap_in_the_data_loses_nothing() {
    let mut lines = fleet(false);
    for second in 0..10 {
        for device in 0..DEVICES {
            let millis = 3_600_000 + second * 1_000 + (device * 1_000 / DEVICES) as i64;
            lines.push(event(millis, &format!("V{device}"), "UK", 1.0));
        }
    }
    let time = "out_of_order: 1s, max_ahead: 2d, clock: { device: vehicle, max_skew: 5m }";
    let (samples, late) = run(time, true, &lines, &[100, 7], |_| None);
    assert_eq!(late, 0);
    assert_eq!(samples.len(), 20);
    assert!(samples.iter().all(|sample| sample.ends_with("=500")));
}

#[test]
fn devices_are_counted_by_what_they_are_and_no_longer_once_they_are_right() {
    let bench = Setup {
        time: "out_of_order: 0s, max_ahead: 2d, \
               clock: { device: vehicle, by: [region], received: x, max_skew: 1m }",
        ..Setup::default()
    }
    .start();
    bench.assign(&[0]);
    let now = START_MS as f64;
    let bad = |region| event(DAY_MS, &format!("bad-{region}"), region, now);
    let slow = |_| event(-600_000, "slow", "US", now);
    let mut lines = vec![
        bad("UK"),
        bad("UK"),
        bad("US"),
        bad("US"),
        event(0, "good", "UK", now),
    ];
    lines.extend((0..16).map(slow));
    bench.records(0, 0, &lines);
    let devices = |region: &str, state: &str, count: u32| {
        let name = "weir_clock_skewed_devices";
        bench.await_metric(&format!(
            "{name}{{region=\"{region}\",state=\"{state}\",pipeline=\"test\"}} {count}"
        ));
    };
    devices("UK", "ahead", 1);
    devices("US", "ahead", 1);
    devices("US", "behind", 1);
    // The first event of each is ahead by itself.
    let events_of = |state: &str, count: u32| {
        let name = "weir_clock_skewed_events_total";
        bench.await_metric(&format!(
            "{name}{{state=\"{state}\",pipeline=\"test\"}} {count}"
        ));
    };
    events_of("ahead", 4);
    events_of("behind", 1);
    let right = vec![event(0, "bad-UK", "UK", now); 32];
    bench.records(0, 100, &right);
    events_of("ahead", 4 + 29);
    let gone = super::bench::until(|| {
        let text = crate::telemetry::Registry::text([bench.running.registry()]);
        !text.contains("weir_clock_skewed_devices{region=\"UK\"")
    });
    assert!(gone);
}

/// A split of which no event may move the watermark does not hold back the windows of others.
#[test]
fn a_split_of_wrong_clocks_only_steps_aside() {
    let bench = Setup {
        time: "out_of_order: 0s, idle_after: 10s, max_ahead: 2d, clock: { device: vehicle }",
        workers: 2,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0, 1]);
    bench.records(0, 0, &events(&[100, 5_000]));
    bench.records(1, 0, &events(&[DAY_MS]));
    bench.records(1, 1, &events(&[DAY_MS]));
    bench.await_metric("weir_clock_skewed_events_total{state=\"ahead\",pipeline=\"test\"} 2");
    bench.advance_clock(10_000);
    bench.records(1, 2, &events(&[DAY_MS]));
    assert_eq!(bench.await_samples(1), ["m{UK} @1000=1"]);
}

/// However the events of several splits come, and however many workers there are.
#[test]
fn what_is_dropped_depends_on_the_order_within_a_split_only() {
    let time = "out_of_order: 5s, max_ahead: 2d, \
                clock: { device: vehicle, received: x, max_skew: 1s, quarantine: true }";
    let script: Vec<Vec<String>> = (0..4)
        .map(|split| {
            let mut random = Rng::with_seed(split);
            let mut line = |number: i64| {
                let device = random.u8(0..6);
                let skew = i64::from(device) * 700 - 2_000 + random.i64(-500..500);
                let received = (START_MS + number * 10) as f64;
                event(number * 10 + skew, &format!("V{device}"), "UK", received)
            };
            (300..900).map(&mut line).collect()
        })
        .collect();
    let run = |workers, seed| {
        let bench = Setup {
            time,
            workers,
            ..Setup::default()
        }
        .start();
        bench.assign(&[0, 1, 2, 3]);
        let mut random = Rng::with_seed(seed);
        let mut next = [0; 4];
        while next.iter().any(|next| *next < 600) {
            let split = random.usize(0..4);
            let end = (next[split] + random.usize(1..40)).min(600);
            if end > next[split] {
                bench.records(
                    split as u32,
                    next[split] as u64,
                    &script[split][next[split]..end],
                );
            }
            next[split] = end;
        }
        let registry = bench.running.registry().clone();
        let (finished, samples) = bench.end();
        let dropped = super::bench::metric(&registry, "weir_clock_dropped_events_total");
        (samples, finished.status.late, dropped)
    };
    let expected = run(1, 1);
    assert!(expected.2 > 100.0, "only {} are dropped", expected.2);
    for (workers, seed) in [(1, 2), (2, 3), (4, 4)] {
        assert_eq!(
            run(workers, seed),
            expected,
            "{workers} workers, seed {seed}"
        );
    }
}
