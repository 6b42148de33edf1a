//! A small fleet in a folder: its table of models, its events, and weir over them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::support::files::{Output, run, temporary_folder, weir, weirgen, write};
use crate::support::samples::{Sample, read_ndjson};

use super::cars::{Cars, Models, connected_cars};

/// The longest wait for a run.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Where the events of the tests begin, ms since the epoch: a window's start, long ago.
pub(crate) const START_MS: i64 = 1_730_621_750_000;

/// The shipped pipeline.
pub(crate) const CONNECTED_CARS: &str = "pipelines/connected-cars.yaml";

const VEHICLES: u32 = 200;

/// A fleet.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Where its files are.
    pub(crate) folder: TempDir,
    /// The table of models, as weir knows it.
    pub(crate) table: PathBuf,
    /// The same table. It lacks some vehicles.
    pub(crate) models: Models,
    vehicles: String,
}

impl Fleet {
    /// Makes the table.
    ///
    /// # Errors
    /// There is no `weirgen`, or a file cannot be written.
    pub(crate) fn new() -> Result<Self> {
        Self::of(VEHICLES)
    }

    /// As [`Self::new`], with so many vehicles.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub(crate) fn of(vehicles: u32) -> Result<Self> {
        let vehicles = vehicles.to_string();
        let folder = temporary_folder()?;
        let complete = folder.path().join("complete.csv");
        let mut command = weirgen(["--vehicles", &vehicles, "--reference"])?;
        succeed(command.arg(&complete))?;
        let mut known = String::new();
        let mut models = Models::new();
        for (number, line) in fs::read_to_string(&complete)?.lines().enumerate() {
            if number % 10 == 9 {
                continue;
            }
            known.push_str(line);
            known.push('\n');
            let (vehicle, model) = line.split_once(',').context("a row without a comma")?;
            models.insert(vehicle.to_owned(), model.to_owned());
        }
        models.remove("vehicle_id");
        let table = write(folder.path(), "vehicles.csv", &known)?;
        Ok(Self {
            folder,
            table,
            models,
            vehicles,
        })
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The setting that makes weir use the table.
    pub(crate) fn table_setting(&self) -> String {
        format!("enrich.0.from.csv={}", self.table.display())
    }

    /// A command for weirgen with this fleet; its options, and last the target, are to be added.
    ///
    /// # Errors
    /// There is no `weirgen`.
    pub(crate) fn weirgen(&self, options: &[&str]) -> Result<Command> {
        let mut command = weirgen(["--vehicles", &self.vehicles])?;
        command.args(options);
        Ok(command)
    }

    /// Events of the fleet, one a line, from [`START_MS`] on.
    ///
    /// # Errors
    /// An option is refused.
    pub(crate) fn events(&self, options: &[&str]) -> Result<Vec<u8>> {
        self.events_from(START_MS, options)
    }

    /// As [`Self::events`], from any time on.
    ///
    /// # Errors
    /// An option is refused.
    pub(crate) fn events_from(&self, start_ms: i64, options: &[&str]) -> Result<Vec<u8>> {
        let path = self.path("generated.ndjson");
        let mut command = self.weirgen(&["--start-ms", &start_ms.to_string()])?;
        command.args(options);
        succeed(command.arg(format!("ndjson:{}", path.display())))?;
        Ok(fs::read(path)?)
    }

    /// A command for `weir run` of a pipeline file with the fleet's table.
    pub(crate) fn weir(&self, pipeline: &str, options: &[&str]) -> Command {
        let table = self.table_setting();
        let mut command = weir(["run", pipeline, "--set", &table]);
        command.args(options);
        command
    }

    /// Runs the connected-cars pipeline over files, each a split, and gives the samples' file.
    ///
    /// # Errors
    /// The run fails.
    pub(crate) fn run(&self, splits: &[Vec<u8>], options: &[&str]) -> Result<PathBuf> {
        self.run_pipeline(CONNECTED_CARS, splits, options)
    }

    /// As [`Self::run`], for any pipeline file that has the lookup.
    ///
    /// # Errors
    /// The run fails.
    pub(crate) fn run_pipeline(
        &self,
        pipeline: &str,
        splits: &[Vec<u8>],
        options: &[&str],
    ) -> Result<PathBuf> {
        let mut command = self.weir(pipeline, options);
        for (number, split) in splits.iter().enumerate() {
            let path = self.path(&format!("split-{number}.ndjson"));
            fs::write(&path, split)?;
            command.arg("--input").arg(path);
        }
        let output = self.path("samples.ndjson");
        succeed(command.arg("--output").arg(&output))?;
        Ok(output)
    }

    /// What the connected-cars pipeline must give.
    pub(crate) fn reference(&self, splits: &[Vec<u8>]) -> Cars {
        connected_cars(splits, &self.models)
    }

    /// Runs the connected-cars pipeline over files and compares; gives the samples.
    ///
    /// # Errors
    /// The run fails or the samples are not those of the reference.
    pub(crate) fn check(&self, splits: &[Vec<u8>], options: &[&str]) -> Result<Vec<Sample>> {
        let samples = read_ndjson(&self.run(splits, options)?)?;
        expect_same(&samples, &self.reference(splits).samples)?;
        Ok(samples)
    }
}

/// Runs a command that must succeed.
///
/// # Errors
/// It fails; with what it has said.
pub(crate) fn succeed(command: &Command) -> Result<Output> {
    let output = run(command, LIMIT)?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        output.stderr
    );
    Ok(output)
}

/// Compares two sorted lists of samples.
///
/// # Errors
/// They differ; with the first few differences instead of thousands of samples.
pub(crate) fn expect_same(found: &[Sample], expected: &[Sample]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let mut text = format!("{} samples for {} expected", found.len(), expected.len());
    let missing = expected.iter().filter(|sample| !found.contains(sample));
    for sample in missing.take(5) {
        text.push_str(&format!("\n  missing    {sample:?}"));
    }
    let unexpected = found.iter().filter(|sample| !expected.contains(sample));
    for sample in unexpected.take(5) {
        text.push_str(&format!("\n  unexpected {sample:?}"));
    }
    bail!("{text}")
}

/// Lines in turns to `count` splits by vehicle, so that a vehicle stays in its split.
pub(crate) fn by_vehicle(events: &[u8], count: usize) -> Vec<Vec<u8>> {
    let mut splits = vec![Vec::new(); count];
    for line in events.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let digits = text
            .split_once("\"vehicleId\":\"V")
            .and_then(|(_, rest)| rest.get(..10));
        let number: usize = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        if let Some(split) = splits.get_mut(number % count) {
            split.extend_from_slice(line);
        }
    }
    splits
}

#[test]
fn differences_are_named() {
    let [one, two] = [1.0, 2.0].map(|value| Sample::new("a", &[], START_MS, value));
    let once = [one.clone()];
    let twice = [one.clone(), one.clone()];
    let both = [one, two.clone()];
    assert!(expect_same(&once, &once).is_ok());
    assert!(expect_same(&twice, &once).is_err());
    let error = expect_same(&both, &once).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("2 samples for 1 expected\n  unexpected {two:?}")
    );
}
