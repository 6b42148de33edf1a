//! Savepoints of a pipeline that runs, and what goes on from them.

use anyhow::Result;

use crate::reference::fleet::{START_MS, expect_same};
use crate::reference::stateful::{CARS, Stateful, events, of_metrics};
use crate::support::files::temporary_folder;

/// The lines of a text without those that begin with one of these words: times and sizes of stored
/// bytes differ from run to run.
fn without(text: &str, words: &[&str]) -> String {
    let lines = text.lines();
    let kept = lines.filter(|line| !words.iter().any(|word| line.starts_with(word)));
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_savepoint_of_a_running_pipeline_goes_on_in_another_store() -> Result<()> {
    let events = events(2_000);
    let stateful = Stateful::new(CARS)?;
    let expected = stateful.uninterrupted(&events)?;
    let mut feed = stateful.feed()?;
    let mut service = stateful.start(&[])?;
    let (first, rest) = events.split_at(1_100);
    feed.write(first)?;
    service.await_metric("weir_events_total", &[], 1_100.0)?;

    let created = stateful.savepoint(&service, "half")?;
    assert!(
        created.starts_with("savepoint half is made: checkpoint 1, "),
        "{created}"
    );
    let address = service.address().to_owned();
    let running = |arguments: &[&str]| {
        let address = ["--address", &address];
        stateful.prints(&[&["savepoint"], arguments, &address].concat())
    };
    let list = running(&["list", "cars.yaml"])?;
    let rows: Vec<Vec<_>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let ends: Vec<_> = rows.iter().map(|row| (row.first(), row.last())).collect();
    assert_eq!(
        ends,
        [
            (Some(&"NAME"), Some(&"CHECKPOINT")),
            (Some(&"half"), Some(&"1"))
        ]
    );
    let twice = stateful.run(&[
        "savepoint",
        "create",
        "cars.yaml",
        "half",
        "--address",
        &address,
    ])?;
    assert_eq!(
        (twice.status.code(), &*twice.stderr),
        (
            Some(1),
            "weir: pipeline cars has a savepoint 'half' already: delete it, or use another name\n"
        )
    );
    let shown = running(&["show", "cars.yaml", "half"])?;
    assert!(
        shown.contains("\nsavepoint   half\ncheckpoint  1\n"),
        "{shown}"
    );
    running(&["export", "cars.yaml", "half", "half.savepoint"])?;
    let imported = running(&["import", "cars.yaml", "copy", "half.savepoint"])?;
    assert!(
        imported.starts_with("savepoint copy is taken in: checkpoint 1, "),
        "{imported}"
    );
    let copy = running(&["show", "cars.yaml", "copy"])?;
    assert_eq!(
        without(&copy, &["savepoint", "size"]),
        without(&shown, &["savepoint", "size"])
    );
    assert_eq!(
        running(&["delete", "cars.yaml", "half"])?,
        "savepoint half is deleted\n"
    );
    let list = running(&["list", "cars.yaml"])?;
    assert!(list.contains("\ncopy ") && !list.contains("half"), "{list}");

    // It has gone on meanwhile.
    feed.write(rest)?;
    service.await_metric("weir_events_total", &[], 2_000.0)?;
    assert_eq!(service.metric("weir_restarts_total", &[])?, 0.0);
    service.kill()?;
    stateful.replace(&events)?;

    // Another machine, which has the events, the samples up to there, and an object store.
    let other = Stateful::new(CARS)?;
    let store = temporary_folder()?;
    let checkpoints = format!("state.checkpoints=file://{}", store.path().display());
    let elsewhere = ["--set", &checkpoints];
    other.replace(&events)?;
    std::fs::copy(
        stateful.path("half.savepoint"),
        other.path("half.savepoint"),
    )?;
    std::fs::copy(
        stateful.path("samples.ndjson"),
        other.path("samples.ndjson"),
    )?;
    let import = [
        "savepoint",
        "import",
        "cars.yaml",
        "moved",
        "half.savepoint",
    ];
    other.prints(&[&import, &elsewhere[..]].concat())?;
    let log = other.finish(&[&["--restore", "moved"], &elsewhere[..]].concat())?;
    assert!(log.contains("goes on from a checkpoint"), "{log}");
    assert!(log.contains(" events=900 "), "{log}");
    expect_same(&other.samples("samples.ndjson")?, &expected)
}

const CHANGED: &str = "metrics={
  vehicles: { window: { tumbling: 5s }, by: [region], value: count(DISTINCT vehicle) },
  speed: { window: { sliding: 30s, slide: 5s }, by: [region], value: avg(speed) },
  readings: { window: { tumbling: 10s }, value: count(*) } }";

#[test]
fn a_changed_pipeline_goes_on_with_what_fits() -> Result<()> {
    let events = events(2_000);
    let stateful = Stateful::killed_after(1_100, &events)?;
    let expected = stateful.uninterrupted(&events)?;
    let inventory = stateful.inventory()?;
    let changed = ["--set", CHANGED];
    assert_eq!(
        stateful.refusal(&changed)?,
        "pipeline cars: checkpoint 1 has state that the pipeline cannot go on with; to drop it, say \
         --allow-dropped-state:
  metric speed: it was sliding 20000 ms every 5000 ms, panes of 5000 ms, offset 0 ms, lateness 0 ms; by \
         [region]; of each group [avg of number], now it is sliding 30000 ms every 5000 ms, panes of 5000 ms, \
         offset 0 ms, lateness 0 ms; by [region]; of each group [avg of number]
  metric trips: the pipeline has none of this name
"
    );
    assert_eq!(stateful.inventory()?, inventory);

    let log = stateful.finish(&[&changed[..], &["--allow-dropped-state"]].concat())?;
    for words in [
        "saved state is dropped checkpoint=1 what=\"metric speed: it was ",
        "saved state is dropped checkpoint=1 what=\"metric trips: the pipeline has none of this name\"",
        "the metric is new: its first windows have only the events from now on checkpoint=1 \
         metric=\"readings\"",
    ] {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
    let samples = stateful.samples("samples.ndjson")?;
    expect_same(
        &of_metrics(&samples, &["vehicles"]),
        &of_metrics(&expected, &["vehicles"]),
    )?;
    // Of the new metric, the whole windows behind the savepoint are complete.
    let whole = |window: i64| {
        let end_ms = START_MS + window * 10_000;
        let mut found = samples
            .iter()
            .filter(|sample| sample.name == "readings" && sample.timestamp_ms == end_ms);
        found.next().map(|sample| sample.value)
    };
    assert_eq!(whole(3), None);
    assert!(whole(6).is_some_and(|count| (0.0..200.0).contains(&count)));
    for window in 7..=9 {
        assert_eq!(whole(window), Some(counted(&events, window)), "{window}");
    }
    Ok(())
}

/// How many events are in a window of ten seconds.
fn counted(events: &[String], window: i64) -> f64 {
    let end_ms = START_MS + window * 10_000;
    let time = |event: &String| -> Option<i64> {
        let event: serde_json::Value = serde_json::from_str(event).ok()?;
        event.get("t")?.as_i64()
    };
    let times = events.iter().filter_map(time);
    times
        .filter(|time| (end_ms - 10_000..end_ms).contains(time))
        .count() as f64
}

#[test]
fn what_a_checkpoint_holds_is_shown() -> Result<()> {
    // So few that the pipe holds them all, and weir reads them at once.
    let events = events(900);
    let stateful = Stateful::new(CARS)?;
    let mut feed = stateful.feed()?;
    let mut service = stateful.start(&[])?;
    feed.write(&events)?;
    let output = stateful.path("samples.ndjson");
    // All windows that the events close: only then is the state the same every time.
    service.await_condition("windows", || {
        std::fs::read_to_string(&output).is_ok_and(|text| text.lines().count() == CLOSED)
    })?;
    stateful.savepoint(&service, "now")?;
    let shown = stateful.prints(&["state", "inspect", "cars.yaml"])?;
    assert_eq!(without(&shown, &["created", "size", "weir"]), SHOWN);
    let folder = stateful.prints(&["state", "inspect", "state"])?;
    assert_eq!(folder, shown);
    service.kill()
}

/// How many samples the events of the test have.
const CLOSED: usize = 224;

const SHOWN: &str = "\
pipeline    cars
checkpoint  1
watermark   2024-11-03T08:16:32.411Z
unsent      0 samples

STAGE            ENTRIES      SIZE
pipeline               1     418 B
splits                 1      84 B
lookups                1       9 B
metric/vehicles        2     545 B
metric/speed           6     927 B
metric/trips           5  2.61 KiB
writer                 1     183 B

SPLIT          POSITION  HIGHEST TIME
events.ndjson     57417  2024-11-03T08:16:34.411Z

METRIC    PANES  GROUPS      SIZE
vehicles      1       3     545 B
speed         5      15     927 B
trips         3      66  2.61 KiB
";
