//! Faults by chance: a seed decides which request meets which, and how the samples come.
//!
//! `WEIR_SEEDS=100` tries more of them.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::faults::{expect_order, settings};
use super::{Kind, Receiver, Sender, expect_same, fleet};
use crate::support::faults::{Fault, FaultProxy, RetryAfter};

/// How many seeds where `WEIR_SEEDS` says nothing.
const SEEDS: u64 = 12;

/// All that loses nothing and takes no time.
const FAULTS: [Fault; 13] = [
    Fault::Delay,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::LostAnswer,
    Fault::HalfAnswer,
    Fault::HalfClosed,
    Fault::SlowBody,
    Fault::Throttled(RetryAfter::None),
    Fault::Throttled(RetryAfter::Seconds(0)),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Garbage,
    Fault::NoWritten,
];

fn seeds() -> Result<u64> {
    match std::env::var("WEIR_SEEDS") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("WEIR_SEEDS is {text:?}")),
        Err(_) => Ok(SEEDS),
    }
}

fn run(receiver: &Receiver, seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let name = format!("random_{seed}");
    let samples = fleet(&name, random.usize(1..40), random.usize(1..25))?;
    // Up to nine of ten requests are spoilt.
    let share = random.f64() * 0.9;
    let mut faults = random.fork();
    let faults = std::iter::from_fn(move || {
        let fault = faults.choice(FAULTS);
        Some(fault.filter(|_| faults.f64() < share))
    });
    let proxy = FaultProxy::start(&receiver.url(), faults)?;
    let mut settings = settings();
    let keys = settings.as_object_mut().context("no object")?;
    keys.insert("min_shards".to_owned(), json!(1));
    keys.insert("max_shards".to_owned(), json!(random.usize(1..6)));
    keys.insert(
        "batch".to_owned(),
        json!({ "deadline": "2ms", "samples": random.usize(1..60) }),
    );
    let sender = Sender::start(&proxy.url(), &settings)?;
    for some in samples.chunks(random.usize(1..200)) {
        sender.send(some)?;
    }
    let summary = sender.finish()?;
    let sent = samples.len() as u64;
    ensure!(
        (summary.written, summary.dropped) == (sent, 0),
        "{summary:?}"
    );
    let exchanges = proxy.exchanges();
    for exchange in &exchanges {
        if let Some(answer) = &exchange.answer {
            ensure!(answer.status == 204, "refused: {exchange:?}");
        }
    }
    expect_order(&exchanges)?;
    expect_same(&receiver.samples(&name)?, &samples)
}

#[test]
fn random_faults_neither_lose_nor_reorder_anything() -> Result<()> {
    for kind in [Kind::Prometheus2, Kind::Prometheus3] {
        let receiver = Receiver::start(kind)?;
        for seed in 0..seeds()? {
            run(&receiver, seed).with_context(|| format!("{kind:?}, seed {seed}"))?;
        }
    }
    Ok(())
}
