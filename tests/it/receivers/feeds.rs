//! Each receiver is fed by weir's sender, and read back.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{KINDS, Kind, Limits, Receiver, SECOND, Sender, expect_same, fleet};
use crate::support::samples::Sample;

#[test]
fn samples_in_order_are_all_there() -> Result<()> {
    for kind in KINDS {
        let receiver = Receiver::start(kind)?;
        let samples = fleet("in_order", 50, 40)?;
        let settings = json!({ "batch": { "deadline": "5ms", "samples": 300 } });
        let sender = Sender::start(&receiver.url(), &settings)?;
        for some in samples.chunks(777) {
            sender.send(some)?;
        }
        let summary = sender.finish()?;
        ensure!(
            (summary.written, summary.dropped) == (2_000, 0),
            "{kind:?}: {summary:?}"
        );
        expect_same(&receiver.samples("in_order")?, &samples)?;
    }
    Ok(())
}

/// As the fleet's, but every fifth sample comes twice, and behind every seventh comes the one of ten
/// seconds before with another value.
fn disordered(samples: &[Sample]) -> Vec<Sample> {
    let mut all = Vec::new();
    for (number, sample) in samples.iter().enumerate() {
        all.push(sample.clone());
        if number % 5 == 0 {
            all.push(sample.clone());
        }
        if number % 7 == 0 {
            let mut late = sample.clone();
            late.timestamp_ms -= 10 * SECOND;
            late.value = -1.0;
            all.push(late);
        }
    }
    all
}

/// With one sample a series in a request nothing can be put into order: what is late is left out by
/// the sender, and no receiver has anything to refuse.
#[test]
fn what_is_late_or_doubled_never_reaches_a_receiver() -> Result<()> {
    for kind in KINDS {
        let receiver = Receiver::start(kind)?;
        let samples = fleet("disordered", 20, 40)?;
        let all = disordered(&samples);
        let sender = Sender::start(&receiver.url(), &json!({}))?;
        sender.send(&all)?;
        let left_out = (all.len() - samples.len()) as u64;
        let summary = sender.finish()?;
        ensure!(
            (summary.written, summary.dropped) == (800, left_out),
            "{kind:?}: {summary:?}"
        );
        expect_same(&receiver.samples("disordered")?, &samples)?;
    }
    Ok(())
}

/// A request with many samples of each series is sorted, so that all of them are taken. They are not more
/// than the first request may have.
#[test]
fn disorder_within_a_request_is_put_right() -> Result<()> {
    for kind in KINDS {
        let receiver = Receiver::start(kind)?;
        let samples = fleet("sorted", 10, 9)?;
        let mut all = samples.clone();
        fastrand::Rng::with_seed(7).shuffle(&mut all);
        let settings = json!({
            "batch": { "deadline": "60s", "samples_per_series": 0 },
            "min_shards": 3, "max_shards": 3,
        });
        let sender = Sender::start(&receiver.url(), &settings)?;
        // Closing sends what waits, long before the deadline.
        sender.send(&all)?;
        let summary = sender.finish()?;
        ensure!(
            (summary.written, summary.dropped) == (90, 0),
            "{kind:?}: {summary:?}"
        );
        expect_same(&receiver.samples("sorted")?, &samples)?;
    }
    Ok(())
}

#[test]
fn a_receiver_that_goes_away_and_comes_back_has_everything() -> Result<()> {
    for kind in KINDS {
        let mut receiver = Receiver::start(kind)?;
        let samples = fleet("restarted", 30, 60)?;
        let (before, after) = samples.split_at(900);
        let settings = json!({ "batch": { "deadline": "5ms", "samples": 100 } });
        let sender = Sender::start(&receiver.url(), &settings)?;
        sender.send(before)?;
        sender.await_metric("weir_samples_written_total", 300.0)?;
        receiver.go_away()?;
        sender.send(after)?;
        sender.await_metric("weir_samples_retried_total", 1.0)?;
        receiver.come_back()?;
        let summary = sender.finish()?;
        ensure!(
            (summary.written, summary.dropped) == (1_800, 0),
            "{kind:?}: {summary:?}"
        );
        expect_same(&receiver.samples("restarted")?, &samples)?;
    }
    Ok(())
}

/// A sender that begins anew knows nothing of the one before: it sends older samples, which a
/// receiver with a window for them takes in.
#[test]
fn older_samples_are_taken_within_the_window_of_a_receiver() -> Result<()> {
    let limits = Limits {
        window: Some("1h"),
        ..Limits::default()
    };
    for kind in KINDS {
        let receiver = Receiver::start_with(kind, &limits)?;
        let samples = fleet("window", 10, 60)?;
        let (older, newer) = samples.split_at(300);
        for part in [newer, older] {
            let sender = Sender::start(&receiver.url(), &json!({}))?;
            sender.send(part)?;
            let summary = sender.finish()?;
            ensure!(
                (summary.written, summary.dropped) == (300, 0),
                "{kind:?}: {summary:?}"
            );
        }
        expect_same(&receiver.samples("window")?, &samples)?;
    }
    Ok(())
}

/// The limits of VictoriaMetrics are silent: it says 204 and cuts, or forgets.
#[test]
fn low_limits_of_victoria_metrics_cost_nobody_else() -> Result<()> {
    let limits = Limits {
        low: true,
        ..Limits::default()
    };
    let receiver = Receiver::start_with(Kind::VictoriaMetrics, &limits)?;
    let good = fleet("limits", 10, 20)?;
    let mut all = Vec::new();
    for (number, sample) in good.iter().enumerate() {
        all.push(sample.clone());
        let mut bad = sample.clone();
        bad.name = "limits_bad".to_owned();
        if number % 2 == 0 {
            bad.labels.insert("text".to_owned(), "x".repeat(30));
        } else {
            for label in 0..6 {
                bad.labels.insert(format!("label_{label}"), "x".to_owned());
            }
        }
        all.push(bad);
    }
    let sender = Sender::start(&receiver.url(), &json!({}))?;
    sender.send(&all)?;
    let summary = sender.finish()?;
    ensure!(
        (summary.written, summary.dropped) == (400, 0),
        "{summary:?}"
    );
    expect_same(&receiver.samples("limits")?, &good)
}
