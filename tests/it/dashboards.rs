//! The dashboards and alert rules, against a real Prometheus that the demo fills.

mod board;
mod demo;
mod promql;
mod shown;

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use weir::config::{self, Overrides};

use crate::support::files::{find_program, repository, run};
use crate::support::prometheus::Series;
use board::Dashboard;
use demo::{Demo, Rule, VEHICLES};
use promql::{measured_and_limit, series_names};

/// What the names of those series begin with that the demo cannot have: it makes its events itself, asks
/// no service and no registry, and keeps nothing. `shown.rs` holds the names to what is documented.
const ELSEWHERE: [&str; 12] = [
    "weir_checkpoint",
    "weir_clock_",
    "weir_http_",
    "weir_kafka_",
    "weir_kinesis_",
    "weir_log_",
    "weir_lookup_cache_",
    "weir_lookup_in_flight",
    "weir_lookup_parked_batches",
    "weir_lookup_request",
    "weir_mqtt_",
    "weir_schema_registry_",
];

/// Alerts that are pending while weir starts. They wait until that is over.
const STARTING: [&str; 1] = ["WeirMemoryGrows"];

/// What single panels must show: a dashboard, a panel, its value.
const EXPECTED: [(&str, &str, RangeInclusive<f64>); 17] = [
    (
        "connected-cars.json",
        "Vehicles reporting",
        VEHICLES as f64..=VEHICLES as f64,
    ),
    (
        "connected-cars.json",
        "Vehicles in motion",
        0.4 * VEHICLES as f64..=0.7 * VEHICLES as f64,
    ),
    ("connected-cars.json", "Share in motion", 0.4..=0.7),
    (
        "connected-cars.json",
        "Warnings",
        2.0 * VEHICLES as f64..=3.0 * VEHICLES as f64,
    ),
    ("connected-cars.json", "Warnings per vehicle", 2.0..=3.0),
    ("connected-cars.json", "Models", 7.0..=7.0),
    ("connected-cars.json", "Regions", 20.0..=20.0),
    // Three events a second from each vehicle, and about 140 series of each of three metrics every
    // five seconds: 107. A rate over the first windows is coarse.
    ("weir.json", "Events per sample", 50.0..=220.0),
    ("weir.json", "Watermark lag", 1.9..=60.0),
    ("weir.json", "Source", 1.0..=1.0),
    ("weir.json", "Remote write", 1.0..=1.0),
    ("weir.json", "Records refused", 0.0..=0.0),
    ("weir.json", "Late events", 0.0..=0.0),
    ("weir.json", "Samples dropped", 0.0..=0.0),
    ("weir.json", "Resident memory", 4e6..=200e6),
    ("weir.json", "Version", 1.0..=1.0),
    (
        "weir.json",
        "Rows by lookup",
        VEHICLES as f64..=VEHICLES as f64,
    ),
];

#[test]
fn every_query_finds_data_in_the_demo() -> Result<()> {
    let dashboards = Dashboard::all()?;
    let mut demo = Demo::start()?;
    demo.await_data()?;

    let mut faults = Vec::new();
    let known = demo.series_names()?;
    for dashboard in &dashboards {
        check_panels(&demo, dashboard, &known, &mut faults)?;
        check_variables(&demo, dashboard, &mut faults)?;
    }
    let rules = demo.rules()?;
    assert!(
        rules.len() > 20,
        "Prometheus has loaded these rules only: {rules:?}"
    );
    for rule in &rules {
        check_rule(&demo, rule, &known, &mut faults);
    }
    for (labels, _) in demo.query("ALERTS{alertstate=\"firing\"}")? {
        faults.push(format!("an alert fires: {labels:?}"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(demo.stop()?.success());
    Ok(())
}

fn check_panels(
    demo: &Demo,
    dashboard: &Dashboard,
    known: &BTreeSet<String>,
    faults: &mut Vec<String>,
) -> Result<()> {
    let mut unseen: Vec<_> = EXPECTED
        .iter()
        .filter(|(file, ..)| *file == dashboard.file)
        .collect();
    for panel in dashboard.panels.iter().filter(|panel| !panel.is_row()) {
        for target in &panel.targets {
            let place = format!("{}, {:?} {}", dashboard.file, panel.title, target.ref_id);
            let query = dashboard
                .resolve(&target.expr)
                .with_context(|| place.clone())?;
            check_names(&place, &query, known, faults);
            let Some(found) = data_of(demo, &place, &query, faults) else {
                continue;
            };
            let is_this = |(_, title, _): &&(&str, &str, _)| *title == panel.title;
            let Some(index) = unseen.iter().position(is_this) else {
                continue;
            };
            let (.., range) = unseen.remove(index);
            for value in found {
                if !range.contains(&value) {
                    faults.push(format!("{place}: {value} is not in {range:?}: {query}"));
                }
            }
        }
    }
    for (file, title, _) in unseen {
        faults.push(format!("{file} has no panel {title:?}"));
    }
    Ok(())
}

fn check_variables(demo: &Demo, dashboard: &Dashboard, faults: &mut Vec<String>) -> Result<()> {
    for values in dashboard
        .label_values()
        .with_context(|| dashboard.file.clone())?
    {
        let (series, label) = (values.series, values.label);
        let found = demo.query(&format!("group by ({label}) ({series}{{{label}!=\"\"}})"))?;
        if found.is_empty() {
            let place = format!("{}, ${}", dashboard.file, values.variable);
            faults.push(format!("{place}: no {series} has a label {label}"));
        }
    }
    Ok(())
}

fn check_rule(demo: &Demo, rule: &Rule, known: &BTreeSet<String>, faults: &mut Vec<String>) {
    let Rule { name, query, .. } = rule;
    if rule.health != "ok" {
        faults.push(format!("{name} is {}: {}", rule.health, rule.last_error));
    }
    check_names(name, query, known, faults);
    if rule.kind == "recording" {
        data_of(demo, name, query, faults);
        return;
    }
    let Some((measured, limit)) = measured_and_limit(query) else {
        faults.push(format!("{name} does not end in a limit: {query}"));
        return;
    };
    for value in data_of(demo, name, measured, faults).unwrap_or_default() {
        if value > limit && !STARTING.contains(&name.as_str()) {
            faults.push(format!(
                "{name} finds fault with a healthy demo: {value} > {limit}: {query}"
            ));
        }
    }
}

/// A series that does not exist hides behind `or vector(0)`: so each name is looked up.
fn check_names(place: &str, query: &str, known: &BTreeSet<String>, faults: &mut Vec<String>) {
    for name in series_names(query) {
        let is_elsewhere = ELSEWHERE.iter().any(|start| name.starts_with(start));
        if !known.contains(&name) && !is_elsewhere {
            faults.push(format!("{place}: there is no series {name}: {query}"));
        }
    }
}

/// The values that a query finds; where it finds none, or is refused, that is a fault.
fn data_of(demo: &Demo, place: &str, query: &str, faults: &mut Vec<String>) -> Option<Vec<f64>> {
    let found = match demo.query(query) {
        Ok(found) => values_of(&found),
        Err(error) => {
            faults.push(format!("{place}: {}", error.root_cause()));
            return None;
        }
    };
    if found.is_empty() {
        faults.push(format!("{place}: no data: {query}"));
        return None;
    }
    Some(found)
}

fn values_of(all: &[Series]) -> Vec<f64> {
    let samples = all.iter().flat_map(|(_, samples)| samples);
    samples
        .map(|(_, value)| *value)
        .filter(|value| !value.is_nan())
        .collect()
}

#[test]
fn promtool_accepts_the_rules() -> Result<()> {
    let files = rule_files()?;
    assert!(!files.is_empty());
    let mut command = Command::new(find_program("promtool", "PROMTOOL")?);
    command.args(["check", "rules"]).args(&files);
    let output = run(&command, Duration::from_secs(30))?;
    assert!(
        output.status.success(),
        "{}{}",
        output.stdout,
        output.stderr
    );
    assert_eq!(
        output.stdout.matches("SUCCESS: ").count(),
        files.len(),
        "{}",
        output.stdout
    );
    Ok(())
}

/// The alerts of weir and what they are to say are in `alerts.yaml`.
#[test]
fn alerts_tell_faults_and_nothing_else() -> Result<()> {
    let mut command = Command::new(find_program("promtool", "PROMTOOL")?);
    command
        .args(["test", "rules"])
        .arg(repository().join("tests/it/dashboards/alerts.yaml"));
    let output = run(&command, Duration::from_secs(30))?;
    assert!(
        output.status.success(),
        "{}{}",
        output.stdout,
        output.stderr
    );
    Ok(())
}

fn rule_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(repository().join("dashboards/alerts"))? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

#[test]
fn dashboards_are_well_formed() -> Result<()> {
    let dashboards = Dashboard::all()?;
    let files: Vec<_> = dashboards
        .iter()
        .map(|dashboard| dashboard.file.as_str())
        .collect();
    assert_eq!(files, ["connected-cars.json", "weir.json"]);
    for dashboard in &dashboards {
        let file = &dashboard.file;
        let (from, to) = (&dashboard.time.from, &dashboard.time.to);
        assert!(
            from.starts_with("now-") && to == "now",
            "{file} shows {from} to {to}"
        );
        let mut ids = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in &dashboard.panels {
            let place = format!("{file}, panel {} {:?}", panel.id, panel.title);
            assert!(ids.insert(panel.id), "{place}: the id is taken");
            if panel.is_row() {
                continue;
            }
            assert!(titles.insert(&panel.title), "{place}: the title is taken");
            assert!(panel.description.ends_with('.'), "{place}: no description");
            assert!(!panel.targets.is_empty(), "{place}: no query");
            let source = panel.datasource.as_ref().map(|source| source.uid.as_str());
            assert_eq!(source, Some("${datasource}"), "{place}");
            let mut letters = BTreeSet::new();
            for target in &panel.targets {
                assert!(
                    letters.insert(&target.ref_id),
                    "{place}: two queries {}",
                    target.ref_id
                );
                let source = target.datasource.as_ref().map(|source| source.uid.as_str());
                assert_eq!(
                    source.unwrap_or("${datasource}"),
                    "${datasource}",
                    "{place}"
                );
                dashboard
                    .resolve(&target.expr)
                    .with_context(|| place.clone())?;
            }
        }
    }
    Ok(())
}

#[test]
fn connected_cars_shows_series_of_its_pipeline() -> Result<()> {
    let pipeline = config::load(
        Path::new("pipelines/connected-cars.yaml"),
        &Overrides::default(),
    )?;
    let metrics: BTreeSet<_> = pipeline
        .metrics
        .iter()
        .map(|metric| metric.name.to_string())
        .collect();
    let mut shown = BTreeSet::new();
    for dashboard in Dashboard::all()? {
        if dashboard.file != "connected-cars.json" {
            continue;
        }
        for target in dashboard.panels.iter().flat_map(|panel| &panel.targets) {
            shown.extend(series_names(&dashboard.resolve(&target.expr)?));
        }
        for values in dashboard.label_values()? {
            shown.insert(values.series.to_owned());
        }
    }
    assert_eq!(shown, metrics);
    Ok(())
}
