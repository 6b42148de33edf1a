//! From a file's text to a pipeline.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::check;
use super::document::{self, Document, Node, ReadError};
use super::environment::process_variable;
use super::file::PipelineFile;
use super::pipeline::Pipeline;
use super::report::{Place, Problems};
use super::salvage::salvage;
use super::validate::validate;
use crate::source;

/// Why a pipeline file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It has problems.
    #[error("{0:#}")]
    Problems(Problems),
}

/// What the command line changes in a file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--set`: paths (`write.remote_write.url`) and YAML values.
    pub set: Vec<(String, String)>,
    /// `--input`: files in place of the source.
    pub input: Vec<String>,
    /// `--output`: a file in place of the receiver.
    pub output: Option<String>,
}

/// The JSON Schema of pipeline files.
pub fn schema() -> Value {
    schemars::schema_for!(PipelineFile).to_value()
}

/// Loads a pipeline file, with variables from the environment.
///
/// # Errors
/// The file cannot be read, or has problems, all of which are reported.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Pipeline, LoadError> {
    let text = document::read(path)?;
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    load_text(
        &path.display().to_string(),
        &text,
        folder,
        overrides,
        &process_variable,
    )
    .map_err(LoadError::Problems)
}

/// Loads a pipeline from its text. `file` names it in messages, `folder` is where reference data is
/// looked for as well, `variables` gives the environment's values.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn load_text(
    file: &str,
    text: &str,
    folder: PathBuf,
    overrides: &Overrides,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Pipeline, Problems> {
    let mut problems = Problems::new(file, text);
    let pipeline = Document::parse(text, variables, &mut problems).and_then(|mut document| {
        apply(overrides, &mut document, &mut problems);
        let file: Option<PipelineFile> = check::read_as(&document, &mut problems);
        let file = file.or_else(|| salvage(&document, &schema()))?;
        validate(&file, folder, &document, &mut problems)
    });
    match pipeline {
        Some(pipeline) if problems.is_empty() => Ok(pipeline),
        _ => Err(problems),
    }
}

fn apply(overrides: &Overrides, document: &mut Document, problems: &mut Problems) {
    for (path, value) in &overrides.set {
        document.set(path, value, problems);
    }
    if !overrides.input.is_empty() {
        for (kind, _) in source::Config::default().kinds() {
            let removed = document.remove(&["source".into(), kind.into()]);
            if kind == "remote_write" && removed.is_some() {
                // What the address takes in follows from what it is; a file could be anything.
                let path = ["source", "decode"];
                replace(document, "--input", &path, "\"remote_write\"", problems);
            }
        }
        // To see what a pipeline makes of a file must not move the state of the one that runs.
        if document.remove(&["state".into(), "dir".into()]).is_some() {
            tracing::info!(
                "with --input the pipeline keeps no state; that of state.dir is left alone"
            );
        }
        document.remove(&["state".into()]);
        let paths = serde_json::json!({ "path": overrides.input }).to_string();
        replace(document, "--input", &["source", "file"], &paths, problems);
    }
    if let Some(output) = &overrides.output {
        let file = serde_json::json!({ "file": { "path": output } }).to_string();
        replace(document, "--output", &["write"], &file, problems);
    }
}

/// JSON is YAML's flow style, so a value made here is parsed like one of the command line.
fn replace(
    document: &mut Document,
    argument: &str,
    path: &[&str],
    json: &str,
    problems: &mut Problems,
) {
    let Some(node) = Node::from_argument(argument, json, problems) else {
        return;
    };
    let path: Vec<_> = path.iter().map(|key| (*key).into()).collect();
    if let Err(error) = document.replace(&path, node) {
        problems.add(Place::Argument(argument.into()), error.to_string());
    }
}
