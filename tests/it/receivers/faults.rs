//! Every fault on the way to a receiver: all samples arrive, and those of a series in their order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{KINDS, Kind, Receiver, Sender, expect_same, fleet};
use crate::support::faults::{Exchange, Fault, FaultProxy, RetryAfter};
use crate::support::http::Response;
use crate::support::samples::Sample;

/// Small requests on several ways.
pub(super) fn settings() -> Value {
    json!({ "min_shards": 3, "max_shards": 3, "batch": { "deadline": "2ms", "samples": 25 } })
}

/// That what the receiver took of each series never goes back in time. A repeated request has the
/// times of the one before.
pub(super) fn expect_order(exchanges: &[Exchange]) -> Result<()> {
    let mut newest: BTreeMap<(&str, &BTreeMap<String, String>), i64> = BTreeMap::new();
    for exchange in exchanges {
        if exchange.answer.is_none() {
            continue;
        }
        for sample in &exchange.samples {
            let newest = newest
                .entry((&sample.name, &sample.labels))
                .or_insert(i64::MIN);
            ensure!(
                *newest <= sample.timestamp_ms,
                "{sample:?} behind one of {newest}"
            );
            *newest = sample.timestamp_ms;
        }
    }
    Ok(())
}

/// Sends samples through the faults; gives the requests.
fn through(
    receiver: &Receiver,
    settings: &Value,
    faults: &[Option<Fault>],
    samples: &[Sample],
) -> Result<Vec<Exchange>> {
    let proxy = FaultProxy::start(&receiver.url(), faults.to_vec())?;
    let sender = Sender::start(&proxy.url(), settings)?;
    sender.send(samples)?;
    let summary = sender.finish()?;
    let sent = samples.len() as u64;
    ensure!(
        (summary.written, summary.dropped) == (sent, 0),
        "{summary:?}"
    );
    Ok(proxy.exchanges())
}

/// One after the other into the same receiver, each with a metric of its own.
fn hold(faults: &[Fault]) -> Result<()> {
    for kind in KINDS {
        let receiver = Receiver::start(kind)?;
        for (number, fault) in faults.iter().enumerate() {
            let name = format!("fault_{number}");
            let samples = fleet(&name, 12, 15)?;
            // The fault meets the first request, one in the middle, and three in a row.
            let mut script = vec![None; 20];
            for place in [0, 7, 12, 13, 14] {
                *script.get_mut(place).context("no such place")? = Some(*fault);
            }
            let context = || format!("{kind:?}, {fault:?}");
            let exchanges =
                through(&receiver, &settings(), &script, &samples).with_context(context)?;
            let met = exchanges.iter().filter(|exchange| exchange.fault.is_some());
            ensure!(met.count() == 5, "{}", context());
            expect_order(&exchanges).with_context(context)?;
            expect_same(&receiver.samples(&name)?, &samples).with_context(context)?;
        }
    }
    Ok(())
}

#[test]
fn broken_connections_lose_nothing() -> Result<()> {
    hold(&[
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::LostAnswer,
        Fault::HalfAnswer,
        Fault::HalfClosed,
        Fault::Garbage,
    ])
}

#[test]
fn slow_answers_lose_nothing() -> Result<()> {
    hold(&[Fault::Delay, Fault::SlowBody, Fault::NoWritten])
}

#[test]
fn a_receiver_that_cannot_take_more_loses_nothing() -> Result<()> {
    hold(&[
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(503),
        Fault::Throttled(RetryAfter::None),
        Fault::Throttled(RetryAfter::Seconds(0)),
    ])
}

/// The request that met the fault, and the next one with the same samples.
fn repeated(exchanges: &[Exchange], fault: Fault) -> Result<(&Exchange, &Exchange)> {
    let met = |exchange: &Exchange| exchange.fault == Some(fault);
    let place = exchanges.iter().position(met).context("no fault")?;
    let first = exchanges.get(place).context("no request")?;
    let mut later = exchanges.iter().skip(place + 1);
    let again = later.find(|exchange| exchange.samples == first.samples);
    Ok((first, again.context("never sent again")?))
}

/// The receiver has the samples; the sender, which does not know, sends them again.
#[test]
fn silence_is_broken_by_the_timeout() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    let samples = fleet("silence", 12, 15)?;
    // Long beside what a request takes: one that is still under way would be repeated behind itself.
    let settings = json!({ "timeout": "3s", "batch": { "deadline": "2ms" } });
    let exchanges = through(&receiver, &settings, &[Some(Fault::Silence)], &samples)?;
    let (first, again) = repeated(&exchanges, Fault::Silence)?;
    ensure!(
        first.answer.is_some() && again.answer.is_some(),
        "not taken twice"
    );
    expect_order(&exchanges)?;
    expect_same(&receiver.samples("silence")?, &samples)
}

/// A shard that is throttled comes back no earlier than it was asked to, whatever its own backoff.
#[test]
fn a_retry_after_is_waited_for() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    // A date has no fractions of a second.
    for (name, retry_after) in [
        ("seconds", RetryAfter::Seconds(1)),
        ("date", RetryAfter::Date(2)),
    ] {
        let samples = fleet(name, 12, 3)?;
        let fault = Fault::Throttled(retry_after);
        let exchanges = through(&receiver, &settings(), &[Some(fault)], &samples)?;
        let (refused, again) = repeated(&exchanges, fault)?;
        let waited = again.at.duration_since(refused.at);
        ensure!(waited >= Duration::from_secs(1), "{name}: {waited:?}");
        expect_order(&exchanges)?;
        expect_same(&receiver.samples(name)?, &samples)?;
    }
    Ok(())
}

/// The check itself: what was taken counts, a repetition is no step back, an older sample is one.
#[test]
fn a_step_back_is_found() {
    let samples = fleet("checked", 1, 3).unwrap();
    let exchange = |sample: &Sample, taken: bool| Exchange {
        at: Instant::now(),
        fault: None,
        samples: vec![sample.clone()],
        answer: taken.then(|| Response {
            status: 204,
            headers: BTreeMap::new(),
            body: String::new(),
        }),
    };
    let [first, second, third] = &samples[..] else {
        panic!("three samples expected");
    };
    let order = |requests: &[(&Sample, bool)]| {
        let requests = requests.iter();
        let exchanges: Vec<_> = requests
            .map(|(sample, taken)| exchange(sample, *taken))
            .collect();
        expect_order(&exchanges).is_ok()
    };
    assert!(order(&[
        (first, true),
        (second, true),
        (second, true),
        (third, true)
    ]));
    assert!(order(&[(second, false), (first, true), (second, true)]));
    assert!(!order(&[(first, true), (third, true), (second, true)]));
}
