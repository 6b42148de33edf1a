//! A real Prometheus that writes into a pipeline with Remote-Write: what it has is what comes out, also
//! where weir is killed meanwhile.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use crate::reference::stateful::Stateful;
use crate::support::ports::on_free_ports;
use crate::support::prometheus::{Prometheus, PrometheusOptions, Release, RemoteWrite};
use crate::support::samples::{Sample, read_ndjson};

/// A window, ms.
const WINDOW: i64 = 5_000;

/// What Prometheus makes itself of every scrape, whatever the target says.
const SERIES: &str = "scrape_duration_seconds";

const TOKEN: &str = "a long random text";

fn pipeline(port: u16) -> String {
    format!(
        "pipeline: agents
source: {{ remote_write: {{ listen: '127.0.0.1:{port}', token: '{TOKEN}' }} }}
event:
  time: {{ from: timestamp }}
  fields:
    name: {{ from: __name__, type: text, required: true }}
    job: text
    value: number
time: {{ out_of_order: 1s, idle_after: 1h }}
metrics:
  seconds: {{ where: name = '{SERIES}', window: {{ tumbling: 5s }}, by: [job], value: sum(value) }}
  scrapes: {{ where: name = '{SERIES}', window: {{ tumbling: 5s }}, by: [job], value: count(*) }}
write: {{ file: {{ path: samples.ndjson }} }}
state: {{ dir: state, log: {{ fsync: 5ms }}, checkpoint: {{ every: 300ms }} }}
"
    )
}

/// The windows from the samples as Prometheus has them.
fn windows(samples: &[Sample]) -> BTreeMap<i64, (f64, f64)> {
    let mut windows: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for sample in samples {
        let end = (sample.timestamp_ms.div_euclid(WINDOW) + 1) * WINDOW;
        let (seconds, scrapes) = windows.entry(end).or_default();
        *seconds += sample.value;
        *scrapes += 1.0;
    }
    windows
}

/// What weir has written, the same twice where it was killed before its checkpoint.
fn written(stateful: &Stateful) -> Result<BTreeMap<i64, (f64, f64)>> {
    let mut windows: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    let mut earlier = BTreeMap::new();
    for sample in read_ndjson(&stateful.path("samples.ndjson"))? {
        let job = sample.labels.get("job").map(String::as_str);
        assert_eq!(job, Some("test"));
        let window = windows.entry(sample.timestamp_ms).or_default();
        let part = match sample.name.as_str() {
            "seconds" => &mut window.0,
            _ => &mut window.1,
        };
        *part = sample.value;
        let known = earlier.insert((sample.name, sample.timestamp_ms), sample.value);
        ensure!(
            known.is_none_or(|known| known == sample.value),
            "two values of a window"
        );
    }
    Ok(windows)
}

fn arrives_once(release: Release, message: Option<&'static str>) -> Result<()> {
    let (stateful, port, mut service) = on_free_ports(|[port]| {
        let stateful = Stateful::new(&pipeline(port))?;
        let service = stateful.start(&[])?;
        Ok((stateful, port, service))
    })?;
    let prometheus = Prometheus::start_with(&PrometheusOptions {
        release,
        scrape: vec![service.address().to_owned()],
        remote_write: Some(RemoteWrite {
            url: format!("http://127.0.0.1:{port}/api/v1/write"),
            message,
            token: TOKEN.to_owned(),
        }),
        ..PrometheusOptions::default()
    })?;
    for _ in 0..2 {
        service.await_metric("weir_http_requests_total", &[("code", "204")], 3.0)?;
        service.kill()?;
        service = stateful.start(&[])?;
    }
    service.await_condition("windows after the last start", || {
        written(&stateful).is_ok_and(|windows| windows.len() >= 3)
    })?;
    // What goes on being scraped may still be on its way.
    service.await_metric("weir_http_requests_total", &[("code", "204")], 8.0)?;
    let refused = service.metric("weir_http_requests_total", &[("code", "400")])?;
    assert_eq!(refused, 0.0);
    service.stop()?;
    let found = written(&stateful)?;
    let (first, _) = found.first_key_value().context("no windows")?;
    let (last, _) = found.last_key_value().context("no windows")?;
    let samples = prometheus.samples(SERIES, first - 2 * WINDOW, last + WINDOW)?;
    let expected = windows(&samples);
    let expected: BTreeMap<_, _> = expected
        .range(..=last)
        .map(|(end, one)| (*end, *one))
        .collect();
    ensure!(found.len() >= 3, "{found:?}");
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (end, (seconds, scrapes)) in &found {
        let one = expected.get(end).context("no such window")?;
        let (expected_seconds, expected_scrapes) = *one;
        assert_eq!(*scrapes, expected_scrapes, "{end}");
        // Sums of numbers between zero and one, in another order.
        ensure!(
            (seconds - expected_seconds).abs() < 1e-12,
            "{end}: {seconds}"
        );
    }
    Ok(())
}

#[test]
fn what_an_older_prometheus_writes_arrives_once() -> Result<()> {
    arrives_once(Release::Packaged, None)
}

#[test]
fn what_a_current_prometheus_writes_with_2_0_arrives_once() -> Result<()> {
    arrives_once(Release::Current, Some("io.prometheus.write.v2.Request"))
}
