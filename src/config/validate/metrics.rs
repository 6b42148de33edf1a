//! Metrics: their windows, labels and expressions.

use std::sync::Arc;

use super::super::compile::{Catalog, output_of};
use super::super::document::PathSegment;
use super::super::file::{MetricConfig, PipelineFile};
use super::super::pipeline::{Metric, Shape};
use super::metadata::suffixes;
use super::receiver::written_name;
use super::{Validator, is_identifier};
use crate::expr::AggregateExpression;
use crate::model::{DataType, Schema};
use crate::window::aggregate::Output;
use crate::window::{Panes, WindowKind, Windows};

/// Metrics without a window are put in order in windows of this size.
const ORDERING_WINDOW: Panes = Panes::Fixed {
    size_ms: 1_000,
    offset_ms: 0,
};

/// What a session can be asked for beside its aggregates: when it began and had its last event, ms
/// since the epoch, and how long that is, seconds.
const SESSION_COLUMNS: [&str; 3] = ["session_start", "session_end", "session_duration"];

impl Validator<'_> {
    pub(super) fn metrics(&mut self, file: &PipelineFile) -> Vec<Metric> {
        if file.metrics.is_empty() {
            self.problem(&["metrics".into()], "must define at least one metric");
        }
        let mut metrics = Vec::new();
        for (name, config) in &file.metrics {
            let Some(metric) = self.metric(name, config) else {
                continue;
            };
            let at: [PathSegment<'_>; 2] = ["metrics".into(), name.as_str().into()];
            let devices = self.completeness(&at, config, &metric);
            metrics.push(metric);
            metrics.extend(devices);
        }
        self.series_names(&metrics);
        self.receiver_limits(file, &metrics);
        metrics
    }

    pub(super) fn metric(&mut self, name: &str, config: &MetricConfig) -> Option<Metric> {
        let at: [PathSegment<'_>; 2] = ["metrics".into(), name.into()];
        if !is_metric_name(name) {
            let message = format!(
                "'{name}' is not a metric name that Prometheus takes; \
                 use letters, digits, '_' and ':', no digit first"
            );
            self.problem_of_key(&at, message);
        }
        let schema = self.schema.clone();
        let filter = config.filter.as_ref().map(|text| {
            let path = [at[0], at[1], "where".into()];
            self.compiler
                .scalar_of(&path, text, &schema, DataType::Boolean)
        });
        let by = self.labels(&at, config);
        let windows = self.windows(&at, config);
        let shape = match (&config.window, &config.per) {
            (None, _) => self.raw(&at, config),
            (Some(_), None) => self.aggregate(&at, config, &by),
            (Some(_), Some(_)) => self.per(&at, config, &by),
        };
        let top = self.limits(&at, config);
        let shape = shape?;
        let output = match &shape {
            Shape::Raw { .. } | Shape::Completeness(_) => Output::Number,
            Shape::Aggregate { value } | Shape::Per { value, .. } => {
                let output = self.output(&at, config, value)?;
                self.compares_numbers(&at, config, value, &output);
                output
            }
        };
        Some(Metric {
            name: name.into(),
            help: config.help.clone(),
            unit: config.unit.clone(),
            metric_type: self.metric_type(&at, config, &output),
            filter: match filter {
                None => None,
                Some(compiled) => Some(compiled?),
            },
            windows: windows?,
            by,
            shape,
            output,
            top,
            max_series: config.max_series.map(|limit| limit as usize),
        })
    }

    pub(super) fn windows(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
    ) -> Option<Windows> {
        let Some(window) = &config.window else {
            return Some(Windows::tumbling(ORDERING_WINDOW));
        };
        let windows = window.build();
        for (key, message) in windows.as_ref().err().into_iter().flatten() {
            match key {
                Some(key) => {
                    let path = [at[0], at[1], "window".into(), (*key).into()];
                    self.problem(&path, message);
                }
                None => {
                    self.problem_of_key(&[at[0], at[1], "window".into()], message);
                }
            }
        }
        let windows = windows.ok()?;
        if let WindowKind::Session { every_ms, .. } = windows.kind() {
            let message = match (&config.per, every_ms) {
                (Some(_), None) => Some((
                    None,
                    "sessions of per end at their own times; add every, such as every: 1m, to gather \
                     those that have ended",
                )),
                (None, Some(_)) => Some((
                    Some("every"),
                    "every is for sessions of per; without it each session is a sample at its own end; \
                     remove it",
                )),
                _ => None,
            };
            if let Some((key, message)) = message {
                let path = [
                    at[0],
                    at[1],
                    "window".into(),
                    key.unwrap_or_default().into(),
                ];
                let depth = 3 + usize::from(key.is_some());
                self.problem_of_key(path.get(..depth).unwrap_or(&path), message);
            }
        }
        Some(windows)
    }

    pub(super) fn labels(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
    ) -> Vec<(Arc<str>, usize)> {
        let (key, names, wrong_key, wrong) = match &config.window {
            Some(_) => ("by", &config.by, "labels", &config.labels),
            None => ("labels", &config.labels, "by", &config.by),
        };
        if !wrong.is_empty() {
            let message = match key {
                "by" => "labels are for metrics without a window; write by",
                _ => {
                    "a metric without a window has nothing to group; write labels, or add a window"
                }
            };
            self.problem_of_key(&[at[0], at[1], wrong_key.into()], message);
        }
        let window = config.window.as_ref();
        let is_session = window.is_some_and(|window| window.session.is_some());
        let mut labels = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = [at[0], at[1], key.into(), index.into()];
            if names.iter().take(index).any(|other| other == name) {
                self.problem(&path, format!("'{name}' stands here twice"));
            } else if is_session && SESSION_COLUMNS.contains(&name.as_str()) {
                let message =
                    format!("'{name}' is a session's time; derive the field under another name");
                self.problem(&path, message);
            } else if name.starts_with("__") {
                let message =
                    format!("'{name}' cannot be a label; names that begin with '__' are reserved");
                self.problem(&path, message);
            } else if let Some(column) = self.text_field(&path, name) {
                labels.push((name.as_str().into(), column));
            }
        }
        labels
    }

    pub(super) fn raw(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
    ) -> Option<Shape> {
        if config.per.is_some() {
            self.problem_of_key(&[at[0], at[1], "per".into()], "per needs a window; add one");
        }
        let path = [at[0], at[1], "value".into()];
        let schema = self.schema.clone();
        let catalog = Catalog {
            without_order: None,
            without_distributions: None,
        };
        let aggregate = AggregateExpression::compile(&config.value, &schema, &schema, &catalog);
        if aggregate.is_ok_and(|value| !value.calls.is_empty()) {
            let message = "aggregates events, which needs a window; add one, such as \
                           window: { tumbling: 5s }";
            self.problem(&path, message);
            return None;
        }
        let value = self
            .compiler
            .scalar_of(&path, &config.value, &schema, DataType::Number)?;
        Some(Shape::Raw { value })
    }

    pub(super) fn aggregate(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
        by: &[(Arc<str>, usize)],
    ) -> Option<Shape> {
        let catalog = Catalog {
            without_order: None,
            without_distributions: None,
        };
        let (schema, groups) = (self.schema.clone(), group_schema(by, config));
        let value = self.value(at, &config.value, &schema, &groups, &catalog)?;
        Some(Shape::Aggregate { value })
    }

    pub(super) fn per(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
        by: &[(Arc<str>, usize)],
    ) -> Option<Shape> {
        let per = config.per.as_ref()?;
        let key = self.text_field(&[at[0], at[1], "per".into(), "key".into()], &per.key);
        if per.values.is_empty() {
            let path = [at[0], at[1], "per".into(), "let".into()];
            self.problem(&path, "must name at least one value");
        }
        let schema = self.schema.clone();
        let mut rows = label_schema(by);
        let groups = rows.clone();
        let hold = self.hold(at, config);
        if rows.find(&per.key).is_none() {
            rows.push(per.key.clone(), DataType::Text);
        } else {
            // A label that is the key as well: the rows have it once, and a column to spare.
            rows.push("", DataType::Text);
        }
        let mut keyed = rows.clone();
        add_session_columns(&mut keyed, config);
        let mut values = Vec::new();
        let mut complete = !per.values.is_empty();
        for (name, text) in &per.values {
            let path = [
                at[0],
                at[1],
                "per".into(),
                "let".into(),
                name.as_str().into(),
            ];
            let taken = rows.find(name).is_some() || keyed.find(name).is_some();
            let refusal = if !is_identifier(name) {
                Some(format!(
                    "'{name}' is not a name; use letters, digits and '_', a letter first"
                ))
            } else if taken {
                Some(format!(
                    "'{name}' is a label, the key or a session's time already; take another name"
                ))
            } else {
                None
            };
            if let Some(message) = refusal {
                self.problem_of_key(&path, message);
                complete = false;
                continue;
            }
            let catalog = Catalog {
                without_order: None,
                without_distributions: Some(
                    "gives a distribution, no value of a row; it can only be the whole value of \
                     the metric",
                ),
            };
            match self
                .compiler
                .aggregate(&path, text, &schema, &keyed, &catalog)
            {
                None => complete = false,
                Some(value) => {
                    rows.push(name.clone(), value.data_type());
                    values.push(value);
                }
            }
        }
        if !complete {
            // The value would be refused for names that are only badly defined.
            return None;
        }
        let catalog = Catalog {
            without_order: Some("has no order to go by among rows of per; use it in let"),
            without_distributions: None,
        };
        let value = self.value(at, &config.value, &rows, &groups, &catalog)?;
        Some(Shape::Per {
            key: key?,
            values,
            hold: hold?,
            value,
        })
    }

    /// What the samples of a metric are.
    fn output(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
        value: &AggregateExpression,
    ) -> Option<Output> {
        let path = [at[0], at[1], "value".into()];
        let output = match output_of(value) {
            Ok(output) => output,
            Err(function) => {
                let message = format!(
                    "{function} gives a distribution, with which nothing can be computed; it must \
                     be the whole value of the metric"
                );
                self.problem(&path, message);
                return None;
            }
        };
        let bound = config.by.iter().position(|label| label == "le");
        if let (Output::Buckets { .. }, Some(index)) = (&output, bound) {
            let path = [at[0], at[1], "by".into(), index.into()];
            let message = "'le' is the label of the buckets' bounds; group by a field with another \
                           name";
            self.problem(&path, message);
            return None;
        }
        Some(output)
    }

    /// Some metrics are several series with names of their own, which no other metric may have.
    fn series_names(&mut self, metrics: &[Metric]) {
        for metric in metrics {
            if let Shape::Completeness(_) = metric.shape {
                self.completeness_name(metric, metrics);
            }
            let what = match metric.shape {
                Shape::Completeness(_) => "completeness",
                _ => "buckets",
            };
            for suffix in suffixes(metric) {
                let series = format!("{}{suffix}", metric.name);
                if metrics.iter().any(|other| *other.name == series) {
                    let message = format!(
                        "'{series}' is a series of the {what} of {} already; take another name",
                        written_name(metric)
                    );
                    self.problem_of_key(&["metrics".into(), series.as_str().into()], message);
                }
            }
        }
    }

    /// The expression `value` of a metric, which must be a number.
    pub(super) fn value(
        &mut self,
        at: &[PathSegment<'_>; 2],
        text: &str,
        schema: &Schema,
        groups: &Schema,
        catalog: &Catalog,
    ) -> Option<AggregateExpression> {
        let path = [at[0], at[1], "value".into()];
        let value = self
            .compiler
            .aggregate(&path, text, schema, groups, catalog)?;
        let is_number = self
            .compiler
            .expect_type(&path, value.data_type(), DataType::Number);
        // What is asked of a session itself needs no event.
        let is_session = SESSION_COLUMNS
            .map(|name| groups.find(name))
            .iter()
            .all(Option::is_some);
        if value.calls.is_empty() && !is_session {
            self.problem(&path, "needs an aggregate, such as count(*) or sum(field)");
            return None;
        }
        is_number.then_some(value)
    }
}

/// The columns that `value` can use outside of aggregates.
fn group_schema(by: &[(Arc<str>, usize)], config: &MetricConfig) -> Schema {
    let mut schema = label_schema(by);
    add_session_columns(&mut schema, config);
    schema
}

fn add_session_columns(schema: &mut Schema, config: &MetricConfig) {
    if config
        .window
        .as_ref()
        .is_some_and(|window| window.session.is_some())
    {
        for name in SESSION_COLUMNS {
            schema.push(name, DataType::Number);
        }
    }
}

fn label_schema(by: &[(Arc<str>, usize)]) -> Schema {
    let mut schema = Schema::new();
    for (name, _) in by {
        schema.push(name.to_string(), DataType::Text);
    }
    schema
}

/// A metric name of Prometheus' data model.
fn is_metric_name(name: &str) -> bool {
    let mut chars = name.chars();
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    chars.next().is_some_and(begins) && chars.all(|c| begins(c) || c.is_ascii_digit())
}
