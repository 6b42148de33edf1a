//! Native histograms from events to a current Prometheus, by both protocols.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::files::{run, temporary_folder, weir, write};
use crate::support::http;
use crate::support::prometheus::{Prometheus, PrometheusOptions, Release};

const LIMIT: Duration = Duration::from_secs(60);

/// 2024-11-03T10:15:40Z.
const START_MS: i64 = 1_730_628_940_000;

/// The ends of the two windows of five seconds.
const FIRST_MS: i64 = START_MS + 5_000;
const SECOND_MS: i64 = START_MS + 10_000;

const PIPELINE: &str = "pipeline: trips
source: { file: { path: events.ndjson } }
event: { time: { from: t }, fields: { model: text, seconds: number } }
metrics:
  trip_seconds:
    window: { tumbling: 5s }
    by: [model]
    value: histogram(seconds, 1)
write:
  remote_write: { url: URL, protocol: \"PROTOCOL\", batch: { deadline: 5ms } }
";

/// A bucket as Prometheus shows it: which ends belong to it, the ends, and the count.
type Bucket = (u64, f64, f64, f64);

/// Only the upper end belongs to a bucket of positive values, only the lower one to one of negative
/// values, and both to the zero bucket.
const UPPER: u64 = 0;
const LOWER: u64 = 1;
const BOTH: u64 = 3;

/// Where bucket `index` ends, with two buckets to a doubling.
fn end(index: i32) -> f64 {
    (f64::from(index) / 2.0).exp2()
}

fn positive(index: i32, count: f64) -> Bucket {
    (UPPER, end(index - 1), end(index), count)
}

/// What is expected at a time.
struct Expected {
    at_ms: i64,
    model: &'static str,
    count: f64,
    sum: f64,
    buckets: Vec<Bucket>,
    /// Quantiles, interpolated in the exponent as the specification of native histograms has it:
    /// <https://prometheus.io/docs/specs/native_histograms/#interpolation-within-a-bucket>.
    quantiles: Vec<(f64, f64)>,
}

fn events() -> String {
    let mut text = String::new();
    let mut add = |window_ms: i64, model: &str, values: &[f64]| {
        for (offset, value) in (0..).zip(values) {
            let at = window_ms + offset * 100;
            let event = serde_json::json!({ "t": at, "model": model, "seconds": value });
            text.push_str(&format!("{event}\n"));
        }
    };
    add(START_MS, "XC60", &[-3.0, 0.0, 1.0, 1.0, 1.5, 4.0, 100.0]);
    add(START_MS, "S90", &[0.25]);
    // Fewer than before: for a counter that would be a reset.
    add(FIRST_MS, "XC60", &[1.0, 4.0]);
    text
}

fn expected() -> Vec<Expected> {
    // weir's zero bucket.
    let zero = 2_f64.powi(-128);
    vec![
        Expected {
            at_ms: FIRST_MS,
            model: "XC60",
            count: 7.0,
            sum: 104.5,
            buckets: vec![
                (LOWER, -end(4), -end(3), 1.0),
                (BOTH, -zero, zero, 1.0),
                positive(0, 2.0),
                positive(2, 1.0),
                positive(4, 1.0),
                positive(14, 1.0),
            ],
            quantiles: vec![
                (0.01, -(2.0 - 0.5 * 0.07_f64).exp2()),
                (0.5, (-0.5 + 0.5 * 0.75_f64).exp2()),
                (0.7, (0.5 + 0.5 * 0.9_f64).exp2()),
                (0.99, (6.5 + 0.5 * 0.93_f64).exp2()),
                (1.0, 128.0),
            ],
        },
        Expected {
            at_ms: FIRST_MS,
            model: "S90",
            count: 1.0,
            sum: 0.25,
            buckets: vec![positive(-4, 1.0)],
            quantiles: vec![(0.5, (-2.5 + 0.5 * 0.5_f64).exp2()), (1.0, 0.25)],
        },
        Expected {
            at_ms: SECOND_MS,
            model: "XC60",
            count: 2.0,
            sum: 5.0,
            buckets: vec![positive(0, 1.0), positive(4, 1.0)],
            quantiles: vec![
                (0.25, (-0.5 + 0.5 * 0.5_f64).exp2()),
                (0.9, (1.5 + 0.5 * 0.8_f64).exp2()),
            ],
        },
    ]
}

/// The buckets of one series at a time, with their count and sum, as the query API has them.
fn histogram_at(
    server: &Prometheus,
    selector: &str,
    at_ms: i64,
) -> Result<(f64, f64, Vec<Bucket>)> {
    let query = http::encode(selector);
    let time = at_ms / 1_000;
    let url = format!("{}/api/v1/query?query={query}&time={time}", server.url());
    let answer: Value = serde_json::from_str(&http::get(&url)?.body)?;
    let result = answer.pointer("/data/result").context("no result")?;
    let one = result.as_array().is_some_and(|all| all.len() == 1);
    ensure!(one, "{selector}: {answer}");
    let histogram = result.pointer("/0/histogram/1");
    let histogram = histogram.with_context(|| format!("no histogram: {answer}"))?;
    let mut buckets = Vec::new();
    for bucket in histogram["buckets"].as_array().context("no buckets")? {
        let rule = bucket[0].as_u64().context("no rule")?;
        let (lower, upper) = (number(&bucket[1])?, number(&bucket[2])?);
        buckets.push((rule, lower, upper, number(&bucket[3])?));
    }
    let (count, sum) = (number(&histogram["count"])?, number(&histogram["sum"])?);
    Ok((count, sum, buckets))
}

/// Prometheus writes numbers as texts.
fn number(text: &Value) -> Result<f64> {
    Ok(text.as_str().context("no text")?.parse()?)
}

/// Equal but for what the last digits of a power lose.
fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-12 * expected.abs()
}

fn value(server: &Prometheus, promql: &str, at_ms: i64) -> Result<f64> {
    let found = server.query_at(promql, at_ms)?;
    let point = found.first().and_then(|(_, points)| points.first());
    point
        .map(|(_, value)| *value)
        .with_context(|| promql.to_owned())
}

#[test]
fn a_current_prometheus_has_the_histograms_that_weir_made() -> Result<()> {
    for protocol in ["1.0", "2.0"] {
        let server = Prometheus::start_with(&PrometheusOptions {
            release: Release::Current,
            ..PrometheusOptions::default()
        })?;
        let folder = temporary_folder()?;
        let pipeline = PIPELINE
            .replace("URL", &format!("\"{}\"", server.remote_write_url()))
            .replace("PROTOCOL", protocol);
        let pipeline = write(folder.path(), "trips.yaml", &pipeline)?;
        let events = write(folder.path(), "events.ndjson", &events())?;
        let [pipeline, events] = [&pipeline, &events].map(|path| path.to_string_lossy());
        let mut command = weir(["run", &pipeline, "--input", &events]);
        let ended = run(command.args(["--listen", "127.0.0.1:0"]), LIMIT)?;
        ensure!(ended.status.success(), "{protocol}: {}", ended.stderr);

        for expected in expected() {
            let (at_ms, model) = (expected.at_ms, expected.model);
            let selector = format!("trip_seconds{{model=\"{model}\"}}");
            let (count, sum, buckets) = histogram_at(&server, &selector, at_ms)?;
            let case = format!("{protocol} {selector} at {at_ms}");
            assert_eq!((count, sum), (expected.count, expected.sum), "{case}");
            assert_eq!(buckets.len(), expected.buckets.len(), "{case}: {buckets:?}");
            for (found, expected) in buckets.iter().zip(&expected.buckets) {
                let same = (found.0, found.3) == (expected.0, expected.3)
                    && near(found.1, expected.1)
                    && near(found.2, expected.2);
                assert!(same, "{case}: {found:?} for {expected:?}");
            }
            let mut asked = vec![
                (format!("histogram_count({selector})"), expected.count),
                (format!("histogram_sum({selector})"), expected.sum),
                (
                    format!("histogram_avg({selector})"),
                    expected.sum / expected.count,
                ),
            ];
            for (quantile, expected) in &expected.quantiles {
                let promql = format!("histogram_quantile({quantile}, {selector})");
                asked.push((promql, *expected));
            }
            for (promql, expected) in asked {
                let found = value(&server, &promql, at_ms)?;
                assert!(
                    near(found, expected),
                    "{case}: {promql}: {found} for {expected}"
                );
            }
        }
        // Both models in one, as a dashboard adds them up.
        let all = value(&server, "histogram_count(sum(trip_seconds))", FIRST_MS)?;
        assert_eq!(all, 8.0, "{protocol}");
    }
    Ok(())
}
