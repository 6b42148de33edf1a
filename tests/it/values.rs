//! The samples of a file run, value for value those of the reference.

mod aggregates;
mod bad_input;
mod clocks;
mod completeness;
mod property;
mod script;
mod windows;

use std::fs;
use std::process::Command;
use std::slice;

use anyhow::Result;

use crate::reference::fleet::{CONNECTED_CARS, Fleet, START_MS, by_vehicle, expect_same, succeed};
use crate::support::samples::read_ndjson;

const DISORDERED: [&str; 4] = ["--seconds", "40", "--disorder", "2s"];

const LATE: [&str; 8] = [
    "--seconds",
    "60",
    "--disorder",
    "2s",
    "--late-share",
    "0.02",
    "--late-by",
    "30s",
];

#[test]
fn ordered_events() -> Result<()> {
    let fleet = Fleet::new()?;
    let splits = [fleet.events(&["--seconds", "40"])?];
    let samples = fleet.check(&splits, &[])?;
    // Eight windows, and the fleet is large enough for several series of each metric.
    assert!(samples.len() > 8 * 3 * 10, "{}", samples.len());
    assert!(
        samples
            .iter()
            .all(|sample| sample.timestamp_ms % 5_000 == 0)
    );
    Ok(())
}

#[test]
fn disordered_events_within_the_bound_give_what_ordered_ones_do() -> Result<()> {
    let fleet = Fleet::new()?;
    let disordered = fleet.events(&DISORDERED)?;
    let mut lines: Vec<&[u8]> = disordered.split_inclusive(|byte| *byte == b'\n').collect();
    let time = |line: &&[u8]| {
        let event: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        event["timestamp"].as_i64()
    };
    assert!(!lines.is_sorted_by_key(time));
    let samples = fleet.check(slice::from_ref(&disordered), &[])?;
    // The sort is stable, so events of one time stay in their order.
    lines.sort_by_key(time);
    assert_eq!(fleet.check(&[lines.concat()], &[])?, samples);
    Ok(())
}

#[test]
fn late_events_are_left_out() -> Result<()> {
    let fleet = Fleet::new()?;
    let splits = [fleet.events(&LATE)?];
    let late = fleet.reference(&splits).late;
    assert!(late.values().all(|late| *late > 50), "{late:?}");
    fleet.check(&splits, &[])?;
    Ok(())
}

#[test]
fn late_is_judged_by_the_split_of_an_event() -> Result<()> {
    let fleet = Fleet::new()?;
    // The same vehicles in all of them, one split twenty seconds behind the others.
    let splits = [
        fleet.events(&LATE)?,
        fleet.events(&[&LATE[..], &["--seed", "2"]].concat())?,
        fleet.events_from(START_MS - 20_000, &["--seconds", "50", "--seed", "3"])?,
        Vec::new(),
    ];
    fleet.check(&splits, &["--workers", "2"])?;
    Ok(())
}

#[test]
fn the_number_of_workers_changes_no_byte() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut splits = by_vehicle(&fleet.events(&LATE)?, 4);
    splits.push(fleet.events(&[&LATE[..], &["--seed", "2"]].concat())?);
    let expected = fs::read(fleet.run(&splits, &["--workers", "1"])?)?;
    let samples = read_ndjson(&fleet.path("samples.ndjson"))?;
    expect_same(&samples, &fleet.reference(&splits).samples)?;
    // Threads run in another order every time.
    for workers in ["2", "3", "2", "3", "2", "3"] {
        let found = fs::read(fleet.run(&splits, &["--workers", workers])?)?;
        assert!(found == expected, "{workers} workers give another file");
    }
    Ok(())
}

#[test]
fn standard_input_and_output() -> Result<()> {
    let fleet = Fleet::new()?;
    let events = fleet.events(&DISORDERED)?;
    let expected = fs::read_to_string(fleet.run(slice::from_ref(&events), &[])?)?;
    let input = fleet.path("input.ndjson");
    fs::write(&input, events)?;
    let weir = fleet.weir(CONNECTED_CARS, &["--input", "-", "--output", "-"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"input=$1; shift; exec "$@" < "$input""#, "sh"]);
    shell
        .arg(input)
        .arg(weir.get_program())
        .args(weir.get_args());
    if let Some(folder) = weir.get_current_dir() {
        shell.current_dir(folder);
    }
    assert_eq!(succeed(&shell)?.stdout, expected);
    Ok(())
}

#[test]
fn an_empty_input_gives_an_empty_output() -> Result<()> {
    let fleet = Fleet::new()?;
    assert_eq!(fs::read(fleet.run(&[Vec::new()], &[])?)?, b"");
    assert_eq!(fs::read(fleet.run(&[b"\n\n".to_vec()], &[])?)?, b"");
    Ok(())
}

#[test]
fn a_last_line_without_its_end_counts() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut events = fleet.events(&["--seconds", "6"])?;
    assert_eq!(events.pop(), Some(b'\n'));
    fleet.check(&[events], &[])?;
    Ok(())
}
