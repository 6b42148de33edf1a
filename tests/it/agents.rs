//! The gateways of `pipelines/agents.yaml`: real Prometheus servers scrape them and write into the pipeline,
//! which writes to a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::reference::service::Service;
use crate::support::fake_http::serve;
use crate::support::files::{temporary_folder, weir};
use crate::support::ports::on_free_ports;
use crate::support::prometheus::{Prometheus, PrometheusOptions, RemoteWrite};
use crate::support::samples::Sample;

/// Ten seconds are enough here, for agents that begin anew after weir has; the windows are shorter, too.
const SETTINGS: [&str; 7] = [
    "source.remote_write.token=a long random text",
    "time.out_of_order=10s",
    "state.checkpoint.every=300ms",
    "metrics.gateways_reporting.window.tumbling=5s",
    "metrics.gateway_targets_down.window.tumbling=5s",
    "metrics.gateway_temperature_celsius_max.window.tumbling=5s",
    "metrics.gateway_mobile_received_bytes.window.tumbling=5s",
];
const TOKEN: &str = "a long random text";

/// A window, ms.
const WINDOW: i64 = 5_000;

/// What comes out, and of what it is made.
const METRICS: [(&str, &str); 4] = [
    ("gateways_reporting", "up"),
    ("gateway_targets_down", "up"),
    ("gateway_temperature_celsius_max", "node_hwmon_temp_celsius"),
    (
        "gateway_mobile_received_bytes",
        "node_network_receive_bytes_total{device=\"wwan0\"}",
    ),
];

/// A gateway's depot; the second one has a door counter that does not answer.
const GATEWAYS: [&str; 3] = ["leeds", "leeds", "york"];
const WITH_A_SILENT_DEVICE: usize = 1;

/// The values by metric, depot and the window's end.
type Values = BTreeMap<(String, String, i64), f64>;

/// What a gateway says of itself: gauges that go up and down, counters, one of which begins anew now and then,
/// and some of the many series that nobody has asked for.
fn page(gateway: u64, scrape: u64) -> String {
    let mut page = String::new();
    for sensor in 1..=3 {
        let degrees = 40 + 5 * gateway + (scrape * sensor) % 7;
        page += &format!("node_hwmon_temp_celsius{{sensor=\"temp{sensor}\"}} {degrees}\n");
    }
    let received = 1_000 * (gateway + 1) * (scrape % 8);
    page += &format!("node_network_receive_bytes_total{{device=\"wwan0\"}} {received}\n");
    page += &format!("node_network_receive_bytes_total{{device=\"eth0\"}} {scrape}\n");
    for cpu in 0..4 {
        for mode in ["idle", "iowait", "irq", "nice", "softirq", "system", "user"] {
            page +=
                &format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {scrape}.25\n");
        }
    }
    page
}

/// A gateway and its agent.
fn start_agent(gateway: usize, depot: &str, to: &str) -> Result<Prometheus> {
    let scrapes = AtomicU64::new(0);
    let target = serve(move |_| {
        let scrape = scrapes.fetch_add(1, Ordering::Relaxed);
        (200, page(gateway as u64, scrape))
    })?;
    let mut scrape = vec![target.trim_start_matches("http://").to_owned()];
    if gateway == WITH_A_SILENT_DEVICE {
        // Nobody listens there.
        scrape.push("127.0.0.1:9".to_owned());
    }
    Prometheus::start_with(&PrometheusOptions {
        scrape,
        external_labels: vec![
            ("gateway", format!("gw-{gateway:04}")),
            ("depot", depot.to_owned()),
        ],
        remote_write: Some(RemoteWrite {
            url: format!("{to}/api/v1/write"),
            message: None,
            token: TOKEN.to_owned(),
        }),
        ..PrometheusOptions::default()
    })
}

fn start_weir(folder: &TempDir, port: u16, receiver: &Prometheus) -> Result<Service> {
    let mut command = weir(["run", "pipelines/agents.yaml", "--workers", "2"]);
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    command
        .env("AGENTS_LISTEN", format!("127.0.0.1:{port}"))
        .env("REMOTE_WRITE_URL", receiver.remote_write_url())
        .env("STATE_DIR", folder.path());
    Service::start(&mut command, folder)
}

/// The value of a metric in a window, of one depot's gateways: the samples of each series are in their order.
fn value(metric: &str, gateways: &[Vec<Vec<Sample>>]) -> Option<f64> {
    let all = || gateways.iter().flatten();
    let last = |series: &Vec<Sample>| series.last().map(|sample| sample.value);
    match metric {
        "gateways_reporting" => Some(gateways.len() as f64),
        "gateway_targets_down" => {
            Some(all().filter(|series| last(series) == Some(0.0)).count() as f64)
        }
        "gateway_temperature_celsius_max" => {
            all().flatten().map(|sample| sample.value).reduce(f64::max)
        }
        _ => {
            let counters = all().filter(|series| series.len() > 1);
            let counted = counters.map(|series| {
                let steps = series
                    .iter()
                    .zip(series.iter().skip(1))
                    .map(|(before, after)| {
                        let (before, after) = (before.value, after.value);
                        if after < before {
                            after
                        } else {
                            after - before
                        }
                    });
                steps.sum::<f64>()
            });
            counted.reduce(|sum, one| sum + one)
        }
    }
}

/// What must come of what the agents themselves have, in windows that end from the first to the last.
fn expected(agents: &[Prometheus], first: i64, last: i64) -> Result<Values> {
    let mut values = Values::new();
    for (metric, selector) in METRICS {
        let mut windows: BTreeMap<(&str, i64), Vec<Vec<Vec<Sample>>>> = BTreeMap::new();
        for (agent, depot) in agents.iter().zip(GATEWAYS) {
            let mut own: BTreeMap<i64, BTreeMap<_, Vec<Sample>>> = BTreeMap::new();
            for sample in agent.samples(selector, first - WINDOW, last)? {
                let end = (sample.timestamp_ms.div_euclid(WINDOW) + 1) * WINDOW;
                let series = own.entry(end).or_default();
                series
                    .entry(sample.labels.clone())
                    .or_default()
                    .push(sample);
            }
            for (end, series) in own {
                let all = windows.entry((depot, end)).or_default();
                all.push(series.into_values().collect());
            }
        }
        for ((depot, end), gateways) in windows {
            if (first..=last).contains(&end)
                && let Some(value) = value(metric, &gateways)
            {
                values.insert((metric.to_owned(), depot.to_owned(), end), value);
            }
        }
    }
    Ok(values)
}

/// What the receiver has.
fn found(receiver: &Prometheus, first: i64, last: i64) -> Result<Values> {
    let mut values = Values::new();
    for (metric, _) in METRICS {
        for mut sample in receiver.samples(metric, first, last)? {
            let depot = sample.labels.remove("depot").context("no depot")?;
            // Nothing of the gateways themselves is left.
            ensure!(sample.labels.is_empty(), "{sample:?}");
            values.insert((sample.name, depot, sample.timestamp_ms), sample.value);
        }
    }
    Ok(values)
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The ends of the windows that the receiver has.
fn ends(receiver: &Prometheus, since: i64) -> Result<BTreeSet<i64>> {
    let samples = receiver.samples("gateways_reporting", since, now_ms())?;
    Ok(samples.iter().map(|sample| sample.timestamp_ms).collect())
}

#[test]
fn what_agents_write_becomes_a_few_series_for_each_depot() -> Result<()> {
    let since = now_ms();
    let receiver = Prometheus::start()?;
    let (folder, port, mut service) = on_free_ports(|[port]| {
        let folder = temporary_folder()?;
        let service = start_weir(&folder, port, &receiver)?;
        Ok((folder, port, service))
    })?;
    let to = format!("http://127.0.0.1:{port}");
    let agents = GATEWAYS.into_iter().enumerate();
    let agents = agents.map(|(gateway, depot)| start_agent(gateway, depot, &to));
    let agents: Vec<_> = agents.collect::<Result<_>>()?;
    // What the agents have been told is taken they send no more: it must be in the log.
    service.await_metric("weir_http_requests_total", &[("code", "204")], 8.0)?;
    service.kill()?;
    let killed = now_ms();
    service = start_weir(&folder, port, &receiver)?;
    // A window before the kill, the one of it, and one behind it.
    service.await_condition("windows before and behind the kill", || {
        ends(&receiver, since).is_ok_and(|ends| {
            let behind = ends.range(killed + 2 * WINDOW..).count();
            ends.len() >= 4 && behind > 0
        })
    })?;
    let ends = ends(&receiver, since)?;
    // Not all metrics of the last one may be there.
    let last = *ends.iter().rev().nth(1).context("one window")?;
    let found = found(&receiver, since, last)?;
    assert_eq!(found, expected(&agents, since, last)?);
    let of = |metric: &str, depot: &str, choose: fn(f64, f64) -> f64| {
        let all = found.iter();
        let own = all.filter(|((name, at, _), _)| name == metric && at == depot);
        own.map(|(_, value)| *value).fold(f64::NAN, choose)
    };
    assert_eq!(of("gateways_reporting", "leeds", f64::max), 2.0);
    // Where the machine stands still, also those do not answer that are there.
    assert_eq!(of("gateway_targets_down", "leeds", f64::min), 1.0);
    assert_eq!(of("gateway_targets_down", "york", f64::min), 0.0);
    assert!(of("gateway_mobile_received_bytes", "york", f64::max) > 0.0);
    let late = service.metric("weir_late_events_total", &[])?;
    assert_eq!(late, 0.0);
    service.stop()
}
