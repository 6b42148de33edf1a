//! Samples that go out by a writer: to a real Prometheus, and to a receiver that keeps nothing.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;
use weir::model::{Sample, SampleValue, Series};
use weir::telemetry::Registry;
use weir::write::{Config, Resume, Writer};

use crate::findings::{Finding, Findings, highest};
use crate::receiver::Receiver;

const SERIES: usize = 20_000;
/// How many samples each series has.
const SAMPLES: i64 = 50;
const ROUNDS: usize = 3;
const START_MS: i64 = 1_730_621_750_000;
/// The longest that Prometheus takes to start.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends the same samples to both by turns.
pub(crate) fn measure(findings: &mut Findings) -> Result<()> {
    let null = Receiver::start()?;
    let null = format!("http://{}/api/v1/write", null.address);
    let (mut to_null, mut to_prometheus) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        to_null.push(send(&null)?);
        // An empty one each time: it takes a sample once.
        if let Some(prometheus) = Prometheus::start()? {
            to_prometheus.push(send(&prometheus.url)?);
        }
    }
    let to_null = highest(to_null.into_iter());
    let name = "sent to a receiver that keeps nothing";
    findings.add(&Finding::new(name, to_null, "samples/s"))?;
    if to_prometheus.is_empty() {
        println!("there is no prometheus on the PATH: left out");
        return Ok(());
    }
    let to_prometheus = highest(to_prometheus.into_iter());
    findings.add(&Finding::new(
        "sent to Prometheus",
        to_prometheus,
        "samples/s",
    ))?;
    let ratio = Finding::new(
        "so much faster than Prometheus",
        to_null / to_prometheus,
        "x",
    );
    findings.add(&ratio.decimals(1))
}

/// Samples a second, from the first that is handed over to the last that is acknowledged.
fn send(url: &str) -> Result<f64> {
    let series: Vec<_> = (0..SERIES).map(series).collect();
    let config = serde_json::json!({ "remote_write": {
        "url": url, "min_shards": 4, "max_shards": 4, "metadata_interval": "0s"
    } });
    let config: Config = serde_json::from_value(config)?;
    let runtime = Runtime::new()?;
    let registry = Registry::new("bench");
    let handle = runtime.handle().clone();
    let writer = Writer::start(&config, 1, &registry, handle, Resume::default())?;
    let way = writer.handle();
    let began = Instant::now();
    for time in (0..SAMPLES).map(|number| START_MS + 5_000 * number) {
        let samples = series.iter().map(|series| Sample {
            series: Arc::clone(series),
            timestamp_ms: time,
            value: SampleValue::Number(time as f64 / 1e3),
        });
        way.send(0, samples.collect())?;
    }
    let summary = writer.finish(None);
    let seconds = began.elapsed().as_secs_f64();
    let all = SERIES as u64 * SAMPLES as u64;
    ensure!(summary.written == all, "{} of {all}", summary.written);
    Ok(all as f64 / seconds)
}

fn series(number: usize) -> Arc<Series> {
    let labels = [
        ("model", format!("model-{}", number % 5)),
        ("region", format!("region-{}", number % 3)),
        ("vehicle", format!("VIN{number:08}")),
    ];
    let labels = labels.map(|(name, value)| (name.into(), value.into()));
    Arc::new(Series::new("vehicle_speed_kmh_avg".into(), labels.to_vec()))
}

/// An empty Prometheus. Dropping it ends it.
struct Prometheus {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Nothing where there is no such program.
    fn start() -> Result<Option<Self>> {
        let program = std::env::var_os("PROMETHEUS").unwrap_or_else(|| "prometheus".into());
        if Command::new(&program).arg("--version").output().is_err() {
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("prometheus.yml"), "")?;
        // Free again as soon as this line has ended.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(&program)
            .args([
                "--config.file=prometheus.yml",
                "--web.enable-remote-write-receiver",
            ])
            .arg(format!("--web.listen-address={address}"))
            .arg(format!(
                "--storage.tsdb.path={}",
                Path::new("data").display()
            ))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let prometheus = Self {
            child,
            url: format!("http://{address}/api/v1/write"),
            _folder: folder,
        };
        let runtime = Runtime::new()?;
        let ready = format!("http://{address}/-/ready");
        let began = Instant::now();
        let is_ready = || async {
            let answer = reqwest::get(&ready).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        while !runtime.block_on(is_ready()) {
            ensure!(began.elapsed() < LIMIT, "prometheus does not become ready");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(prometheus))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended.context("cannot end prometheus") {
            println!("{error:#}");
        }
    }
}
