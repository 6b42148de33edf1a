//! The command `weir run` in a process of its own: how long it takes, what it costs, and what it tells of
//! its checkpoints.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::peak;

/// How often it is looked how far a process is.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The longest that anything of a bench takes.
const LIMIT: Duration = Duration::from_secs(300);
/// The clock ticks of the kernel's accounts of processor time, a second.
const TICKS: f64 = 100.0;

/// What weir tells of a checkpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checkpoint {
    /// The longest that a thread of the pipeline stood still for it, ms.
    pub(crate) sync_ms: f64,
    /// How long it was encoded and stored, ms.
    pub(crate) async_ms: f64,
    pub(crate) bytes: u64,
    /// Of these, what no earlier checkpoint had stored.
    pub(crate) new_bytes: u64,
}

/// What a process took.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) seconds: f64,
    /// Processor time of all its threads, seconds.
    pub(crate) cpu_seconds: f64,
    /// The most memory that it had, where it was looked at, bytes.
    pub(crate) peak_bytes: u64,
    pub(crate) told: Told,
}

/// What a process has told in its log.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// Samples that were formed and not written.
    pub(crate) unsent_samples: u64,
}

/// A weir that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Weir {
    child: Child,
    began: Instant,
    /// Where its metrics are, once it serves them.
    address: Receiver<String>,
    log: Option<JoinHandle<Told>>,
}

impl Weir {
    /// Starts it with a pipeline file of this text, one worker, and `--drain` of a second.
    pub(crate) fn start(folder: &Path, pipeline: &str, output: Stdio) -> Result<Self> {
        let file = folder.join("pipeline.yaml");
        fs::write(&file, pipeline)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["--log-format", "json", "--log-level"]);
        command.arg("info,weir::pipeline::checkpoint=debug");
        command.arg("run").arg(file);
        command.args(["--workers", "1", "--listen", "127.0.0.1:0", "--drain", "1s"]);
        let began = Instant::now();
        let mut child = command
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start weir")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let (tell, address) = channel();
        let log = thread::spawn(move || {
            let mut told = Told::default();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                let message = line.get("message").and_then(Value::as_str);
                let message = message.unwrap_or_default();
                if let Some(url) = message.strip_prefix("metrics at http://") {
                    tell.send(url.trim_end_matches("/metrics").to_owned()).ok();
                } else if message == "a checkpoint is durable" {
                    told.checkpoints.push(checkpoint(&line));
                } else if message == "finished" {
                    let unsent = line.get("unsent_samples").and_then(Value::as_u64);
                    told.unsent_samples = unsent.unwrap_or_default();
                }
            }
            told
        });
        Ok(Self {
            child,
            began,
            address,
            log: Some(log),
        })
    }

    /// Waits until a metric, summed over its labels, is at least so high; gives it.
    pub(crate) fn await_metric(&mut self, name: &str, at_least: f64) -> Result<f64> {
        let address = self.address.recv_timeout(LIMIT).context("no metrics")?;
        loop {
            let value = metric(&address, name)?;
            if value >= at_least {
                return Ok(value);
            }
            ensure!(self.began.elapsed() < LIMIT, "{name} is {value} still");
            ensure!(self.child.try_wait()?.is_none(), "weir has ended early");
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits for the first bytes on its standard output; the seconds since its start, and its processor
    /// time until then.
    pub(crate) fn first_output(&mut self) -> Result<(f64, f64)> {
        let output = self.child.stdout.as_mut().context("no standard output")?;
        let mut byte = [0];
        output
            .read_exact(&mut byte)
            .context("weir has no samples")?;
        let seconds = self.began.elapsed().as_secs_f64();
        let (_, cpu_seconds) = accounts(&self.stat()?)?;
        Ok((seconds, cpu_seconds))
    }

    /// The most memory that it has had until now, bytes.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        peak::bytes(self.child.id()).context("no /proc/…/status")
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) -> Result<Ended> {
        let asked = Command::new("kill")
            .args(["-s", "TERM", &self.child.id().to_string()])
            .status()?;
        ensure!(asked.success(), "weir cannot be stopped: {asked}");
        self.end(true)
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> Result<Ended> {
        self.end(false)
    }

    /// Waits until it has decoded so many events, and kills it: what it does at the end of its input
    /// belongs to no pipeline that goes on.
    pub(crate) fn process(mut self, events: u64) -> Result<Ended> {
        self.await_metric("weir_events_total", events as f64)?;
        let seconds = self.began.elapsed().as_secs_f64();
        let (_, cpu_seconds) = accounts(&self.stat()?)?;
        let peak_bytes = self.peak_bytes()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(Ended {
            seconds,
            cpu_seconds,
            peak_bytes,
            told: self.told()?,
        })
    }

    fn stat(&self) -> Result<String> {
        Ok(fs::read_to_string(format!(
            "/proc/{}/stat",
            self.child.id()
        ))?)
    }

    fn told(&mut self) -> Result<Told> {
        match self.log.take().map(JoinHandle::join) {
            Some(Ok(told)) => Ok(told),
            _ => bail!("the log of weir was not read"),
        }
    }

    fn end(mut self, may_fail: bool) -> Result<Ended> {
        let deadline = Instant::now() + LIMIT;
        // The kernel keeps the accounts of a process that has ended until it is waited for.
        let cpu_seconds = loop {
            let (has_ended, cpu_seconds) = accounts(&self.stat()?)?;
            if has_ended {
                break cpu_seconds;
            }
            ensure!(Instant::now() < deadline, "weir does not end");
            thread::sleep(LOOK_EVERY);
        };
        let seconds = self.began.elapsed().as_secs_f64();
        let exit = self.child.wait()?;
        ensure!(may_fail || exit.success(), "weir has failed: {exit}");
        Ok(Ended {
            seconds,
            cpu_seconds,
            peak_bytes: 0,
            told: self.told()?,
        })
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

fn checkpoint(line: &Value) -> Checkpoint {
    let number = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or_default();
    Checkpoint {
        sync_ms: number("sync_ms"),
        async_ms: number("async_ms"),
        bytes: number("bytes") as u64,
        new_bytes: number("new_bytes") as u64,
    }
}

/// Whether a process has ended, and its processor time, seconds.
fn accounts(stat: &str) -> Result<(bool, f64)> {
    // Behind the name of the program, which may have anything in it.
    let (_, fields) = stat.rsplit_once(") ").context("unknown /proc/…/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |place: usize| {
        fields
            .get(place)
            .and_then(|field| field.parse::<f64>().ok())
    };
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
        bail!("unknown /proc/…/stat");
    };
    Ok((fields.first() == Some(&"Z"), (user + system) / TICKS))
}

/// A metric that weir serves, summed over its labels; 0 where it has none yet.
fn metric(address: &str, name: &str) -> Result<f64> {
    let mut stream = TcpStream::connect(address)?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let values = answer.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_name = rest.starts_with('{') || rest.starts_with(' ');
        let (_, value) = rest.rsplit_once(' ').filter(|_| is_name)?;
        value.parse::<f64>().ok()
    });
    Ok(values.sum())
}
