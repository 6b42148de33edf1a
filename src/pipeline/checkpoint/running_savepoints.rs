//! The savepoints of a pipeline that runs.

use crossbeam_channel::{Sender, bounded};

use super::checkpointer::{CheckpointerThread, Request};
use super::open::OpenState;
use crate::pipeline::options::check_savepoint_name;
use crate::pipeline::savepoints::inspection::{Contents, SavepointInfo};
use crate::pipeline::savepoints::stored_savepoints::StoredSavepoints;
use crate::pipeline::savepoints::{SavepointError, SavepointErrorKind, Savepoints};

/// Savepoints beside the checkpoints of a running pipeline. New ones are made by its checkpointer;
/// everything else is between the caller and the store.
#[derive(Debug)]
pub(in crate::pipeline) struct RunningSavepoints {
    requests: Sender<Request>,
    stored: StoredSavepoints,
}

impl RunningSavepoints {
    /// Those of a pipeline whose state is open.
    pub(in crate::pipeline) fn new(thread: &CheckpointerThread, stored: StoredSavepoints) -> Self {
        Self {
            requests: thread.requests(),
            stored,
        }
    }
}

impl OpenState {
    /// The savepoints in the store.
    pub(in crate::pipeline) fn stored_savepoints(&self) -> StoredSavepoints {
        StoredSavepoints::new(self.store.clone(), self.identity.clone())
    }
}

impl Savepoints for RunningSavepoints {
    fn create(&self, name: &str) -> Result<SavepointInfo, SavepointError> {
        check_savepoint_name(name)?;
        let ended = || {
            let message = "the pipeline has ended, or is starting again";
            SavepointError::new(SavepointErrorKind::Failed, message)
        };
        let (answer, answered) = bounded(1);
        let name = name.to_owned();
        self.requests
            .send(Request::Savepoint { name, answer })
            .map_err(|_| ended())?;
        let savepoint = answered.recv().map_err(|_| ended())??;
        Ok(savepoint.into())
    }

    fn list(&self) -> Result<Vec<SavepointInfo>, SavepointError> {
        self.stored.list()
    }

    fn show(&self, name: Option<&str>) -> Result<Contents, SavepointError> {
        self.stored.show(name)
    }

    fn delete(&self, name: &str) -> Result<(), SavepointError> {
        self.stored.delete(name)
    }

    fn export(&self, name: &str) -> Result<Vec<u8>, SavepointError> {
        self.stored.export(name)
    }

    fn import(&self, name: &str, file: &[u8]) -> Result<SavepointInfo, SavepointError> {
        self.stored.import(name, file)
    }
}
