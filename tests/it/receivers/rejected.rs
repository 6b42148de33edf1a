//! What a receiver refuses costs nobody else: the guilty samples are found and set aside, the others
//! arrive, in order. What is refused for a reason that will pass is held.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::faults::expect_order;
use super::{HOUR, Kind, MINUTE, Receiver, Sender, expect_same, fleet, now_ms};
use crate::support::faults::{Exchange, Fault, FaultProxy};
use crate::support::samples::Sample;

const DROPPED: &str = "weir_samples_dropped_total{";

/// One request for everything: nothing else is under way.
fn one_request() -> Value {
    json!({
        "min_shards": 1, "max_shards": 1,
        "batch": { "deadline": "50ms", "samples": 1_000 },
        "on_rejected": "isolate",
    })
}

/// What became of samples on the way to a receiver.
struct Outcome {
    written: u64,
    dropped: u64,
    exchanges: Vec<Exchange>,
}

fn send(receiver: &Receiver, settings: &Value, samples: &[Sample]) -> Result<Outcome> {
    send_through(receiver, settings, Vec::new(), samples)
}

fn send_through(
    receiver: &Receiver,
    settings: &Value,
    faults: Vec<Option<Fault>>,
    samples: &[Sample],
) -> Result<Outcome> {
    let proxy = FaultProxy::start(&receiver.url(), faults)?;
    let sender = Sender::start(&proxy.url(), settings)?;
    sender.send(samples)?;
    let summary = sender.finish()?;
    Ok(Outcome {
        written: summary.written,
        dropped: summary.dropped,
        exchanges: proxy.exchanges(),
    })
}

/// How many requests may it take to find so many guilty ones among so many samples: two for each
/// halving on the way to each, and the first one.
fn bound(samples: usize, guilty: usize) -> usize {
    1 + 2 * guilty * (samples.ilog2() as usize + 1)
}

/// Puts bad samples among good ones, and expects the good ones alone.
fn isolate(receiver: &Receiver, name: &str, good: &[Sample], bad: &[Sample]) -> Result<()> {
    let mut all = good.to_vec();
    // In the middle of what is one request.
    for (number, sample) in bad.iter().enumerate() {
        all.insert(all.len() * (number + 1) / (bad.len() + 1), sample.clone());
    }
    let outcome = send(receiver, &one_request(), &all)?;
    let counts = (outcome.written, outcome.dropped);
    ensure!(
        counts == (good.len() as u64, bad.len() as u64),
        "{counts:?}"
    );
    let requests = outcome.exchanges.len();
    let bound = bound(all.len(), bad.len());
    ensure!(requests <= bound, "{requests} requests, {bound} would do");
    expect_order(&taken(&outcome.exchanges))?;
    expect_same(&receiver.samples(name)?, good)
}

/// The requests that were taken. What was refused may come again behind others.
fn taken(exchanges: &[Exchange]) -> Vec<Exchange> {
    let taken = |exchange: &&Exchange| {
        let answer = exchange.answer.as_ref();
        answer.is_some_and(|answer| answer.status < 300)
    };
    exchanges.iter().filter(taken).cloned().collect()
}

/// A series of which the receiver has that time already, with another value; of before this sender.
#[test]
fn another_value_is_isolated() -> Result<()> {
    for kind in [Kind::Prometheus2, Kind::Prometheus3] {
        let receiver = Receiver::start(kind)?;
        for (number, guilty) in [1, 3].into_iter().enumerate() {
            let name = format!("good_{number}");
            let good = fleet(&name, 60, 1)?;
            let earlier = fleet(&format!("bad_{number}"), guilty, 1)?;
            send(&receiver, &one_request(), &earlier)?;
            let mut bad = earlier.clone();
            for sample in &mut bad {
                sample.value += 1.0;
            }
            isolate(&receiver, &name, &good, &bad).with_context(|| format!("{kind:?}"))?;
            expect_same(&receiver.samples(&format!("bad_{number}"))?, &earlier)?;
        }
    }
    Ok(())
}

#[test]
fn what_is_too_old_is_isolated() -> Result<()> {
    for kind in [Kind::Prometheus2, Kind::Prometheus3] {
        let receiver = Receiver::start(kind)?;
        send(&receiver, &one_request(), &fleet("earlier", 1, 1)?)?;
        let good = fleet("good", 60, 1)?;
        let old = now_ms()? - 50 * HOUR;
        let bad = [Sample::new("old", &[], old, 1.0)];
        isolate(&receiver, "good", &good, &bad).with_context(|| format!("{kind:?}"))?;
        ensure!(receiver.samples("old")?.is_empty(), "{kind:?}");
    }
    Ok(())
}

/// Prometheus 3 alone refuses it.
#[test]
fn what_is_too_far_ahead_is_isolated() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    let good = fleet("good", 60, 1)?;
    let bad = [Sample::new("ahead", &[], now_ms()? + 30 * MINUTE, 1.0)];
    isolate(&receiver, "good", &good, &bad)?;
    ensure!(receiver.samples("ahead")?.is_empty());
    Ok(())
}

/// Later samples of a series come after its refused one.
#[test]
fn the_order_of_other_series_outlives_a_rejection() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    let good = fleet("good", 20, 10)?;
    let earlier = fleet("bad", 1, 10)?;
    send(&receiver, &one_request(), &earlier)?;
    let mut all = Vec::new();
    for (number, sample) in good.iter().enumerate() {
        all.push(sample.clone());
        if let (0, Some(bad)) = (number % 20, earlier.get(number / 20)) {
            // The receiver has all of these times; it takes none of the values.
            all.push(Sample {
                value: -1.0,
                ..bad.clone()
            });
        }
    }
    let outcome = send(&receiver, &one_request(), &all)?;
    let counts = (outcome.written, outcome.dropped);
    ensure!(counts == (200, 10), "{counts:?}");
    expect_order(&taken(&outcome.exchanges))?;
    expect_same(&receiver.samples("good")?, &good)?;
    expect_same(&receiver.samples("bad")?, &earlier)
}

/// The setting of the Flink connector: the whole request goes.
#[test]
fn without_isolation_the_request_is_dropped() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    let earlier = fleet("bad", 1, 1)?;
    let mut settings = one_request();
    let keys = settings.as_object_mut().context("no object")?;
    keys.insert("on_rejected".to_owned(), json!("drop"));
    send(&receiver, &settings, &earlier)?;
    let mut all = fleet("good", 60, 1)?;
    for sample in &earlier {
        all.push(Sample {
            value: -1.0,
            ..sample.clone()
        });
    }
    let sender = Sender::start(&receiver.url(), &settings)?;
    sender.send(&all)?;
    sender.await_metric(DROPPED, 61.0)?;
    let summary = sender.finish()?;
    ensure!((summary.written, summary.dropped) == (0, 61), "{summary:?}");
    expect_same(&receiver.samples("good")?, &[])
}

/// Credentials come back, paths are corrected, a proxy on the way stops to redirect: nothing of that
/// is the samples' fault.
#[test]
fn what_is_misconfigured_is_held() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    let faults = [
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(404),
        Fault::Redirect,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let name = format!("held_{number}");
        let samples = fleet(&name, 12, 10)?;
        let script = vec![Some(fault), None, Some(fault), Some(fault), Some(fault)];
        let settings = json!({ "min_shards": 3, "max_shards": 3, "batch": { "deadline": "2ms", "samples": 25 } });
        let outcome = send_through(&receiver, &settings, script, &samples)?;
        let counts = (outcome.written, outcome.dropped);
        ensure!(counts == (120, 0), "{fault:?}: {counts:?}");
        expect_order(&outcome.exchanges)?;
        expect_same(&receiver.samples(&name)?, &samples).with_context(|| format!("{fault:?}"))?;
    }
    Ok(())
}

/// A 413 says nothing of single samples: smaller requests go through.
#[test]
fn what_is_too_large_is_split() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    let samples = fleet("large", 40, 10)?;
    let settings = json!({ "min_shards": 2, "max_shards": 2, "batch": { "deadline": "50ms", "samples": 1_000 } });
    let script = vec![Some(Fault::AtMost(7)); 1_000];
    let outcome = send_through(&receiver, &settings, script, &samples)?;
    let counts = (outcome.written, outcome.dropped);
    ensure!(counts == (400, 0), "{counts:?}");
    let taken = taken(&outcome.exchanges);
    ensure!(taken.iter().all(|exchange| exchange.samples.len() <= 7));
    expect_order(&taken)?;
    expect_same(&receiver.samples("large")?, &samples)
}

/// A 400 that comes of something else than the samples; nothing of what was sent is guilty.
#[test]
fn a_rejection_without_reason_loses_nothing() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    let samples = fleet("innocent", 40, 5)?;
    let script = vec![
        None,
        Some(Fault::Status(400)),
        None,
        None,
        Some(Fault::Status(400)),
    ];
    let outcome = send_through(&receiver, &one_request(), script, &samples)?;
    let counts = (outcome.written, outcome.dropped);
    ensure!(counts == (200, 0), "{counts:?}");
    expect_order(&taken(&outcome.exchanges))?;
    expect_same(&receiver.samples("innocent")?, &samples)
}
