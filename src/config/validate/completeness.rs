//! `completeness`: how much of the fleet a metric is made of.

use super::super::document::PathSegment;
use super::super::file::{CompletenessConfig, MetricConfig};
use super::super::pipeline::{Completeness, Metric, Shape};
use super::Validator;
use crate::enrich::{LookupConfig, LookupInput, Mode};
use crate::model::DataType;
use crate::window::WindowKind;
use crate::window::aggregate::Output;
use crate::write::MetricType;

/// What is behind the name of a metric in the name of what is told of its devices.
pub(super) const SUFFIX: &str = "_devices";

impl Validator<'_> {
    /// The metric beside a metric that tells of its devices; nothing where there is none or it is
    /// refused.
    pub(super) fn completeness(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
        metric: &Metric,
    ) -> Option<Metric> {
        let completeness = config.completeness.as_ref()?;
        let path = [at[0], at[1], "completeness".into()];
        let is_session = matches!(metric.windows.kind(), WindowKind::Session { .. });
        if config.window.is_none() || is_session {
            let message = "completeness is told for windows of all devices together; \
                           use it with tumbling or sliding";
            self.problem_of_key(&path, message);
            return None;
        }
        let name = completeness.lookup();
        let Some(index) = self
            .lookups
            .iter()
            .position(|(lookup, _)| lookup.lookup == name)
        else {
            let names: Vec<_> = self
                .lookups
                .iter()
                .map(|(lookup, _)| &*lookup.lookup)
                .collect();
            let known = match names.as_slice() {
                [] => "there are no lookups".to_owned(),
                names => format!("the lookups are {}", names.join(", ")),
            };
            self.problem(&path, format!("unknown lookup '{name}'; {known}"));
            return None;
        };
        let (lookup, input) = self.lookups.get(index).cloned()?;
        let device = match device_of(&lookup, input) {
            Ok(device) => device,
            Err(message) => {
                self.problem(&path, message);
                return None;
            }
        };
        let labels = match completeness {
            CompletenessConfig::Detail(detail) => detail.by.clone(),
            CompletenessConfig::Lookup(_) => config.by.clone(),
        };
        let mut by = Vec::new();
        let mut columns = Vec::new();
        for (index, label) in labels.iter().enumerate() {
            let is_detail = matches!(completeness, CompletenessConfig::Detail(_));
            let wrong = if labels.iter().take(index).any(|other| other == label) {
                Some(format!("'{label}' stands here twice"))
            } else if label.starts_with("__") {
                Some(format!(
                    "'{label}' cannot be a label; names that begin with '__' are reserved"
                ))
            } else {
                None
            };
            if let Some(message) = wrong.filter(|_| is_detail) {
                let path = [path.as_slice(), &["by".into(), index.into()]].concat();
                self.problem(&path, message);
                return None;
            }
            let added = lookup.add.iter().position(|added| added.field() == label);
            let column = self.schema.find(label);
            let (Some(added), Some((column, DataType::Text))) = (added, column) else {
                let message = format!(
                    "'{label}' is no text that lookup '{name}' adds, so it is not known how many \
                     devices to expect; name its labels: {{ lookup: {name}, by: [...] }}"
                );
                self.problem(&path, message);
                return None;
            };
            by.push((label.as_str().into(), column));
            columns.push(added);
        }
        Some(Metric {
            name: format!("{}{SUFFIX}", metric.name).into(),
            help: None,
            unit: None,
            metric_type: MetricType::Gauge,
            filter: metric.filter.clone(),
            windows: metric.windows.clone(),
            by,
            shape: Shape::Completeness(Completeness {
                device,
                lookup: index,
                columns,
            }),
            output: Output::Number,
            top: None,
            max_series: None,
        })
    }
}

impl Validator<'_> {
    /// What is told of a metric's devices has a name that no other metric may have.
    pub(super) fn completeness_name(&mut self, devices: &Metric, metrics: &[Metric]) {
        let is_other = |other: &&Metric| !matches!(other.shape, Shape::Completeness(_));
        let others = metrics.iter().filter(is_other);
        if others
            .map(|other| &other.name)
            .any(|name| *name == devices.name)
        {
            let name: &str = &devices.name;
            let of = name.strip_suffix(SUFFIX).unwrap_or(name);
            let message =
                format!("'{name}' is what the completeness of {of} is called; take another name");
            self.problem_of_key(&["metrics".into(), name.into()], message);
        }
    }
}

/// The column of the devices, where these can be listed.
///
/// # Errors
/// Why they cannot.
fn device_of(lookup: &LookupConfig, input: LookupInput) -> Result<usize, String> {
    let name = &lookup.lookup;
    let unknown = "so it is not known how many devices to expect";
    match input {
        _ if lookup.mode == Some(Mode::None) => Err(format!(
            "lookup '{name}' is not made (mode: none), {unknown}"
        )),
        _ if lookup.is_partial() => Err(format!(
            "lookup '{name}' asks a service for each key, {unknown}"
        )),
        LookupInput::Position { .. } => Err(format!("lookup '{name}' has zones, not devices")),
        LookupInput::Key(column) => Ok(column),
    }
}
