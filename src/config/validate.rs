//! What the types of a pipeline file cannot say: that names exist, and fit together.

use std::path::PathBuf;
use std::sync::Arc;

use super::check::{quoted, suggest};
use super::compile::{Catalog, Compiler};
use super::document::{Document, PathSegment};
use super::file::{MetricConfig, PipelineFile};
use super::pipeline::{Derived, Metric, Pipeline, Shape};
use super::report::Problems;
use crate::decode::{FieldConfig, Path};
use crate::enrich::LookupConfig;
use crate::expr::AggregateExpression;
use crate::model::{DataType, Duration, Schema};
use crate::source;
use crate::window::Tumbling;

/// Metrics without a window are put in order in windows of this size.
const ORDERING_WINDOW: Duration = Duration::from_secs(1);

/// Checks a file and compiles it. Everything that is wrong is reported; nothing is returned where
/// no pipeline can be made.
pub(super) fn validate(
    file: &PipelineFile,
    folder: PathBuf,
    document: &Document,
    problems: &mut Problems,
) -> Option<Pipeline> {
    let mut validator = Validator {
        compiler: Compiler {
            document,
            problems,
            refused: Vec::new(),
        },
        schema: Schema::new(),
        needs_envelope: false,
    };
    validator.name(&file.pipeline);
    let source = validator.source(file);
    validator.write(file);
    validator.intervals(file);
    validator.event(file);
    let lookups = validator.lookups(&file.enrich);
    let derived = validator.derive(file);
    let metrics = validator.metrics(file);
    let Validator {
        schema,
        needs_envelope,
        compiler,
    } = validator;
    if !compiler.problems.is_empty() {
        return None;
    }
    Some(Pipeline {
        name: file.pipeline.clone(),
        folder,
        source,
        max_record_bytes: file.source.max_record_bytes as usize,
        format: file.source.decode,
        event: file.event.clone(),
        needs_envelope,
        time: file.time.clone(),
        lookups,
        derived,
        schema,
        metrics,
        write: file.write.clone(),
        state_dir: file.state.dir.clone(),
        commit_every: file.state.checkpoint.every,
        workers: file.workers.map(|workers| workers as usize),
    })
}

struct Validator<'a> {
    compiler: Compiler<'a>,
    /// The fields known so far.
    schema: Schema,
    needs_envelope: bool,
}

impl Validator<'_> {
    fn problem(&mut self, path: &[PathSegment<'_>], message: impl AsRef<str>) {
        let message = with_subject(path, message.as_ref());
        self.compiler
            .problems
            .add_at(self.compiler.document, path, message);
    }

    /// What a stage found in its section. Entries of mappings whose keys the user chose stand at
    /// their keys: these are what is wrong, and the values may be secrets.
    fn problem_of_stage(&mut self, stage: &str, path: &[String], message: &str) {
        let at = under(stage, path);
        match path {
            [.., parent, _] if parent == "properties" || parent == "headers" => {
                self.problem_of_key(&at, with_subject(&at, message));
            }
            _ => self.problem(&at, message),
        }
    }

    fn problem_of_key(&mut self, path: &[PathSegment<'_>], message: impl AsRef<str>) {
        let place = self.compiler.document.place_of_key(path);
        self.compiler.problems.add(place, message);
    }

    fn name(&mut self, name: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(allowed) {
            let message =
                format!("'{name}' is not a pipeline name; use letters, digits, '-', '_' and '.'");
            self.problem(&["pipeline".into()], message);
        }
    }

    fn source(&mut self, file: &PipelineFile) -> source::Config {
        let section = &file.source;
        let config = source::Config {
            file: section.file.clone(),
            kafka: section.kafka.clone(),
            mqtt: section.mqtt.clone(),
        };
        let kinds = [
            ("file", config.file.is_some()),
            ("kafka", config.kafka.is_some()),
            ("mqtt", config.mqtt.is_some()),
        ];
        self.exactly_one("source", &kinds);
        for (path, message) in config.validate() {
            self.problem_of_stage("source", &path, &message);
        }
        config
    }

    fn write(&mut self, file: &PipelineFile) {
        let kinds = [
            ("remote_write", file.write.remote_write.is_some()),
            ("file", file.write.file.is_some()),
        ];
        self.exactly_one("write", &kinds);
        for (path, message) in file.write.validate() {
            self.problem_of_stage("write", &path, &message);
        }
    }

    /// Of some keys of a section exactly one must be given.
    fn exactly_one(&mut self, section: &str, kinds: &[(&str, bool)]) {
        let mut given = kinds
            .iter()
            .filter(|(_, is_given)| *is_given)
            .map(|(name, _)| *name);
        let Some(first) = given.next() else {
            let names = quoted(kinds.iter().map(|(name, _)| *name), "or");
            let message = format!("missing key in '{section}': one of {names}");
            return self.problem_of_key(&[section.into()], message);
        };
        for other in given {
            let message = format!("'{other}' does not go with '{first}'; remove one of them");
            self.problem_of_key(&[section.into(), other.into()], message);
        }
    }

    fn intervals(&mut self, file: &PipelineFile) {
        if file.state.checkpoint.every.as_millis() == 0 {
            let path = ["state".into(), "checkpoint".into(), "every".into()];
            self.problem(&path, "must be longer than 0s");
        }
        if file.time.idle_after.as_millis() == 0 {
            self.problem(
                &["time".into(), "idle_after".into()],
                "must be longer than 0s",
            );
        }
    }

    fn event(&mut self, file: &PipelineFile) {
        self.path(
            &["event".into(), "time".into(), "from".into()],
            &file.event.time.from,
        );
        if file.event.fields.is_empty() {
            self.problem(
                &["event".into(), "fields".into()],
                "must name at least one field",
            );
        }
        for (name, field) in &file.event.fields {
            let at: [PathSegment<'_>; 3] = ["event".into(), "fields".into(), name.as_str().into()];
            self.add_field(&at, name, field.data_type());
            match field {
                FieldConfig::Type(_) => {}
                FieldConfig::Detail(detail) => {
                    if let Some(from) = &detail.from {
                        self.path(&[at[0], at[1], at[2], "from".into()], from);
                    }
                }
            }
        }
    }

    fn path(&mut self, at: &[PathSegment<'_>], text: &str) {
        match text.parse::<Path>() {
            Ok(path) => self.needs_envelope |= path.is_envelope(),
            Err(error) => self.problem(at, error.to_string()),
        }
    }

    /// Makes a field known to all that comes after it.
    fn add_field(&mut self, at: &[PathSegment<'_>], name: &str, data_type: DataType) {
        if !is_identifier(name) {
            let message = format!(
                "'{name}' is not a field name; use letters, digits and '_', a letter first"
            );
            self.compiler.refused.push(name.to_owned());
            self.problem_of_key(at, message);
        } else if self.schema.find(name).is_some() {
            self.problem_of_key(at, format!("there is a field '{name}' already"));
        } else {
            self.schema.push(name, data_type);
        }
    }

    /// The column of a text field.
    fn text_field(&mut self, at: &[PathSegment<'_>], name: &str) -> Option<usize> {
        match self.schema.find(name) {
            Some((column, DataType::Text)) => Some(column),
            Some((_, data_type)) => {
                let found = data_type.name();
                self.problem(
                    at,
                    format!(
                        "'{name}' must be text, found a {found}; \
                         derive a text with CAST({name} AS text)"
                    ),
                );
                None
            }
            None if self.compiler.refused.iter().any(|refused| refused == name) => None,
            None => {
                let names: Vec<_> = self
                    .schema
                    .fields()
                    .iter()
                    .map(|field| field.name.as_str())
                    .collect();
                let hint = match suggest(name, names.iter().copied()) {
                    _ if names.is_empty() => "there are no fields".to_owned(),
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("the fields are {}", names.join(", ")),
                };
                self.problem(at, format!("unknown field '{name}'; {hint}"));
                None
            }
        }
    }

    fn lookups(&mut self, configs: &[LookupConfig]) -> Vec<(LookupConfig, usize)> {
        let mut lookups: Vec<(LookupConfig, usize)> = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            let at: [PathSegment<'_>; 2] = ["enrich".into(), index.into()];
            if configs
                .iter()
                .take(index)
                .any(|other| other.lookup == config.lookup)
            {
                let message = format!("there is a lookup '{}' already", config.lookup);
                self.problem(&[at[0], at[1], "lookup".into()], message);
            }
            let key = self.text_field(&[at[0], at[1], "key".into()], &config.key);
            if config.from.refresh.as_millis() == 0 {
                let path = [at[0], at[1], "from".into(), "refresh".into()];
                self.problem(&path, "must be longer than 0s");
            }
            if config.add.is_empty() {
                self.problem(
                    &[at[0], at[1], "add".into()],
                    "must name at least one column",
                );
            }
            for (place, added) in config.add.iter().enumerate() {
                let path = [at[0], at[1], "add".into(), place.into()];
                self.add_field(&path, added.field(), added.data_type());
            }
            if let Err(message) = config.check_otherwise() {
                self.problem(&[at[0], at[1], "otherwise".into()], message);
            }
            lookups.extend(key.map(|key| (config.clone(), key)));
        }
        lookups
    }

    fn derive(&mut self, file: &PipelineFile) -> Vec<Derived> {
        let mut derived = Vec::new();
        for (name, text) in &file.derive {
            let at: [PathSegment<'_>; 2] = ["derive".into(), name.as_str().into()];
            let Some(program) = self.compiler.scalar(&at, text, &self.schema) else {
                self.compiler.refused.push(name.clone());
                continue;
            };
            self.add_field(&at, name, program.data_type());
            derived.push(Derived {
                name: name.clone(),
                program,
            });
        }
        derived
    }

    fn metrics(&mut self, file: &PipelineFile) -> Vec<Metric> {
        if file.metrics.is_empty() {
            self.problem(&["metrics".into()], "must define at least one metric");
        }
        let metrics = file.metrics.iter();
        metrics
            .filter_map(|(name, config)| self.metric(name, config))
            .collect()
    }

    fn metric(&mut self, name: &str, config: &MetricConfig) -> Option<Metric> {
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
        Some(Metric {
            name: name.into(),
            help: config.help.clone(),
            filter: match filter {
                None => None,
                Some(compiled) => Some(compiled?),
            },
            windows: windows?,
            by,
            shape: shape?,
        })
    }

    fn windows(&mut self, at: &[PathSegment<'_>; 2], config: &MetricConfig) -> Option<Tumbling> {
        let Some(window) = &config.window else {
            return Tumbling::new(ORDERING_WINDOW);
        };
        let windows = Tumbling::new(window.tumbling);
        if windows.is_none() {
            let path = [at[0], at[1], "window".into(), "tumbling".into()];
            self.problem(&path, "must be longer than 0s");
        }
        windows
    }

    fn labels(
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
        let mut labels = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = [at[0], at[1], key.into(), index.into()];
            if names.iter().take(index).any(|other| other == name) {
                self.problem(&path, format!("'{name}' stands here twice"));
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

    fn raw(&mut self, at: &[PathSegment<'_>; 2], config: &MetricConfig) -> Option<Shape> {
        if config.per.is_some() {
            self.problem_of_key(&[at[0], at[1], "per".into()], "per needs a window; add one");
        }
        let path = [at[0], at[1], "value".into()];
        let schema = self.schema.clone();
        let catalog = Catalog {
            without_order: None,
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

    fn aggregate(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
        by: &[(Arc<str>, usize)],
    ) -> Option<Shape> {
        let catalog = Catalog {
            without_order: None,
        };
        let (schema, groups) = (self.schema.clone(), label_schema(by));
        let value = self.value(at, &config.value, &schema, &groups, &catalog)?;
        Some(Shape::Aggregate { value })
    }

    fn per(
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
        if rows.find(&per.key).is_none() {
            rows.push(per.key.clone(), DataType::Text);
        } else {
            // A label that is the key as well: the rows have it once, and a column to spare.
            rows.push("", DataType::Text);
        }
        let keyed = rows.clone();
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
            let refusal = if !is_identifier(name) {
                Some(format!(
                    "'{name}' is not a name; use letters, digits and '_', a letter first"
                ))
            } else if rows.find(name).is_some() {
                Some(format!(
                    "'{name}' is a label or the key already; take another name"
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
        };
        let value = self.value(at, &config.value, &rows, &groups, &catalog)?;
        Some(Shape::Per {
            key: key?,
            values,
            value,
        })
    }

    /// The expression `value` of a metric, which must be a number.
    fn value(
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
        if value.calls.is_empty() {
            self.problem(&path, "needs an aggregate, such as count(*) or sum(field)");
            return None;
        }
        is_number.then_some(value)
    }
}

/// A message that begins with its verb gets the key for its subject.
fn with_subject(path: &[PathSegment<'_>], message: &str) -> String {
    let verb = message.split(' ').next().unwrap_or_default();
    match path.last() {
        Some(PathSegment::Key(key))
            if [
                "is",
                "has",
                "holds",
                "carries",
                "must",
                "needs",
                "aggregates",
            ]
            .contains(&verb) =>
        {
            format!("'{key}' {message}")
        }
        _ => message.to_owned(),
    }
}

/// A path that a stage gave, below the stage's own key.
fn under<'a>(stage: &'a str, path: &'a [String]) -> Vec<PathSegment<'a>> {
    let inner = path.iter().map(|key| match key.parse::<usize>() {
        Ok(index) => PathSegment::Index(index),
        Err(_) => PathSegment::Key(key),
    });
    std::iter::once(PathSegment::Key(stage))
        .chain(inner)
        .collect()
}

fn label_schema(by: &[(Arc<str>, usize)]) -> Schema {
    let mut schema = Schema::new();
    for (name, _) in by {
        schema.push(name.to_string(), DataType::Text);
    }
    schema
}

/// A name that expressions can use without quotes and Prometheus as a label
/// (<https://prometheus.io/docs/concepts/data_model/>).
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A metric name of Prometheus' data model.
fn is_metric_name(name: &str) -> bool {
    let mut chars = name.chars();
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    chars.next().is_some_and(begins) && chars.all(|c| begins(c) || c.is_ascii_digit())
}
