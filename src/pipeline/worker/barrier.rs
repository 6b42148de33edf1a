//! Barriers: a worker's part in a checkpoint.

use std::time::Instant;

use super::Worker;
use super::failed::Failed;
use crate::pipeline::checkpoint::{Barrier, FrozenState, OwnerState, WorkerState};
use crate::pipeline::exchange::Message;
use crate::pipeline::owner::Formed;

impl Worker {
    /// A barrier has come, between two batches; or nothing, where there are no more checkpoints.
    pub(super) fn barrier(&mut self, barrier: Option<Barrier>) {
        let Some(Barrier { number, is_last }) = barrier else {
            self.checkpoints.close();
            if !self.takes_input && !self.input_ended {
                // The last one will not come.
                self.end();
            }
            return;
        };
        self.freeze(number);
        if is_last && !self.is_closing() && !self.input_ended {
            self.end();
        }
    }

    /// Freezes what this worker has, and says so to all owners behind everything that it has sent.
    fn freeze(&mut self, checkpoint: u64) {
        let started = Instant::now();
        let state = WorkerState {
            splits: self.splits.snapshot(),
            clocks: self.preparation.freeze(),
            decoders: self.preparation.freeze_decoder(),
            panes: self.stages.iter_mut().map(|stage| stage.freeze()).collect(),
            texts: self.interner.texts(),
        };
        let state = FrozenState::Worker(state);
        self.checkpoints
            .froze(checkpoint, self.number, state, started.elapsed());
        self.exchange.broadcast(|| Message::Barrier(checkpoint));
    }

    /// Merges what was divided by checkpoints that are stored by now. Not as a part of the next one,
    /// whose barrier all owners would wait for.
    pub(super) fn merge_pieces(&mut self) {
        for stage in &mut self.stages {
            stage.merge_pieces();
        }
    }

    /// Freezes what this owner has: all workers' barriers have come.
    ///
    /// # Errors
    /// State that is too large for memory cannot be read.
    pub(super) fn freeze_owner(&mut self, checkpoint: u64) -> Result<(), Failed> {
        let started = Instant::now();
        // All owners have heard the same of the workers, so all have formed the same windows then,
        // whether the writer has room or not. Windows that were formed by some owners only could not be
        // gone on with by another number of them.
        while self.owner.is_due() {
            let Formed { samples, watermark } = self.owner.form(&mut self.interner)?;
            self.unsent.extend(samples);
            self.unsent_until = self.unsent_until.max(watermark);
        }
        let state = OwnerState {
            frozen: self.owner.freeze(),
            unsent: self.unsent.iter().cloned().collect(),
            texts: self.interner.texts(),
        };
        let state = FrozenState::Owner(state);
        self.checkpoints
            .froze(checkpoint, self.number, state, started.elapsed());
        Ok(())
    }
}
