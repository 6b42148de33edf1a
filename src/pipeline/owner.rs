//! The owner of some series: merges their partial aggregates and forms their samples.

use std::collections::BTreeMap;

use prometheus::IntCounter;

use super::exchange::{Message, Partials};
use super::series::SeriesCache;
use super::stage::{kind_of, kinds_of};
use crate::config::{Metric, Shape};
use crate::expr::AggregateExpression;
use crate::model::{Column, Interner, Sample, SplitId, Symbol, TimestampMs};
use crate::window::aggregate::{AggregateKind, Input, Origin, SymbolMap};
use crate::window::{END_OF_TIME, Groups, Tumbling};

/// One owner. It shares the interner of the worker on its thread.
#[derive(Debug)]
pub(super) struct Owner {
    metrics: Vec<OwnedMetric>,
    /// Closed windows that some workers may still have partials for, by end and metric.
    windows: BTreeMap<(TimestampMs, usize), Groups>,
    /// Up to when each worker has sent everything.
    flushed: Vec<TimestampMs>,
    /// Up to when samples were formed.
    formed: TimestampMs,
    /// How many workers are still sending.
    sending: usize,
}

#[derive(Debug)]
struct OwnedMetric {
    shape: Shape,
    kinds: Vec<AggregateKind>,
    /// How many symbols of a key are labels.
    labels: usize,
    /// Where samples have the times of events: the windows in which these are put in order.
    ordering: Option<Tumbling>,
    key_width: usize,
    series: SeriesCache,
    samples: IntCounter,
}

/// Samples of the windows up to a watermark.
#[derive(Debug)]
pub(super) struct Formed {
    /// The samples, ordered by window end and metric.
    pub(super) samples: Vec<Sample>,
    /// All windows that end at or before this have been formed, and no earlier sample comes after.
    pub(super) watermark: TimestampMs,
}

impl Owner {
    /// An owner that hears from `workers` workers; `samples` counts those of each metric.
    pub(super) fn new(metrics: &[Metric], workers: usize, samples: &[IntCounter]) -> Self {
        let owned = |(metric, samples): (&Metric, &IntCounter)| {
            let is_per = matches!(metric.shape, Shape::Per { .. });
            let labels: Vec<_> = metric.by.iter().map(|(name, _)| name.clone()).collect();
            OwnedMetric {
                kinds: kinds_of(&metric.shape),
                shape: metric.shape.clone(),
                ordering: matches!(metric.shape, Shape::Raw { .. }).then_some(metric.windows),
                labels: labels.len(),
                key_width: labels.len() + usize::from(is_per),
                series: SeriesCache::new(metric.name.clone(), labels),
                samples: samples.clone(),
            }
        };
        Self {
            metrics: metrics.iter().zip(samples).map(owned).collect(),
            windows: BTreeMap::new(),
            flushed: vec![TimestampMs::MIN; workers],
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
            Message::Flushed { worker, watermark } => {
                if let Some(flushed) = self.flushed.get_mut(worker) {
                    *flushed = watermark;
                }
                let watermark = self
                    .flushed
                    .iter()
                    .copied()
                    .min()
                    .unwrap_or(TimestampMs::MIN);
                if watermark > self.formed {
                    self.formed = watermark;
                    let samples = self.form(watermark, interner);
                    return Some(Formed {
                        samples,
                        watermark: self.complete_until(watermark),
                    });
                }
            }
        }
        None
    }

    /// Events of an ordering window that is still open will be samples of times before the watermark,
    /// so samples are complete only up to the window's start.
    fn complete_until(&self, watermark: TimestampMs) -> TimestampMs {
        let orderings = self.metrics.iter().filter_map(|metric| metric.ordering);
        let start = |windows: Tumbling| windows.end(watermark).saturating_sub(windows.size_ms());
        match watermark {
            END_OF_TIME => END_OF_TIME,
            _ => orderings.map(start).fold(watermark, TimestampMs::min),
        }
    }

    fn merge(&mut self, partials: Partials, interner: &mut Interner) {
        let Some(metric) = self.metrics.get(partials.metric) else {
            return;
        };
        let translation = partials.translation(interner);
        let key = (partials.end, partials.metric);
        match (self.windows.get_mut(&key), &translation) {
            (Some(groups), None) => groups.merge(&partials.groups, &SymbolMap::Same),
            (None, None) => drop(self.windows.insert(key, partials.groups)),
            (_, Some(table)) => {
                let empty = || Groups::new(metric.key_width, &metric.kinds);
                let groups = self.windows.entry(key).or_insert_with(empty);
                groups.merge(&partials.groups, &SymbolMap::Table(table));
            }
        }
    }

    /// Forms the samples of all windows that end at or before the watermark, in order of time and
    /// metric.
    fn form(&mut self, watermark: TimestampMs, interner: &mut Interner) -> Vec<Sample> {
        let waiting = match watermark.checked_add(1) {
            Some(after) => self.windows.split_off(&(after, 0)),
            None => BTreeMap::new(),
        };
        let mut samples = Vec::new();
        for ((end, metric), groups) in std::mem::replace(&mut self.windows, waiting) {
            if let Some(metric) = self.metrics.get_mut(metric) {
                let before = samples.len();
                metric.form(end, &groups, interner, &mut samples);
                metric.samples.inc_by((samples.len() - before) as u64);
            }
        }
        samples
    }
}

impl OwnedMetric {
    fn form(
        &mut self,
        end: TimestampMs,
        groups: &Groups,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        self.series.next_window();
        match &mut self.shape {
            Shape::Raw { .. } => form_raw(groups, &mut self.series, interner, samples),
            Shape::Aggregate { value } => {
                let values = finish_groups(value, groups, self.labels, interner);
                push(end, groups, &values, &mut self.series, interner, samples);
            }
            Shape::Per { values, value, .. } => {
                let columns = finish_rows(values, groups, self.key_width, interner);
                let grouped = group_rows(value, groups, &columns, self.labels, interner);
                let values = finish_groups(value, &grouped, self.labels, interner);
                push(end, &grouped, &values, &mut self.series, interner, samples);
            }
        }
    }
}

/// The key columns of groups, then the results of their aggregates.
fn group_columns(groups: &Groups, width: usize) -> Vec<Column> {
    let mut columns: Vec<_> = (0..width)
        .map(|index| {
            let symbol = |slot| groups.key(slot).get(index).copied().unwrap_or(Symbol::NULL);
            Column::Text((0..groups.len()).map(symbol).collect())
        })
        .collect();
    columns.extend(
        groups
            .aggregates()
            .iter()
            .map(|aggregate| aggregate.finish()),
    );
    columns
}

/// The value of each group.
fn finish_groups(
    value: &mut AggregateExpression,
    groups: &Groups,
    labels: usize,
    interner: &mut Interner,
) -> Vec<f64> {
    let columns = group_columns(groups, labels);
    value
        .finish
        .evaluate(&columns, groups.len(), interner)
        .numbers()
        .to_vec()
}

/// The columns of the rows of `per`: labels, key, named values.
fn finish_rows(
    values: &mut [AggregateExpression],
    groups: &Groups,
    key_width: usize,
    interner: &mut Interner,
) -> Vec<Column> {
    let mut all = group_columns(groups, key_width);
    let mut results = all.split_off(key_width).into_iter();
    let keys = all;
    let mut rows = keys.clone();
    for value in values {
        // Each expression was compiled over the keys and its own calls.
        let mut columns = keys.clone();
        columns.extend(results.by_ref().take(value.calls.len()));
        rows.push(
            value
                .finish
                .evaluate(&columns, groups.len(), interner)
                .into_owned(),
        );
    }
    rows
}

/// Aggregates the rows of `per` by their labels.
fn group_rows(
    value: &mut AggregateExpression,
    rows: &Groups,
    columns: &[Column],
    labels: usize,
    interner: &mut Interner,
) -> Groups {
    let kinds: Vec<_> = value.calls.iter().map(kind_of).collect();
    let mut grouped = Groups::new(labels, &kinds);
    let slots: Vec<u32> = (0..rows.len())
        .map(|slot| grouped.slot(rows.key(slot).get(..labels).unwrap_or_default()))
        .collect();
    let numbers: Vec<u32> = (0..u32::try_from(rows.len()).unwrap_or(u32::MAX)).collect();
    let input = Input {
        rows: &numbers,
        slots: &slots,
        times: &[],
        origin: Origin {
            split: SplitId(0),
            positions: &[],
        },
    };
    grouped.grow_aggregates();
    for (call, aggregate) in value.calls.iter_mut().zip(grouped.aggregates_mut()) {
        let argument = call
            .arguments
            .first_mut()
            .map(|program| program.evaluate(columns, rows.len(), interner));
        let filter = call
            .filter
            .as_mut()
            .map(|program| program.evaluate(columns, rows.len(), interner));
        aggregate.update(
            &input,
            argument.as_deref(),
            filter.as_deref().map(Column::booleans),
        );
    }
    grouped
}

/// A sample for each group whose value is not NULL.
fn push(
    end: TimestampMs,
    groups: &Groups,
    values: &[f64],
    series: &mut SeriesCache,
    interner: &Interner,
    samples: &mut Vec<Sample>,
) {
    for (slot, value) in values.iter().enumerate() {
        if !value.is_nan() {
            let series = series.get(groups.key(slot), interner);
            samples.push(Sample {
                series,
                timestamp_ms: end,
                value: *value,
            });
        }
    }
}

/// The readings of each group in order of time; of several at one time the last one in the source's
/// order.
fn form_raw(
    groups: &Groups,
    series: &mut SeriesCache,
    interner: &Interner,
    samples: &mut Vec<Sample>,
) {
    for slot in 0..groups.len() {
        let readings = groups
            .aggregates()
            .first()
            .and_then(|all| all.readings(slot));
        let mut readings = readings.unwrap_or_default().to_vec();
        readings.sort_unstable_by_key(|reading| (reading.time, reading.split, reading.position));
        let series = series.get(groups.key(slot), interner);
        for (index, reading) in readings.iter().enumerate() {
            if readings
                .get(index + 1)
                .is_none_or(|next| next.time > reading.time)
            {
                samples.push(Sample {
                    series: series.clone(),
                    timestamp_ms: reading.time,
                    value: reading.value,
                });
            }
        }
    }
}
