//! What memory weir has while a receiver is away, and for how long.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::command::Weir;
use crate::findings::{Finding, Findings};

const VEHICLES: u64 = 20_000;
/// How many events each vehicle has, a second apart: more samples than the queue has room for.
const EVENTS: u64 = 200;
const START_MS: u64 = 1_730_620_800_000;
/// By then what may wait does.
const SETTLED: Duration = Duration::from_secs(20);
/// The most that memory may have grown from then on.
const MOST_GROWTH: f64 = 1.05;

pub(crate) fn measure(findings: &mut Findings) -> Result<()> {
    let seconds = std::env::var("BENCH_AWAY_SECONDS").map_or(Ok(60), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    write_events(&folder.path().join("events.ndjson"))?;
    // Free again as soon as this line has ended: connections to it are refused.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut weir = Weir::start(
        folder.path(),
        &pipeline(folder.path(), nobody),
        Stdio::null(),
    )?;
    let began = Instant::now();
    thread::sleep(SETTLED);
    weir.await_metric("weir_queue_bytes", 15e6)?;
    let settled = weir.peak_bytes()?;
    while began.elapsed() < Duration::from_secs(seconds) {
        println!("{:.0} s without a receiver", began.elapsed().as_secs_f64());
        thread::sleep(Duration::from_secs(20));
    }
    let end = weir.peak_bytes()?;
    ensure!(weir.stop()?.told.unsent_samples > 0, "nothing has waited");
    let name = format!("{seconds} s without a receiver, queue_bytes of 16 MiB");
    let most = Finding::new(format!("{name}: most memory"), end as f64 / 1e6, "MB");
    findings.add(&most)?;
    let growth = end as f64 / settled as f64;
    let growth = Finding::new(
        format!("{name}: as a multiple of that after 20 s"),
        growth,
        "x",
    );
    findings.add(&growth.decimals(2).at_most(MOST_GROWTH))
}

fn write_events(path: &Path) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for second in 0..EVENTS {
        let time = START_MS + second * 1_000;
        for vehicle in 0..VEHICLES {
            let speed = (vehicle * 7 + second * 13) % 130;
            writeln!(
                out,
                "{{\"time\":{time},\"vehicle\":\"vehicle-{vehicle:06}\",\"speed\":{speed}}}"
            )?;
        }
    }
    Ok(out.flush()?)
}

fn pipeline(folder: &Path, receiver: std::net::SocketAddr) -> String {
    let events = folder.join("events.ndjson");
    let events = events.display();
    format!(
        "pipeline: away
source: {{ file: {{ path: {events} }}, decode: json }}
event: {{ time: {{ from: time, unit: ms }}, fields: {{ vehicle: text, speed: number }} }}
time: {{ out_of_order: 0s }}
metrics:
  speed: {{ window: {{ tumbling: 1s }}, by: [vehicle], value: avg(speed) }}
write: {{ remote_write: {{ url: \"http://{receiver}/api/v1/write\" }} }}
"
    )
}
