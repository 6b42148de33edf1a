//! A pipeline that is killed, stopped or fails, and goes on where it was.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};

use crate::reference::fleet::{START_MS, expect_same};
use crate::reference::service::sum_of;
use crate::reference::stateful::{CARS, Stateful, events, text_of};
use crate::support::samples::Sample;

/// A file whose beginning cannot be read, whoever tries.
const UNREADABLE: &str = "/proc/self/mem";
/// A file that takes nothing.
const FULL: &str = "/dev/full";

#[test]
fn a_file_has_every_sample_once_after_a_crash() -> Result<()> {
    let events = events(2_000);
    let stateful = Stateful::new(CARS)?;
    let expected = stateful.uninterrupted(&events)?;
    let (first, rest) = events.split_at(800);
    let (second, _) = rest.split_at(700);

    let mut feed = stateful.feed()?;
    let mut service = stateful.start(&[])?;
    feed.write(first)?;
    service.await_metric("weir_events_total", &[], 800.0)?;
    stateful.savepoint(&service, "first")?;
    feed.write(second)?;
    // A window that only the second part of the events closes: its samples are behind the checkpoint.
    let output = stateful.path("samples.ndjson");
    let behind = format!("\"timestamp_ms\":{},", START_MS + 55_000);
    service.await_condition("samples behind the checkpoint", || {
        fs::read_to_string(&output).is_ok_and(|text| text.contains(&behind))
    })?;
    service.kill()?;
    let killed = stateful.samples("samples.ndjson")?;
    ensure!(killed.len() < expected.len(), "it had come to its end");

    stateful.replace(&events)?;
    let log = stateful.finish(&[])?;
    ensure!(log.contains("goes on from a checkpoint"), "{log}");
    ensure!(
        log.contains("finished pipeline=\"cars\" events=1200 "),
        "{log}"
    );
    expect_same(&stateful.samples("samples.ndjson")?, &expected)
}

/// A folder with a checkpoint of 900 events, whose second input cannot be read.
fn unreadable(events: &[String]) -> Result<Stateful> {
    let stateful = Stateful::killed_after(900, events)?;
    symlink(UNREADABLE, stateful.path("more.ndjson"))?;
    Ok(stateful)
}

const BOTH: [&str; 2] = ["--set", "source.file.path=[events.ndjson,more.ndjson]"];

const REASON: &str = "source file more.ndjson: cannot be read: Input/output error (os error 5)";

#[test]
fn a_pipeline_that_fails_is_started_again_until_it_runs() -> Result<()> {
    let events = events(2_000);
    let (first, more) = events.split_at(1_500);
    let stateful = unreadable(first)?;
    let expected = stateful.uninterrupted(&events)?;
    let mut service = stateful.start(&BOTH)?;
    service.await_metric("weir_restarts_total", &[("cause", "source")], 2.0)?;
    // Of one page, because it is started again every 200 ms.
    let page = service.get("/metrics")?.body;
    assert_eq!(
        sum_of(&page, "weir_restarts_total", &[])?,
        sum_of(&page, "weir_restarts_total", &[("cause", "source")])?,
        "nothing else has failed"
    );
    stateful.swap("more.ndjson", &text_of(more))?;
    service.wait()?;
    expect_same(&stateful.samples("samples.ndjson")?, &expected)
}

#[test]
fn a_pipeline_that_waits_for_its_restart_says_so() -> Result<()> {
    let stateful = unreadable(&events(1_500))?;
    let hour = ["--set", "state.restart={initial_delay: 1h, max_delay: 1h}"];
    let mut service = stateful.start(&[BOTH, hour].concat())?;
    let restarting = [("state", "restarting")];
    service.await_metric("weir_pipeline_state", &restarting, 1.0)?;
    for (metric, label, value) in [
        ("weir_pipeline_state", ("state", "running"), 0.0),
        ("weir_pipeline_state", ("state", "failed"), 0.0),
        ("weir_last_failure", ("cause", "source"), 1.0),
        ("weir_last_failure", ("cause", "state"), 0.0),
        ("weir_restarts_total", ("cause", "source"), 0.0),
    ] {
        let found = service.metric(metric, &[label])?;
        assert_eq!(found, value, "{metric} {label:?}");
    }
    assert!(service.metric("weir_last_failure_timestamp_seconds", &[])? > 1.7e9);
    let ready = service.get("/-/ready")?;
    let expected = format!("pipeline cars is restarting: {REASON}\n");
    assert_eq!((ready.status, ready.body), (503, expected));
    assert_eq!(service.get("/-/healthy")?.status, 200);

    let create = [
        "savepoint",
        "create",
        "cars.yaml",
        "x",
        "--address",
        service.address(),
    ];
    let refused = stateful.run(&create)?;
    assert_eq!(
        refused.stderr,
        "weir: pipeline cars does not run at the moment; try again later\n"
    );
    service.stop_with(1)
}

#[test]
fn too_many_failures_end_it() -> Result<()> {
    let stateful = unreadable(&events(1_500))?;
    let few = [
        "--set",
        "state.restart={initial_delay: 1ms, max_delay: 1ms, max_failures: 2}",
    ];
    let service = stateful.start(&[BOTH, few].concat())?;
    let log = service.fail()?;
    let again = "the pipeline has failed and starts again pipeline=\"cars\" cause=\"source\"";
    assert_eq!(log.matches(again).count(), 2, "{log}");
    let last = format!("the pipeline has failed pipeline=\"cars\" error={REASON}");
    assert_eq!(log.matches(&last).count(), 1, "{log}");
    Ok(())
}

/// Runs from where `restore` says with an output that takes nothing until the pipeline has failed
/// and was started again, before it has made a checkpoint. Gives what it then writes.
fn fails_at_first(stateful: &Stateful, restore: &str) -> Result<Vec<Sample>> {
    symlink(FULL, stateful.path("again.ndjson"))?;
    let output = ["--set", "write.file.path=again.ndjson"];
    let mut service = stateful.start(&[&["--restore", restore], &output[..]].concat())?;
    service.await_metric("weir_restarts_total", &[("cause", "writer")], 1.0)?;
    assert_eq!(service.metric("weir_checkpoints_total", &[])?, 0.0);
    stateful.swap("again.ndjson", "")?;
    service.wait()?;
    let samples = stateful.samples("again.ndjson")?;
    fs::remove_file(stateful.path("again.ndjson"))?;
    Ok(samples)
}

#[test]
fn a_failure_before_the_first_checkpoint_goes_back_to_where_the_command_says() -> Result<()> {
    let events = events(2_000);
    let stateful = Stateful::new(CARS)?;
    let expected = stateful.uninterrupted(&events)?;
    let mut feed = stateful.feed()?;
    let mut service = stateful.start(&[])?;
    let (early, rest) = events.split_at(400);
    for (lines, savepoint, count) in [(early, "early", 400.0), (&rest[..500], "half", 900.0)] {
        feed.write(lines)?;
        service.await_metric("weir_events_total", &[], count)?;
        stateful.savepoint(&service, savepoint)?;
    }
    service.kill()?;
    stateful.replace(&events)?;

    expect_same(&fails_at_first(&stateful, "fresh")?, &expected)?;
    // Everything from the savepoint on, also what is before the newest checkpoint.
    let mut samples = fails_at_first(&stateful, "early")?;
    let between_ms = START_MS + 35_000;
    let between = |sample: &Sample| sample.name == "vehicles" && sample.timestamp_ms == between_ms;
    assert_eq!(samples.iter().filter(|sample| between(sample)).count(), 3);
    samples.extend(stateful.samples("samples.ndjson")?);
    samples.sort();
    samples.dedup();
    expect_same(&samples, &expected)
}

#[test]
fn a_run_with_input_leaves_the_state_alone() -> Result<()> {
    let events = events(1_000);
    let stateful = Stateful::killed_after(900, &events)?;
    let inventory = stateful.inventory()?;
    let arguments = ["--input", "events.ndjson", "--output", "other.ndjson"];
    let log = stateful.finish(&arguments)?;
    let words = "with --input the pipeline keeps no state; that of state.dir is left alone";
    assert_eq!(log.matches(words).count(), 1, "{log}");
    assert!(log.contains(" events=1000 "), "{log}");
    assert_eq!(stateful.inventory()?, inventory);
    Ok(())
}
