//! `weir savepoint`.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use indicatif::HumanBytes;

use super::arguments::{SavepointArguments, SavepointCommand, StateArguments};
use super::running_savepoints::RunningSavepoints;
use super::state::{show, time};
use super::table::{Align, table};
use super::validate::settings;
use crate::config::{self, Overrides, Pipeline, StateSettings};
use crate::durable::write_atomically;
use crate::pipeline::{SavepointErrorKind, SavepointInfo, Savepoints, StoredSavepoints};

/// Does something with savepoints.
pub(super) fn savepoint(command: &SavepointCommand) -> Result<ExitCode> {
    match command {
        SavepointCommand::Create(arguments) => create(arguments)?,
        SavepointCommand::List(arguments) => {
            let (_, stored) = stored(arguments)?;
            print!("{}", list(stored.list()?));
        }
        SavepointCommand::Show(SavepointArguments { state, name }) => {
            let (_, stored) = stored(state)?;
            print!("{}", show(&stored.show(Some(name))?));
        }
        SavepointCommand::Delete(SavepointArguments { state, name }) => {
            changeable(state)?.delete(name)?;
            println!("savepoint {name} is deleted");
        }
        SavepointCommand::Export(arguments) => {
            let SavepointArguments { state, name } = &arguments.savepoint;
            let (_, stored) = stored(state)?;
            let file = stored.export(name)?;
            let path = &arguments.path;
            write_atomically(path, &file)
                .with_context(|| format!("cannot write {}", path.display()))?;
            let bytes = HumanBytes(file.len() as u64);
            println!("savepoint {name} is in {}, {bytes}", path.display());
        }
        SavepointCommand::Import(arguments) => {
            let SavepointArguments { state, name } = &arguments.savepoint;
            let path = &arguments.path;
            let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let taken_in = changeable(state)?.import(name, &file)?;
            println!("{}", told(&taken_in, "is taken in"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Only the weir that runs the pipeline has its state.
fn create(arguments: &SavepointArguments) -> Result<()> {
    let (pipeline, _) = load(&arguments.state)?;
    let running = RunningSavepoints::new(&pipeline.name, &arguments.state.address)?;
    let created = running.create(&arguments.name)?;
    println!("{}", told(&created, "is made"));
    Ok(())
}

fn told(savepoint: &SavepointInfo, what: &str) -> String {
    let SavepointInfo {
        name,
        number,
        bytes,
        ..
    } = savepoint;
    let bytes = HumanBytes(*bytes);
    format!("savepoint {name} {what}: checkpoint {number}, {bytes}")
}

fn list(savepoints: Vec<SavepointInfo>) -> String {
    let rows = savepoints.into_iter().map(|savepoint| {
        [
            savepoint.name,
            time(savepoint.created_ms),
            HumanBytes(savepoint.bytes).to_string(),
            savepoint.weir_version,
            savepoint.number.to_string(),
        ]
    });
    table(
        [
            ("NAME", Align::Left),
            ("CREATED", Align::Left),
            ("SIZE", Align::Right),
            ("WEIR", Align::Left),
            ("CHECKPOINT", Align::Right),
        ],
        rows,
    )
}

/// A pipeline that keeps state.
pub(super) fn load(arguments: &StateArguments) -> Result<(Pipeline, StateSettings)> {
    let overrides = Overrides {
        set: settings(&arguments.set),
        ..Overrides::default()
    };
    let pipeline = config::load(&arguments.file, &overrides)?;
    let state = pipeline.state.clone().with_context(|| {
        format!(
            "pipeline {} keeps no state; set state.dir in {}",
            pipeline.name,
            arguments.file.display()
        )
    })?;
    Ok((pipeline, state))
}

/// What is in the store, which can be read while the pipeline runs.
pub(super) fn stored(arguments: &StateArguments) -> Result<(Pipeline, StoredSavepoints)> {
    let (pipeline, state) = load(arguments)?;
    let stored = StoredSavepoints::read(&state.location(), &pipeline.name)?;
    Ok((pipeline, stored))
}

/// Savepoints that can be changed: in the store, or, where the weir that runs the pipeline has the
/// store for itself, through that.
fn changeable(arguments: &StateArguments) -> Result<Box<dyn Savepoints>> {
    let (pipeline, state) = load(arguments)?;
    match StoredSavepoints::open(&state.location(), &pipeline.name) {
        Ok(stored) => Ok(Box::new(stored)),
        Err(error) if error.kind == SavepointErrorKind::Locked => Ok(Box::new(
            RunningSavepoints::new(&pipeline.name, &arguments.address)?,
        )),
        Err(error) => Err(error.into()),
    }
}
