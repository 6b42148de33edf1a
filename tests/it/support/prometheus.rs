//! A real Prometheus that receives remote-write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::LIMIT;
use super::files::{cache, find_program, temporary_folder, write};
use super::http;
use super::ports::on_free_ports;
use super::process::Process;
use super::samples::{Sample, parse_value};

/// The version of [`Release::Current`], which `scripts/setup.sh` builds.
const CURRENT: &str = "3.14.0";

/// A series: its labels, with `__name__`, and its samples, timestamps in ms since the epoch.
pub(crate) type Series = (BTreeMap<String, String>, Vec<(i64, f64)>);

/// Which Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Release {
    /// The distribution's: 2.42 in Debian 12.
    #[default]
    Packaged,
    /// A current Prometheus 3.
    Current,
}

/// What differs from test to test.
#[derive(Debug, Clone, Default)]
pub(crate) struct PrometheusOptions {
    /// Which Prometheus.
    pub(crate) release: Release,
    /// How far a sample may lie behind the newest one, such as `1h`. Without it Prometheus takes
    /// any time for the first sample, and from then on nothing that is an hour older than the
    /// newest.
    pub(crate) out_of_order_time_window: Option<String>,
    /// Targets, `host:port`, to scrape every second. Scraped samples are of today: then samples of
    /// long ago need a window that reaches back to them.
    pub(crate) scrape: Vec<String>,
    /// Where it writes what it scrapes.
    pub(crate) remote_write: Option<RemoteWrite>,
    /// Labels that all samples have which it writes there, and that it does not have itself.
    pub(crate) external_labels: Vec<(&'static str, String)>,
    /// The content of a rule file.
    pub(crate) rules: Option<String>,
    /// Rule files as they lie: paths or patterns, absolute.
    pub(crate) rule_files: Vec<String>,
}

/// Where a Prometheus writes what it scrapes, a second after it at the latest.
#[derive(Debug, Clone)]
pub(crate) struct RemoteWrite {
    /// The address.
    pub(crate) url: String,
    /// The message of the protocol, where it is not that of 1.0.
    pub(crate) message: Option<&'static str>,
    /// The token that it sends.
    pub(crate) token: String,
}

/// A running Prometheus. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Prometheus {
    process: Process,
    program: PathBuf,
    port: u16,
    folder: TempDir,
}

impl Release {
    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Packaged => find_program("prometheus", "PROMETHEUS"),
            Self::Current => {
                if let Some(program) = std::env::var_os("PROMETHEUS3") {
                    return Ok(PathBuf::from(program));
                }
                let program = cache()?.join(format!("prometheus-{CURRENT}/prometheus"));
                ensure!(
                    program.is_file(),
                    "there is no {}: run scripts/setup.sh test, or set PROMETHEUS3",
                    program.display()
                );
                Ok(program)
            }
        }
    }
}

impl Prometheus {
    /// Starts an empty server that receives remote-write and waits until it is ready.
    ///
    /// # Errors
    /// There is no `prometheus` on the `PATH` nor in `$PROMETHEUS`, or it does not become ready.
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(&PrometheusOptions::default())
    }

    /// As [`Self::start`], with options.
    ///
    /// # Errors
    /// As for [`Self::start`], or an option is refused.
    pub(crate) fn start_with(options: &PrometheusOptions) -> Result<Self> {
        let program = options.release.program()?;
        on_free_ports(|[port]| {
            let folder = temporary_folder()?;
            if let Some(rules) = &options.rules {
                write(folder.path(), "rules.yml", rules)?;
            }
            write(folder.path(), "prometheus.yml", &configuration(options))?;
            let process = launch(&program, &folder, port)?;
            Ok(Self {
                process,
                program: program.clone(),
                port,
                folder,
            })
        })
    }

    /// Where it listens: `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its version, such as `2.42.0`; what a distribution adds to it is left out.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(crate) fn version(&self) -> Result<String> {
        let response = http::get(&format!("{}/api/v1/status/buildinfo", self.url()))?;
        let answer: serde_json::Value = serde_json::from_str(&response.body)?;
        let version = answer
            .pointer("/data/version")
            .and_then(|text| text.as_str());
        let version = version.context(response.body)?;
        Ok(version.split('+').next().unwrap_or(version).to_owned())
    }

    /// Where it takes remote-write requests.
    pub(crate) fn remote_write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    /// Evaluates an expression now: one sample a series.
    ///
    /// # Errors
    /// It cannot be reached, or it refuses the expression.
    pub(crate) fn query(&self, promql: &str) -> Result<Vec<Series>> {
        self.api("query", &[("query", promql)])
    }

    /// Evaluates an expression at a time, ms since the epoch.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(crate) fn query_at(&self, promql: &str, at_ms: i64) -> Result<Vec<Series>> {
        self.api("query", &[("query", promql), ("time", &seconds(at_ms))])
    }

    /// Evaluates an expression every `step_ms` from `start_ms` to `end_ms`, both included.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(crate) fn query_range(
        &self,
        promql: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<Series>> {
        let (start, end, step) = (seconds(start_ms), seconds(end_ms), seconds(step_ms));
        let parameters = [
            ("query", promql),
            ("start", &start),
            ("end", &end),
            ("step", &step),
        ];
        self.api("query_range", &parameters)
    }

    /// Waits until an expression, evaluated now, has a result.
    ///
    /// # Errors
    /// There is none within a minute, or the server ends.
    pub(crate) fn await_query(&mut self, promql: &str) -> Result<Vec<Series>> {
        let url = format!("{}/api/v1/query?query={}", self.url(), http::encode(promql));
        self.process.wait_until(promql, LIMIT, || {
            fetch(&url).is_ok_and(|all| !all.is_empty())
        })?;
        fetch(&url)
    }

    /// The samples as they are stored, with their own timestamps, from `start_ms` to `end_ms`,
    /// both included. `selector` is a plain one: `vehicles_in_motion{region="UK"}`. Stale markers
    /// are not among them.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(crate) fn series_samples(
        &self,
        selector: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>> {
        series_samples(&self.url(), selector, start_ms, end_ms).with_context(|| self.process.tail())
    }

    /// As [`Self::series_samples`], in the form that compares with the samples of a file.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(crate) fn samples(
        &self,
        selector: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Sample>> {
        Ok(flatten(self.series_samples(selector, start_ms, end_ms)?))
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// It had ended before.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// It had ended before, or does not end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.stop(LIMIT).map(|_| ())
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], with the same port and data.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.program, &self.folder, self.port)?;
        Ok(())
    }

    fn api(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Result<Vec<Series>> {
        let mut url = format!("{}/api/v1/{endpoint}?", self.url());
        for (name, value) in parameters {
            url.push_str(&format!("{name}={}&", http::encode(value)));
        }
        fetch(&url).with_context(|| self.process.tail())
    }
}

/// The stored samples of a server that answers Prometheus' queries; see
/// [`Prometheus::series_samples`].
///
/// # Errors
/// It cannot be reached, or it refuses the selector.
pub(super) fn series_samples(
    url: &str,
    selector: &str,
    start_ms: i64,
    end_ms: i64,
) -> Result<Vec<Series>> {
    // Prometheus 3 leaves out a range's first millisecond and Prometheus 2 takes it in: so the
    // range begins one earlier, and what lies there is left out here.
    let range = format!("{selector}[{}ms]", end_ms - start_ms + 1);
    let (query, time) = (http::encode(&range), seconds(end_ms));
    let mut all = fetch(&format!("{url}/api/v1/query?query={query}&time={time}"))?;
    for (_, samples) in &mut all {
        samples.retain(|(timestamp_ms, _)| *timestamp_ms >= start_ms);
    }
    all.retain(|(_, samples)| !samples.is_empty());
    Ok(all)
}

/// The samples of series, sorted.
pub(super) fn flatten(all: Vec<Series>) -> Vec<Sample> {
    let mut flat = Vec::new();
    for (mut labels, samples) in all {
        let name = labels.remove("__name__").unwrap_or_default();
        for (timestamp_ms, value) in samples {
            let (name, labels) = (name.clone(), labels.clone());
            flat.push(Sample {
                name,
                labels,
                timestamp_ms,
                value,
            });
        }
    }
    flat.sort();
    flat
}

fn fetch(url: &str) -> Result<Vec<Series>> {
    let response = http::get(url)?;
    if response.status != 200 {
        bail!("{url}: {} {}", response.status, response.body);
    }
    parse(&response.body).with_context(|| format!("{url}: {}", response.body))
}

fn launch(program: &Path, folder: &TempDir, port: u16) -> Result<Process> {
    let mut command = Command::new(program);
    command
        .current_dir(folder.path())
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        // Longer than any test's events are old.
        .arg("--storage.tsdb.retention.time=100y")
        .arg("--web.enable-remote-write-receiver")
        .arg("--enable-feature=native-histograms")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut process = Process::start("prometheus", &command, folder)?;
    let ready = format!("http://127.0.0.1:{port}/-/ready");
    process.wait_until("readiness", LIMIT, || {
        http::get(&ready).is_ok_and(|response| response.status == 200)
    })?;
    Ok(process)
}

fn configuration(options: &PrometheusOptions) -> String {
    let mut text = "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n".to_owned();
    if !options.external_labels.is_empty() {
        text.push_str("  external_labels:\n");
    }
    for (name, value) in &options.external_labels {
        text.push_str(&format!("    {name}: '{value}'\n"));
    }
    let mut rule_files = options.rule_files.clone();
    if options.rules.is_some() {
        rule_files.push("rules.yml".to_owned());
    }
    // A list of texts is written alike in YAML and in Rust's debug format.
    text.push_str(&format!("rule_files: {rule_files:?}\n"));
    if let Some(window) = &options.out_of_order_time_window {
        text.push_str(&format!(
            "storage:\n  tsdb:\n    out_of_order_time_window: {window}\n"
        ));
    }
    if let Some(RemoteWrite {
        url,
        message,
        token,
    }) = &options.remote_write
    {
        let message = message.map(|message| format!("    protobuf_message: {message}\n"));
        text.push_str(&format!(
            "remote_write:\n  - url: {url}\n{}    authorization: {{ credentials: '{token}' }}\n    \
             queue_config: {{ batch_send_deadline: 1s, max_shards: 1 }}\n",
            message.unwrap_or_default()
        ));
    }
    if !options.scrape.is_empty() {
        text.push_str(&format!(
            "scrape_configs:\n  - job_name: test\n    static_configs:\n      - targets: {:?}\n",
            options.scrape
        ));
    }
    text
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Point),
    Vector(Vec<OnePoint>),
    Matrix(Vec<ManyPoints>),
}

#[derive(Deserialize)]
struct OnePoint {
    metric: BTreeMap<String, String>,
    value: Point,
}

#[derive(Deserialize)]
struct ManyPoints {
    metric: BTreeMap<String, String>,
    values: Vec<Point>,
}

/// Seconds since the epoch, and the value as text because of NaN and the infinities.
type Point = (f64, String);

fn parse(body: &str) -> Result<Vec<Series>> {
    let answer: Answer = serde_json::from_str(body)?;
    let mut all = Vec::new();
    match answer.data {
        Data::Scalar(point) => all.push((BTreeMap::new(), vec![parse_point(&point)?])),
        Data::Vector(result) => {
            for series in result {
                all.push((series.metric, vec![parse_point(&series.value)?]));
            }
        }
        Data::Matrix(result) => {
            for series in result {
                let points: Result<Vec<(i64, f64)>> =
                    series.values.iter().map(parse_point).collect();
                all.push((series.metric, points?));
            }
        }
    }
    all.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(all)
}

fn parse_point((seconds, value): &Point) -> Result<(i64, f64)> {
    // Milliseconds are written with three decimals: the rounding mends what binary fractions lose.
    Ok(((seconds * 1_000.0).round() as i64, parse_value(value)?))
}

/// Milliseconds as Prometheus takes times and durations: seconds with a fraction.
fn seconds(ms: i64) -> String {
    (ms as f64 / 1_000.0).to_string()
}
