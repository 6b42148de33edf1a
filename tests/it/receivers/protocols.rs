//! Both protocols, and how the sender finds out which of them a receiver speaks.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::faults::{expect_order, settings};
use super::{KINDS, Kind, Receiver, Sender, expect_same, fleet};
use crate::support::faults::{Fault, FaultProxy};

fn speaking(protocol: &str) -> Result<Value> {
    let mut settings = settings();
    let keys = settings.as_object_mut().context("no object")?;
    keys.insert("protocol".to_owned(), json!(protocol));
    Ok(settings)
}

/// Prometheus 2.42 and VictoriaMetrics answer 204 to a request of 2.0 and keep nothing of it.
#[test]
fn the_protocol_of_each_receiver_is_found() -> Result<()> {
    for kind in KINDS {
        let receiver = Receiver::start(kind)?;
        let samples = fleet("found", 20, 20)?;
        let sender = Sender::start(&receiver.url(), &speaking("auto")?)?;
        sender.send(&samples)?;
        let summary = sender.finish()?;
        let counts = (summary.written, summary.dropped);
        ensure!(counts == (400, 0), "{kind:?}: {summary:?}");
        expect_same(&receiver.samples("found")?, &samples).with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

/// Faults at the first request, which is the one that finds it out, and later.
#[test]
fn faults_do_not_mislead_about_the_protocol() -> Result<()> {
    let faults = [
        Fault::ResetBefore,
        Fault::LostAnswer,
        Fault::HalfAnswer,
        Fault::Garbage,
        Fault::Status(503),
        Fault::Status(415),
        Fault::NoWritten,
    ];
    for kind in KINDS {
        let receiver = Receiver::start(kind)?;
        for (number, fault) in faults.into_iter().enumerate() {
            let name = format!("misled_{number}");
            let samples = fleet(&name, 12, 15)?;
            let script = vec![Some(fault), None, None, Some(fault), Some(fault)];
            let proxy = FaultProxy::start(&receiver.url(), script)?;
            let sender = Sender::start(&proxy.url(), &speaking("auto")?)?;
            sender.send(&samples)?;
            let summary = sender.finish()?;
            let counts = (summary.written, summary.dropped);
            ensure!(counts == (180, 0), "{kind:?}, {fault:?}: {summary:?}");
            expect_order(&proxy.exchanges())?;
            expect_same(&receiver.samples(&name)?, &samples)
                .with_context(|| format!("{kind:?}, {fault:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_receiver_of_the_second_version_is_spoken_to_in_it() -> Result<()> {
    let receiver = Receiver::start(Kind::Prometheus3)?;
    let samples = fleet("second", 20, 20)?;
    let proxy = FaultProxy::start(&receiver.url(), [])?;
    let sender = Sender::start(&proxy.url(), &speaking("2.0")?)?;
    sender.send(&samples)?;
    let summary = sender.finish()?;
    ensure!(
        (summary.written, summary.dropped) == (400, 0),
        "{summary:?}"
    );
    for exchange in proxy.exchanges() {
        let answer = exchange.answer.context("no answer")?;
        let written = answer
            .headers
            .get("x-prometheus-remote-write-samples-written");
        let sent = exchange.samples.len().to_string();
        ensure!(written == Some(&sent), "{answer:?} to {sent} samples");
    }
    expect_same(&receiver.samples("second")?, &samples)
}
