//! What ends all shards at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::write::WriteError;

/// The error that one shard ends with, and the others because of it.
#[derive(Debug)]
pub(super) struct Fatal {
    error: Mutex<Option<WriteError>>,
    is_set: watch::Sender<bool>,
}

impl Default for Fatal {
    fn default() -> Self {
        Self {
            error: Mutex::default(),
            is_set: watch::Sender::new(false),
        }
    }
}

impl Fatal {
    /// Ends all shards. Of several errors the first one counts.
    pub(super) fn set(&self, error: WriteError) {
        tracing::error!(%error, "nothing is sent any more");
        self.lock().get_or_insert(error);
        self.is_set.send_replace(true);
    }

    /// Waits until there is an error.
    pub(super) async fn is_set(&self) {
        // The sender lives as long as this.
        self.is_set
            .subscribe()
            .wait_for(|is_set| *is_set)
            .await
            .ok();
    }

    /// The error, if there is one.
    pub(super) fn take(&self) -> Option<WriteError> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<WriteError>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
