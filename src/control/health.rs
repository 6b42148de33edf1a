//! What the server tells of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::pipeline::{Phase, PipelineHandle, SavepointError, SavepointErrorKind, Savepoints};
use crate::telemetry::Registry;

/// What the server tells of.
#[derive(Debug, Clone, Default)]
pub struct Health {
    pipelines: Arc<Vec<PipelineHandle>>,
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Of these pipelines; not ready yet.
    pub fn new(pipelines: Vec<PipelineHandle>) -> Self {
        Self {
            pipelines: Arc::new(pipelines),
            ready: Arc::default(),
        }
    }

    /// Whether the pipelines take input: from their start until they are stopped.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether all pipelines take input; if not, why.
    ///
    /// # Errors
    /// A line for each pipeline that takes none, or one for all of them.
    pub(super) fn ready(&self) -> Result<(), String> {
        if !self.ready.load(Ordering::Acquire) {
            return Err("weir is starting or stopping.\n".to_owned());
        }
        let mut reasons = String::new();
        for pipeline in self.pipelines.iter() {
            let what = match pipeline.phase() {
                Phase::Running | Phase::Ended => continue,
                Phase::Restarting => "is restarting",
                Phase::Failed => "has failed",
            };
            let name = pipeline.name();
            let failure = pipeline.last_failure().unwrap_or_default();
            reasons.push_str(&format!("pipeline {name} {what}: {failure}\n"));
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons)
        }
    }

    /// The savepoints of a pipeline.
    ///
    /// # Errors
    /// There is no such pipeline, or it keeps no state, or it is restarting.
    pub(super) fn savepoints(&self, name: &str) -> Result<Arc<dyn Savepoints>, SavepointError> {
        let not_found = |message| SavepointError::new(SavepointErrorKind::NotFound, message);
        let mut pipelines = self.pipelines.iter();
        let Some(pipeline) = pipelines.find(|pipeline| pipeline.name() == name) else {
            let names: Vec<_> = self.pipelines.iter().map(PipelineHandle::name).collect();
            let names = names.join(", ");
            let message = format!("no pipeline '{name}' runs here; those that do: {names}");
            return Err(not_found(message));
        };
        if pipeline.phase() != Phase::Running {
            let message = format!("pipeline {name} does not run at the moment; try again later");
            return Err(SavepointError::new(SavepointErrorKind::Failed, message));
        }
        pipeline
            .savepoints()
            .ok_or_else(|| not_found(format!("pipeline {name} keeps no state; set state.dir")))
    }

    /// The metrics of all pipelines as Prometheus text.
    pub(super) fn metrics(&self) -> String {
        let registries: Vec<_> = self
            .pipelines
            .iter()
            .flat_map(PipelineHandle::registries)
            .collect();
        Registry::text(&registries)
    }
}
