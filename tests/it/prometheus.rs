//! The samples in a real Prometheus, read back through its API, are those of the reference.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use weir::model::{NativeHistogram, Sample, Series};
use weir::telemetry::Registry;
use weir::write::{self, MetricMetadata, MetricType, MetricsMetadata, Resume, Writer};

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

/// The values −3, 0, 1, 1, 1.5, 4 and 100 with two buckets an octave: bucket `i` ends at `2^(i/2)`.
fn histogram() -> NativeHistogram {
    NativeHistogram {
        schema: 1,
        zero_threshold: 1e-128,
        zero_count: 1,
        count: 7,
        sum: 104.5,
        positive: vec![(0, 2), (2, 1), (4, 1), (14, 1)],
        negative: vec![(4, 1)],
    }
}

#[test]
fn native_histograms_answer_for_the_values_in_them() -> Result<()> {
    let prometheus = Prometheus::start()?;
    let series = Arc::new(Series::new("trip_seconds".into(), vec![]));
    let sample = |timestamp_ms, histogram: NativeHistogram| Sample {
        series: Arc::clone(&series),
        timestamp_ms,
        value: histogram.into(),
    };
    // The second window has fewer values than the first: for a counter that would be a reset.
    let second = NativeHistogram {
        zero_count: 0,
        count: 2,
        sum: 5.0,
        positive: vec![(0, 1), (4, 1)],
        negative: vec![],
        ..histogram()
    };
    let (first_ms, second_ms) = (START_MS, START_MS + 5_000);
    let config: write::Config = serde_json::from_value(serde_json::json!({
        "remote_write": { "url": prometheus.remote_write_url() },
    }))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let registry = Registry::new("test");
    let writer = Writer::start(
        &config,
        1,
        &registry,
        runtime.handle().clone(),
        Resume::default(),
    )?;
    let samples = vec![sample(first_ms, histogram()), sample(second_ms, second)];
    writer.handle().send(0, samples)?;
    let summary = writer.finish(Some(LIMIT));
    ensure!((summary.written, summary.unsent) == (2, 0), "{summary:?}");

    let value = |function: &str, at_ms: i64| -> Result<f64> {
        let found = prometheus.query_at(&function.replace('$', "trip_seconds"), at_ms)?;
        let point = found.first().and_then(|(_, points)| points.first());
        point
            .map(|(_, value)| *value)
            .with_context(|| function.to_owned())
    };
    for (function, at_ms, expected) in [
        ("histogram_count($)", first_ms, 7.0),
        ("histogram_sum($)", first_ms, 104.5),
        ("histogram_count($)", second_ms, 2.0),
        ("histogram_sum($)", second_ms, 5.0),
        // Between the ends of buckets no value is guessed.
        ("histogram_fraction(-8, -1, $)", first_ms, 1.0 / 7.0),
        ("histogram_fraction(0.5, 1, $)", first_ms, 2.0 / 7.0),
        ("histogram_fraction(1, 2, $)", first_ms, 1.0 / 7.0),
        ("histogram_fraction(2, 4, $)", first_ms, 1.0 / 7.0),
        ("histogram_fraction(64, 128, $)", first_ms, 1.0 / 7.0),
        ("histogram_fraction(2, 4, $)", second_ms, 0.5),
    ] {
        let found = value(function, at_ms)?;
        ensure!(
            (found - expected).abs() < 1e-12,
            "{function}: {found} for {expected}"
        );
    }
    // Within a bucket Prometheus interpolates, one version so and another otherwise.
    for (quantile, at_ms, above, until) in [
        (0.01, first_ms, -4.0, -2.8),
        (0.5, first_ms, 0.7, 1.0),
        (0.7, first_ms, 1.4, 2.0),
        (0.99, first_ms, 90.5, 128.0),
        (0.9, second_ms, 2.8, 4.0),
    ] {
        let found = value(&format!("histogram_quantile({quantile}, $)"), at_ms)?;
        ensure!(above <= found && found <= until, "{quantile}: {found}");
    }
    Ok(())
}

/// Prometheus 2 reads a request of 2.0 as an empty one of 1.0 and answers with a success: no sample may
/// be lost in it.
#[test]
fn neither_the_probe_nor_metadata_costs_a_sample() -> Result<()> {
    let prometheus = Prometheus::start()?;
    let mut metadata = MetricsMetadata::default();
    let told = MetricMetadata::new(
        "trips".into(),
        MetricType::Counter,
        "Trips begun",
        "",
        Some(5_000),
    );
    metadata.add(told, &[]);
    let mut config: write::Config = serde_json::from_value(serde_json::json!({
        "remote_write": { "url": prometheus.remote_write_url(), "protocol": "auto" },
    }))?;
    config.metadata = Arc::new(metadata);
    let runtime = tokio::runtime::Runtime::new()?;
    let registry = Registry::new("test");
    let handle = runtime.handle().clone();
    let writer = Writer::start(&config, 1, &registry, handle, Resume::default())?;
    let (mut samples, mut expected) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let plant: Arc<str> = format!("plant-{number}").into();
        let series = Arc::new(Series::new("trips".into(), vec![("plant".into(), plant)]));
        for step in 0..3_i32 {
            let timestamp_ms = START_MS + 5_000 * i64::from(step);
            let value = f64::from(number * 10 + step);
            samples.push(Sample {
                series: Arc::clone(&series),
                timestamp_ms,
                value: value.into(),
            });
            expected.push((format!("plant-{number}"), timestamp_ms, value));
        }
    }
    writer.handle().send(0, samples)?;
    let summary = writer.finish(Some(LIMIT));
    ensure!((summary.written, summary.unsent) == (60, 0), "{summary:?}");

    let found = prometheus.series_samples("trips", START_MS, START_MS + 60_000)?;
    let mut found: Vec<_> = found
        .into_iter()
        .flat_map(|(labels, points)| {
            let plant = labels.get("plant").cloned().unwrap_or_default();
            let points = points.into_iter();
            points.map(move |(time, value)| (plant.clone(), time, value))
        })
        .collect();
    found.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
    expected.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
    ensure!(found == expected, "{found:?}");

    let metrics = Registry::text([&registry]);
    let has = |line: &str| metrics.lines().any(|found| found.starts_with(line));
    // Which of the two it speaks is for the version on the machine to say.
    let is_v1 = has("weir_remote_write_protocol{pipeline=\"test\",receiver=\"default\"} 1");
    ensure!(
        is_v1 || has("weir_remote_write_protocol{pipeline=\"test\",receiver=\"default\"} 2"),
        "{metrics}"
    );
    let told = i32::from(is_v1);
    ensure!(
        has(&format!(
            "weir_remote_write_metadata_total{{pipeline=\"test\",receiver=\"default\"}} {told}"
        )),
        "{metrics}"
    );
    ensure!(
        has("weir_remote_write_metadata_failed_total{pipeline=\"test\",receiver=\"default\"} 0"),
        "{metrics}"
    );
    Ok(())
}
