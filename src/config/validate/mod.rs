//! What the types of a pipeline file cannot say: that names exist, and fit together.
//!
//! `sections` checks the source, the writer and the events, `lookups` the enrichment, `metrics` the
//! metrics, `receiver` whether these are what the receiver takes; each goes on behind a problem, so that
//! one load shows them all.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

mod bodies;
mod clock;
mod completeness;
mod limits;
mod lookups;
mod metadata;
mod metrics;
mod receiver;
mod sections;
mod state;

pub(super) use metadata::series_of;

use super::check::suggest;
use super::compile::Compiler;
use super::document::{Document, PathSegment};
use super::file::PipelineFile;
use super::pipeline::{Derived, Pipeline};
use super::report::Problems;
use crate::decode::{DecodeConfig, Format};
use crate::enrich::{LookupConfig, LookupInput};
use crate::model::{DataType, Schema};
use crate::write;

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
        lookups: Vec::new(),
        needs_envelope: false,
        topic_names: None,
        headers: BTreeSet::new(),
    };
    validator.name(&file.pipeline);
    let mut source = validator.source(file);
    validator.write(file);
    validator.dead_letters(file);
    validator.intervals(file);
    let state = validator.state(file);
    let restart = validator.restart(file);
    validator.event(file);
    let format = validator.format(file, &folder);
    if let Some(http) = &mut source.http {
        http.bodies = bodies::bodies(file, &format);
    }
    // The clocks are judged before anything is looked up, and counted behind that.
    let device = validator.clock_device(file);
    validator.lookups = validator.lookups(&file.enrich);
    let derived = validator.derive(file);
    let clocks = validator.clocks(file, device);
    let mut metrics = validator.metrics(file);
    if file.write.file.is_some() {
        // A file has no series that could be taken for living ones.
        for metric in &mut metrics {
            metric.windows = metric.windows.clone().with_stale_after(None);
        }
    }
    let Validator {
        schema,
        needs_envelope,
        headers,
        lookups,
        compiler,
        ..
    } = validator;
    if !compiler.problems.is_empty() {
        return None;
    }
    let metadata = Arc::new(metadata::of(&metrics));
    Some(Pipeline {
        name: file.pipeline.clone(),
        folder,
        source,
        max_record_bytes: file.source.max_record_bytes as usize,
        format: match file.source.remote_write {
            Some(_) => DecodeConfig::Format(Format::RemoteWrite),
            None => format,
        },
        unwrap: file.source.unwrap.clone(),
        event: file.event.clone(),
        // A dead letter carries its record with topic and key.
        needs_envelope: needs_envelope
            || file.dead_letters.is_some()
            || file.source.decode.needs_topic(),
        headers: headers.into_iter().collect(),
        time: file.time.clone(),
        clocks,
        lookups,
        derived,
        schema,
        metrics,
        write: write::Config {
            metadata,
            ..file.write.clone()
        },
        dead_letters: file
            .dead_letters
            .clone()
            .map(|letters| letters.with_max_record_bytes(file.source.max_record_bytes as usize)),
        state,
        commit_every: file.state.checkpoint.every,
        restart,
        workers: file.workers.map(|workers| workers as usize),
    })
}

struct Validator<'a> {
    compiler: Compiler<'a>,
    /// The fields known so far.
    schema: Schema,
    /// The lookups, with the columns that each one reads.
    lookups: Vec<(LookupConfig, LookupInput)>,
    needs_envelope: bool,
    /// The names of levels of topics, where the source has topics.
    topic_names: Option<Vec<String>>,
    /// The headers that fields are taken from.
    headers: BTreeSet<Arc<str>>,
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
        match self.field(at, name)? {
            (column, DataType::Text) => Some(column),
            (_, data_type) => {
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
        }
    }

    /// The column of a number field.
    fn number_field(&mut self, at: &[PathSegment<'_>], name: &str) -> Option<usize> {
        match self.field(at, name)? {
            (column, DataType::Number) => Some(column),
            (_, data_type) => {
                let found = data_type.name();
                self.problem(at, format!("'{name}' must be a number, found a {found}"));
                None
            }
        }
    }

    /// A field that exists: its column and type.
    fn field(&mut self, at: &[PathSegment<'_>], name: &str) -> Option<(usize, DataType)> {
        match self.schema.find(name) {
            Some(found) => Some(found),
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

/// A name that expressions can use without quotes and Prometheus as a label
/// (<https://prometheus.io/docs/concepts/data_model/>).
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
