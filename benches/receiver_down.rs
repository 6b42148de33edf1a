//! What checkpoints become while a receiver does not answer.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use weir::state::{Checkpoints, Identity, RocksStore};

use crate::cars::{self, State};
use crate::command::{Ended, Weir};
use crate::findings::{Finding, Findings, median};
use crate::fleet::Inputs;
use crate::receiver::Receiver;

/// The most that the rest of a checkpoint may become without a receiver, as a share of what it is with
/// one: the same windows are open, seen at other moments.
const MOST_GROWTH: f64 = 1.2;
/// A checkpoint of the last ones: so many of them, as a divisor.
const LAST: usize = 4;

/// A run, and what its checkpoints consist of.
struct Run {
    ended: Ended,
    /// Bytes of samples that wait, and of everything else, for each checkpoint.
    parts: Vec<(f64, f64)>,
}

/// Takes the events in, with a receiver and without.
pub(crate) fn measure(inputs: &Inputs, findings: &mut Findings) -> Result<()> {
    let receiver = Receiver::start()?;
    let answers = run(inputs, receiver.address)?;
    let (sent, _) = receiver.take();
    ensure!(sent > 0, "the receiver has got nothing");
    // Free again as soon as this line has ended: connections to it are refused.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let refuses = run(inputs, nobody)?;

    let waiting = refuses.ended.told.unsent_samples as f64;
    let minutes = inputs.size.events as f64 / inputs.size.events_per_second as f64 / 60.0;
    let (writer, _) = refuses.parts.last().context("no checkpoint")?;
    let rest = |run: &Run| median(run.parts.iter().map(|(_, rest)| *rest).collect());
    let last_ms = |run: &Run| {
        let all = &run.ended.told.checkpoints;
        let last = all.iter().rev().take(all.len().div_ceil(LAST));
        median(last.map(|checkpoint| checkpoint.async_ms).collect())
    };
    let name = format!("{minutes:.0} min without a receiver");
    let mut add = |what: &str, value, unit, decimals| {
        findings.add(&Finding::new(format!("{name}: {what}"), value, unit).decimals(decimals))
    };
    add("samples that wait at the end", waiting, "samples", 0)?;
    add(
        "bytes of the last checkpoint for each",
        writer / waiting,
        "B",
        1,
    )?;
    add("bytes of the rest, middle", rest(&refuses) / 1e3, "kB", 1)?;
    add("the same with a receiver", rest(&answers) / 1e3, "kB", 1)?;
    add(
        "encoded and stored, last quarter",
        last_ms(&refuses),
        "ms",
        1,
    )?;
    add("the same with a receiver", last_ms(&answers), "ms", 1)?;
    let growth = format!("{name}: the rest, as a multiple of that with a receiver");
    let growth = Finding::new(growth, rest(&refuses) / rest(&answers), "x").decimals(2);
    findings.add(&growth.at_most(MOST_GROWTH))
}

fn run(inputs: &Inputs, receiver: SocketAddr) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("state");
    // Room for all samples: without it the pipeline would wait, and its event time with it.
    let write = format!(
        "remote_write: {{ url: \"http://{receiver}/api/v1/write\", queue_bytes: 4000000000 }}"
    );
    let state = State {
        dir: &dir,
        backend: "memory",
        every: "100ms",
    };
    let pipeline = cars::pipeline(inputs, &write, Some(state))?
        .replace("every: 100ms", "every: 100ms, keep: 1000");
    let mut weir = Weir::start(folder.path(), &pipeline, Stdio::null())?;
    // Nearly all, so that it is stopped with open windows and a last checkpoint of what waits.
    weir.await_metric("weir_events_total", 0.97 * inputs.size.events as f64)?;
    let ended = weir.stop()?;
    let parts = parts(&dir.join("checkpoints"))?;
    ensure!(parts.len() >= LAST, "only {} checkpoints", parts.len());
    Ok(Run { ended, parts })
}

fn parts(store: &Path) -> Result<Vec<(f64, f64)>> {
    let identity = Identity {
        pipeline: "cars".to_owned(),
        writer: "bench".to_owned(),
        epoch: 0,
    };
    let checkpoints = Checkpoints::open(Arc::new(RocksStore::open(store)?), identity)?;
    let mut parts = Vec::new();
    for number in checkpoints.numbers() {
        let checkpoint = checkpoints.load(number)?;
        let (mut writer, mut rest) = (0, 0);
        for entry in checkpoint.entries() {
            match entry.stage.as_str() {
                "writer" => writer += entry.bytes,
                _ => rest += entry.bytes,
            }
        }
        parts.push((writer as f64, rest as f64));
    }
    Ok(parts)
}
