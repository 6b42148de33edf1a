//! How long it takes from a start to the first sample, where there is state to go on with.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::cars::State;
use crate::command::Weir;
use crate::findings::{Finding, Findings, median};

/// How often a start is measured.
const ROUNDS: usize = 5;
/// No checkpoint is made while a start is measured, so that each one goes on from the same.
const NEVER: &str = "1h";

/// A pipeline that is stopped in the middle and started again.
pub(crate) struct Restart<'a> {
    pub(crate) name: &'a str,
    /// After how many events it is stopped.
    pub(crate) stop_after: u64,
    /// The most that a start may take, seconds.
    pub(crate) at_most: f64,
    /// The pipeline file, with samples to standard output.
    pub(crate) pipeline: &'a dyn Fn(State<'_>) -> Result<String>,
}

impl Restart<'_> {
    pub(crate) fn measure(&self, folder: &Path, findings: &mut Findings) -> Result<()> {
        let own = tempfile::tempdir_in(folder)?;
        let dir = own.path().join("state");
        let state = State {
            dir: &dir,
            backend: "memory",
            every: NEVER,
        };
        let pipeline = (self.pipeline)(state)?;
        let mut weir = Weir::start(own.path(), &pipeline, Stdio::null())?;
        weir.await_metric("weir_events_total", self.stop_after as f64)?;
        let stopped = weir.stop()?;
        let last = stopped
            .told
            .checkpoints
            .last()
            .context("no last checkpoint")?;
        let (mut seconds, mut cpu_seconds) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut weir = Weir::start(own.path(), &pipeline, Stdio::piped())?;
            let (took, cpu) = weir.first_output()?;
            seconds.push(took);
            cpu_seconds.push(cpu);
        }
        let name = self.name;
        let bytes = format!("{name}: bytes of the checkpoint");
        findings.add(&Finding::new(bytes, last.bytes as f64 / 1e6, "MB").decimals(1))?;
        let first = format!("{name}: from the start to the first sample");
        let first = Finding::new(first, median(seconds), "s").decimals(2);
        findings.add(&first.at_most(self.at_most))?;
        let cpu = format!("{name}: processor time until then");
        findings.add(&Finding::new(cpu, median(cpu_seconds), "CPU s").decimals(2))
    }
}
