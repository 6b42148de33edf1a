//! weir as a process that is killed and started again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::support::files::{temporary_folder, write};
use crate::support::http;
use crate::support::process::Process;

/// The longest wait for readiness or an end.
const LIMIT: Duration = Duration::from_secs(60);

/// How many warnings and errors a failure tells of.
const COMPLAINTS: usize = 60;

/// weir with one pipeline, over many runs.
#[derive(Debug)]
pub(crate) struct Weir {
    command: Command,
    /// Where its state is, as this process sees it.
    state: PathBuf,
    folder: TempDir,
    runs: usize,
    process: Option<Run>,
}

/// One run of it.
#[derive(Debug)]
struct Run {
    process: Process,
    begun: Instant,
    log: PathBuf,
    url: Option<String>,
}

impl Weir {
    /// With a pipeline file of this text; `prefix` are the words in front of the program, where it
    /// does not run plainly. It is not started yet.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn new(
        pipeline: &str,
        state: PathBuf,
        prefix: &[String],
        environment: &[(String, String)],
    ) -> Result<Self> {
        let folder = temporary_folder()?;
        let file = write(folder.path(), "pipeline.yaml", pipeline)?;
        let program = env!("CARGO_BIN_EXE_weir");
        let words: Vec<&str> = prefix.iter().map(String::as_str).chain([program]).collect();
        let (first, rest) = words.split_first().context("no program")?;
        let mut command = Command::new(first);
        command.args(rest).arg("run").arg(file);
        command.args(["--listen", "127.0.0.1:0", "--workers", "2"]);
        command.current_dir(folder.path());
        for (name, value) in environment {
            command.env(name, value);
        }
        Ok(Self {
            command,
            state,
            folder,
            runs: 0,
            process: None,
        })
    }

    /// Starts it, with the same command every time, and does not wait.
    ///
    /// # Errors
    /// It runs already, or there is no shell.
    pub(crate) fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "weir runs already");
        self.runs += 1;
        let name = format!("weir-{}", self.runs);
        self.process = Some(Run {
            process: Process::start(&name, &self.command, &self.folder)?,
            begun: Instant::now(),
            log: self.folder.path().join(format!("{name}.err")),
            url: None,
        });
        Ok(())
    }

    /// Waits until it is ready. How long that has taken since its start.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub(crate) fn await_ready(&mut self) -> Result<Duration> {
        let run = self.process.as_mut().context("weir does not run")?;
        let (log, url) = (&run.log, &mut run.url);
        run.process.wait_until("readiness", LIMIT, || {
            if url.is_none() {
                *url = fs::read_to_string(log).ok().as_deref().and_then(address_in);
            }
            let Some(url) = url else { return false };
            http::get(&format!("{url}/-/ready")).is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(run.begun.elapsed())
    }

    /// Starts it and waits until it is ready; while something it needs is or was away it may end,
    /// and is started again. The time from its last start, and how often it has ended by itself.
    ///
    /// # Errors
    /// It ends again and again.
    pub(crate) fn restart(&mut self) -> Result<(Duration, usize)> {
        const ATTEMPTS: usize = 5;
        for ended in 0..ATTEMPTS {
            if self.process.is_none() {
                self.start()?;
            }
            match self.await_ready() {
                Ok(ready) => return Ok((ready, ended)),
                Err(error) if ended + 1 == ATTEMPTS => return Err(error),
                Err(_) => self.process = None,
            }
        }
        bail!("weir is not ready after {ATTEMPTS} starts")
    }

    /// Kills it as a crash would.
    ///
    /// # Errors
    /// It had ended before.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut run = self.process.take().context("weir does not run")?;
        run.process.kill()
    }

    /// As [`Self::kill`], where it may have ended: whether it had.
    pub(crate) fn kill_if_running(&mut self) -> bool {
        match self.process.take() {
            Some(mut run) => run.process.kill().is_err(),
            None => false,
        }
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// It had ended before, or reports a failure.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let mut run = self.process.take().context("weir does not run")?;
        let status = run.process.stop(LIMIT)?;
        ensure!(status.success(), "weir: {status}\n{}", run.process.tail());
        Ok(())
    }

    /// The files of its state, each with its length. A checkpoint begins with a change of them.
    pub(crate) fn footprint(&self) -> BTreeSet<(PathBuf, u64)> {
        footprint(&self.state)
    }

    /// The sum of the series of one of its metrics; 0 where there are none.
    ///
    /// # Errors
    /// The page cannot be had.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let run = self.process.as_ref().context("weir does not run")?;
        let url = run.url.as_ref().context("weir is not ready")?;
        let page = http::get(&format!("{url}/metrics"))?.body;
        Ok(sum_of(&page, name, ""))
    }

    /// How often the log of this run has a text.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let Some(run) = &self.process else { return 0 };
        let log = fs::read_to_string(&run.log).unwrap_or_default();
        log.matches(text).count()
    }

    /// The last warnings and errors of all of its runs.
    pub(crate) fn complaints(&self) -> String {
        let mut lines = Vec::new();
        for run in 1..=self.runs {
            let name = format!("weir-{run}");
            let path = self.folder.path().join(format!("{name}.err"));
            let log = fs::read_to_string(path).unwrap_or_default();
            for line in log.lines() {
                let words = [" WARN ", " ERROR ", "panicked"];
                if words.iter().any(|word| line.contains(word)) {
                    lines.push(format!("  {name}: {line}"));
                }
            }
        }
        lines
            .split_off(lines.len().saturating_sub(COMPLAINTS))
            .join("\n")
    }
}

/// The sum of the series of a metric whose labels contain a text.
pub(crate) fn sum_of(page: &str, name: &str, label: &str) -> f64 {
    let mut sum = 0.0;
    for line in page.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (found, labels) = series.split_once('{').unwrap_or((series, ""));
        if found == name && labels.contains(label) {
            sum += value.parse().unwrap_or(0.0);
        }
    }
    sum
}

/// `http://host:port` of the log's line about the metrics page.
fn address_in(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("metrics at ")?;
    let (url, _) = rest.split_once('\n')?;
    Some(url.trim().trim_end_matches("/metrics").to_owned())
}

/// All files below a folder with their lengths. Those that go while we look are left out. What is
/// appended to all the time, the writer's journal and the log of messages, counts only when it is
/// made.
fn footprint(folder: &Path) -> BTreeSet<(PathBuf, u64)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![(folder.to_owned(), false)];
    while let Some((folder, grows)) = folders.pop() {
        let grows = grows || folder.ends_with("journal") || folder.ends_with("log");
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push((entry.path(), grows));
            } else {
                let length = if grows { 0 } else { metadata.len() };
                found.insert((entry.path(), length));
            }
        }
    }
    found
}

#[test]
fn a_footprint_changes_with_files_but_not_with_a_journal() {
    let folder = temporary_folder().unwrap();
    let journal = folder.path().join("journal");
    fs::create_dir(&journal).unwrap();
    write(&journal, "1", "a").unwrap();
    let before = footprint(folder.path());
    assert_eq!(before.len(), 1);
    write(&journal, "1", "ab").unwrap();
    assert_eq!(footprint(folder.path()), before);
    write(&journal, "2", "").unwrap();
    let more = footprint(folder.path());
    assert!(!more.is_subset(&before));
    write(folder.path(), "3", "a").unwrap();
    assert!(!footprint(folder.path()).is_subset(&more));
}

#[test]
fn series_are_added_up_by_label() {
    let page = "# HELP a x\na{code=\"200\"} 2\na{code=\"400\",x=\"y\"} 3\nb 7\n";
    assert_eq!(sum_of(page, "a", ""), 5.0);
    assert_eq!(sum_of(page, "a", "code=\"400\""), 3.0);
    assert_eq!(sum_of(page, "b", ""), 7.0);
    assert_eq!(sum_of(page, "c", ""), 0.0);
}
