//! The engine as a library, in this process.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tokio::runtime::Runtime;
use weir::config::{self, Overrides};
use weir::model::Clock;
use weir::pipeline::{Options, Restore, Running, SourceOf, Status};
use weir::source::FileProgress;

/// A pipeline and what it is to take in.
#[derive(Debug)]
pub(crate) struct Job {
    /// The pipeline file's text.
    pub(crate) pipeline: String,
    pub(crate) overrides: Overrides,
    pub(crate) workers: usize,
    /// How many events the input has.
    pub(crate) events: u64,
}

/// How often it is asked whether a pipeline has ended: a thousandth of a run.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Takes all events through a pipeline, which `look` sees again and again while it runs. Gives the
/// time from the first event to the last sample, without loading the reference table, and the last
/// status.
pub(crate) fn run(job: &Job, mut look: impl FnMut(&Running)) -> Result<(Duration, Status)> {
    let pipeline = config::load_text(
        "bench.yaml",
        &job.pipeline,
        PathBuf::new(),
        &job.overrides,
        &|_| None,
    )
    .map_err(|problems| anyhow!("{problems:#}"))?;
    let options = Options {
        workers: Some(job.workers),
        clock: Clock::frozen_now(),
        progress: FileProgress::default(),
        restore: Restore::Latest,
        allow_dropped_state: false,
    };
    let runtime = Runtime::new()?;
    let running = Running::start(
        &pipeline,
        SourceOf::File,
        &options,
        runtime.handle().clone(),
    )?;
    let began = Instant::now();
    while !running.is_finished() {
        look(&running);
        thread::sleep(LOOK_EVERY);
    }
    let finished = running.finish(Duration::from_secs(60));
    let took = began.elapsed();
    ensure!(
        finished.status.events == job.events && finished.written.unsent == 0,
        "the engine has lost events: {finished:?}"
    );
    match finished.error {
        Some(error) => Err(error.into()),
        None => Ok((took, finished.status)),
    }
}
