//! The load generator as a source, in process.

use std::time::{Duration, Instant};

use weirgen::{Fleet, Pacer};

use crate::model::{Clock, RecordBatch, Split, SplitId};
use crate::source::{
    Source, SourceError, SourceEvent, SourceMetrics, SourceOutput, SplitMetrics, StopSignal,
    Stopped,
};

/// A batch is handed over at this size, bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// A batch is handed over after this time of the schedule, ms.
const BATCH_MS: u64 = 10;

/// A simulated fleet, paced by the clock.
#[derive(Debug)]
pub(super) struct FleetSource {
    fleet: Fleet,
    span: Span,
    splits: Vec<(Split, SplitMetrics)>,
    metrics: SourceMetrics,
}

/// From when to when is simulated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start_ms: u64,
    /// Ms since the epoch; where there is none, it never ends.
    end_ms: Option<u64>,
}

impl Span {
    /// From `start_ms` (ms since the epoch) on, for `seconds`, or for ever where that is 0.
    pub(super) fn new(start_ms: u64, seconds: u64) -> Self {
        Self {
            start_ms,
            end_ms: (seconds > 0).then(|| start_ms.saturating_add(seconds.saturating_mul(1_000))),
        }
    }
}

impl FleetSource {
    /// A fleet whose vehicles are divided among `splits` splits.
    pub(super) fn new(fleet: Fleet, span: Span, splits: u32, metrics: SourceMetrics) -> Self {
        let split = |id: u32| {
            let name = format!("simulation/{id}");
            let counters = metrics.split(&name);
            (
                Split {
                    id: SplitId(id),
                    name: name.into(),
                },
                counters,
            )
        };
        let splits = (0..splits).map(split).collect();
        Self {
            fleet,
            span,
            splits,
            metrics,
        }
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
        self.metrics.connected.set(1);
        // Being told that the pipeline has stopped is a way for a simulation to end.
        if self.simulate(output, stop).is_err() {
            tracing::debug!("the pipeline takes no more events");
        }
        self.metrics.connected.set(0);
        Ok(())
    }
}

impl FleetSource {
    fn simulate(
        &mut self,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), Stopped> {
        for (split, _) in &self.splits {
            output.send(SourceEvent::Assigned(split.clone()))?;
        }
        let empty = |split: &Split| RecordBatch::new(split.clone(), Clock::System.now_ms());
        let mut batches: Vec<_> = self.splits.iter().map(|(split, _)| empty(split)).collect();
        let elapsed = u64::try_from(Clock::System.now_ms()).unwrap_or_default();
        let began = Duration::from_millis(elapsed.saturating_sub(self.span.start_ms));
        let now = Instant::now();
        let mut pacer = Pacer::new(self.span.start_ms, now.checked_sub(began).unwrap_or(now));
        let mut next_hand_over = self.span.start_ms + BATCH_MS;
        let mut line = Vec::new();
        let mut position = 0_u64;
        loop {
            let event = self.fleet.next_event();
            let ended =
                self.span.end_ms.is_some_and(|end| event.emission_ms >= end) || stop.is_stopped();
            if event.emission_ms >= next_hand_over || ended {
                // Nothing is handed over before its time.
                pacer.wait(event.emission_ms);
                for (batch, (split, counters)) in batches.iter_mut().zip(&self.splits) {
                    if !batch.is_empty() {
                        let full = std::mem::replace(batch, empty(split));
                        counters.count(&full);
                        output.send(SourceEvent::Records(full))?;
                    }
                }
                next_hand_over = event.emission_ms + BATCH_MS;
                if ended {
                    break;
                }
            }
            line.clear();
            event.write_json(&mut line);
            let split = event.vehicle as usize % self.splits.len().max(1);
            let (Some(batch), Some((split, counters))) =
                (batches.get_mut(split), self.splits.get(split))
            else {
                continue;
            };
            batch.push(&line, position);
            position += 1;
            if batch.byte_len() >= BATCH_BYTES {
                let full = std::mem::replace(batch, empty(split));
                counters.count(&full);
                output.send(SourceEvent::Records(full))?;
            }
        }
        for (split, _) in &self.splits {
            output.send(SourceEvent::Finished(split.id))?;
        }
        Ok(())
    }
}
