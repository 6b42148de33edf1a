//! Connected cars from files, with the metrics of the example and state of one's own.

use std::path::Path;

use anyhow::{Context, Result};

use crate::fleet::Inputs;

/// The example that the targets are about.
const EXAMPLE: &str = include_str!("../pipelines/connected-cars.yaml");

/// The state of a pipeline: its folder, where its groups are, and how often a checkpoint is made, such
/// as `10s`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) backend: &'a str,
    pub(crate) every: &'a str,
}

impl State<'_> {
    /// The section of a pipeline file.
    pub(crate) fn section(&self) -> String {
        let Self {
            dir,
            backend,
            every,
        } = self;
        let dir = dir.display();
        format!(
            "state: {{ dir: \"{dir}\", backend: {backend}, checkpoint: {{ every: {every} }} }}\n"
        )
    }
}

/// The example's events and metrics, read from files and written as `write` says.
pub(crate) fn pipeline(inputs: &Inputs, write: &str, state: Option<State<'_>>) -> Result<String> {
    let (_, rest) = EXAMPLE.split_once("\nevent:").context("no section event")?;
    let (body, _) = rest.split_once("\nwrite:").context("no section write")?;
    let reference = inputs.reference.display().to_string();
    let body = body.replace("pipelines/reference/vehicles.csv", &reference);
    let state = state.map(|state| state.section()).unwrap_or_default();
    let path = inputs.paths().join(", ");
    Ok(format!(
        "pipeline: cars\nsource: {{ file: {{ path: [{path}] }}, decode: json }}\n\
         event:{body}\nwrite: {{ {write} }}\n{state}"
    ))
}
