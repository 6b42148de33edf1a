//! The reference of metrics: it names what `/metrics` shows, and dashboards use nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::markdown::{code, page, rows};
use crate::support::files::{self, repository, weir};
use crate::support::http;
use crate::support::process::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// Exported only while Kafka is read; the tests of the Kafka source look at it.
const KAFKA_ONLY: &str = "weir_kafka_lag_records";

/// What such metrics begin with is exported only with a durable log; the tests of the log look at
/// them.
const LOG_ONLY: &str = "weir_log_";

/// What such metrics begin with is exported only where HTTP is the source; the tests of the HTTP source
/// look at them.
const HTTP_ONLY: &str = "weir_http_";

/// The same of Kinesis.
const KINESIS_ONLY: &str = "weir_kinesis_";

/// What is there with a registry of schemas only begins with this.
const REGISTRY_ONLY: &str = "weir_schema_registry_";

/// What other tests look at.
const ELSEWHERE: [&str; 7] = [
    LOG_ONLY,
    HTTP_ONLY,
    KINESIS_ONLY,
    REGISTRY_ONLY,
    "weir_mqtt_",
    "weir_kafka_assigned_partitions",
    "weir_kafka_errors_total",
];

/// Nobody listens there: the discard port of the loopback address.
const PIPELINE: &str = r#"{
    "pipeline": "cars",
    "source": { "file": { "path": "EVENTS" } },
    "event": { "time": { "from": "time" }, "fields": { "vehicle": "text", "lat": "number" } },
    "time": { "clock": { "device": "vehicle" } },
    "enrich": [{
        "lookup": "vehicles", "key": "vehicle", "add": ["model"],
        "from": { "csv": "vehicles.csv", "key": "vehicle" }
    }, {
        "lookup": "zones", "position": { "latitude": "lat", "longitude": "lat" }, "add": ["zone"],
        "from": { "geojson": "zones.geojson" }
    }, {
        "lookup": "depots", "key": "vehicle", "add": ["depot"],
        "from": { "http": { "url": "http://127.0.0.1:9/{key}" }, "retry": { "attempts": 1 } }
    }],
    "metrics": {
        "reporting": {
            "window": { "tumbling": "5s" }, "by": ["vehicle"], "max_series": 1, "value": "count(*)"
        }
    },
    "write": { "remote_write": { "url": "http://127.0.0.1:9/api/v1/write" } },
    "state": { "dir": "STATE" }
}"#;

/// A metric's type and labels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    kind: String,
    pub(crate) labels: BTreeSet<String>,
}

/// What the series of a histogram's name end with.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The metrics of the page by name.
pub(crate) fn documented() -> Result<BTreeMap<String, Metric>> {
    let mut metrics = BTreeMap::new();
    let page = page("metrics.md")?;
    let line_of = |heading| page.lines().position(|line| line == heading);
    let samples = line_of("## Samples").context("no samples")?;
    let checkpoints = line_of("## Checkpoints").context("no checkpoints")?;
    for row in rows(&page, &["Metric", "Type", "Labels", "Meaning"])? {
        let labels = row
            .cell(2)
            .split(", ")
            .map(code)
            .filter(|label| !label.is_empty());
        let mut labels: BTreeSet<_> = labels.map(str::to_owned).collect();
        // The page says it once for all.
        if (samples..checkpoints).contains(&row.line) && !labels.contains("metric") {
            labels.insert("receiver".to_owned());
        }
        let metric = Metric {
            kind: row.cell(1).to_owned(),
            labels,
        };
        metrics.insert(row.code(0).to_owned(), metric);
    }
    Ok(metrics)
}

/// The metrics of Prometheus text by name, without the label that all have.
fn exported(text: &str) -> Result<BTreeMap<String, Metric>> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').context("a type without a name")?;
            let metric = Metric {
                kind: kind.to_owned(),
                labels: BTreeSet::new(),
            };
            metrics.insert(name.to_owned(), metric);
        }
        if line.starts_with('#') {
            continue;
        }
        let Some((series, labels)) = line.split_once('{') else {
            continue;
        };
        let name = family(series);
        let metric = metrics
            .get_mut(name)
            .with_context(|| format!("no type of {series}"))?;
        let (labels, _) = labels.rsplit_once('}').context("no end of the labels")?;
        for label in labels.split("\",") {
            let (label, _) = label.split_once('=').context("a label without a value")?;
            metric.labels.insert(label.to_owned());
        }
    }
    for (name, metric) in &mut metrics {
        let has_pipeline = metric.labels.remove("pipeline");
        anyhow::ensure!(
            has_pipeline == name.starts_with("weir_"),
            "{name}: label pipeline"
        );
        if metric.kind == "histogram" {
            metric.labels.remove("le");
        }
    }
    Ok(metrics)
}

/// `/metrics` of a run whose receiver is away, once a request has failed.
fn metrics_page() -> Result<String> {
    let folder = files::temporary_folder()?;
    let pipeline = files::write(folder.path(), "cars.yaml", PIPELINE)?;
    files::write(folder.path(), "vehicles.csv", "vehicle,model\nV1,Helion\n")?;
    let zones = r#"{"type": "FeatureCollection", "features": []}"#;
    files::write(folder.path(), "zones.geojson", zones)?;
    let events = ["V1", "V2"]
        .map(|vehicle| format!("{{\"time\":1730621745000,\"vehicle\":\"{vehicle}\"}}\n"));
    let input = files::write(folder.path(), "events.ndjson", &events.concat())?;
    let events = format!("source.file.path={}", input.display());
    let state = format!("state.dir={}", folder.path().join("state").display());
    let pipeline = pipeline.to_string_lossy();
    let arguments = [
        "run",
        &pipeline,
        "--set",
        &events,
        "--set",
        &state,
        "--listen",
        "127.0.0.1:0",
    ];
    let mut process = Process::start("weir", &weir(arguments), &folder)?;
    let log = folder.path().join("weir.err");
    let mut text = String::new();
    process.wait_until("failed request at /metrics", LIMIT, || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let Some(url) = log.lines().find_map(|line| line.split_once("metrics at ")) else {
            return false;
        };
        text = http::get(url.1)
            .map(|response| response.body)
            .unwrap_or_default();
        text.contains("weir_remote_write_requests_total{code=\"network\"")
    })?;
    process.kill()?;
    Ok(text)
}

#[test]
fn the_page_and_the_program_name_the_same_metrics() {
    let mut documented = documented().unwrap();
    assert!(documented.remove(KAFKA_ONLY).is_some());
    let before = documented.len();
    documented.retain(|name, _| !ELSEWHERE.iter().any(|start| name.starts_with(start)));
    assert!(documented.len() < before);
    let text = metrics_page().unwrap();
    let exported = exported(&text).unwrap();
    let names = |metrics: &BTreeMap<String, Metric>| metrics.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&documented), names(&exported));
    assert_eq!(documented, exported);

    let page = page("metrics.md").unwrap();
    let mut reasons = BTreeSet::new();
    for line in text.lines() {
        let Some((name, labels)) = line.split_once('{') else {
            continue;
        };
        let Some((_, reason)) = labels.split_once("reason=\"") else {
            continue;
        };
        reasons.insert((name, reason.split('"').next().unwrap()));
    }
    assert!(reasons.len() > 15, "{reasons:?}");
    for (name, reason) in reasons {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` ")));
        let is_named = row.is_some_and(|row| row.contains(&format!("`{reason}`")));
        assert!(
            is_named,
            "the page does not name the reason {reason} of {name}"
        );
    }
}

#[test]
fn dashboards_and_alerts_use_documented_metrics_only() {
    let documented = documented().unwrap();
    let used = used_by_dashboards_and_alerts().unwrap();
    assert!(used.len() > 20, "{used:?}");
    for name in used {
        assert!(
            documented.contains_key(&name) || documented.contains_key(family(&name)),
            "{name} is not on the page"
        );
    }
}

/// The metrics of weir whose names stand in a dashboard or in the alert rules.
pub(crate) fn used_by_dashboards_and_alerts() -> Result<BTreeSet<String>> {
    let dashboards = repository().join("dashboards");
    let mut used = BTreeSet::new();
    for folder in [dashboards.clone(), dashboards.join("alerts")] {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|found| found == "json" || found == "yaml")
            {
                used.extend(own_metrics(&fs::read_to_string(path)?));
            }
        }
    }
    Ok(used)
}

/// The metric that a series is of: a histogram has several.
pub(crate) fn family(series: &str) -> &str {
    PARTS
        .iter()
        .find_map(|part| series.strip_suffix(part))
        .unwrap_or(series)
}

/// The names that begin with `weir_`. A colon beside one makes it the name of a recording rule.
fn own_metrics(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_name(c));
    words
        .filter(|word| word.starts_with("weir_") && !word.contains(':'))
        .map(str::to_owned)
        .collect()
}
