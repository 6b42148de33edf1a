//! When windows close, and which events they hold.

use std::time::Duration;

use super::bench::{START_MS, Setup, event, events, split, until};
use crate::model::SplitId;
use crate::source::SourceEvent;

#[test]
fn windows_close_by_the_clock_when_all_is_silent_and_no_earlier() {
    let bench = Setup::default().start();
    bench.assign(&[0]);
    bench.records(0, 0, &events(&[100]));
    bench.idle(0, 1);
    // One more millisecond of silence would close the window.
    bench.advance_clock(899);
    bench.records(0, 1, &events(&[50]));
    bench.await_metric("weir_splits{state=\"idle\",pipeline=\"test\"} 0");
    bench.idle(0, 1);
    // Samples are written once the watermark is past them.
    bench.advance_clock(901);
    assert_eq!(bench.await_samples(1), ["m{UK} @1000=2"]);
    let (finished, samples) = bench.end();
    assert_eq!(samples, ["m{UK} @1000=2"]);
    assert_eq!(finished.status.late, 0);
}

#[test]
fn events_of_a_split_that_wakes_up_after_its_window_has_closed_are_counted() {
    let bench = Setup {
        workers: 2,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0, 1]);
    bench.records(0, 0, &events(&[100]));
    bench.records(1, 0, &events(&[100]));
    bench.idle(1, 1);
    bench.records(0, 1, &events(&[3_000]));
    assert_eq!(bench.await_samples(1), ["m{UK} @1000=2"]);

    // The first is late because of the silence, the third because of its own split.
    bench.records(1, 1, &events(&[200, 3_500, 300, 3_600]));
    let (finished, samples) = bench.end();
    assert_eq!(samples, ["m{UK} @1000=2", "m{UK} @4000=3"]);
    assert_eq!(finished.status.late, 2);
}

#[test]
fn late_events_are_counted_by_what_made_them_late() {
    let bench = Setup::default().start();
    bench.assign(&[0, 1]);
    bench.records(1, 0, &events(&[100]));
    bench.idle(1, 1);
    bench.records(0, 0, &events(&[3_000, 999, 2_999]));
    bench.await_samples(1);
    bench.records(1, 1, &events(&[200]));
    let late = |reason, count| {
        format!(
            "weir_late_events_total{{metric=\"m\",reason=\"{reason}\",pipeline=\"test\"}} {count}"
        )
    };
    bench.await_metric(&late("late", 2));
    bench.await_metric(&late("late_after_idle", 1));
}

#[test]
fn diverted_events_say_what_they_were_late_for() {
    let bench = Setup {
        metrics: "
  m: { window: { tumbling: 1s }, by: [region], value: count(*) }
  n: { window: { tumbling: 2s }, by: [region], value: count(*) }",
        divert: true,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0, 1]);
    bench.records(1, 0, &events(&[100]));
    bench.idle(1, 1);
    bench.records(0, 0, &events(&[1_500]));
    bench.await_samples(1);
    // The first window of `m` has closed during the silence, that of `n` has not.
    bench.records(1, 1, &events(&[200, 1_700]));
    // Now it has, and it is late for `m` by its own split.
    bench.records(0, 1, &events(&[3_000]));
    bench.idle(1, 1);
    bench.await_samples(3);
    bench.records(1, 3, &[event(300, "V1", "UK", 7.0), "{".to_owned()]);
    let total = |reason, count| {
        format!("weir_dead_letters_total{{reason=\"{reason}\",pipeline=\"test\"}} {count}")
    };
    for (reason, count) in [("late", 1), ("late_after_idle", 1), ("malformed_json", 1)] {
        bench.await_metric(&total(reason, count));
    }
    let letters = bench.letters();
    let found: Vec<_> = letters
        .iter()
        .map(|letter| {
            let metrics: Vec<_> = letter["metrics"].as_array().into_iter().flatten().collect();
            let metrics: Vec<_> = metrics.iter().filter_map(|name| name.as_str()).collect();
            let text = |name: &str| letter[name].as_str().unwrap_or_default();
            let watermark = letter["watermark_ms"].as_i64().map(|time| time - START_MS);
            (
                letter["position"].as_u64().unwrap(),
                text("reason"),
                metrics.join(" "),
                watermark,
                letter["dropped_at_ms"].as_i64().unwrap() - START_MS,
                letter["events_used"].as_u64().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            // What `n` has counted is used.
            (1, "late_after_idle", "m".to_owned(), Some(1_500), 0, 1),
            (3, "late", "m n".to_owned(), Some(1_700), 0, 0),
            (4, "malformed_json", String::new(), None, 0, 0),
        ]
    );
    assert_eq!(letters[1]["detail"], "late_after_idle for n");
    assert_eq!(letters[1]["record"], event(300, "V1", "UK", 7.0));
}

/// Every window waits for every worker, and one without splits hears only from the others.
#[test]
fn workers_without_splits_close_windows_however_busy_the_others_are() {
    let bench = Setup {
        workers: 3,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0]);
    let mut position = 0;
    let written = until(|| {
        bench.records(0, position, &events(&[position as i64 * 50]));
        position += 1;
        bench.has_written()
    });
    assert!(written);
}

#[test]
fn a_split_without_usable_records_does_not_hold_back_the_windows() {
    let bench = Setup {
        workers: 2,
        ..Setup::default()
    }
    .start();
    let broken = vec!["{}".to_owned()];
    bench.assign(&[0, 1]);
    bench.records(0, 0, &events(&[100, 5_000]));
    bench.records(1, 0, &broken);
    let dropped = |count| {
        format!("weir_decode_errors_total{{reason=\"missing_time\",pipeline=\"test\"}} {count}")
    };
    // The second one is behind the first in the worker's inbox.
    bench.records(1, 1, &broken);
    bench.await_metric(&dropped(2));
    bench.advance_clock(10_000);
    bench.records(1, 2, &broken);
    assert_eq!(bench.await_samples(1), ["m{UK} @1000=1"]);
}

#[test]
fn records_that_come_again_with_their_split_count_once() {
    let bench = Setup::default().start();
    bench.assign(&[0]);
    bench.records(0, 100, &events(&[100, 200, 300, 1_100]));
    bench.say(SourceEvent::Revoked(SplitId(0)));
    bench.say(SourceEvent::Assigned(split(0)));
    bench.records(0, 102, &events(&[300, 1_100, 1_200]));
    bench.records(0, 105, &events(&[1_300]));
    let (finished, samples) = bench.end();
    assert_eq!(samples, ["m{UK} @1000=3", "m{UK} @2000=3"]);
    assert_eq!(finished.status.late, 0);
}

#[test]
fn a_label_without_a_value_and_an_empty_one_are_one_series() {
    let bench = Setup::default().start();
    bench.assign(&[0]);
    let missing = event(100, "V1", "UK", 1.0).replace(r#""region":"UK","#, "");
    bench.records(
        0,
        0,
        &[
            missing,
            event(200, "V2", "", 1.0),
            event(300, "V3", "US", 1.0),
        ],
    );
    let (_, samples) = bench.end();
    assert_eq!(samples, ["m{} @1000=2", "m{US} @1000=1"]);
}

#[test]
fn stopping_leaves_open_windows_only_to_those_who_can_read_again() {
    for (replayable, expected) in [
        (true, vec!["m{UK} @1000=1"]),
        (false, vec!["m{UK} @1000=1", "m{UK} @2000=2"]),
    ] {
        let bench = Setup {
            replayable,
            workers: 2,
            ..Setup::default()
        }
        .start();
        bench.assign(&[0]);
        bench.records(0, 0, &events(&[100, 1_100, 1_200]));
        bench.await_samples(1);
        let (finished, samples) = bench.stop(Duration::from_secs(60));
        assert_eq!(samples, expected, "replayable: {replayable}");
        assert!(finished.error.is_none(), "{:?}", finished.error);
        assert_eq!(finished.written.unsent, 0);
    }
}
