//! What is known of the past when its journal is folded.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::reference::fleet::{START_MS, expect_same};
use crate::reference::stateful::{CARS, Stateful, events};
use crate::support::http;
use crate::support::prometheus::Prometheus;

const ALL: &str = "{__name__=~\"vehicles|speed|trips\"}";

/// With so many shards there are soon enough files to fold: each checkpoint begins one for each shard.
const SHARDS: usize = 200;

/// The oldest checkpoint of which a file is left, of all shards.
fn oldest_journal(state: &Path) -> Result<u64> {
    let mut oldest = u64::MAX;
    for shard in fs::read_dir(state.join("journal"))? {
        let shard = shard?.path();
        if !shard.is_dir() {
            continue;
        }
        for file in fs::read_dir(shard)? {
            let name = file?.file_name();
            let name = name.to_str().context("a name of a file")?;
            let number = name.split(['-', '.']).next().unwrap_or_default();
            oldest = oldest.min(number.parse()?);
        }
    }
    Ok(oldest)
}

/// How many samples a Prometheus has refused because of their times or values.
fn refused(prometheus: &Prometheus) -> Result<Vec<String>> {
    let page = http::get(&format!("{}/metrics", prometheus.url()))?;
    let is_one = |line: &&str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_default();
        let refused = name.starts_with("prometheus_tsdb_out_of_order_samples_total")
            || name.starts_with("prometheus_tsdb_too_old_samples_total")
            || name.starts_with("prometheus_tsdb_out_of_bound_samples_total");
        refused && value != "0"
    };
    ensure!(
        page.body
            .contains("prometheus_tsdb_out_of_order_samples_total"),
        "no such metric: {}",
        page.body
    );
    let lines = page.body.lines();
    Ok(lines.filter(is_one).map(str::to_owned).collect())
}

#[test]
fn an_old_savepoint_is_gone_back_to_without_a_refusal() -> Result<()> {
    let mut events = events(2_000);
    // Vehicles that come after the savepoint, and go.
    for event in events.get_mut(600..760).unwrap_or_default() {
        *event = event.replace("\"vehicle\":\"V", "\"vehicle\":\"brief-");
    }
    let pipeline = CARS.replace("every: 1h", "every: 100ms, keep: 2");
    let stateful = Stateful::new(&pipeline)?;
    let expected = stateful.uninterrupted(&events)?;
    let brief = expected.iter().filter(|sample| {
        let vehicle = sample.labels.get("vehicle");
        vehicle.is_some_and(|vehicle| vehicle.starts_with("brief-"))
    });
    ensure!(brief.count() >= 20, "too few: {expected:?}");

    let prometheus = Prometheus::start()?;
    let write = format!(
        "write={{remote_write: {{url: \"{}\", max_shards: {SHARDS}, journal_sync: false}}}}",
        prometheus.remote_write_url()
    );
    let write = ["--set", &write];
    let mut feed = stateful.feed()?;
    let mut service = stateful.start(&write)?;
    let (first, rest) = events.split_at(600);
    feed.write(first)?;
    service.await_metric("weir_events_total", &[], 600.0)?;
    let created = stateful.savepoint(&service, "before-upgrade")?;
    let (_, number) = created.split_once("checkpoint ").context("no number")?;
    let (number, _) = number.split_once(',').context("no number")?;
    let number: u64 = number.parse()?;
    let (second, _) = rest.split_at(1_000);
    feed.write(second)?;
    service.await_metric("weir_events_total", &[], 1_600.0)?;
    // All that was sent then is in the marks alone.
    let state = stateful.path("state");
    let sent = state.join("journal/marks");
    service.await_condition("folded journals", || {
        sent.exists() && oldest_journal(&state).is_ok_and(|oldest| oldest > number + 5)
    })?;
    service.kill()?;

    stateful.replace(&events)?;
    let restore = ["--restore", "before-upgrade"];
    let log = stateful.finish(&[&write[..], &restore].concat())?;
    ensure!(log.contains(" events=1400 "), "{log}");
    ensure!(!log.contains("samples are dropped"), "{log}");
    let found = prometheus.samples(ALL, START_MS - 60_000, START_MS + 600_000)?;
    expect_same(&found, &expected)?;
    let refused = refused(&prometheus)?;
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(())
}
