//! What a receiver is known to refuse it is not sent: it refuses nothing, cuts nothing, and has all the
//! rest; what was held back is in `weir rejected list`, each with its reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::faults::expect_order;
use super::{HOUR, Kind, LIMIT, Limits, MINUTE, Receiver, Sender, expect_same, fleet, now_ms};
use crate::support::faults::FaultProxy;
use crate::support::files::{self, weir};
use crate::support::http;
use crate::support::samples::Sample;

/// Sends samples with these settings, and gives how many were dropped for what, and the lines of
/// `weir rejected list` without their title.
fn send(
    receiver: &Receiver,
    settings: &Value,
    samples: &[Sample],
) -> Result<(BTreeMap<String, u64>, Vec<String>)> {
    let folder = TempDir::new()?;
    let kept = folder.path().join("kept");
    let mut settings = settings.clone();
    let keys = settings.as_object_mut().context("no object")?;
    keys.insert("rejected".to_owned(), json!({ "dir": kept }));
    keys.insert(
        "batch".to_owned(),
        json!({ "deadline": "20ms", "samples": 50 }),
    );
    let proxy = FaultProxy::start(&receiver.url(), Vec::new())?;
    let sender = Sender::start(&proxy.url(), &settings)?;
    sender.send(samples)?;
    let names = [
        "label_value_too_long",
        "label_name_too_long",
        "too_many_labels",
        "duplicate_label",
        "invalid_name",
        "too_old",
        "too_far_ahead",
        "rejected",
        "out_of_order",
    ];
    sender.await_metric("weir_samples_written_total", 1.0)?;
    let registry = sender.registry.clone();
    let summary = sender.finish()?;
    let mut dropped = BTreeMap::new();
    for name in names {
        let text = weir::telemetry::Registry::text([&registry]);
        let beginning = format!("weir_samples_dropped_total{{reason=\"{name}\"");
        let line = text.lines().find(|line| line.starts_with(&beginning));
        let count: u64 = line
            .and_then(|line| line.rsplit_once(' '))
            .context("no metric")?
            .1
            .parse()?;
        if count > 0 {
            dropped.insert(name.to_owned(), count);
        }
    }
    ensure!(summary.dropped == dropped.values().sum::<u64>());
    ensure!(summary.written + summary.dropped == samples.len() as u64);
    let exchanges = proxy.exchanges();
    for exchange in &exchanges {
        let answer = exchange.answer.as_ref().context("no answer")?;
        ensure!(answer.status < 300, "the receiver refused: {answer:?}");
    }
    expect_order(&exchanges)?;
    Ok((dropped, list(folder.path(), &kept)?))
}

fn list(folder: &Path, kept: &Path) -> Result<Vec<String>> {
    let kept = kept.display();
    let pipeline = format!(
        "pipeline: cars
source: {{ file: {{ path: events.ndjson }}, decode: json }}
event: {{ time: {{ from: time }}, fields: {{ vehicle: text }} }}
metrics: {{ m: {{ window: {{ tumbling: 1s }}, value: count(*) }} }}
write: {{ remote_write: {{ url: \"http://127.0.0.1:9\", rejected: {{ dir: \"{kept}\" }} }} }}
"
    );
    let file = folder.join("cars.yaml");
    fs::write(&file, pipeline)?;
    let mut command = weir(["rejected", "list"]);
    command.arg(&file);
    let output = files::run(&command, LIMIT)?;
    ensure!(output.status.success(), "{output:?}");
    Ok(output.stdout.lines().skip(1).map(str::to_owned).collect())
}

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let expected = expected.iter();
    expected
        .map(|(reason, count)| ((*reason).to_owned(), *count))
        .collect()
}

/// Puts some among others, at places all over them.
fn among(good: &[Sample], bad: &[Sample]) -> Vec<Sample> {
    let mut all = good.to_vec();
    for (number, sample) in bad.iter().enumerate() {
        all.insert(all.len() * (number + 1) / (bad.len() + 1), sample.clone());
    }
    all
}

/// A line of the list begins with this status and metric, and has these words in it.
fn expect_line(list: &[String], metric: &str, samples: u64, words: &str) -> Result<()> {
    let is_it = |line: &&String| {
        let mut fields = line.split_whitespace();
        (fields.next(), fields.next()) == (Some("–"), Some(metric))
            && fields.next() == Some(samples.to_string().as_str())
            && line.contains(words)
    };
    ensure!(list.iter().any(|line| is_it(&line)), "{metric}: {list:#?}");
    Ok(())
}

#[test]
fn victoria_metrics_cuts_nothing_of_what_it_gets() -> Result<()> {
    let limits = Limits {
        low: true,
        ..Limits::default()
    };
    let receiver = Receiver::start_with(Kind::VictoriaMetrics, &limits)?;
    let now = now_ms()?;
    let mut good = fleet("good", 30, 5)?;
    let four = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
    good.push(Sample::new("good", &four, now, 1.0));
    good.push(Sample::new(
        "good",
        &[("text", "a value of 20 bytes.")],
        now,
        2.0,
    ));
    good.push(Sample::new("good", &[("age", "old")], now - 23 * HOUR, 3.0));
    let five = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")];
    let bad = [
        Sample::new("bad_labels", &five, now, 1.0),
        Sample::new("bad_value", &[("text", "a value of 21 bytes.!")], now, 2.0),
        Sample::new("bad_age", &[], now - 30 * HOUR, 3.0),
        Sample::new("bad_age", &[], now - 29 * HOUR, 4.0),
        Sample::new("bad_name", &[("a-b", "1")], now, 5.0),
    ];
    let settings = json!({
        "receiver": "victoriametrics",
        "limits": { "label_names": 5, "label_value_bytes": 20, "age": "24h" },
    });
    let (dropped, list) = send(&receiver, &settings, &among(&good, &bad))?;
    let expected = [
        ("invalid_name", 1),
        ("label_value_too_long", 1),
        ("too_many_labels", 1),
        ("too_old", 2),
    ];
    assert_eq!(dropped, counts(&expected));
    ensure!(list.len() == 4, "{list:#?}");
    expect_line(
        &list,
        "bad_labels",
        1,
        "it has 6 labels with its name, and the receiver takes 5",
    )?;
    expect_line(
        &list,
        "bad_value",
        1,
        "the value of 'text' has 21 bytes, and the receiver takes 20",
    )?;
    expect_line(&list, "bad_age", 2, "samples of up to 1d")?;
    expect_line(&list, "bad_name", 1, "'a-b' is not a label name")?;
    expect_same(&receiver.samples("{__name__!=\"\"}")?, &good)?;
    let metrics = receiver.url().replace("/api/v1/write", "/metrics");
    let metrics = http::get(&metrics)?.body;
    for name in [
        "vm_rows_ignored_total",
        "vm_too_long_label_values_total",
        "vm_metrics_with_dropped_labels_total",
    ] {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        let values: Vec<&str> = lines.collect();
        ensure!(!values.is_empty(), "{name} is not there");
        ensure!(values.iter().all(|line| line.ends_with(" 0")), "{values:?}");
    }
    Ok(())
}

/// Prometheus 2.42 would take what is far ahead, and then refuse all the others.
#[test]
fn prometheus_refuses_nothing_of_what_it_gets() -> Result<()> {
    for kind in [Kind::Prometheus2, Kind::Prometheus3] {
        let limits = Limits {
            window: Some("1h"),
            ..Limits::default()
        };
        let receiver = Receiver::start_with(kind, &limits)?;
        let now = now_ms()?;
        let mut good = fleet("good", 30, 5)?;
        good.push(Sample::new(
            "good",
            &[("age", "old")],
            now - 40 * MINUTE,
            1.0,
        ));
        good.push(Sample::new(
            "good",
            &[("age", "new")],
            now + 9 * MINUTE,
            2.0,
        ));
        let bad = [
            Sample::new("bad_age", &[], now - 3 * HOUR, 1.0),
            Sample::new("bad_ahead", &[("n", "1")], now + 15 * MINUTE, 2.0),
            Sample::new("bad_ahead", &[("n", "2")], now + 72 * HOUR, 3.0),
            Sample::new("9bad", &[], now, 4.0),
        ];
        let mut all = among(&good, &bad);
        // Behind samples of its series that are too far ahead: neither refused nor late.
        let behind = Sample::new("bad_ahead", &[("n", "2")], now_ms()?, 5.0);
        all.push(behind.clone());
        good.push(behind);
        let settings = json!({ "receiver": "prometheus", "limits": { "age": "1h" } });
        let (dropped, list) =
            send(&receiver, &settings, &all).with_context(|| format!("{kind:?}"))?;
        let expected = [("invalid_name", 1), ("too_far_ahead", 2), ("too_old", 1)];
        assert_eq!(dropped, counts(&expected), "{kind:?}");
        ensure!(list.len() == 3, "{list:#?}");
        expect_line(&list, "bad_age", 1, "samples of up to 1h")?;
        expect_line(&list, "bad_ahead", 2, "samples of up to 10m")?;
        expect_line(&list, "9bad", 1, "'9bad' is not a metric name")?;
        expect_same(&receiver.samples("{__name__=~\"good|.*bad.*\"}")?, &good)
            .with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}
