//! From a window's groups to its samples.

use std::sync::Arc;
use std::vec::IntoIter;

use prometheus::IntCounter;

use super::budget::Budget;
use super::completeness::Fleet;
use super::emitter::Emitter;
use super::held::Held;
use super::keyed::StoredPane;
use super::living::Living;
use super::living_memory::LivingMemory;
use super::series::SeriesCache;
use super::snapshot::Forming;
use super::top::keep_top;
use crate::config::{Metric, Shape, Top};
use crate::enrich::SharedTable;
use crate::expr::AggregateExpression;
use crate::model::{
    Column, Corrupt, HoldsSymbols, Interner, LiveSymbols, Renumbering, Sample, SplitId, Symbol,
    TimestampMs,
};
use crate::pipeline::kinds::{kind_of, kinds_of};
use crate::pipeline::metrics::MetricCounters;
use crate::state::StoreError;
use crate::window::aggregate::{AggregateKind, Input, Origin, SymbolMap};
use crate::window::{Bounds, Ended, Extent, Groups, Windows};

/// Groups that samples are formed of, no key twice.
#[derive(Debug)]
pub(in crate::pipeline) struct Part {
    pub(in crate::pipeline) groups: Groups,
    sessions: Option<SessionTimes>,
}

/// The times of sessions, by slot.
#[derive(Debug)]
struct SessionTimes {
    /// From the first event to the last.
    bounds: Vec<Bounds>,
    gap_ms: i64,
}

impl Part {
    /// The groups of a window.
    pub(in crate::pipeline) fn of_window(groups: Groups) -> Self {
        Self {
            groups,
            sessions: None,
        }
    }

    /// Sessions that have ended, by a silence of `gap_ms`.
    pub(in crate::pipeline) fn of_sessions(ended: Ended, gap_ms: i64) -> Self {
        let bounds = ended.spans.iter().map(|span| Bounds {
            start: span.first,
            end: span.last,
        });
        Self {
            sessions: Some(SessionTimes {
                bounds: bounds.collect(),
                gap_ms,
            }),
            groups: ended.groups,
        }
    }

    /// The timestamp of a slot's sample.
    pub(in crate::pipeline) fn timestamp(&self, slot: usize, window: Bounds) -> TimestampMs {
        let sessions = self.sessions.as_ref();
        sessions
            .and_then(|sessions| {
                Some(
                    sessions
                        .bounds
                        .get(slot)?
                        .end
                        .saturating_add(sessions.gap_ms),
                )
            })
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
        if let Some(SessionTimes { bounds, .. }) = &self.sessions {
            let of = |value: fn(&Bounds) -> f64| Column::Number(bounds.iter().map(value).collect());
            columns.push(of(|session| session.start as f64));
            columns.push(of(|session| session.end as f64));
            columns.push(of(|session| session.length_ms() as f64 / 1e3));
        }
        columns
    }

    /// The value of each group, whose first `labels` symbols are its labels.
    fn values(
        &self,
        value: &mut AggregateExpression,
        labels: usize,
        window: Bounds,
        interner: &mut Interner,
    ) -> Vec<f64> {
        let mut columns = self.key_columns(labels);
        columns.extend(self.results(window));
        let values = value.finish.evaluate(&columns, self.groups.len(), interner);
        values.numbers().to_vec()
    }

    fn results(&self, window: Bounds) -> impl Iterator<Item = Column> {
        let windows = match &self.sessions {
            Some(sessions) => Extent::Each(&sessions.bounds),
            None => Extent::All(window),
        };
        let aggregates = self.groups.aggregates().iter();
        aggregates.map(move |aggregate| aggregate.finish(windows))
    }
}

/// What a window is formed of.
#[derive(Debug)]
pub(in crate::pipeline) enum Parts {
    /// Groups in memory.
    Ready(IntoIter<Part>),
    /// A pane on disk, of which one partition is in memory at a time.
    Stored(StoredPane),
}

impl From<Vec<Part>> for Parts {
    fn from(parts: Vec<Part>) -> Self {
        Self::Ready(parts.into_iter())
    }
}

impl Parts {
    /// The next part; nothing behind the last.
    fn next(&mut self, interner: &mut Interner) -> Result<Option<Part>, StoreError> {
        match self {
            Self::Ready(parts) => Ok(parts.next()),
            Self::Stored(pane) => Ok(pane.next(interner)?.map(Part::of_window)),
        }
    }
}

/// Forms the samples of a metric.
#[derive(Debug)]
pub(in crate::pipeline) struct Former {
    shape: Shape,
    /// How many symbols of a key are labels.
    labels: usize,
    held: Option<Held>,
    budget: Option<Budget>,
    fleet: Option<Fleet>,
    kinds: Vec<AggregateKind>,
    emitter: Emitter,
    /// How many series have ended.
    markers: IntCounter,
}

impl Former {
    pub(in crate::pipeline) fn new(
        metric: &Metric,
        counters: &MetricCounters,
        tables: &[Option<Arc<SharedTable>>],
    ) -> Self {
        let labels: Vec<_> = metric.by.iter().map(|(name, _)| name.clone()).collect();
        Self {
            shape: metric.shape.clone(),
            labels: labels.len(),
            held: Held::new(metric, counters.held_refused.clone()),
            budget: Budget::new(metric, counters.budget.clone()),
            fleet: Fleet::new(metric, tables),
            kinds: kinds_of(metric),
            emitter: Emitter::new(metric, labels),
            markers: counters.markers.clone(),
        }
    }

    /// Whether all groups of a window are to be there at once.
    pub(in crate::pipeline) fn needs_whole(&self) -> bool {
        self.fleet.is_some()
    }

    /// Whether a window may have samples where no event came, after the one that ended at `formed`.
    pub(in crate::pipeline) fn goes_on(&self, formed: TimestampMs) -> bool {
        let fleet = self.fleet.as_ref();
        self.held.as_ref().is_some_and(|held| !held.is_empty())
            || fleet.is_some_and(|fleet| fleet.goes_on(formed))
    }

    /// What decides later samples, as it is now; the window that was formed last is not known here.
    pub(in crate::pipeline) fn freeze(&self) -> Forming {
        Forming {
            formed: TimestampMs::MIN,
            held: self.held.as_ref().map(Held::freeze),
            placed: self.budget.as_ref().map(Budget::freeze),
            last_events: self.fleet.as_ref().map(Fleet::last_events),
        }
    }

    /// Takes over what a checkpoint has of it.
    ///
    /// # Errors
    /// Two owners had something of it, where there is only one.
    pub(in crate::pipeline) fn restore(&mut self, forming: Forming) -> Result<(), Corrupt> {
        if let (Some(held), Some(memory)) = (&mut self.held, forming.held) {
            held.restore(memory)?;
        }
        if let (Some(budget), Some(placed)) = (&mut self.budget, forming.placed) {
            budget.restore(placed)?;
        }
        if let (Some(fleet), Some(last_events)) = (&mut self.fleet, forming.last_events) {
            fleet.restore(last_events);
        }
        Ok(())
    }

    /// Which series live, where series end.
    pub(in crate::pipeline) fn living(&self) -> Option<&Living> {
        self.emitter.living.as_ref()
    }

    /// Takes over the series that live, as far as series still end.
    ///
    /// # Errors
    /// A series lives twice.
    pub(in crate::pipeline) fn restore_living(
        &mut self,
        memory: &LivingMemory,
    ) -> Result<(), Corrupt> {
        match &mut self.emitter.living {
            Some(living) => living.restore(memory),
            None => Ok(()),
        }
    }

    /// Everything up to a time is formed, by the run before: no series ends at or before it.
    pub(in crate::pipeline) fn go_on_behind(&mut self, formed: TimestampMs) {
        if let Some(living) = &mut self.emitter.living {
            living.go_on_behind(formed);
        }
    }

    /// The end of the next window in which a series may end that has no sample in it.
    pub(in crate::pipeline) fn next_end(&self, windows: &Windows) -> Option<TimestampMs> {
        self.living()?.next_end(windows)
    }

    /// How many bytes are held of silent keys and of series that live, about.
    pub(in crate::pipeline) fn byte_len(&self) -> usize {
        self.held.as_ref().map_or(0, Held::byte_len) + self.living().map_or(0, Living::byte_len)
    }

    /// Appends what says that series have ended, by the end of a window and behind its samples.
    pub(in crate::pipeline) fn end_silent(
        &mut self,
        end: TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        let living = self.emitter.living.as_mut();
        let ended = living.map(|living| living.take_ended(end, interner));
        for key in ended.unwrap_or_default() {
            self.end(&key, end, interner, samples);
        }
    }

    /// Appends what says that all series have ended, of so many groups at most; `end_of` gives the time by
    /// that of a series' last sample. Says whether none is left.
    pub(in crate::pipeline) fn end_all(
        &mut self,
        count: usize,
        end_of: impl Fn(TimestampMs) -> TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) -> bool {
        let living = self.emitter.living.as_mut();
        let ended = living.map(|living| living.take_some(count));
        for (key, last) in ended.unwrap_or_default() {
            self.end(&key, end_of(last), interner, samples);
        }
        self.living().is_none_or(Living::is_empty)
    }

    fn end(
        &mut self,
        key: &[Symbol],
        time: TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        let before = samples.len();
        match &mut self.fleet {
            Some(fleet) => fleet.end(key, time, interner, samples),
            None => self.emitter.end(key, time, interner, samples),
        }
        self.markers.inc_by((samples.len() - before) as u64);
    }

    /// Appends the samples of a window, or of sessions, and what says which series have ended.
    ///
    /// # Errors
    /// Groups cannot be read from their store.
    pub(in crate::pipeline) fn form(
        &mut self,
        window: Bounds,
        parts: Parts,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) -> Result<(), StoreError> {
        self.emitter.next_window();
        self.form_values(window, parts, interner, samples)?;
        self.end_silent(window.end, interner, samples);
        Ok(())
    }

    fn form_values(
        &mut self,
        window: Bounds,
        mut parts: Parts,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) -> Result<(), StoreError> {
        match &mut self.shape {
            Shape::Raw { .. } => {
                while let Some(part) = parts.next(interner)? {
                    form_raw(&part.groups, &mut self.emitter.series, interner, samples);
                }
            }
            Shape::Completeness(_) => {
                while let Some(part) = parts.next(interner)? {
                    if let Some(fleet) = &mut self.fleet {
                        let living = self.emitter.living.as_mut();
                        fleet.form(window, &part.groups, living, interner, samples);
                    }
                }
            }
            Shape::Aggregate { value } => {
                if let Parts::Stored(pane) = &mut parts
                    && let Some(few) = match (&mut self.budget, self.emitter.top) {
                        (Some(budget), _) => {
                            Some(budget.fold_stored(window.end, pane, &self.kinds, interner)?)
                        }
                        (None, Some(top)) => {
                            let values = |part: &Part, interner: &mut Interner| {
                                part.values(value, self.labels, window, interner)
                            };
                            Some(top_of_stored(top, pane, values, interner)?)
                        }
                        (None, None) => None,
                    }
                {
                    let part = Part::of_window(few);
                    let values = part.values(value, self.labels, window, interner);
                    self.emitter.emit(&part, values, window, interner, samples);
                    return Ok(());
                }
                while let Some(mut part) = parts.next(interner)? {
                    if let Some(budget) = &mut self.budget {
                        part.groups = budget.fold(window.end, part.groups, &self.kinds, interner);
                    }
                    let values = part.values(value, self.labels, window, interner);
                    self.emitter.emit(&part, values, window, interner, samples);
                }
            }
            Shape::Per { values, value, .. } => {
                let mut rows = Rows::default();
                while let Some(part) = parts.next(interner)? {
                    rows.append(values, &part, self.labels, window, interner);
                }
                if let Some(held) = &mut self.held {
                    held.carry(window.end, &mut rows, interner);
                }
                if let Some(budget) = &mut self.budget {
                    budget.relabel(window.end, &mut rows.columns, rows.count, interner);
                }
                let grouped = group_rows(value, &rows, self.labels, interner);
                let grouped = Part::of_window(grouped);
                let values = grouped.values(value, self.labels, window, interner);
                self.emitter
                    .emit(&grouped, values, window, interner, samples);
            }
        }
        Ok(())
    }
}

impl HoldsSymbols for Former {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.held.mark_live(live);
        self.budget.mark_live(live);
        self.fleet.mark_live(live);
        self.emitter.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        match &mut self.shape {
            Shape::Aggregate { value } => value.renumber(numbers),
            Shape::Per { values, value, .. } => {
                values.renumber(numbers);
                value.renumber(numbers);
            }
            // Nothing is evaluated here.
            Shape::Completeness(_) | Shape::Raw { .. } => {}
        }
        self.held.renumber(numbers);
        self.budget.renumber(numbers);
        self.fleet.renumber(numbers);
        self.emitter.renumber(numbers);
    }
}

/// The groups of a pane that can be among the first: the first ones of each partition.
fn top_of_stored(
    top: Top,
    pane: &mut StoredPane,
    mut values: impl FnMut(&Part, &mut Interner) -> Vec<f64>,
    interner: &mut Interner,
) -> Result<Groups, StoreError> {
    let mut first = pane.empty();
    while let Some(groups) = pane.next(interner)? {
        let part = Part::of_window(groups);
        let mut values = values(&part, interner);
        keep_top(top, &mut values, &part.groups, interner);
        let slots = values.iter().zip(0_u32..);
        let slots: Vec<u32> = slots
            .filter(|(value, _)| !value.is_nan())
            .map(|(_, slot)| slot)
            .collect();
        first.merge(&part.groups.pick(&slots), &SymbolMap::Same);
    }
    Ok(first)
}

/// The rows of `per`: labels, key, named values.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Rows {
    /// The columns in this order.
    pub(in crate::pipeline) columns: Vec<Column>,
    /// How many rows.
    pub(in crate::pipeline) count: usize,
    /// The time of each row's last event, ms since the epoch, where it is kept.
    pub(in crate::pipeline) last_times: Vec<f64>,
}

impl Rows {
    /// Appends the rows of a part. `labels` symbols of a key are labels, the next one is the key.
    fn append(
        &mut self,
        values: &mut [AggregateExpression],
        part: &Part,
        labels: usize,
        window: Bounds,
        interner: &mut Interner,
    ) {
        let keys = part.key_columns(labels + 1);
        let mut results = part.results(window);
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
            .input
            .as_mut()
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

/// The readings of each group in order of time; of several at one time the last one in the source's
/// order.
fn form_raw(
    groups: &Groups,
    series: &mut SeriesCache,
    interner: &Interner,
    samples: &mut Vec<Sample>,
) {
    for slot in 0..groups.len() {
        let aggregate = groups.aggregates().first();
        let readings = aggregate.map(|all| all.readings(slot)).unwrap_or_default();
        let series = series.get(groups.key(slot), interner);
        samples.extend(readings.into_iter().map(|reading| Sample {
            series: series.clone(),
            timestamp_ms: reading.time,
            value: reading.value.into(),
        }));
    }
}
