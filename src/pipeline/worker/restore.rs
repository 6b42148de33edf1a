//! A worker begins where a checkpoint ends.

use super::Worker;
use crate::pipeline::checkpoint::{CheckpointError, Restored};
use crate::pipeline::restoring::{Restoration, RestoreError, Target};
use crate::window::END_OF_TIME;

impl Worker {
    /// Takes over what was saved of the whole, and the states of all splits, because it is not known yet
    /// which of them it will be assigned. Its windows have no partials: those of the run before go to
    /// the owners.
    fn restore(&mut self, restored: &Restored) {
        self.splits.restore(restored.splits.clone());
        self.flushed = restored.flushed();
        for stage in &mut self.stages {
            stage.restore(self.flushed);
        }
        self.owner.restore(self.flushed, restored.reached());
        if self.flushed == END_OF_TIME {
            // Everything was formed before, so nothing will be that could say so.
            self.unsent_until = Some(END_OF_TIME);
        }
        self.preparation
            .restore(restored.clocks.clone(), restored.decoders.clone());
    }
}

/// All workers of a pipeline begin where a checkpoint ends. The aggregated state goes to those that own
/// it now, however many workers there were.
///
/// # Errors
/// Something of it cannot be read, or does not go together.
pub(in crate::pipeline) fn restore(
    workers: &mut [Worker],
    restored: &Restored,
) -> Result<(), CheckpointError> {
    for worker in workers.iter_mut() {
        worker.restore(restored);
    }
    for (number, metric) in restored.metrics.iter().enumerate() {
        let route = workers.first().and_then(|worker| worker.routes.get(number));
        let Some(route) = route.copied() else {
            continue;
        };
        let targets = workers.iter_mut().filter_map(|worker| {
            let interner = &mut worker.interner;
            let metric = worker.owner.metric_mut(number)?;
            Some(Target { metric, interner })
        });
        let Some(mut restoration) = Restoration::new(route, targets.collect()) else {
            continue;
        };
        for part in metric {
            restoration.part(&part.bytes).map_err(|error| match error {
                RestoreError::Corrupt(corrupt) => restored.corrupt(number, &part.name, corrupt),
                RestoreError::Store(error) => CheckpointError::State(error.into()),
            })?;
        }
        restoration
            .finish()
            .map_err(|corrupt| restored.corrupt(number, "all parts", corrupt))?;
    }
    Ok(())
}
