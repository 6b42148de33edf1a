//! Grafana dashboards as their files describe them.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::support::files::repository;

/// Grafana's own variables, with what stands for them here.
const BUILT_IN: [(&str, &str); 3] = [
    ("$__rate_interval", "1m"),
    ("$__interval", "1m"),
    ("$__range", "5m"),
];

/// A dashboard.
#[derive(Debug, Deserialize)]
pub(super) struct Dashboard {
    /// Its file's name.
    #[serde(skip)]
    pub(super) file: String,
    /// What it shows at first.
    pub(super) time: TimeRange,
    /// Its panels; those of collapsed rows come after their row.
    pub(super) panels: Vec<Panel>,
    templating: Templating,
}

/// A time range, such as `now-15m` to `now`.
#[derive(Debug, Deserialize)]
pub(super) struct TimeRange {
    pub(super) from: String,
    pub(super) to: String,
}

/// A panel, or a row's title.
#[derive(Debug, Deserialize)]
pub(super) struct Panel {
    pub(super) id: u32,
    pub(super) title: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) datasource: Option<DataSource>,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    panels: Vec<Panel>,
}

/// Where a panel's data comes from.
#[derive(Debug, Deserialize)]
pub(super) struct DataSource {
    pub(super) uid: String,
}

/// One of a panel's queries.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) ref_id: String,
    pub(super) expr: String,
    pub(super) datasource: Option<DataSource>,
}

#[derive(Debug, Deserialize)]
struct Templating {
    list: Vec<Variable>,
}

#[derive(Debug, Deserialize)]
struct Variable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    definition: String,
}

/// A variable that takes the values of a label.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LabelValues<'a> {
    pub(super) variable: &'a str,
    pub(super) series: &'a str,
    pub(super) label: &'a str,
}

impl Panel {
    /// Whether it is only the title of those below it.
    pub(super) fn is_row(&self) -> bool {
        self.kind == "row"
    }
}

impl Dashboard {
    /// All of the repository.
    pub(super) fn all() -> Result<Vec<Self>> {
        let mut dashboards = Vec::new();
        for entry in fs::read_dir(repository().join("dashboards"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let place = || format!("cannot read {}", path.display());
            let text = fs::read_to_string(&path).with_context(place)?;
            let mut dashboard: Self = serde_json::from_str(&text).with_context(place)?;
            dashboard.file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            dashboard.panels = flatten(std::mem::take(&mut dashboard.panels));
            dashboards.push(dashboard);
        }
        dashboards.sort_by(|left, right| left.file.cmp(&right.file));
        Ok(dashboards)
    }

    /// A query with all variables replaced, everything selected.
    pub(super) fn resolve(&self, query: &str) -> Result<String> {
        let mut resolved = query.to_owned();
        for (variable, value) in BUILT_IN {
            resolved = resolved.replace(variable, value);
        }
        for variable in &self.templating.list {
            resolved = resolved.replace(&format!("${}", variable.name), ".*");
        }
        if resolved.contains('$') {
            bail!("a variable is not defined in {resolved}");
        }
        Ok(resolved)
    }

    /// The variables that take the values of a label.
    pub(super) fn label_values(&self) -> Result<Vec<LabelValues<'_>>> {
        let mut all = Vec::new();
        for variable in self
            .templating
            .list
            .iter()
            .filter(|variable| variable.kind == "query")
        {
            let arguments = variable
                .definition
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'))
                .and_then(|arguments| arguments.split_once(", "));
            let Some((series, label)) = arguments else {
                bail!(
                    "${}: {} is no label_values(…)",
                    variable.name,
                    variable.definition
                );
            };
            all.push(LabelValues {
                variable: &variable.name,
                series,
                label,
            });
        }
        Ok(all)
    }
}

fn flatten(panels: Vec<Panel>) -> Vec<Panel> {
    let mut flat = Vec::new();
    for mut panel in panels {
        let inner = std::mem::take(&mut panel.panels);
        flat.push(panel);
        flat.extend(inner);
    }
    flat
}

#[test]
fn variables_are_replaced_and_unknown_ones_found() {
    let text = r#"{
        "time": { "from": "now-5m", "to": "now" },
        "panels": [{ "id": 1, "title": "a", "type": "row", "panels": [
            { "id": 2, "title": "b", "type": "stat" }
        ] }],
        "templating": { "list": [
            { "name": "datasource", "type": "datasource" },
            { "name": "region", "type": "query", "definition": "label_values(up, area)" }
        ] }
    }"#;
    let mut dashboard: Dashboard = serde_json::from_str(text).unwrap();
    assert_eq!(
        dashboard
            .resolve("rate(up{area=~\"$region\"}[$__rate_interval])")
            .unwrap(),
        "rate(up{area=~\".*\"}[1m])"
    );
    assert_eq!(
        dashboard
            .resolve("up{model=\"$model\"}")
            .unwrap_err()
            .to_string(),
        "a variable is not defined in up{model=\"$model\"}"
    );
    let expected = LabelValues {
        variable: "region",
        series: "up",
        label: "area",
    };
    assert_eq!(dashboard.label_values().unwrap(), [expected]);
    let titles: Vec<_> = flatten(std::mem::take(&mut dashboard.panels))
        .into_iter()
        .map(|panel| panel.title)
        .collect();
    assert_eq!(titles, ["a", "b"]);
}
