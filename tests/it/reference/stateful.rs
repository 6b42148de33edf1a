//! A pipeline that keeps state, in a folder of its own. Its input is a named pipe that the test
//! feeds, so that weir stands still where the test wants it; after a kill it becomes a file with the
//! same bytes, which can be read again.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::fleet::{LIMIT, START_MS, succeed};
use super::service::Service;
use crate::support::files::{self, Output, temporary_folder, weir};
use crate::support::samples::{Sample, read_ndjson};

/// The pipeline of most tests. A checkpoint is made when a savepoint is asked for, and at no other
/// time.
pub(crate) const CARS: &str = "pipeline: cars
source: { file: { path: [events.ndjson] } }
event: { time: { from: t }, fields: { vehicle: text, region: text, speed: number } }
time: { out_of_order: 2s, idle_after: 1h }
metrics:
  vehicles: { window: { tumbling: 5s }, by: [region], value: count(DISTINCT vehicle) }
  speed: { window: { sliding: 20s, slide: 5s }, by: [region], value: avg(speed) }
  trips: { window: { session: 3s }, by: [vehicle], value: count(*) }
write: { file: { path: samples.ndjson } }
state:
  dir: state
  checkpoint: { every: 1h }
  restart: { initial_delay: 200ms, max_delay: 200ms, max_failures: 1000 }
";

/// The input, relative to the folder.
const EVENTS: &str = "events.ndjson";

/// Events of a small fleet, one each 50 ms from [`START_MS`] on, with disorder; the same every time.
pub(crate) fn events(count: i64) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(1);
    let numbers = 0..count;
    numbers
        .map(|number| {
            let time = START_MS + number * 50 - random.i64(0..1_500);
            let vehicle = random.u32(0..40);
            let region = ["UK", "US", "FR"].get(vehicle as usize % 3).unwrap_or(&"");
            let speed = f64::from(random.u32(0..1_000)) / 8.0;
            format!(r#"{{"t":{time},"vehicle":"V{vehicle}","region":"{region}","speed":{speed}}}"#)
        })
        .collect()
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Stateful {
    folder: TempDir,
}

/// The writing end of the input.
#[derive(Debug)]
pub(crate) struct Feed(File);

impl Feed {
    /// Writes lines into the pipe; they fit, or weir reads meanwhile.
    ///
    /// # Errors
    /// Nobody reads.
    pub(crate) fn write(&mut self, lines: &[String]) -> Result<()> {
        Ok(self.0.write_all(text_of(lines).as_bytes())?)
    }
}

/// The lines of a file.
pub(crate) fn text_of(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

impl Stateful {
    /// A folder with the pipeline file `cars.yaml`.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(pipeline: &str) -> Result<Self> {
        let folder = temporary_folder()?;
        files::write(folder.path(), "cars.yaml", pipeline)?;
        Ok(Self { folder })
    }

    /// A folder in which weir has processed some events of all, was asked for the savepoint `half`,
    /// and was killed. All events are to be read again.
    ///
    /// # Errors
    /// Something does not work.
    pub(crate) fn killed_after(processed: usize, all: &[String]) -> Result<Self> {
        let stateful = Self::new(CARS)?;
        let mut feed = stateful.feed()?;
        let mut service = stateful.start(&[])?;
        let (first, _) = all.split_at(processed);
        feed.write(first)?;
        service.await_metric("weir_events_total", &[], processed as f64)?;
        stateful.savepoint(&service, "half")?;
        service.kill()?;
        stateful.replace(all)?;
        Ok(stateful)
    }

    /// The folder's path.
    pub(crate) fn at(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the input a pipe.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn feed(&self) -> Result<Feed> {
        let path = self.path(EVENTS);
        succeed(Command::new("mkfifo").arg(&path))?;
        // Both ends, so that opening waits for nobody.
        let both = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Feed(both))
    }

    /// Makes the input a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn replace(&self, lines: &[String]) -> Result<()> {
        self.swap(EVENTS, &text_of(lines))
    }

    /// Puts a file in the place of whatever is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn swap(&self, name: &str, content: &str) -> Result<()> {
        let new = files::write(self.at(), &format!("{name}.new"), content)?;
        Ok(fs::rename(new, self.path(name))?)
    }

    /// A command for weir in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = weir([]);
        command.args(arguments).current_dir(self.at());
        command
    }

    /// Starts `weir run cars.yaml` with further arguments.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Service> {
        let mut command = self.command(&["run", "cars.yaml"]);
        command.args(arguments);
        self.serve(&mut command)
    }

    /// Starts a command that runs weir in the folder.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn serve(&self, command: &mut Command) -> Result<Service> {
        Service::start(command, &self.folder)
    }

    /// Runs weir to its end, whatever that is.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output> {
        files::run(&self.command(arguments), LIMIT)
    }

    /// Runs `weir run cars.yaml` with further arguments to its good end, and gives its log.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn finish(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(&["run", "cars.yaml", "--listen", "none"]);
        Ok(succeed(command.args(arguments))?.stderr)
    }

    /// What a command that succeeds prints.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn prints(&self, arguments: &[&str]) -> Result<String> {
        Ok(succeed(&self.command(arguments))?.stdout)
    }

    /// What `weir run cars.yaml` says that fails, without its log.
    ///
    /// # Errors
    /// It does not fail.
    pub(crate) fn refusal(&self, arguments: &[&str]) -> Result<String> {
        let run = ["run", "cars.yaml", "--listen", "none"];
        let output = self.run(&[&run, arguments].concat())?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        let words = output.stderr.rsplit_once("weir: ").map(|(_, words)| words);
        Ok(words.context(output.stderr.clone())?.to_owned())
    }

    /// Asks for a savepoint, and with it for a checkpoint.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn savepoint(&self, service: &Service, name: &str) -> Result<String> {
        let address = service.address();
        self.prints(&[
            "savepoint",
            "create",
            "cars.yaml",
            name,
            "--address",
            address,
        ])
    }

    /// The samples in a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn samples(&self, name: &str) -> Result<Vec<Sample>> {
        read_ndjson(&self.path(name))
    }

    /// The samples of a run that nothing interrupts, and that keeps no state.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn uninterrupted(&self, lines: &[String]) -> Result<Vec<Sample>> {
        files::write(self.at(), "all.ndjson", &text_of(lines))?;
        self.finish(&["--input", "all.ndjson", "--output", "expected.ndjson"])?;
        self.samples("expected.ndjson")
    }

    /// The parts of all checkpoints and savepoints in the state, with the times at which they were made.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn inventory(&self) -> Result<String> {
        let latest = self.prints(&["state", "inspect", "cars.yaml"])?;
        let list = self.prints(&["savepoint", "list", "cars.yaml"])?;
        Ok(latest + &list)
    }
}

/// Samples of some metrics only.
pub(crate) fn of_metrics(samples: &[Sample], names: &[&str]) -> Vec<Sample> {
    let wanted = samples
        .iter()
        .filter(|sample| names.contains(&&*sample.name));
    wanted.cloned().collect()
}
