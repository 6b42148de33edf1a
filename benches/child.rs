//! Memory: the command `weir run` in a process of its own, of which the kernel keeps the peak.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::fleet::Inputs;
use crate::peak;

/// How often a run's memory is looked at; the kernel keeps the peak, only the end is missed.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs a pipeline file over all events with one worker; seconds and the most resident bytes.
pub(crate) fn run(pipeline: &Path, inputs: &Inputs) -> Result<(f64, u64)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("run").arg(pipeline);
    command.args(["--output", "/dev/null", "--workers", "1"]);
    let reference = inputs.reference.display();
    command
        .arg("--set")
        .arg(format!("enrich.0.from.csv={reference}"));
    for input in inputs.paths() {
        command.arg("--input").arg(input);
    }
    let began = Instant::now();
    let mut child = command
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start weir")?;
    let mut peak_bytes = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        peak_bytes = peak_bytes.max(peak::bytes(child.id()).unwrap_or_default());
        std::thread::sleep(LOOK_EVERY);
    };
    ensure!(exit.success(), "weir has failed: {exit}");
    Ok((began.elapsed().as_secs_f64(), peak_bytes))
}
