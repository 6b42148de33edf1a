//! The owner of some series: merges their partial aggregates and forms their samples.

use std::sync::Arc;

use super::exchange::{Message, Partials};
use super::metrics::MetricCounters;
use super::owned::OwnedMetric;
use crate::config::Metric;
use crate::enrich::SharedTable;
use crate::model::{Interner, Sample, TimestampMs};
use crate::window::aggregate::SymbolMap;

/// One owner. It shares the interner of the worker on its thread.
#[derive(Debug)]
pub(super) struct Owner {
    metrics: Vec<OwnedMetric>,
    /// Up to when each worker has sent everything.
    flushed: Vec<TimestampMs>,
    /// The furthest watermark of any split.
    reached: TimestampMs,
    /// Up to when samples were formed.
    formed: TimestampMs,
    /// How many workers are still sending.
    sending: usize,
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
            flushed: vec![TimestampMs::MIN; workers],
            reached: TimestampMs::MIN,
            formed: TimestampMs::MIN,
            sending: workers,
        }
    }

    /// Whether no worker sends any more.
    pub(super) fn is_done(&self) -> bool {
        self.sending == 0
    }

    /// Takes a message; gives samples where it was the last one that windows waited for.
    pub(super) fn receive(&mut self, message: Message, interner: &mut Interner) -> Option<Formed> {
        match message {
            Message::Partials(partials) => self.merge(*partials, interner),
            Message::Done => self.sending -= 1,
            Message::Flushed {
                worker,
                watermark,
                reached,
            } => {
                self.reached = self.reached.max(reached);
                if let Some(flushed) = self.flushed.get_mut(worker) {
                    *flushed = watermark;
                }
                let slowest = self.flushed.iter().copied().min();
                let watermark = slowest.unwrap_or(TimestampMs::MIN);
                if watermark > self.formed {
                    self.formed = watermark;
                    return Some(self.form(interner));
                }
            }
        }
        None
    }

    fn merge(&mut self, partials: Partials, interner: &mut Interner) {
        let translation = partials.translation(interner);
        let symbols = match &translation {
            None => SymbolMap::Same,
            Some(table) => SymbolMap::Table(table),
        };
        if let Some(metric) = self.metrics.get_mut(partials.metric) {
            metric.merge(partials.key, partials.groups, &symbols);
        }
    }

    /// Forms the samples of all windows that are closed, or many of them; then it is to be called
    /// again.
    pub(super) fn form(&mut self, interner: &mut Interner) -> Formed {
        let watermark = self.formed;
        let mut samples = Vec::new();
        let mut complete_until = watermark;
        for metric in &mut self.metrics {
            if !metric.advance(watermark, self.reached, interner, &mut samples) {
                let watermark = None;
                return Formed { samples, watermark };
            }
            complete_until = complete_until.min(metric.complete_until(watermark));
        }
        Formed {
            samples,
            watermark: Some(complete_until),
        }
    }

    /// How many panes, groups and bytes are kept here for each metric, about.
    pub(super) fn states(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.metrics.iter().map(OwnedMetric::state)
    }
}
