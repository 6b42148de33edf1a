//! From a window's groups to its samples.

use super::budget::Budget;
use super::held::Held;
use super::metrics::MetricCounters;
use super::series::SeriesCache;
use super::stage::{kind_of, kinds_of};
use super::top::keep_top;
use crate::config::{Metric, Shape, Top};
use crate::expr::AggregateExpression;
use crate::model::{Column, Interner, Sample, SplitId, Symbol, TimestampMs};
use crate::window::aggregate::{AggregateKind, Input, Origin};
use crate::window::{Bounds, Ended, Groups, Span};

/// Groups that samples are formed of, no key twice.
#[derive(Debug)]
pub(super) struct Part {
    groups: Groups,
    sessions: Option<SessionTimes>,
}

/// The times of sessions, by slot.
#[derive(Debug)]
struct SessionTimes {
    spans: Vec<Span>,
    gap_ms: i64,
}

impl Part {
    /// The groups of a window.
    pub(super) fn of_window(groups: Groups) -> Self {
        Self {
            groups,
            sessions: None,
        }
    }

    /// Sessions that have ended, by a silence of `gap_ms`.
    pub(super) fn of_sessions(ended: Ended, gap_ms: i64) -> Self {
        let spans = ended.spans;
        Self {
            groups: ended.groups,
            sessions: Some(SessionTimes { spans, gap_ms }),
        }
    }

    /// The timestamp of a slot's sample.
    fn timestamp(&self, slot: usize, window: Bounds) -> TimestampMs {
        let sessions = self.sessions.as_ref();
        sessions
            .and_then(|sessions| Some(sessions.spans.get(slot)?.last + sessions.gap_ms))
            .unwrap_or(window.end)
    }

    /// `width` key columns, then for sessions their start, end (ms since the epoch) and duration
    /// (seconds): the columns of the schema that values are compiled over.
    fn key_columns(&self, width: usize) -> Vec<Column> {
        let mut columns: Vec<_> = (0..width)
            .map(|index| {
                let symbol = |slot| {
                    let key = self.groups.key(slot);
                    key.get(index).copied().unwrap_or(Symbol::NULL)
                };
                Column::Text((0..self.groups.len()).map(symbol).collect())
            })
            .collect();
        if let Some(SessionTimes { spans, .. }) = &self.sessions {
            let of = |value: fn(&Span) -> f64| Column::Number(spans.iter().map(value).collect());
            columns.push(of(|span| span.first as f64));
            columns.push(of(|span| span.last as f64));
            columns.push(of(|span| (span.last - span.first) as f64 / 1e3));
        }
        columns
    }

    /// The value of each group, whose first `labels` symbols are its labels.
    fn values(
        &self,
        value: &mut AggregateExpression,
        labels: usize,
        interner: &mut Interner,
    ) -> Vec<f64> {
        let mut columns = self.key_columns(labels);
        columns.extend(self.results());
        let values = value.finish.evaluate(&columns, self.groups.len(), interner);
        values.numbers().to_vec()
    }

    fn results(&self) -> impl Iterator<Item = Column> {
        self.groups
            .aggregates()
            .iter()
            .map(|aggregate| aggregate.finish())
    }
}

/// Forms the samples of a metric.
#[derive(Debug)]
pub(super) struct Former {
    shape: Shape,
    /// How many symbols of a key are labels.
    labels: usize,
    series: SeriesCache,
    held: Option<Held>,
    budget: Option<Budget>,
    top: Option<Top>,
    kinds: Vec<AggregateKind>,
}

impl Former {
    pub(super) fn new(metric: &Metric, counters: &MetricCounters) -> Self {
        let labels: Vec<_> = metric.by.iter().map(|(name, _)| name.clone()).collect();
        Self {
            shape: metric.shape.clone(),
            labels: labels.len(),
            series: SeriesCache::new(metric.name.clone(), labels),
            held: Held::new(metric, counters.held_refused.clone()),
            budget: Budget::new(metric, counters.budget.clone()),
            top: metric.top,
            kinds: kinds_of(metric),
        }
    }

    /// Whether a window may have samples where no event came, after the one that ended at `formed`.
    pub(super) fn goes_on(&self, _formed: TimestampMs) -> bool {
        self.held.as_ref().is_some_and(|held| !held.is_empty())
    }

    /// Appends the samples of a window, or of sessions.
    pub(super) fn form(
        &mut self,
        window: Bounds,
        parts: Vec<Part>,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        self.series.next_window();
        match &mut self.shape {
            Shape::Raw { .. } => {
                for part in parts {
                    form_raw(&part.groups, &mut self.series, interner, samples);
                }
            }
            Shape::Aggregate { value } => {
                for mut part in parts {
                    if let Some(budget) = &mut self.budget {
                        part.groups = budget.fold(window.end, part.groups, &self.kinds, interner);
                    }
                    let mut values = part.values(value, self.labels, interner);
                    if let Some(top) = self.top {
                        keep_top(top, &mut values, &part.groups, interner);
                    }
                    for (slot, value) in values.into_iter().enumerate() {
                        let at = part.timestamp(slot, window);
                        let key = part.groups.key(slot);
                        push(at, key, value, &mut self.series, interner, samples);
                    }
                }
            }
            Shape::Per { values, value, .. } => {
                let mut rows = Rows::default();
                for part in &parts {
                    rows.append(values, part, self.labels, interner);
                }
                if let Some(held) = &mut self.held {
                    held.carry(window.end, &mut rows, interner);
                }
                if let Some(budget) = &mut self.budget {
                    budget.relabel(window.end, &mut rows.columns, rows.count, interner);
                }
                let grouped = group_rows(value, &rows, self.labels, interner);
                let grouped = Part::of_window(grouped);
                let mut values = grouped.values(value, self.labels, interner);
                if let Some(top) = self.top {
                    keep_top(top, &mut values, &grouped.groups, interner);
                }
                for (slot, value) in values.into_iter().enumerate() {
                    let key = grouped.groups.key(slot);
                    push(window.end, key, value, &mut self.series, interner, samples);
                }
            }
        }
    }
}

/// The rows of `per`: labels, key, named values.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The columns in this order.
    pub(super) columns: Vec<Column>,
    /// How many rows.
    pub(super) count: usize,
    /// The time of each row's last event, ms since the epoch, where it is kept.
    pub(super) last_times: Vec<f64>,
}

impl Rows {
    /// Appends the rows of a part. `labels` symbols of a key are labels, the next one is the key.
    fn append(
        &mut self,
        values: &mut [AggregateExpression],
        part: &Part,
        labels: usize,
        interner: &mut Interner,
    ) {
        let keys = part.key_columns(labels + 1);
        let mut results = part.results();
        let mut rows: Vec<_> = keys.iter().take(labels + 1).cloned().collect();
        for value in values {
            // Each expression was compiled over the keys and its own calls.
            let mut columns = keys.clone();
            columns.extend(results.by_ref().take(value.calls.len()));
            let column = value
                .finish
                .evaluate(&columns, part.groups.len(), interner)
                .into_owned();
            rows.push(column);
        }
        if part.sessions.is_none()
            && let Some(Column::Number(times)) = results.next()
        {
            self.last_times.extend(times);
        }
        self.count += part.groups.len();
        if self.columns.is_empty() {
            self.columns = rows;
            return;
        }
        for (column, more) in self.columns.iter_mut().zip(rows) {
            match (column, more) {
                (Column::Number(column), Column::Number(more)) => column.extend(more),
                (Column::Boolean(column), Column::Boolean(more)) => column.extend(more),
                (Column::Text(column), Column::Text(more)) => column.extend(more),
                // All parts have the same columns.
                _ => {}
            }
        }
    }
}

/// Aggregates the rows of `per` by their labels.
fn group_rows(
    value: &mut AggregateExpression,
    rows: &Rows,
    labels: usize,
    interner: &mut Interner,
) -> Groups {
    let kinds: Vec<_> = value.calls.iter().map(kind_of).collect();
    let mut grouped = Groups::new(labels, &kinds);
    let label_columns: Vec<_> = rows
        .columns
        .iter()
        .take(labels)
        .map(Column::symbols)
        .collect();
    let mut key = Vec::with_capacity(labels);
    let slots: Vec<u32> = (0..rows.count)
        .map(|row| {
            key.clear();
            let symbol = |column: &&[Symbol]| column.get(row).copied().unwrap_or(Symbol::NULL);
            key.extend(label_columns.iter().map(symbol));
            grouped.slot(&key)
        })
        .collect();
    let numbers: Vec<u32> = (0..u32::try_from(rows.count).unwrap_or(u32::MAX)).collect();
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
            .map(|program| program.evaluate(&rows.columns, rows.count, interner));
        let filter = call
            .filter
            .as_mut()
            .map(|program| program.evaluate(&rows.columns, rows.count, interner));
        aggregate.update(
            &input,
            argument.as_deref(),
            filter.as_deref().map(Column::booleans),
        );
    }
    grouped
}

/// A sample of a group, unless its value is NULL.
fn push(
    timestamp_ms: TimestampMs,
    key: &[Symbol],
    value: f64,
    series: &mut SeriesCache,
    interner: &Interner,
    samples: &mut Vec<Sample>,
) {
    if !value.is_nan() {
        samples.push(Sample {
            series: series.get(key, interner),
            timestamp_ms,
            value,
        });
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
