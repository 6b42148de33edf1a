//! The owner of some series: merges their partial aggregates and forms their samples.

mod barrier_alignment;
mod budget;
mod classic;
mod completeness;
mod emitter;
mod forming;
mod held;
mod held_memory;
pub(in crate::pipeline) mod keyed;
pub(in crate::pipeline) mod living;
pub(in crate::pipeline) mod living_memory;
pub(in crate::pipeline) mod owned;
mod pane;
mod placed;
mod series;
pub(in crate::pipeline) mod snapshot;
mod top;

use std::collections::VecDeque;
use std::sync::Arc;

use super::checkpoint::FrozenOwner;
use super::exchange::{Message, Partials, Sent};
use super::metrics::MetricCounters;
use crate::config::Metric;
use crate::enrich::SharedTable;
use crate::model::{HoldsSymbols, Interner, LiveSymbols, Renumbering, Sample, TimestampMs};
use crate::state::StoreError;
use crate::window::END_OF_TIME;
use crate::window::aggregate::SymbolMap;
use barrier_alignment::{Aligned, BarrierAlignment};
use keyed::KeyedState;
use owned::OwnedMetric;

/// One owner. It shares the interner of the worker on its thread.
#[derive(Debug)]
pub(super) struct Owner {
    metrics: Vec<OwnedMetric>,
    alignment: BarrierAlignment,
    /// Up to when each worker has sent everything.
    flushed: Vec<TimestampMs>,
    /// The furthest watermark of any split.
    reached: TimestampMs,
    /// Up to when samples were formed.
    formed: TimestampMs,
    /// How many workers are still sending.
    sending: usize,
    series: Series,
}

/// How far it is known that all series have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Series {
    /// So many workers have not said so.
    Live { unsaid: usize },
    /// Receivers have been told.
    Ended,
}

/// Samples of the windows up to a watermark.
#[derive(Debug)]
pub(super) struct Formed {
    /// The samples, ordered by metric, and by time within each series.
    pub(super) samples: Vec<Sample>,
    /// No sample at or before this comes after; nothing where more is to be formed.
    pub(super) watermark: Option<TimestampMs>,
}

impl Owner {
    /// An owner that hears from `workers` workers. `tables` are those of the pipeline's lookups.
    pub(super) fn new(
        metrics: &[Metric],
        workers: usize,
        counters: &[MetricCounters],
        tables: &[Option<Arc<SharedTable>>],
    ) -> Self {
        let metrics = metrics.iter().zip(counters);
        Self {
            metrics: metrics
                .map(|(metric, counters)| OwnedMetric::new(metric, counters, tables))
                .collect(),
            alignment: BarrierAlignment::new(workers),
            flushed: vec![TimestampMs::MIN; workers],
            reached: TimestampMs::MIN,
            formed: TimestampMs::MIN,
            sending: workers,
            series: Series::Live { unsaid: workers },
        }
    }

    /// Groups go to a store where they are too many for memory.
    pub(super) fn keep_in(&mut self, keyed: &KeyedState) {
        for metric in &mut self.metrics {
            metric.keep_in(keyed);
        }
    }

    /// Whether no worker sends any more. What still waits for barriers then is barriers itself, which
    /// workers that have ended do not answer.
    pub(super) fn is_done(&self) -> bool {
        self.sending == 0
    }

    /// Takes what a worker says. Gives the number of a checkpoint whose barriers are all there now: what
    /// is known belongs to it, and has to be frozen before what [`release`](Self::release) gives is
    /// received.
    ///
    /// # Errors
    /// Groups that are too many for memory cannot be stored.
    pub(super) fn receive(
        &mut self,
        sent: Sent,
        interner: &mut Interner,
    ) -> Result<Option<u64>, StoreError> {
        let Sent { worker, message } = match self.alignment.receive(sent) {
            Aligned::Now(sent) => sent,
            Aligned::Complete(checkpoint) => return Ok(Some(checkpoint)),
            Aligned::Waits => return Ok(None),
        };
        match message {
            Message::Partials(partials) => self.merge(*partials, interner)?,
            Message::SeriesEnd { last_event } => {
                if let Series::Live { unsaid } = &mut self.series {
                    *unsaid = unsaid.saturating_sub(1);
                }
                for metric in &mut self.metrics {
                    metric.ends_behind(last_event);
                }
            }
            Message::Done => self.sending = self.sending.saturating_sub(1),
            Message::Flushed { watermark, reached } => {
                self.reached = self.reached.max(reached);
                if let Some(flushed) = self.flushed.get_mut(worker) {
                    *flushed = watermark;
                }
            }
            // The alignment keeps them.
            Message::Barrier(_) => {}
        }
        Ok(None)
    }

    /// What has waited for a checkpoint, in its order.
    pub(super) fn release(&mut self) -> VecDeque<Sent> {
        self.alignment.release()
    }

    /// Up to when all workers have sent everything.
    fn flushed(&self) -> TimestampMs {
        let slowest = self.flushed.iter().copied().min();
        slowest.unwrap_or(TimestampMs::MIN)
    }

    /// How many groups wait to become samples, where those of several pieces count several times.
    pub(super) fn due_groups(&self) -> usize {
        let until = self.flushed();
        let metrics = self.metrics.iter();
        metrics.map(|metric| metric.due_groups(until)).sum()
    }

    /// Whether windows are to be formed, or series have ended of which nobody was told.
    pub(super) fn is_due(&self) -> bool {
        self.flushed() > self.formed || self.ends_series()
    }

    /// Whether all series end behind the windows that are formed: no worker closes any more.
    fn ends_series(&self) -> bool {
        let is_last = self.flushed() == END_OF_TIME || self.sending == 0;
        is_last && self.series == Series::Live { unsaid: 0 }
    }

    fn merge(&mut self, partials: Partials, interner: &mut Interner) -> Result<(), StoreError> {
        let translation = partials.translation(interner);
        let symbols = match &translation {
            None => SymbolMap::Same,
            Some(table) => SymbolMap::Table(table),
        };
        if let Some(metric) = self.metrics.get_mut(partials.metric) {
            metric.merge(partials.key, partials.groups, &symbols);
            metric.make_room(interner)?;
        }
        Ok(())
    }

    /// Forms the samples of all windows that are closed, or many of them; then it is to be called
    /// again.
    ///
    /// # Errors
    /// Groups cannot be read from their store.
    pub(super) fn form(&mut self, interner: &mut Interner) -> Result<Formed, StoreError> {
        let watermark = self.flushed();
        let mut samples = Vec::new();
        let mut complete_until = watermark;
        for metric in &mut self.metrics {
            if !metric.advance(watermark, self.reached, interner, &mut samples)? {
                let watermark = None;
                return Ok(Formed { samples, watermark });
            }
            complete_until = complete_until.min(metric.complete_until(watermark));
        }
        if self.ends_series() {
            let closed = match watermark {
                END_OF_TIME => self.formed,
                _ => watermark,
            };
            for metric in &mut self.metrics {
                if !metric.end_series(closed, interner, &mut samples) {
                    let watermark = None;
                    return Ok(Formed { samples, watermark });
                }
            }
            self.series = Series::Ended;
        }
        self.formed = watermark;
        Ok(Formed {
            samples,
            watermark: Some(complete_until),
        })
    }

    /// What is known here, frozen.
    pub(super) fn freeze(&mut self) -> FrozenOwner {
        FrozenOwner {
            flushed: self.flushed(),
            reached: self.reached,
            metrics: self.metrics.iter_mut().map(OwnedMetric::freeze).collect(),
        }
    }

    /// Begins where a checkpoint ends: all workers have sent everything up to `flushed` and windows
    /// are formed up to there; the furthest watermark of any split was `reached`.
    pub(super) fn restore(&mut self, flushed: TimestampMs, reached: TimestampMs) {
        self.flushed.fill(flushed);
        self.formed = flushed;
        self.reached = reached;
        for metric in &mut self.metrics {
            metric.go_on_behind(flushed);
        }
    }

    /// A metric by its number.
    pub(super) fn metric_mut(&mut self, number: usize) -> Option<&mut OwnedMetric> {
        self.metrics.get_mut(number)
    }

    /// The metrics by their numbers.
    pub(super) fn metrics(&self) -> &[OwnedMetric] {
        &self.metrics
    }
}

/// What waits for barriers is left out: other workers' partials have their texts with them, and this one's
/// own are waited for.
impl HoldsSymbols for Owner {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.metrics.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.metrics.renumber(numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn barriers_that_ended_workers_leave_unanswered_keep_nobody_from_ending() {
        let (mut owner, mut interner) = (Owner::new(&[], 2, &[], &[]), Interner::new());
        let mut hear = |worker, message| {
            let checkpoint = owner.receive(Sent { worker, message }, &mut interner);
            assert_eq!(checkpoint.unwrap(), None);
            owner.is_done()
        };
        assert!(!hear(0, Message::Done));
        assert!(hear(1, Message::Done));
        assert!(hear(0, Message::Barrier(1)));
        assert!(hear(0, Message::Barrier(2)), "1 has ended");
    }
}
