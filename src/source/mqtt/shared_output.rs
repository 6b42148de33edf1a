//! The pipeline, handed over to by several threads in turn.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::{SourceEvent, SourceOutput, Stopped};

/// An output that several threads use. While one of them waits for the pipeline, the others do too.
pub(super) struct SharedOutput<'a>(Mutex<&'a mut dyn SourceOutput>);

impl<'a> SharedOutput<'a> {
    pub(super) fn new(output: &'a mut dyn SourceOutput) -> Self {
        Self(Mutex::new(output))
    }

    /// The output for one thread alone, until the guard goes.
    pub(super) fn lock(&self) -> MutexGuard<'_, &'a mut dyn SourceOutput> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SourceOutput for &SharedOutput<'_> {
    fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
        self.lock().send(event)
    }

    fn end(&mut self) {
        self.lock().end();
    }
}
