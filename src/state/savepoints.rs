//! Savepoints: checkpoints that stand on their own, until somebody deletes them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use tracing::warn;

use super::archive;
use super::checkpoint::Checkpoint;
use super::checkpoints::Identity;
use super::error::StateError;
use super::manifest::{Chunk, Entry, Manifest};
use super::names;
use super::packer::Packer;
use super::store::{Store, StoreErrorKind};

const NAME_BYTES: usize = 100;

/// A savepoint, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Savepoint {
    /// Its name.
    pub name: String,
    /// The checkpoint of which it is a copy.
    pub number: u64,
    /// When that checkpoint was taken.
    pub created_ms: i64,
    /// Up to when every sample was acknowledged then, ms since the epoch, where that is known.
    pub acknowledged_ms: Option<i64>,
    /// How many bytes are stored for its parts.
    pub bytes: u64,
    /// The weir that has taken the checkpoint.
    pub weir_version: String,
}

/// The savepoints of a pipeline in a store. They share nothing with checkpoints.
#[derive(Debug, Clone)]
pub struct Savepoints {
    store: Arc<dyn Store>,
    identity: Identity,
}

impl Savepoints {
    /// Those of the identity's pipeline.
    pub fn new(store: Arc<dyn Store>, identity: Identity) -> Self {
        Self { store, identity }
    }

    /// Copies a checkpoint, from whatever store it was read.
    ///
    /// # Errors
    /// There is a savepoint of that name, the name is none, the checkpoint is of another pipeline, or
    /// the store fails.
    pub fn save(&self, name: &str, checkpoint: &Checkpoint) -> Result<Savepoint, StateError> {
        check_name(name)?;
        let pipeline = &self.identity.pipeline;
        self.is_of_pipeline(checkpoint.manifest(), || {
            format!("checkpoint {}", checkpoint.number)
        })?;
        if self.exists(name)? {
            return Err(self.taken(name));
        }
        let folder = names::savepoint(pipeline, name);
        let mut packer = Packer::new(folder, checkpoint.number, self.identity.epoch);
        let entries = self.copy(checkpoint, &mut packer);
        let own = packer.own().to_vec();
        let entries = entries.inspect_err(|_| self.remove(name, &own))?;
        let manifest = Manifest {
            blobs: packer.into_blobs(),
            entries,
            ..checkpoint.manifest().clone()
        };
        let bytes = manifest.encode(&self.what(name))?;
        let manifest_name = names::savepoint_manifest(pipeline, name);
        if let Err(error) = self.store.create(&manifest_name, &bytes) {
            // An answer that was lost: the first attempt may have succeeded.
            let found = self.store.get(&manifest_name).ok().flatten();
            if found.as_ref() != Some(&bytes) {
                if error.kind == StoreErrorKind::AlreadyExists {
                    self.remove(name, &own);
                    return Err(self.taken(name));
                }
                // The manifest may come to exist yet, so its blobs stay.
                return Err(error.into());
            }
        }
        Ok(about(name, &manifest))
    }

    /// All savepoints in the order of their names; in place of one that cannot be read, the reason, which
    /// names it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Savepoint, StateError>>, StateError> {
        let mut savepoints = Vec::new();
        for name in self.names()? {
            match self.manifest(&name) {
                Ok(Some(manifest)) => savepoints.push(Ok(about(&name, &manifest))),
                // Deleted since it was listed.
                Ok(None) => {}
                Err(StateError::Store(error)) => return Err(error.into()),
                Err(error) => savepoints.push(Err(error)),
            }
        }
        Ok(savepoints)
    }

    /// The same as [`Checkpoints::acknowledged_ms`](super::Checkpoints::acknowledged_ms) of all
    /// savepoints: `i64::MAX` where there are none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn acknowledged_ms(&self) -> Result<Option<i64>, StateError> {
        let times = self.list()?.into_iter().map(|savepoint| {
            // One that cannot be read here may be mended, or read by a newer weir.
            savepoint.ok()?.acknowledged_ms
        });
        Ok(times.min().unwrap_or(Some(i64::MAX)))
    }

    /// Reads a savepoint.
    ///
    /// # Errors
    /// There is none of that name, it is damaged, of a newer format or of another pipeline, it is
    /// deleted meanwhile, or the store fails.
    pub fn load(&self, name: &str) -> Result<Checkpoint, StateError> {
        check_name(name)?;
        let Some(manifest) = self.manifest(name)? else {
            return Err(self.none(name));
        };
        let folder = names::savepoint(&self.identity.pipeline, name);
        let loaded = Checkpoint::load(&*self.store, &folder, self.what(name), manifest);
        if matches!(loaded, Err(StateError::Damaged { .. })) && !self.exists(name)? {
            return Err(StateError::SavepointDeleted {
                pipeline: self.identity.pipeline.clone(),
                name: name.to_owned(),
            });
        }
        loaded
    }

    /// Deletes a savepoint, and what one that was not finished has left under its name.
    ///
    /// # Errors
    /// There is none of that name, or the store fails.
    pub fn delete(&self, name: &str) -> Result<(), StateError> {
        check_name(name)?;
        let folder = names::savepoint(&self.identity.pipeline, name);
        let files = self.store.list(&folder)?;
        if files.is_empty() {
            return Err(self.none(name));
        }
        // First, so that nobody begins to read what goes.
        self.store
            .delete(&names::savepoint_manifest(&self.identity.pipeline, name))?;
        for file in files {
            self.store.delete(&file)?;
        }
        Ok(())
    }

    /// Writes a savepoint as one file, which any store can [`import`](Self::import). Returns how many
    /// bytes that were.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), or the file cannot be written.
    pub fn export(&self, name: &str, out: &mut dyn Write) -> Result<u64, StateError> {
        archive::write(&self.load(name)?, out)
    }

    /// Makes a savepoint of such a file.
    ///
    /// # Errors
    /// Those of [`save`](Self::save); the file cannot be read, is damaged or of a newer format.
    pub fn import(&self, name: &str, from: &mut dyn Read) -> Result<Savepoint, StateError> {
        check_name(name)?;
        self.save(name, &archive::read(from)?)
    }

    /// Copies the bytes that a checkpoint uses as they are stored.
    fn copy(&self, checkpoint: &Checkpoint, packer: &mut Packer) -> Result<Vec<Entry>, StateError> {
        // Parts that are equal share their bytes.
        let mut copied = BTreeMap::new();
        let mut entries = checkpoint.entries().to_vec();
        for chunk in entries.iter_mut().flat_map(|entry| &mut entry.chunks) {
            let from = (chunk.blob, chunk.offset);
            let (blob, offset) = match copied.get(&from) {
                Some(place) => *place,
                None => {
                    let stored = checkpoint.stored(chunk).unwrap_or_default();
                    packer.add(&*self.store, stored)?
                }
            };
            copied.insert(from, (blob, offset));
            *chunk = Chunk {
                blob,
                offset,
                ..*chunk
            };
        }
        packer.flush(&*self.store)?;
        Ok(entries)
    }

    fn manifest(&self, name: &str) -> Result<Option<Manifest>, StateError> {
        let manifest = names::savepoint_manifest(&self.identity.pipeline, name);
        let Some(bytes) = self.store.get(&manifest)? else {
            return Ok(None);
        };
        let manifest = Manifest::decode(&self.what(name), &bytes)?;
        self.is_of_pipeline(&manifest, || self.what(name))?;
        Ok(Some(manifest))
    }

    fn is_of_pipeline(
        &self,
        manifest: &Manifest,
        what: impl FnOnce() -> String,
    ) -> Result<(), StateError> {
        if manifest.pipeline == self.identity.pipeline {
            return Ok(());
        }
        Err(StateError::OtherPipeline {
            what: what(),
            found: manifest.pipeline.clone(),
            expected: self.identity.pipeline.clone(),
        })
    }

    fn names(&self) -> Result<Vec<String>, StateError> {
        let pipeline = &self.identity.pipeline;
        let files = self.store.list(&names::savepoints(pipeline))?;
        let found = files
            .iter()
            .filter_map(|file| names::savepoint_name(pipeline, file));
        Ok(found.map(str::to_owned).collect())
    }

    fn exists(&self, name: &str) -> Result<bool, StateError> {
        let manifest = names::savepoint_manifest(&self.identity.pipeline, name);
        Ok(self.store.get(&manifest)?.is_some())
    }

    /// Removes what an attempt has put.
    fn remove(&self, name: &str, blobs: &[String]) {
        let folder = names::savepoint(&self.identity.pipeline, name);
        for blob in blobs {
            if let Err(error) = self.store.delete(&format!("{folder}{blob}")) {
                warn!(savepoint = name, %error, "cannot remove an unfinished savepoint");
            }
        }
    }

    fn what(&self, name: &str) -> String {
        let pipeline = &self.identity.pipeline;
        let location = self.store.location();
        format!("savepoint '{name}' of pipeline {pipeline} in {location}")
    }

    fn taken(&self, name: &str) -> StateError {
        StateError::SavepointExists {
            pipeline: self.identity.pipeline.clone(),
            name: name.to_owned(),
        }
    }

    fn none(&self, name: &str) -> StateError {
        StateError::NoSavepoint {
            pipeline: self.identity.pipeline.clone(),
            name: name.to_owned(),
            found: self.names().unwrap_or_default(),
        }
    }
}

fn about(name: &str, manifest: &Manifest) -> Savepoint {
    Savepoint {
        name: name.to_owned(),
        number: manifest.number,
        created_ms: manifest.created_ms,
        acknowledged_ms: manifest.acknowledged_ms,
        bytes: manifest.stored_bytes(),
        weir_version: manifest.weir_version.clone(),
    }
}

/// That a name can be one of a savepoint.
fn check_name(name: &str) -> Result<(), StateError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= NAME_BYTES && name.chars().all(allowed) {
        return Ok(());
    }
    Err(StateError::SavepointName {
        name: name.to_owned(),
    })
}
