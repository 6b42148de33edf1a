//! The checkpoints of a pipeline: which there are, which is the newest whole one, which go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use super::checkpoint::Checkpoint;
use super::draft::{Draft, Held, PieceKey};
use super::error::StateError;
use super::manifest::{Content, Manifest};
use super::names;
use super::store::{Store, StoreError, StoreErrorKind};

/// How many checkpoints stay unless another number is asked for.
pub const DEFAULT_KEEP: usize = 3;

/// Who writes state, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The pipeline's name.
    pub pipeline: String,
    /// This process, as a message to an operator names it: its host and process id.
    pub writer: String,
    /// A number that no other process and no other start has, such as a random one.
    pub epoch: u64,
}

/// What is known of a checkpoint in the store.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Whole(Arc<Manifest>),
    /// Cannot be used; the manifest if that at least can be read.
    Bad(Option<Arc<Manifest>>, StateError),
}

impl Known {
    fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Whole(manifest) => Some(manifest),
            Self::Bad(manifest, _) => manifest.as_deref(),
        }
    }
}

/// The checkpoints of a pipeline in a store.
#[derive(Debug)]
pub struct Checkpoints {
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: Identity,
    keep: usize,
    /// The first checkpoint that may have to be withdrawn, with all behind it.
    withdrawable: Option<u64>,
    /// The highest number with which a commit was tried: the checkpoint may exist.
    pub(super) tried: u64,
    known: BTreeMap<u64, Known>,
    /// What the newest checkpoint holds, by its content.
    pub(super) contents: BTreeMap<Content, Held>,
    /// The immutable pieces of the newest checkpoint, if this process has written it.
    pub(super) pieces: BTreeMap<PieceKey, Vec<Held>>,
    /// Blobs of this process, and of checkpoints that are gone, that may be in use no longer.
    pub(super) loose: BTreeSet<String>,
}

impl Checkpoints {
    /// Finds the checkpoints of a pipeline, and removes what writers that have crashed left behind.
    ///
    /// # Errors
    /// The store cannot be read, or holds under this pipeline's name what another one has written.
    pub fn open(store: Arc<dyn Store>, identity: Identity) -> Result<Self, StateError> {
        let checkpoints = Self::open_to_read(store, identity)?;
        checkpoints.collect_orphans();
        Ok(checkpoints)
    }

    /// Finds the checkpoints of a pipeline and changes nothing: for those who look into them.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_to_read(store: Arc<dyn Store>, identity: Identity) -> Result<Self, StateError> {
        let mut checkpoints = Self {
            store,
            identity,
            keep: DEFAULT_KEEP,
            withdrawable: None,
            tried: 0,
            known: BTreeMap::new(),
            contents: BTreeMap::new(),
            pieces: BTreeMap::new(),
            loose: BTreeSet::new(),
        };
        checkpoints.refresh()?;
        for known in checkpoints.known.values() {
            if let Known::Bad(_, error @ StateError::OtherPipeline { .. }) = known {
                return Err(error.clone());
            }
        }
        Ok(checkpoints)
    }

    /// Keeps the newest `count` checkpoints, at least one, in place of [`DEFAULT_KEEP`].
    #[must_use]
    pub fn keep(mut self, count: usize) -> Self {
        self.keep = count.max(1);
        self
    }

    /// The pipeline whose checkpoints these are.
    pub fn pipeline(&self) -> &str {
        &self.identity.pipeline
    }

    /// The number for the next checkpoint: one more than any that there is or may be.
    pub fn next_number(&self) -> u64 {
        let newest = self.newest().unwrap_or_default();
        newest.max(self.tried).saturating_add(1)
    }

    /// The newest checkpoint that is whole. Says in the log why a newer one was not taken. The next
    /// checkpoint refers to what this one holds and the next one would hold as well.
    ///
    /// # Errors
    /// The store cannot be read; there are checkpoints, and none of them is whole; a newer weir has
    /// written the newest one.
    pub fn latest(&mut self) -> Result<Option<Checkpoint>, StateError> {
        self.contents.clear();
        self.pieces.clear();
        self.refresh()?;
        let mut reasons = Vec::new();
        while let Some((number, known)) = self.newest_but(reasons.len()) {
            let error = match known {
                Known::Whole(manifest) => match self.read(Manifest::clone(&manifest)) {
                    Ok(checkpoint) => {
                        self.contents = Held::all(checkpoint.manifest());
                        return Ok(Some(checkpoint));
                    }
                    Err(error @ StateError::Damaged { .. }) => {
                        if self.store.get(&self.name(number))?.is_none() {
                            // Another weir has written newer ones meanwhile, and removed this one.
                            reasons.clear();
                            self.known.remove(&number);
                            self.refresh()?;
                            continue;
                        }
                        let bad = Known::Bad(Some(manifest), error.clone());
                        self.known.insert(number, bad);
                        error
                    }
                    Err(error) => return Err(error),
                },
                Known::Bad(_, error @ StateError::Damaged { .. }) => error,
                Known::Bad(_, error) => return Err(error),
            };
            warn!(pipeline = self.identity.pipeline, checkpoint = number, %error,
                "cannot use a checkpoint, trying the one before");
            reasons.push(error.to_string());
        }
        if reasons.is_empty() {
            return Ok(None);
        }
        Err(StateError::AllDamaged {
            pipeline: self.identity.pipeline.clone(),
            reasons,
        })
    }

    /// Removes the checkpoint with this number and those behind it: nobody is to go on from them. Their
    /// numbers are not used again by this process. Gives those that there were.
    ///
    /// # Errors
    /// The store cannot be written: the older ones of them may still be there.
    pub fn withdraw(&mut self, number: u64) -> Result<Vec<u64>, StateError> {
        let numbers = self.known.range(number..).rev();
        let numbers: Vec<u64> = numbers.map(|(number, _)| *number).collect();
        for number in &numbers {
            self.store.delete(&self.name(*number))?;
            self.tried = self.tried.max(*number);
            let known = self.known.remove(number);
            if let Some(manifest) = known.as_ref().and_then(Known::manifest) {
                let blobs = manifest.blobs.iter();
                self.loose.extend(blobs.map(|blob| blob.name.clone()));
            }
        }
        // Whoever then forgets that they are not to be gone on from does not see them again.
        self.store.sync()?;
        Ok(numbers)
    }

    /// The checkpoints from this number on may have to be withdrawn: as long as that is so, the newest
    /// whole one before them stays, however many come.
    pub fn may_withdraw(&mut self, first: Option<u64>) {
        self.withdrawable = first;
    }

    /// The numbers of all checkpoints that can be used as far as is known, oldest first.
    pub fn numbers(&self) -> Vec<u64> {
        let whole = self
            .known
            .iter()
            .filter(|(_, known)| matches!(known, Known::Whole(_)));
        whole.map(|(number, _)| *number).collect()
    }

    /// Up to when every sample was acknowledged at each of the checkpoints that there are, ms since the
    /// epoch; nothing where one of them does not say it.
    pub fn acknowledged_ms(&self) -> Option<i64> {
        let times = self.known.values().map(|known| {
            let manifest = known.manifest()?;
            manifest.acknowledged_ms
        });
        // Nothing is less than anything.
        times.min().flatten()
    }

    /// Reads a checkpoint, for a savepoint or for inspection.
    ///
    /// # Errors
    /// There is none of that number, the store cannot be read, or the checkpoint is not whole.
    pub fn load(&self, number: u64) -> Result<Checkpoint, StateError> {
        let name = self.name(number);
        let bytes = self
            .store
            .get(&name)?
            .ok_or_else(|| StateError::NoCheckpoint {
                pipeline: self.identity.pipeline.clone(),
                number,
            })?;
        self.read(self.decode(number, &bytes)?)
    }

    /// Begins a checkpoint. Its number is to be higher than any before, and usually is
    /// [`next_number`](Self::next_number). What a draft has put that is dropped in place of being
    /// committed goes with the next commit.
    pub fn begin(&mut self, number: u64) -> Draft<'_> {
        Draft::new(self, number)
    }

    /// The highest number that is known.
    pub(super) fn newest(&self) -> Option<u64> {
        self.known.last_key_value().map(|(number, _)| *number)
    }

    /// Takes in a checkpoint that was just written.
    pub(super) fn remember(&mut self, manifest: Arc<Manifest>) {
        self.known.insert(manifest.number, Known::Whole(manifest));
    }

    /// The name of a checkpoint's manifest.
    pub(super) fn name(&self, number: u64) -> String {
        names::checkpoint(&self.identity.pipeline, number)
    }

    /// A checkpoint, for messages.
    pub(super) fn what(&self, number: u64) -> String {
        format!(
            "checkpoint {number} of pipeline {} in {}",
            self.identity.pipeline,
            self.store.location()
        )
    }

    /// Who has written a checkpoint.
    pub(super) fn author(&self, number: u64) -> String {
        let manifest = self.known.get(&number).and_then(Known::manifest);
        manifest.map_or_else(
            || "a process that it does not name".to_owned(),
            Manifest::author,
        )
    }

    fn newest_but(&self, count: usize) -> Option<(u64, Known)> {
        let (number, known) = self.known.iter().nth_back(count)?;
        Some((*number, known.clone()))
    }

    fn read(&self, manifest: Manifest) -> Result<Checkpoint, StateError> {
        let folder = names::data(&self.identity.pipeline);
        let what = self.what(manifest.number);
        Checkpoint::load(&*self.store, &folder, what, manifest)
    }

    /// Reads a manifest of this pipeline.
    pub(super) fn decode(&self, number: u64, bytes: &[u8]) -> Result<Manifest, StateError> {
        let what = self.what(number);
        let manifest = Manifest::decode(&what, bytes)?;
        if manifest.pipeline != self.identity.pipeline {
            return Err(StateError::OtherPipeline {
                what,
                found: manifest.pipeline,
                expected: self.identity.pipeline.clone(),
            });
        }
        if manifest.number != number {
            let reason = format!("the manifest is that of checkpoint {}", manifest.number);
            return Err(super::manifest::damaged(&what, reason));
        }
        Ok(manifest)
    }

    /// Lists the checkpoints, and reads the manifests that are not known yet.
    pub(super) fn refresh(&mut self) -> Result<(), StateError> {
        let pipeline = &self.identity.pipeline;
        let listed = self.store.list(&names::checkpoints(pipeline))?;
        let listed = listed
            .iter()
            .filter_map(|name| names::checkpoint_number(pipeline, name));
        let listed: BTreeSet<u64> = listed.collect();
        self.known.retain(|number, _| listed.contains(number));
        for number in listed {
            if self.known.contains_key(&number) {
                continue;
            }
            let known = match self.store.get(&self.name(number)) {
                Ok(Some(bytes)) => match self.decode(number, &bytes) {
                    Ok(manifest) => Known::Whole(Arc::new(manifest)),
                    Err(error) => Known::Bad(None, error),
                },
                // Gone since it was listed.
                Ok(None) => continue,
                Err(error) if error.kind == StoreErrorKind::Corrupt => {
                    let reason = error.to_string();
                    Known::Bad(None, super::manifest::damaged(&self.what(number), reason))
                }
                Err(error) => return Err(error.into()),
            };
            self.known.insert(number, known);
        }
        Ok(())
    }

    /// Removes the checkpoints that need not be kept, and what only they have used. Returns the oldest
    /// one that is left. What cannot be removed now is left for the next time.
    pub(super) fn clean(&mut self) -> u64 {
        let whole = self.numbers();
        let kept = whole.iter().rev().take(self.keep);
        let Some(oldest) = kept.copied().last() else {
            return 0;
        };
        let stays = |number: &&u64| self.withdrawable.is_none_or(|first| **number < first);
        let oldest = whole
            .iter()
            .rev()
            .find(stays)
            .map_or(oldest, |stays| oldest.min(*stays));
        let old: Vec<u64> = self
            .known
            .range(..oldest)
            .map(|(number, _)| *number)
            .collect();
        for number in old {
            if let Err(error) = self.store.delete(&self.name(number)) {
                warn!(pipeline = self.identity.pipeline, %error, "cannot remove an old checkpoint");
                continue;
            }
            if let Some(manifest) = self
                .known
                .remove(&number)
                .as_ref()
                .and_then(Known::manifest)
            {
                self.loose
                    .extend(manifest.blobs.iter().map(|blob| blob.name.clone()));
            }
        }
        if let Some(used) = self.used() {
            let loose = std::mem::take(&mut self.loose);
            let unused = loose
                .into_iter()
                .filter(|blob| !used.contains(blob))
                .collect();
            self.remove_blobs(unused);
        }
        self.known.keys().next().copied().unwrap_or(oldest)
    }

    /// Removes blobs that nobody needs; what cannot be removed stays loose.
    pub(super) fn remove_blobs(&mut self, blobs: Vec<String>) {
        let folder = names::data(&self.identity.pipeline);
        for blob in blobs {
            if let Err(error) = self.store.delete(&format!("{folder}{blob}")) {
                warn!(pipeline = self.identity.pipeline, %error, "cannot remove old state");
                self.loose.insert(blob);
            }
        }
    }

    /// The blobs that checkpoints use; nothing where one of them cannot be asked.
    fn used(&self) -> Option<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for known in self.known.values() {
            used.extend(known.manifest()?.blobs.iter().map(|blob| blob.name.clone()));
        }
        Some(used)
    }

    /// Removes the files that writers have left which crashed before their manifest was there. A writer
    /// that is alive writes a checkpoint after the newest one, so its files are not among them.
    fn collect_orphans(&self) {
        let (Some(newest), Some(used)) = (self.newest(), self.used()) else {
            return;
        };
        let pipeline = &self.identity.pipeline;
        for folder in [names::data(pipeline), names::checkpoints(pipeline)] {
            let removed = self.store.list(&folder).and_then(|listed| {
                for name in listed {
                    let file = name.strip_prefix(&folder).unwrap_or_default();
                    let old = names::file_number(file).is_some_and(|number| number < newest);
                    let manifest = names::checkpoint_number(pipeline, &name).is_some();
                    if old && !manifest && !used.contains(file) {
                        self.store.delete(&name)?;
                    }
                }
                Ok(())
            });
            if let Err(error) = removed {
                warn!(pipeline, %error, "cannot remove what an interrupted checkpoint has left");
            }
        }
    }
}

/// The pipelines that have state in a store.
///
/// # Errors
/// The store cannot be read.
pub fn pipelines(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let mut pipelines = BTreeSet::new();
    for name in store.list("")? {
        if let Some((pipeline, _)) = name.split_once('/') {
            let state = names::checkpoint_number(pipeline, &name).is_some()
                || names::savepoint_name(pipeline, &name).is_some();
            if state {
                pipelines.insert(pipeline.to_owned());
            }
        }
    }
    Ok(pipelines.into_iter().collect())
}
