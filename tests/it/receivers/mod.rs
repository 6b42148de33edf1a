//! What is sent by weir's own sender is in real receivers, whatever happens on the way; and what
//! receivers answer to what they do not like.

mod answers;
mod faults;
mod feeds;
mod histograms;
mod limits;
mod protocols;
mod random;
mod rejected;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use weir::model::{self, Series};
use weir::telemetry::Registry;
use weir::write::{self, Resume, WriteSummary, Writer};

use crate::support::prometheus::{Prometheus, PrometheusOptions, Release};
use crate::support::samples::Sample;
use crate::support::victoria_metrics::{VictoriaMetrics, VictoriaMetricsOptions};

/// The longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The receivers that these tests are about.
const KINDS: [Kind; 3] = [Kind::Prometheus2, Kind::Prometheus3, Kind::VictoriaMetrics];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The distribution's.
    Prometheus2,
    Prometheus3,
    VictoriaMetrics,
}

/// What receivers are started with here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Limits {
    /// Prometheus: `out_of_order_time_window`.
    window: Option<&'static str>,
    /// VictoriaMetrics: a day of retention, five labels, values of 20 bytes.
    low: bool,
    /// VictoriaMetrics: keeps a sample as often as it comes, as it does where nothing else is said.
    doubles: bool,
}

/// A running receiver.
#[derive(Debug)]
enum Receiver {
    Prometheus(Prometheus),
    VictoriaMetrics(VictoriaMetrics),
}

impl Receiver {
    fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, &Limits::default())
    }

    fn start_with(kind: Kind, limits: &Limits) -> Result<Self> {
        let release = match kind {
            Kind::VictoriaMetrics => {
                let options = VictoriaMetricsOptions {
                    retention: limits.low.then(|| "1d".to_owned()),
                    max_labels: limits.low.then_some(5),
                    max_label_value_bytes: limits.low.then_some(20),
                    // A request whose answer was lost is repeated.
                    deduplicate: !limits.doubles,
                };
                let started = VictoriaMetrics::start_with(&options)?;
                return Ok(Self::VictoriaMetrics(started));
            }
            Kind::Prometheus2 => Release::Packaged,
            Kind::Prometheus3 => Release::Current,
        };
        let options = PrometheusOptions {
            release,
            out_of_order_time_window: limits.window.map(str::to_owned),
            ..PrometheusOptions::default()
        };
        Ok(Self::Prometheus(Prometheus::start_with(&options)?))
    }

    fn version(&self) -> Result<String> {
        match self {
            Self::Prometheus(server) => server.version(),
            Self::VictoriaMetrics(server) => server.version(),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Prometheus(server) => server.remote_write_url(),
            Self::VictoriaMetrics(server) => server.remote_write_url(),
        }
    }

    /// What is in it, from long ago until a week from now.
    fn samples(&self, selector: &str) -> Result<Vec<Sample>> {
        let now = now_ms()?;
        let (start, end) = (now - 10 * 24 * HOUR, now + 7 * 24 * HOUR);
        match self {
            Self::Prometheus(server) => server.samples(selector, start, end),
            Self::VictoriaMetrics(server) => server.samples(selector, start, end),
        }
    }

    /// Away: killed where what was acknowledged outlives that, else stopped.
    fn go_away(&mut self) -> Result<()> {
        match self {
            Self::Prometheus(server) => server.kill(),
            // What it has acknowledged is in its memory alone for some seconds.
            Self::VictoriaMetrics(server) => server.stop(),
        }
    }

    fn come_back(&mut self) -> Result<()> {
        match self {
            Self::Prometheus(server) => server.restart(),
            Self::VictoriaMetrics(server) => server.restart(),
        }
    }
}

/// weir's sender with one receiver.
#[derive(Debug)]
struct Sender {
    runtime: Runtime,
    registry: Registry,
    writer: Writer,
}

impl Sender {
    /// Starts it with short waits; `settings` go over those.
    fn start(url: &str, settings: &Value) -> Result<Self> {
        let mut remote_write = json!({
            "url": url,
            "backoff": { "min": "1ms", "max": "20ms" },
            "batch": { "deadline": "5ms" },
        });
        let keys = remote_write.as_object_mut().context("no object")?;
        for (key, value) in settings.as_object().context("no object")? {
            keys.insert(key.clone(), value.clone());
        }
        let config: write::Config =
            serde_json::from_value(json!({ "remote_write": remote_write }))?;
        let runtime = Runtime::new()?;
        let registry = Registry::new("test");
        let handle = runtime.handle().clone();
        let writer = Writer::start(&config, 1, &registry, handle, Resume::default())?;
        Ok(Self {
            runtime,
            registry,
            writer,
        })
    }

    /// Hands over samples in their order.
    fn send(&self, samples: &[Sample]) -> Result<()> {
        let mut known: BTreeMap<(&str, &BTreeMap<String, String>), Arc<Series>> = BTreeMap::new();
        let mut all = Vec::with_capacity(samples.len());
        for sample in samples {
            let series = known
                .entry((&sample.name, &sample.labels))
                .or_insert_with(|| Arc::new(series_of(sample)));
            all.push(model::Sample {
                series: Arc::clone(series),
                timestamp_ms: sample.timestamp_ms,
                value: sample.value.into(),
            });
        }
        self.writer.handle().send(0, all)?;
        Ok(())
    }

    /// Waits until its metrics have a line of this beginning with a value of at least `least`.
    fn await_metric(&self, beginning: &str, least: f64) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while self.metric(beginning) < least {
            if Instant::now() > deadline {
                bail!("{beginning} is {}, not {least}", self.metric(beginning));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The sum of the lines of this beginning among its metrics.
    fn metric(&self, beginning: &str) -> f64 {
        let text = Registry::text([&self.registry]);
        let lines = text.lines().filter(|line| line.starts_with(beginning));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }

    /// Waits until everything is sent.
    fn finish(self) -> Result<WriteSummary> {
        let summary = self.writer.finish(Some(LIMIT));
        self.runtime.shutdown_background();
        ensure!(summary.unsent == 0, "{summary:?}");
        Ok(summary)
    }
}

fn series_of(sample: &Sample) -> Series {
    let labels = sample.labels.iter();
    let labels = labels.map(|(name, value)| (name.as_str().into(), value.as_str().into()));
    Series::new(sample.name.as_str().into(), labels.collect())
}

fn now_ms() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

/// So many samples, a second apart, of so many series, up to about now; series by series at each
/// time.
fn fleet(name: &str, series: usize, times: usize) -> Result<Vec<Sample>> {
    let start = now_ms()? - times as i64 * SECOND;
    let mut all = Vec::with_capacity(series * times);
    for time in 0..times {
        for number in 0..series {
            let vehicle = format!("V{number:03}");
            let at = start + time as i64 * SECOND;
            let value = (time * 1_000 + number) as f64 + 0.25;
            all.push(Sample::new(name, &[("vehicle", &vehicle)], at, value));
        }
    }
    Ok(all)
}

/// That a receiver has these samples and no others.
fn expect_same(found: &[Sample], expected: &[Sample]) -> Result<()> {
    let mut expected = expected.to_vec();
    expected.sort();
    if found == expected {
        return Ok(());
    }
    let missing: Vec<_> = expected
        .iter()
        .filter(|sample| found.binary_search(sample).is_err())
        .collect();
    let foreign: Vec<_> = found
        .iter()
        .filter(|sample| expected.binary_search(sample).is_err())
        .collect();
    bail!(
        "{} samples, {} expected; missing {}: {:?}; foreign {}: {:?}",
        found.len(),
        expected.len(),
        missing.len(),
        missing.first(),
        foreign.len(),
        foreign.first()
    )
}
