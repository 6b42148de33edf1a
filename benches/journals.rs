//! What it costs to write down what is received and what is sent.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};
use weir::durable::{Fsync, Log, LogConfig};

use crate::cars::State;
use crate::command::Weir;
use crate::findings::{Finding, Findings, median};
use crate::receiver::Receiver;
use crate::records::Records;

/// How often each way is measured.
const ROUNDS: usize = 3;
/// As large as an event of connected cars.
const RECORD: [u8; 113] = [b'x'; 113];
/// Readings of so many devices that a window has many samples.
const RECORDS: Records = Records {
    events: 400_000,
    events_per_second: 20_000,
    texts: &[("device", 100_000)],
    groups: None,
    numbers: 1,
};

/// Records that were appended, a second.
pub(crate) fn log(findings: &mut Findings) -> Result<()> {
    let every = Fsync::Every(std::time::Duration::from_millis(100));
    for (what, fsync, appends, together) in [
        ("fsync: 100ms", every, 3_000_000, 1),
        (
            "fsync: always, 100 messages at once",
            Fsync::Always,
            200_000,
            100,
        ),
        (
            "fsync: always, one message at a time",
            Fsync::Always,
            2_000,
            1,
        ),
    ] {
        let rates = (0..ROUNDS).map(|_| appends_per_s(fsync, appends, together));
        let rate = median(rates.collect::<Result<_>>()?);
        let what = format!("durable log, {what}");
        findings.add(&Finding::new(what, rate, "appends/s"))?;
    }
    Ok(())
}

fn appends_per_s(fsync: Fsync, appends: u32, together: u32) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let config = LogConfig {
        segment_bytes: 64 << 20,
        fsync,
        ..LogConfig::default()
    };
    let (mut log, _) = Log::open(folder.path(), config)?;
    let began = Instant::now();
    for append in 1..=appends {
        log.append(0, &RECORD)?;
        if append % together == 0 && log.sync_due(Instant::now()) {
            log.sync()?;
        }
    }
    let durable = log.sync()?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(durable == u64::from(appends), "only {durable} are durable");
    Ok(f64::from(appends) / seconds)
}

/// Requests to a receiver that answers at once, one in flight, a second.
pub(crate) fn requests(folder: &Path, findings: &mut Findings) -> Result<()> {
    let input = RECORDS.write(folder, "journal")?;
    let receiver = Receiver::start()?;
    let ways = [
        ("no state", None),
        ("journal_sync: false", Some(false)),
        ("journal_sync: true", Some(true)),
    ];
    let mut rates: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, journal_sync), rates) in ways.iter().zip(&mut rates) {
            rates.push(requests_per_s(&input, &receiver, *journal_sync)?);
        }
    }
    for ((way, _), rates) in ways.iter().zip(rates) {
        let what = format!("requests of 100 samples, {way}");
        findings.add(&Finding::new(what, median(rates), "requests/s"))?;
    }
    Ok(())
}

fn requests_per_s(input: &Path, receiver: &Receiver, journal_sync: Option<bool>) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("state");
    let state = State {
        dir: &dir,
        backend: "memory",
        every: "10s",
    };
    let state = journal_sync.map(|_| state.section()).unwrap_or_default();
    let pipeline = format!(
        "pipeline: journal
source: {{ file: {{ path: {} }}, decode: json }}
event:
  time: {{ from: timestamp, unit: ms }}
  fields: {{ device: text, v0: number }}
time: {{ out_of_order: 0s }}
metrics:
  averages: {{ window: {{ tumbling: 5s }}, by: [device], value: avg(v0) }}
write:
  remote_write:
    url: \"http://{}/api/v1/write\"
    max_shards: 1
    batch: {{ samples: 100 }}
    journal_sync: {}
{state}",
        input.display(),
        receiver.address,
        journal_sync.unwrap_or(true),
    );
    Weir::start(folder.path(), &pipeline, Stdio::null())?.finish()?;
    let (requests, took) = receiver.take();
    ensure!(requests > 1_000, "only {requests} requests");
    Ok(requests as f64 / took.as_secs_f64())
}
