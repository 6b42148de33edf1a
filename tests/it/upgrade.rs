//! From Kafka into Prometheus, across a stop and a start.

use std::path::PathBuf;

use anyhow::Result;

use crate::reference::fleet::{START_MS, expect_same};
use crate::reference::service::Service;
use crate::reference::stateful::{CARS, Stateful, events, text_of};
use crate::support::files;
use crate::support::kafka::Kafka;
use crate::support::prometheus::Prometheus;

const PARTITIONS: usize = 4;
const ALL: &str = "{__name__=~\"vehicles|speed|trips\"}";

/// An event that closes all windows before it.
fn last() -> Vec<String> {
    let time = START_MS + 600_000;
    vec![format!(
        r#"{{"t":{time},"vehicle":"V0","region":"UK","speed":0}}"#
    )]
}

#[test]
fn an_upgrade_reads_nothing_twice_and_loses_nothing() -> Result<()> {
    let (kafka, prometheus) = (Kafka::shared()?, Prometheus::start()?);
    kafka.create_topic("upgraded", i32::try_from(PARTITIONS)?)?;
    let stateful = Stateful::new(CARS)?;
    // The disorder is within what is allowed, whatever partition an event is in.
    let events = events(2_000);
    let mut splits: Vec<Vec<String>> = vec![Vec::new(); PARTITIONS];
    for (number, event) in events.into_iter().enumerate() {
        if let Some(split) = splits.get_mut(number % PARTITIONS) {
            split.push(event);
        }
    }
    let mut inputs = Vec::new();
    for (number, split) in splits.iter_mut().enumerate() {
        split.extend(last());
        let name = format!("split-{number}.ndjson");
        files::write(stateful.at(), &name, &text_of(split))?;
        inputs.extend(["--input".to_owned(), name]);
    }
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    stateful.finish(&[&inputs, &["--output", "expected.ndjson"][..]].concat())?;
    let mut expected = stateful.samples("expected.ndjson")?;
    // The windows of the last events stay open.
    expected.retain(|sample| sample.timestamp_ms < START_MS + 500_000);

    let source = format!(
        "source={{kafka: {{brokers: \"{}\", topics: [upgraded], group: upgraded, start: earliest}}}}",
        kafka.address()
    );
    let write = format!(
        "write={{remote_write: {{url: \"{}\"}}}}",
        prometheus.remote_write_url()
    );
    let run = || -> Result<Service> {
        stateful.start(&["--workers", "2", "--set", &source, "--set", &write])
    };
    let produce = |from: usize, to: usize| -> Result<()> {
        for (partition, split) in (0..).zip(&splits) {
            kafka.produce(
                "upgraded",
                partition,
                split.get(from..to).unwrap_or_default(),
            )?;
        }
        Ok(())
    };
    produce(0, 300)?;
    let mut first = run()?;
    first.await_metric("weir_events_total", &[], 1_200.0)?;
    // Sessions, and windows of all kinds, are open.
    first.stop()?;
    let stopped: PathBuf = stateful.path("weir.err");
    let log = std::fs::read_to_string(stopped)?;
    assert!(log.contains(" events=1200 "), "{log}");

    produce(300, 501)?;
    let mut second = run()?;
    second.await_metric("weir_events_total", &[], 804.0)?;
    let wanted = expected.len();
    second.await_condition("samples", || {
        let found = prometheus.samples(ALL, START_MS, START_MS + 500_000);
        found.is_ok_and(|found| found.len() >= wanted)
    })?;
    assert_eq!(second.metric("weir_source_records_total", &[])?, 804.0);
    assert_eq!(
        second.metric("weir_samples_dropped_total", &[("reason", "out_of_order")])?,
        0.0
    );
    assert_eq!(
        second.metric("weir_samples_dropped_total", &[("reason", "rejected")])?,
        0.0
    );
    assert!(
        second
            .log()?
            .contains("goes on from a checkpoint pipeline=\"cars\" checkpoint=1 ")
    );
    second.stop()?;
    let found = prometheus.samples(ALL, START_MS, START_MS + 500_000)?;
    expect_same(&found, &expected)
}
