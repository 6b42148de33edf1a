//! The demo, running into a Prometheus that scrapes it and evaluates the alert rules.

use std::collections::BTreeSet;
use std::process::ExitStatus;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::support::LIMIT;
use crate::support::files::{repository, temporary_folder, weir};
use crate::support::http;
use crate::support::ports::on_free_ports;
use crate::support::process::Process;
use crate::support::prometheus::{Prometheus, PrometheusOptions, Series};

/// How many vehicles are simulated.
pub(super) const VEHICLES: u32 = 3_000;

/// A rule as Prometheus has loaded it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) query: String,
    /// `alerting` or `recording`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// `unknown` until it was evaluated, then `ok` or `err`.
    pub(super) health: String,
    #[serde(default)]
    pub(super) last_error: String,
}

/// The running demo.
#[derive(Debug)]
pub(super) struct Demo {
    process: Process,
    prometheus: Prometheus,
    _folder: TempDir,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct RuleGroups {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
struct RuleGroup {
    rules: Vec<Rule>,
}

impl Demo {
    /// Starts both and waits until weir serves its metrics.
    pub(super) fn start() -> Result<Self> {
        let vehicles = VEHICLES.to_string();
        on_free_ports(|[port]| {
            let address = format!("127.0.0.1:{port}");
            let rules = repository().join("dashboards/alerts/*.yaml");
            let prometheus = Prometheus::start_with(&PrometheusOptions {
                scrape: vec![address.clone()],
                rule_files: vec![rules.display().to_string()],
                ..PrometheusOptions::default()
            })?;
            let url = prometheus.remote_write_url();
            let command = weir([
                "demo",
                "--vehicles",
                &vehicles,
                // Until it is stopped: the series of a target that is gone end at once.
                "--seconds",
                "0",
                "--remote-write",
                &url,
                "--listen",
                &address,
            ]);
            let folder = temporary_folder()?;
            let mut process = Process::start("weir", &command, &folder)?;
            let ready = format!("http://{address}/-/ready");
            process.wait_until("readiness", LIMIT, || {
                http::get(&ready).is_ok_and(|response| response.status == 200)
            })?;
            Ok(Self {
                process,
                prometheus,
                _folder: folder,
            })
        })
    }

    /// Waits until every series has four windows, so that every change has something to change
    /// from, and every rule was evaluated.
    pub(super) fn await_data(&mut self) -> Result<()> {
        let Self {
            process,
            prometheus,
            ..
        } = self;
        process.wait_until("four windows", LIMIT, || {
            prometheus
                .query("min(count_over_time(vehicles_reporting[1m])) >= 4")
                .is_ok_and(|result| !result.is_empty())
        })?;
        // An alert looks at every quarter of a minute, so one has to pass.
        process.wait_until("a step of the alerts", LIMIT, || {
            prometheus
                .query("max_over_time(timestamp(weir_build_info)[1h:15s])")
                .is_ok_and(|result| !result.is_empty())
        })?;
        process.wait_until("evaluation of all rules", LIMIT, || {
            rules(prometheus).is_ok_and(|rules| rules.iter().all(|rule| rule.health != "unknown"))
        })
    }

    /// Evaluates an expression now.
    pub(super) fn query(&self, promql: &str) -> Result<Vec<Series>> {
        self.prometheus.query(promql)
    }

    /// The rules that Prometheus has loaded.
    pub(super) fn rules(&self) -> Result<Vec<Rule>> {
        rules(&self.prometheus)
    }

    /// The names of all series.
    pub(super) fn series_names(&self) -> Result<BTreeSet<String>> {
        get(&self.prometheus, "label/__name__/values")
    }

    /// Stops the demo.
    pub(super) fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop(LIMIT)
    }
}

fn rules(prometheus: &Prometheus) -> Result<Vec<Rule>> {
    let RuleGroups { groups } = get(prometheus, "rules")?;
    Ok(groups.into_iter().flat_map(|group| group.rules).collect())
}

fn get<T: DeserializeOwned>(prometheus: &Prometheus, endpoint: &str) -> Result<T> {
    let url = format!("{}/api/v1/{endpoint}", prometheus.url());
    let body = http::get(&url)?.body;
    let answer: Answer<T> =
        serde_json::from_str(&body).with_context(|| format!("{url}: {body}"))?;
    Ok(answer.data)
}
