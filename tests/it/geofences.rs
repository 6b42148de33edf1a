//! Geofences: the example of the page gives its samples, and broken zones stop a run.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::markdown::{page, rows};
use crate::reference::fleet::{expect_same, succeed};
use crate::support::files::{self, weir};
use crate::support::samples::{Sample, read_ndjson};

/// The time of all events, and the end of their window, ms since the epoch.
const AT_MS: i64 = 1_730_621_745_000;
const END_MS: i64 = 1_730_621_750_000;

/// The first fenced block with a name.
fn block<'a>(page: &'a str, name: &str) -> Result<&'a str> {
    let (_, rest) = page
        .split_once(&format!("```{name}\n"))
        .with_context(|| format!("no block of {name}"))?;
    let (block, _) = rest.split_once("```").context("no end of the block")?;
    Ok(block)
}

/// The files of the page's example in a folder.
fn example(page: &str) -> Result<TempDir> {
    let folder = files::temporary_folder()?;
    files::write(folder.path(), "fleet.yaml", block(page, "yaml")?)?;
    files::write(folder.path(), "zones.geojson", block(page, "json")?)?;
    let mut events = String::new();
    let header = ["Vehicle", "Latitude", "Longitude", "Speed", "Zone"];
    for row in rows(page, &header)? {
        let [vehicle, latitude, longitude, speed] = [0, 1, 2, 3].map(|cell| row.cell(cell));
        let latitude = latitude.replace("NULL", "null");
        writeln!(
            events,
            "{{\"time\":{AT_MS},\"vehicle\":\"{vehicle}\",\"lat\":{latitude},\
             \"lon\":{longitude},\"speed\":{speed}}}"
        )?;
    }
    files::write(folder.path(), "events.ndjson", &events)?;
    Ok(folder)
}

#[test]
fn the_example_gives_its_samples() -> Result<()> {
    let page = page("geofences.md")?;
    let folder = example(&page)?;
    let mut command = weir([
        "run",
        "fleet.yaml",
        "--output",
        "samples.ndjson",
        "--listen",
        "none",
    ]);
    succeed(command.current_dir(&folder))?;
    let found = read_ndjson(&folder.path().join("samples.ndjson"))?;
    let mut expected = Vec::new();
    for row in rows(&page, &["Metric", "Zone", "Value"])? {
        let value = row.cell(2).parse()?;
        let labels = [("zone", row.cell(1))];
        expected.push(Sample::new(row.code(0), &labels, END_MS, value));
    }
    expected.sort();
    expect_same(&found, &expected)?;

    // The zones that the page tells of each event, by a pipeline that tells them apart.
    let each = block(&page, "yaml")?
        .replace("by: [zone]", "by: [vehicle, zone]")
        .replace("count(DISTINCT vehicle)", "max(speed)");
    files::write(folder.path(), "each.yaml", &each)?;
    let mut command = weir([
        "run",
        "each.yaml",
        "--output",
        "each.ndjson",
        "--listen",
        "none",
    ]);
    succeed(command.current_dir(&folder))?;
    let mut found = read_ndjson(&folder.path().join("each.ndjson"))?;
    found.retain(|sample| sample.name == "vehicles_in_zone");
    let mut expected = Vec::new();
    for row in rows(
        &page,
        &["Vehicle", "Latitude", "Longitude", "Speed", "Zone"],
    )? {
        let labels = [("vehicle", row.cell(0)), ("zone", row.cell(4))];
        expected.push(Sample::new(
            "vehicles_in_zone",
            &labels,
            END_MS,
            row.cell(3).parse()?,
        ));
    }
    expected.sort();
    expect_same(&found, &expected)
}

#[test]
fn zones_that_cross_themselves_stop_a_run() -> Result<()> {
    let page = page("geofences.md")?;
    let folder = example(&page)?;
    let path = folder.path().join("zones.geojson");
    let crossed = fs::read_to_string(&path)?.replacen(
        "[8.52, 47.38], [8.50, 47.38]",
        "[8.50, 47.38], [8.52, 47.38]",
        1,
    );
    fs::write(&path, crossed)?;
    let mut command = weir([
        "run",
        "fleet.yaml",
        "--output",
        "samples.ndjson",
        "--listen",
        "none",
    ]);
    let output = files::run(
        command.current_dir(&folder),
        std::time::Duration::from_secs(60),
    )?;
    let message = "lookup zones: zones.geojson: features[0]: coordinates: the edge [8.5, 47.36] to \
                   [8.52, 47.38] of ring 0 crosses the edge [8.5, 47.38] to [8.52, 47.36] of ring 0";
    ensure!(output.stderr.contains(message), "{}", output.stderr);
    assert!(!output.status.success());
    Ok(())
}
