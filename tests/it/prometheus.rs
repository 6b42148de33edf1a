//! The samples in a real Prometheus, read back through its API, are those of the reference.

use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::reference::fleet::{
    CONNECTED_CARS, Fleet, LIMIT, START_MS, by_vehicle, expect_same, succeed,
};
use crate::support::process::Process;
use crate::support::prometheus::Prometheus;

const ALL: &str = "{__name__=~\"vehicles_in_motion|vehicles_reporting|warnings\"}";

/// How long the receiver is away.
const OUTAGE: Duration = Duration::from_secs(20);

fn url_setting(prometheus: &Prometheus) -> String {
    format!("write.remote_write.url={}", prometheus.remote_write_url())
}

#[test]
fn samples_are_read_back_as_they_were_computed() -> Result<()> {
    let (fleet, prometheus) = (Fleet::new()?, Prometheus::start()?);
    let events = fleet.events(&[
        "--seconds",
        "120",
        "--disorder",
        "2s",
        "--late-share",
        "0.02",
        "--late-by",
        "30s",
    ])?;
    let splits = by_vehicle(&events, 3);
    let url = url_setting(&prometheus);
    let mut command = fleet.weir(CONNECTED_CARS, &["--workers", "2", "--set", &url]);
    for (number, split) in splits.iter().enumerate() {
        let path = fleet.path(&format!("split-{number}.ndjson"));
        std::fs::write(&path, split)?;
        command.arg("--input").arg(path);
    }
    succeed(&command)?;
    let found = prometheus.samples(ALL, START_MS, START_MS + 200_000)?;
    expect_same(&found, &fleet.reference(&splits).samples)
}

/// Prometheus writes its log of samples before it answers, and the system keeps what was written
/// when the process is killed; so what it had acknowledged must be there afterwards as well.
#[test]
fn a_prometheus_that_is_killed_for_twenty_seconds_loses_no_sample() -> Result<()> {
    let (fleet, mut prometheus) = (Fleet::new()?, Prometheus::start()?);
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let start_ms = now_ms / 5_000 * 5_000;
    let options = ["--seconds", "36", "--disorder", "2s"];
    let events = fleet.events_from(start_ms, &options)?;

    let pipe = fleet.path("events.pipe");
    succeed(Command::new("mkfifo").arg(&pipe))?;
    let url = url_setting(&prometheus);
    let mut command = fleet.weir(CONNECTED_CARS, &["--set", &url]);
    command.arg("--input").arg(&pipe);
    let mut weir = Process::start("weir", &command, &fleet.folder)?;
    // With a rate it sends in real time: the events of the file, each at its time.
    let mut command = fleet.weirgen(&options)?;
    command
        .args(["--rate", "600", "--start-ms", &start_ms.to_string()])
        .arg(format!("ndjson:{}", pipe.display()));
    let mut weirgen = Process::start("weirgen", &command, &fleet.folder)?;

    prometheus.await_query("vehicles_reporting")?;
    prometheus.kill()?;
    // The outage itself; nothing happens that could be waited for.
    thread::sleep(OUTAGE);
    ensure!(
        weir.stderr()?
            .contains("a request failed and will be repeated"),
        "nothing was tried while the receiver was away\n{}",
        weir.tail()
    );
    prometheus.restart()?;

    ensure!(weirgen.wait(LIMIT)?.success(), "{}", weirgen.tail());
    ensure!(weir.wait(LIMIT)?.success(), "{}", weir.tail());
    let found = prometheus.samples(ALL, now_ms - 10_000, now_ms + 60_000)?;
    expect_same(&found, &fleet.reference(&[events]).samples)
}
