//! The load generator as a source, in process.

use std::time::{Duration, Instant};

use weirgen::{Fleet, FleetConfig, Pacer};

use crate::model::{Clock, RecordBatch, Split, SplitId};
use crate::source::{Source, SourceError, SourceEvent, SourceOutput, StopSignal};

/// A batch is handed over at this size, bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// A batch is handed over after this time of the schedule, ms.
const BATCH_MS: u64 = 20;

/// A simulated fleet, paced by the clock.
#[derive(Debug)]
pub(super) struct FleetSource {
    fleet: Fleet,
    start_ms: u64,
    /// When the simulation ends, ms since the epoch; never where there is none.
    end_ms: Option<u64>,
    splits: Vec<Split>,
}

impl FleetSource {
    /// A fleet from `start_ms` (ms since the epoch) on, for `seconds`, or for ever where that is 0.
    /// Vehicles are divided among `splits` splits.
    ///
    /// # Errors
    /// The generator refuses the configuration.
    pub(super) fn new(config: FleetConfig, seconds: u64, splits: u32) -> anyhow::Result<Self> {
        let start_ms = config.start_ms;
        let split =
            |id: u32| Split { id: SplitId(id), name: format!("simulation/{id}").into() };
        Ok(Self {
            fleet: Fleet::new(config)?,
            start_ms,
            end_ms: (seconds > 0).then(|| start_ms + seconds * 1_000),
            splits: (0..splits).map(split).collect(),
        })
    }
}

impl Source for FleetSource {
    fn is_replayable(&self) -> bool {
        false
    }

    fn run(
        mut self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        // Being told that the pipeline has stopped is a way for a simulation to end.
        if self.simulate(output, stop).is_err() {
            tracing::debug!("the pipeline takes no more events");
        }
        Ok(())
    }
}

impl FleetSource {
    fn simulate(
        &mut self,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), crate::source::Stopped> {
        for split in &self.splits {
            output.send(SourceEvent::Assigned(split.clone()))?;
        }
        let empty = |split: &Split| RecordBatch::new(split.clone(), Clock::System.now_ms());
        let mut batches: Vec<_> = self.splits.iter().map(empty).collect();
        let elapsed = u64::try_from(Clock::System.now_ms()).unwrap_or_default();
        let began = Duration::from_millis(elapsed.saturating_sub(self.start_ms));
        let now = Instant::now();
        let mut pacer = Pacer::new(self.start_ms, now.checked_sub(began).unwrap_or(now));
        let mut next_hand_over = self.start_ms + BATCH_MS;
        let mut line = Vec::new();
        let mut position = 0_u64;
        loop {
            let event = self.fleet.next_event();
            let ended = self.end_ms.is_some_and(|end| event.emission_ms >= end) || stop.is_stopped();
            if event.emission_ms >= next_hand_over || ended {
                for (batch, split) in batches.iter_mut().zip(&self.splits) {
                    if !batch.is_empty() {
                        let full = std::mem::replace(batch, empty(split));
                        output.send(SourceEvent::Records(full))?;
                    }
                }
                next_hand_over = event.emission_ms + BATCH_MS;
                if ended {
                    break;
                }
                pacer.wait(event.emission_ms);
            }
            line.clear();
            event.write_json(&mut line);
            let split = event.vehicle as usize % self.splits.len().max(1);
            let (Some(batch), Some(split)) = (batches.get_mut(split), self.splits.get(split)) else {
                continue;
            };
            batch.push(&line, position);
            position += 1;
            if batch.byte_len() >= BATCH_BYTES {
                output.send(SourceEvent::Records(std::mem::replace(batch, empty(split))))?;
            }
        }
        for split in &self.splits {
            output.send(SourceEvent::Finished(split.id))?;
        }
        Ok(())
    }
}
