//! A pipeline's state, opened for a run.

use std::fs;
use std::io;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use super::confirmation::RunNote;
use super::coordinator::Schedule;
use super::error::CheckpointError;
use super::restored::Restored;
use crate::config::{Pipeline, StateBackend, StateSettings};
use crate::durable::{FolderLock, write_atomically};
use crate::model::TimestampMs;
use crate::pipeline::options::{Options, Restore};
use crate::pipeline::owner::keyed::KeyedState;
use crate::source::{Checkpointed, LogSettings};
use crate::state::{
    self, Checkpoints, Identity, S3Options, StateError, Store, StoreLocation, Unconfirmed,
    UnconfirmedNote,
};
use crate::write;

/// A pipeline's state, opened for a run. Nobody else has it meanwhile.
#[derive(Debug)]
pub(in crate::pipeline) struct OpenState {
    settings: StateSettings,
    /// Whether others go on from where its checkpoints are.
    is_shared: bool,
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: Identity,
    pub(in crate::pipeline) checkpoints: Checkpoints,
    pub(in crate::pipeline) savepoints: state::Savepoints,
    /// Where it is said which checkpoints are not gone on from.
    note: UnconfirmedNote,
    /// What was asked for.
    restore: Restore,
    /// What is gone on with.
    pub(in crate::pipeline) restored: Option<Restored>,
    /// Up to when every sample was acknowledged there, ms since the epoch, where that is known.
    pub(super) acknowledged: Option<TimestampMs>,
    /// Where groups go that are too many for memory, if they do.
    pub(in crate::pipeline) keyed: Option<KeyedState>,
    /// To be held until nothing of the pipeline writes to the folder any more.
    pub(in crate::pipeline) lock: Arc<FolderLock>,
}

impl OpenState {
    /// Opens it and reads what the pipeline goes on with; nothing where it has no state.
    ///
    /// # Errors
    /// The folder or the store is in use or cannot be opened, or what is there cannot be gone on
    /// with.
    pub(in crate::pipeline) fn open(
        pipeline: &Pipeline,
        options: &Options,
    ) -> Result<Option<Self>, CheckpointError> {
        let Some(settings) = pipeline.state.clone() else {
            return Ok(None);
        };
        Self::open_with(settings, pipeline, options, open_store).map(Some)
    }

    /// The same with any store.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub(in crate::pipeline) fn open_with(
        settings: StateSettings,
        pipeline: &Pipeline,
        options: &Options,
        open_store: impl FnOnce(&StateSettings) -> Result<Arc<dyn Store>, CheckpointError>,
    ) -> Result<Self, CheckpointError> {
        let folder = &settings.dir;
        let failed = |error| CheckpointError::Folder {
            path: folder.clone(),
            error,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = Arc::new(FolderLock::acquire(folder)?);
        let owner = claim(folder, &pipeline.name).map_err(failed)?;
        if owner != pipeline.name {
            return Err(CheckpointError::OtherPipeline {
                folder: folder.clone(),
                found: owner,
                expected: pipeline.name.clone(),
            });
        }
        let store = open_store(&settings)?;
        let identity = Identity {
            pipeline: pipeline.name.clone(),
            writer: format!("process {} on {}", process::id(), host_name()),
            epoch: fastrand::u64(..),
        };
        let kafka = pipeline.source.kafka.as_ref();
        let is_shared = kafka.is_some_and(|kafka| kafka.instance.is_some());
        let keep = usize::try_from(settings.checkpoint.keep).unwrap_or(usize::MAX);
        let mut checkpoints = Checkpoints::open(store.clone(), identity.clone())?.keep(keep);
        let note = UnconfirmedNote::new(store.clone(), &identity);
        let restore = withdraw_unconfirmed(&note, &mut checkpoints, options, is_shared)?;
        let savepoints = state::Savepoints::new(store.clone(), identity.clone());
        let checkpoint = match &restore {
            Restore::Latest => checkpoints.latest()?,
            Restore::Fresh | Restore::StillFresh => None,
            Restore::Savepoint(name) => Some(savepoints.load(name)?),
        };
        let read = |checkpoint| Restored::read(checkpoint, pipeline, options.allow_dropped_state);
        let restored = checkpoint.as_ref().map(read).transpose()?;
        match &restored {
            Some(restored) => tracing::info!(
                pipeline = pipeline.name,
                checkpoint = restored.number(),
                splits = restored.splits.len(),
                "goes on from a checkpoint"
            ),
            None => tracing::info!(
                pipeline = pipeline.name,
                dir = %folder.display(),
                "begins anew: there is no checkpoint that it is to go on from"
            ),
        }
        Ok(Self {
            store,
            identity,
            checkpoints,
            savepoints,
            note,
            restore,
            acknowledged: restored.as_ref().and_then(Restored::acknowledged),
            restored,
            keyed: open_keyed(&settings)?,
            settings,
            is_shared,
            lock,
        })
    }

    /// What the source is told of checkpoints.
    pub(in crate::pipeline) fn checkpointed(&self) -> Checkpointed {
        if !self.is_shared {
            return Checkpointed::default();
        }
        let note = RunNote::new(self.note.clone(), self.restore.clone());
        Checkpointed::confirmed_by(Box::new(note))
    }

    /// When checkpoints are taken.
    pub(in crate::pipeline) fn schedule(&self) -> Schedule {
        let settings = &self.settings.checkpoint;
        let every: Duration = settings.every.to_std();
        Schedule {
            every,
            min_pause: settings.min_pause.to_std(),
            timeout: settings.timeout.to_std(),
        }
    }

    /// What the writer goes on with.
    pub(in crate::pipeline) fn resume(&mut self) -> write::Resume {
        let restored = self.restored.as_mut();
        write::Resume {
            acknowledged: self.acknowledged,
            folder: Some(self.settings.dir.clone()),
            // Before the first checkpoint, requests are written down under 0.
            checkpoint: match (&restored, &self.restore) {
                (Some(restored), _) => Some(restored.number()),
                (None, Restore::Fresh) => None,
                (None, _) => Some(0),
            },
            newest: self.checkpoints.next_number().saturating_sub(1),
            state: restored.and_then(Restored::take_writer),
        }
    }

    /// Up to when every sample was acknowledged in each state that can still be restored, ms since the
    /// epoch: nothing that is sent after a restart is of that time or before it. `has_checkpoint` says
    /// whether one of this run can be.
    pub(super) fn oldest_acknowledged(&self, has_checkpoint: bool) -> TimestampMs {
        if !has_checkpoint && matches!(self.restore, Restore::Fresh | Restore::StillFresh) {
            // It would begin anew once more.
            return TimestampMs::MIN;
        }
        let savepoints = self.savepoints.acknowledged_ms().unwrap_or_else(|error| {
            tracing::warn!(%error, "savepoints cannot be listed; all of what was sent is remembered");
            None
        });
        // One that does not say it may need everything.
        let oldest = self.checkpoints.acknowledged_ms().min(savepoints);
        oldest.unwrap_or(TimestampMs::MIN)
    }

    /// The log of a source that cannot be read again.
    pub(in crate::pipeline) fn log(&self) -> LogSettings {
        LogSettings {
            folder: self.settings.dir.join("log"),
            config: self.settings.log.clone(),
        }
    }
}

/// Removes the checkpoints that others are not known to know, where some of them read on from the positions
/// of those before. Says what is to be gone on from: what their run was told to start from, unless somebody
/// asks for something else now.
///
/// # Errors
/// The store cannot be read or written, or what it says makes no sense.
fn withdraw_unconfirmed(
    note: &UnconfirmedNote,
    checkpoints: &mut Checkpoints,
    options: &Options,
    is_shared: bool,
) -> Result<Restore, CheckpointError> {
    let Some(unconfirmed) = note.read()? else {
        return Ok(options.restore.clone());
    };
    let pipeline = &checkpoints.pipeline().to_owned();
    for number in checkpoints.withdraw(unconfirmed.number)? {
        tracing::warn!(
            pipeline,
            checkpoint = number,
            "the group is not known to have the positions of a checkpoint; it is not gone on from"
        );
    }
    let noted = unconfirmed.restore.parse::<Restore>();
    let restore = match (&options.restore, noted) {
        (Restore::Latest, Ok(Restore::Fresh)) => Restore::StillFresh,
        (Restore::Latest, Ok(noted)) => noted,
        (Restore::Latest, Err(_)) => {
            return Err(note.senseless(&unconfirmed).into());
        }
        (asked, _) => asked.clone(),
    };
    if restore == Restore::Latest || !is_shared {
        note.remove().map_err(StateError::from)?;
        return Ok(restore);
    }
    tracing::warn!(
        pipeline,
        restore = %restore,
        "no checkpoint of the run that was told to start from there is gone on from; it starts from there again"
    );
    // As long as this run has none either.
    let restored = Unconfirmed {
        restore: restore.to_string(),
        ..unconfirmed
    };
    note.write(&restored).map_err(StateError::from)?;
    Ok(restore)
}

/// Writes down whose a folder is, where that is not said yet: beside checkpoints, which say it
/// themselves, things lie there that do not. Gives the pipeline whose it is.
fn claim(folder: &Path, pipeline: &str) -> io::Result<String> {
    let path = folder.join("PIPELINE");
    match fs::read_to_string(&path) {
        Ok(owner) => Ok(owner.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_atomically(&path, format!("{pipeline}\n").as_bytes())?;
            Ok(pipeline.to_owned())
        }
        Err(error) => Err(error),
    }
}

/// The store of a pipeline's checkpoints.
///
/// # Errors
/// It cannot be opened.
fn open_store(settings: &StateSettings) -> Result<Arc<dyn Store>, CheckpointError> {
    let location = match &settings.checkpoints {
        Some(location) => location.clone(),
        None => StoreLocation::Rocks(settings.dir.join("checkpoints")),
    };
    let store = location.open(&S3Options::of_environment());
    Ok(store.map_err(StateError::from)?)
}

/// Where groups go that are too many for memory. What a run before has left there is in its
/// checkpoints.
///
/// # Errors
/// It cannot be opened.
fn open_keyed(settings: &StateSettings) -> Result<Option<KeyedState>, CheckpointError> {
    Ok(match settings.backend {
        StateBackend::Memory => None,
        StateBackend::Rocksdb => {
            let store = state::open_scratch(&settings.dir.join("keyed"));
            let store = store.map_err(StateError::from)?;
            Some(KeyedState::new(store, settings.groups_in_memory))
        }
    })
}

/// The name of this machine, for messages.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "this machine".to_owned(),
        name => name.to_owned(),
    }
}
