//! The reference data of a pipeline: tables and services that all workers share, and the lookups of
//! one worker in them.

use std::sync::Arc;

use crossbeam_channel::Sender;
use tokio::runtime::Handle;

use super::error::PipelineError;
use super::lookup_state::LookupState;
use crate::config::Pipeline;
use crate::enrich::{
    EventLookup, LookupConfig, LookupMetrics, Mode, PartialService, Reference, Refresher,
    RefresherThread, SharedTable,
};
use crate::model::Clock;

/// What all lookups of a pipeline look into, in their order.
#[derive(Debug)]
pub(super) struct References {
    shared: Vec<Reference>,
    metrics: LookupMetrics,
}

impl References {
    /// Loads all tables, and gives what keeps them up to date. Services are set up and not asked
    /// yet; their requests run on `runtime`.
    pub(super) fn load(
        pipeline: &Pipeline,
        metrics: LookupMetrics,
        clock: &Clock,
        runtime: &Handle,
    ) -> Result<(Self, Vec<RefresherThread>), PipelineError> {
        let mut shared = Vec::new();
        let mut refreshers = Vec::new();
        for (config, _) in &pipeline.lookups {
            if config.mode == Some(Mode::None) {
                shared.push(Reference::None);
                continue;
            }
            if config.is_partial() {
                let (runtime, clock) = (runtime.clone(), clock.clone());
                let service = PartialService::build(config, runtime, clock, &metrics)
                    .map_err(|reason| failed(config, reason))?;
                shared.push(Reference::Service(service));
                continue;
            }
            let refresher = Refresher::load(config.clone(), &pipeline.folder, metrics.clone())
                .map_err(|error| failed(config, error.to_string()))?;
            shared.push(Reference::Table(refresher.shared()));
            refreshers.push(refresher.start()?);
        }
        Ok((Self { shared, metrics }, refreshers))
    }

    /// The lookups of one worker. `wake` is filled when a batch of the worker may go on.
    pub(super) fn lookups(
        &self,
        pipeline: &Pipeline,
        wake: &Sender<()>,
    ) -> Result<Vec<EventLookup>, PipelineError> {
        let mut lookups = Vec::new();
        for ((config, input), shared) in pipeline.lookups.iter().zip(&self.shared) {
            let lookup = EventLookup::build(config, *input, shared, &self.metrics, wake);
            lookups.push(lookup.map_err(|reason| failed(config, reason))?);
        }
        Ok(lookups)
    }

    /// The tables by the number of their lookup; nothing where there is none.
    pub(super) fn tables(&self) -> Vec<Option<Arc<SharedTable>>> {
        let tables = self.shared.iter().map(|shared| match shared {
            Reference::Table(table) => Some(table.clone()),
            Reference::Service(_) | Reference::None => None,
        });
        tables.collect()
    }

    /// What a checkpoint says of the tables, in the order of their lookups. Services have none.
    pub(super) fn states(&self, pipeline: &Pipeline) -> Vec<LookupState> {
        let lookups = pipeline.lookups.iter().zip(self.tables());
        let state = lookups.filter_map(|((config, _), shared)| {
            let shared = shared?;
            Some(LookupState {
                lookup: config.lookup.clone(),
                version: shared.version(),
                rows: shared.table().rows() as u64,
            })
        });
        state.collect()
    }

    /// The services that are asked for keys.
    pub(super) fn services(&self) -> Vec<Arc<PartialService>> {
        let services = self.shared.iter().filter_map(|shared| match shared {
            Reference::Service(service) => Some(service.clone()),
            Reference::Table(_) | Reference::None => None,
        });
        services.collect()
    }
}

fn failed(config: &LookupConfig, reason: String) -> PipelineError {
    PipelineError::Lookup {
        lookup: config.lookup.clone(),
        reason,
    }
}
