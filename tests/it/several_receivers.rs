//! Several receivers of a pipeline, with real Prometheus servers: each gets its series under its labels,
//! and none is held up by another.

use anyhow::{Result, ensure};

use crate::reference::fleet::{START_MS, expect_same};
use crate::reference::stateful::{CARS, Stateful, events};
use crate::support::prometheus::Prometheus;
use crate::support::samples::Sample;

const END_MS: i64 = START_MS + 600_000;

fn all_of(prometheus: &Prometheus) -> Result<Vec<Sample>> {
    prometheus.samples(
        "{__name__=~\".*vehicles|.*speed|.*trips\"}",
        START_MS - 60_000,
        END_MS,
    )
}

/// What `east` gets: everything, with one more label.
fn of_east(expected: &[Sample]) -> Vec<Sample> {
    let mut samples = expected.to_vec();
    for sample in &mut samples {
        sample
            .labels
            .insert("cluster".to_owned(), "east".to_owned());
    }
    samples
}

/// What `west` gets: two of the metrics, under other names.
fn of_west(expected: &[Sample]) -> Vec<Sample> {
    let mut samples = expected.to_vec();
    samples.retain(|sample| sample.name != "speed");
    for sample in &mut samples {
        sample.name = format!("fleet_{}", sample.name);
    }
    samples
}

#[test]
fn each_receiver_gets_its_series_with_its_labels_whatever_dies() -> Result<()> {
    let events = events(2_000);
    let stateful = Stateful::new(&CARS.replace("every: 1h", "every: 100ms"))?;
    let expected = stateful.uninterrupted(&events)?;
    let (east, mut west) = (Prometheus::start()?, Prometheus::start()?);
    let write = format!(
        "write={{remote_write: [\
           {{name: east, url: \"{}\", external_labels: {{cluster: east}}}},\
           {{name: west, url: \"{}\", write_relabel_configs: [\
             {{source_labels: [__name__], regex: vehicles|trips, action: keep}},\
             {{source_labels: [__name__], target_label: __name__, replacement: fleet_$1}}]}}]}}",
        east.remote_write_url(),
        west.remote_write_url()
    );
    let write = ["--set", &write];

    west.kill()?;
    let mut feed = stateful.feed()?;
    let mut service = stateful.start(&write)?;
    let (first, rest) = events.split_at(1_000);
    feed.write(first)?;
    service.await_metric("weir_events_total", &[], 1_000.0)?;
    service.await_metric("weir_samples_written_total", &[("receiver", "east")], 100.0)?;
    ensure!(service.metric("weir_samples_written_total", &[("receiver", "west")])? == 0.0);
    // What waits for the one that is away is in the checkpoint.
    let done = service.metric("weir_checkpoints_total", &[])?;
    service.await_metric("weir_checkpoints_total", &[], done + 2.0)?;
    let (second, _) = rest.split_at(300);
    feed.write(second)?;
    service.await_metric("weir_events_total", &[], 1_300.0)?;
    service.kill()?;

    west.restart()?;
    stateful.replace(&events)?;
    let log = stateful.finish(&write)?;
    let is_whole = log.contains(" dropped_samples=0 unsent_samples=0");
    ensure!(is_whole && !log.contains("refused"), "{log}");
    expect_same(&all_of(&east)?, &of_east(&expected))?;
    expect_same(&all_of(&west)?, &of_west(&expected))
}

/// A pipeline without state, its events, and two receivers, of which one is away.
struct Scene {
    stateful: Stateful,
    expected: Vec<Sample>,
    main: Prometheus,
    away: Prometheus,
    /// For `--set`.
    write: String,
}

impl Scene {
    /// With a small queue, and one more option, for the one that is away.
    fn new(option: &str) -> Result<Self> {
        let events = events(2_000);
        let (pipeline, _) = CARS.split_once("state:\n").unwrap_or_default();
        let stateful = Stateful::new(pipeline)?;
        let expected = stateful.uninterrupted(&events)?;
        stateful.replace(&events)?;
        let (main, mut away) = (Prometheus::start()?, Prometheus::start()?);
        away.kill()?;
        let write = format!(
            "write={{remote_write: [{{name: main, url: \"{}\"}}, \
                                    {{name: backup, url: \"{}\", queue_bytes: 2000, min_shards: 8{option}}}]}}",
            main.remote_write_url(),
            away.remote_write_url()
        );
        Ok(Self {
            stateful,
            expected,
            main,
            away,
            write,
        })
    }
}

#[test]
fn a_receiver_that_is_away_does_not_hold_up_the_other() -> Result<()> {
    let mut scene = Scene::new("")?;
    let mut service = scene.stateful.start(&["--set", &scene.write])?;
    let written = scene.expected.len() as f64;
    let of_main = [("receiver", "main")];
    service.await_metric("weir_samples_written_total", &of_main, written)?;
    expect_same(&all_of(&scene.main)?, &scene.expected)?;

    let dropped = |receiver| {
        let labels = [("reason", "queue_full"), ("receiver", receiver)];
        service.metric("weir_samples_dropped_total", &labels)
    };
    ensure!(dropped("main")? == 0.0);
    let lost = dropped("backup")?;
    ensure!(lost > 100.0 && lost < written, "{lost} of {written}");
    // What has not been dropped arrives when the receiver is back.
    scene.away.restart()?;
    service.wait()?;
    let found = all_of(&scene.away)?;
    let most = written - lost;
    ensure!(!found.is_empty() && found.len() as f64 <= most, "{found:?}");
    ensure!(found.iter().all(|sample| scene.expected.contains(sample)));
    Ok(())
}

#[test]
fn with_wait_the_other_is_held_up_and_nothing_is_lost() -> Result<()> {
    let mut scene = Scene::new(", on_throttle_limit: wait")?;
    let mut service = scene.stateful.start(&["--set", &scene.write])?;
    let of_backup = [("receiver", "backup")];
    service.await_metric("weir_remote_write_circuit_open", &of_backup, 1.0)?;
    let to_main = service.metric("weir_samples_written_total", &[("receiver", "main")])?;
    ensure!(to_main < scene.expected.len() as f64, "{to_main}");
    scene.away.restart()?;
    service.wait()?;
    expect_same(&all_of(&scene.main)?, &scene.expected)?;
    expect_same(&all_of(&scene.away)?, &scene.expected)
}
