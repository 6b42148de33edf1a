//! The savepoints of a pipeline in its store, whether the pipeline runs or not.

use std::sync::Arc;

use super::inspection::{Contents, SavepointInfo};
use super::{SavepointError, SavepointErrorKind, Savepoints};
use crate::pipeline::checkpoint::{CheckpointError, inspect};
use crate::state::{
    self, Checkpoints, Identity, S3Options, Savepoint, StateError, Store, StoreError,
    StoreErrorKind, StoreLocation,
};

/// Savepoints in a store. None can be made here: that takes the pipeline that runs.
#[derive(Debug)]
pub struct StoredSavepoints {
    store: Arc<dyn Store>,
    identity: Identity,
}

impl StoredSavepoints {
    /// Those of a store that is open already.
    pub fn new(store: Arc<dyn Store>, identity: Identity) -> Self {
        Self { store, identity }
    }

    /// Those of a store that can be changed.
    ///
    /// # Errors
    /// Another process has the store for itself ([`SavepointErrorKind::Locked`]), or it cannot be
    /// opened.
    pub fn open(location: &StoreLocation, pipeline: &str) -> Result<Self, SavepointError> {
        let store = location.open(&S3Options::of_environment())?;
        Ok(Self::new(store, reader_of(pipeline)))
    }

    /// Those of a store that is only read, and that another process may have open.
    ///
    /// # Errors
    /// There is no store, or it cannot be opened.
    pub fn read(location: &StoreLocation, pipeline: &str) -> Result<Self, SavepointError> {
        let store = location.open_read_only(&S3Options::of_environment())?;
        Ok(Self::new(store, reader_of(pipeline)))
    }

    /// The pipelines that have state in a store.
    ///
    /// # Errors
    /// There is no store, or it cannot be read.
    pub fn pipelines(location: &StoreLocation) -> Result<Vec<String>, SavepointError> {
        let store = location.open_read_only(&S3Options::of_environment())?;
        Ok(state::pipelines(&*store)?)
    }

    fn savepoints(&self) -> state::Savepoints {
        state::Savepoints::new(self.store.clone(), self.identity.clone())
    }
}

/// Who reads state writes no checkpoints, so nothing of this is kept.
fn reader_of(pipeline: &str) -> Identity {
    Identity {
        pipeline: pipeline.to_owned(),
        writer: format!("process {}", std::process::id()),
        epoch: 0,
    }
}

impl Savepoints for StoredSavepoints {
    fn create(&self, _: &str) -> Result<SavepointInfo, SavepointError> {
        let message = format!("pipeline {} does not run here", self.identity.pipeline);
        Err(SavepointError::new(SavepointErrorKind::Failed, message))
    }

    fn list(&self) -> Result<Vec<SavepointInfo>, SavepointError> {
        let mut found = Vec::new();
        for savepoint in self.savepoints().list()? {
            match savepoint {
                Ok(savepoint) => found.push(SavepointInfo::from(savepoint)),
                Err(error) => tracing::warn!(%error, "a savepoint cannot be used"),
            }
        }
        Ok(found)
    }

    fn show(&self, name: Option<&str>) -> Result<Contents, SavepointError> {
        let pipeline = &self.identity.pipeline;
        let checkpoint = match name {
            Some(name) => self.savepoints().load(name)?,
            None => Checkpoints::open_to_read(self.store.clone(), self.identity.clone())?
                .latest()?
                .ok_or_else(|| {
                    let message = format!("pipeline {pipeline} has no checkpoint yet");
                    SavepointError::new(SavepointErrorKind::NotFound, message)
                })?,
        };
        Ok(Contents::of(&checkpoint, name, inspect(&checkpoint)?))
    }

    fn delete(&self, name: &str) -> Result<(), SavepointError> {
        Ok(self.savepoints().delete(name)?)
    }

    fn export(&self, name: &str) -> Result<Vec<u8>, SavepointError> {
        let mut file = Vec::new();
        self.savepoints().export(name, &mut file)?;
        Ok(file)
    }

    fn import(&self, name: &str, mut file: &[u8]) -> Result<SavepointInfo, SavepointError> {
        Ok(self.savepoints().import(name, &mut file)?.into())
    }
}

impl From<Savepoint> for SavepointInfo {
    fn from(savepoint: Savepoint) -> Self {
        Self {
            name: savepoint.name,
            number: savepoint.number,
            created_ms: savepoint.created_ms,
            weir_version: savepoint.weir_version,
            bytes: savepoint.bytes,
        }
    }
}

impl From<StateError> for SavepointError {
    fn from(error: StateError) -> Self {
        let kind = match &error {
            StateError::Store(error) => kind_of(error),
            StateError::NoSavepoint { .. } | StateError::NoCheckpoint { .. } => {
                SavepointErrorKind::NotFound
            }
            StateError::SavepointExists { .. } => SavepointErrorKind::Exists,
            StateError::SavepointName { .. } | StateError::File { .. } => {
                SavepointErrorKind::Invalid
            }
            _ => SavepointErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<CheckpointError> for SavepointError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::State(error) => error.into(),
            other => Self::new(SavepointErrorKind::Failed, other.to_string()),
        }
    }
}

impl From<StoreError> for SavepointError {
    fn from(error: StoreError) -> Self {
        Self::new(kind_of(&error), error.to_string())
    }
}

fn kind_of(error: &StoreError) -> SavepointErrorKind {
    match error.kind {
        StoreErrorKind::Locked => SavepointErrorKind::Locked,
        StoreErrorKind::Missing => SavepointErrorKind::NotFound,
        _ => SavepointErrorKind::Failed,
    }
}
