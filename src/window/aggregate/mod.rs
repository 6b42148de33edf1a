//! Aggregates: a file each, all mergeable.
//!
//! An [`Aggregate`] holds one value for every slot (group) of a window. Merging is associative and
//! commutative, so the result depends neither on how events were distributed to workers nor on
//! when they arrived.

mod approximate;
mod average;
mod buckets;
mod count;
mod distinct;
mod exponential;
mod extreme;
mod histogram;
mod kind;
mod natural;
mod octave;
mod ordered;
mod quantile;
mod rate;
mod readings;
mod spread;
mod state;
mod sum;
mod time_weighted;

use approximate::ApproximateDistinct;
use average::Average;
use buckets::Buckets;
use count::Count;
use distinct::{DistinctNumbers, DistinctTexts};
use extreme::{Extreme, Side};
use histogram::Histogram;
use ordered::{Ordered, Pick};
use quantile::Quantile;
use readings::Readings;
use spread::Spread;
use sum::Sum;

pub use buckets::ClassicHistogram;
pub use kind::{AggregateKind, Function, Output};
pub use readings::Reading;
pub use spread::Measure;
pub use sum::ExactSum;

use super::Extent;
pub use crate::model::AGGREGATE_NAMES as NAMES;
use crate::model::{
    Column, DataType, HoldsSymbols, LiveSymbols, NativeHistogram, Renumbering, SplitId, Symbol,
    TimestampMs, Trilean,
};

/// Where the rows of a batch stand in their source: it breaks ties between equal times.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Their split.
    pub split: SplitId,
    /// Their positions.
    pub positions: &'a [u64],
}

/// Rows of one batch and one window, with the slot of each.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Row numbers within the batch.
    pub rows: &'a [u32],
    /// The slot of each row.
    pub slots: &'a [u32],
    /// The times of all rows of the batch.
    pub times: &'a [TimestampMs],
    /// The positions of all rows of the batch.
    pub origin: Origin<'a>,
}

impl Input<'_> {
    /// Visits every row that passes the filter with its slot.
    #[inline]
    fn for_each(&self, filter: Option<&[Trilean]>, mut visit: impl FnMut(usize, usize)) {
        let pairs = self.rows.iter().zip(self.slots);
        match filter {
            None => pairs.for_each(|(row, slot)| visit(*row as usize, *slot as usize)),
            Some(filter) => {
                for (row, slot) in pairs {
                    let row = *row as usize;
                    if filter.get(row).is_some_and(|passes| passes.is_true()) {
                        visit(row, *slot as usize);
                    }
                }
            }
        }
    }
}

/// Symbols of one interner as symbols of another.
#[derive(Debug, Clone, Copy)]
pub enum SymbolMap<'a> {
    /// It is the same interner.
    Same,
    /// By the other's symbol.
    Table(&'a [Symbol]),
}

impl SymbolMap<'_> {
    /// The symbol here of a symbol there.
    pub fn get(&self, symbol: Symbol) -> Symbol {
        match self {
            Self::Same => symbol,
            Self::Table(table) => table.get(symbol.index()).copied().unwrap_or(Symbol::NULL),
        }
    }
}

/// One aggregate of all slots.
#[derive(Debug, Clone)]
pub enum Aggregate {
    /// `count`.
    Count(Count),
    /// `count(DISTINCT text)`.
    DistinctTexts(DistinctTexts),
    /// `count(DISTINCT number)`, also of truth values.
    DistinctNumbers(DistinctNumbers),
    /// `approx_count_distinct`.
    ApproximateDistinct(ApproximateDistinct),
    /// `sum`.
    Sum(Sum),
    /// `avg`.
    Average(Average),
    /// `variance`, `stddev` and those of a population.
    Spread(Spread),
    /// `quantile` and `median`.
    Quantile(Quantile),
    /// `min` and `max`.
    Extreme(Extreme),
    /// `first` and `last` of numbers.
    OrderedNumber(Ordered<f64>),
    /// `first` and `last` of texts.
    OrderedText(Ordered<Symbol>),
    /// `first` and `last` of truth values.
    OrderedBoolean(Ordered<Trilean>),
    /// What goes by the order of readings, and all readings of metrics without a window.
    Readings(Readings),
    /// `histogram`.
    Histogram(Histogram),
    /// `buckets`.
    Buckets(Buckets),
}

/// Does the same for every variant.
macro_rules! each {
    ($aggregate:expr, $state:ident => $body:expr) => {
        match $aggregate {
            Aggregate::Count($state) => $body,
            Aggregate::DistinctTexts($state) => $body,
            Aggregate::DistinctNumbers($state) => $body,
            Aggregate::Sum($state) => $body,
            Aggregate::Average($state) => $body,
            Aggregate::Extreme($state) => $body,
            Aggregate::OrderedNumber($state) => $body,
            Aggregate::OrderedText($state) => $body,
            Aggregate::OrderedBoolean($state) => $body,
            Aggregate::ApproximateDistinct($state) => $body,
            Aggregate::Spread($state) => $body,
            Aggregate::Quantile($state) => $body,
            Aggregate::Readings($state) => $body,
            Aggregate::Histogram($state) => $body,
            Aggregate::Buckets($state) => $body,
        }
    };
}

impl Aggregate {
    /// No slots yet.
    pub fn new(kind: &AggregateKind) -> Self {
        let ordered = |pick| match kind.argument {
            Some(DataType::Text) => Self::OrderedText(Ordered::new(pick)),
            Some(DataType::Boolean) => Self::OrderedBoolean(Ordered::new(pick)),
            _ => Self::OrderedNumber(Ordered::new(pick)),
        };
        let readings = |measure| Self::Readings(Readings::new(measure));
        match &kind.function {
            Function::Count => Self::Count(Count::default()),
            Function::CountDistinct if kind.argument == Some(DataType::Text) => {
                Self::DistinctTexts(DistinctTexts::default())
            }
            Function::CountDistinct => Self::DistinctNumbers(DistinctNumbers::default()),
            Function::ApproxCountDistinct => {
                Self::ApproximateDistinct(ApproximateDistinct::default())
            }
            Function::Sum => Self::Sum(Sum::default()),
            Function::Average => Self::Average(Average::default()),
            Function::Min => Self::Extreme(Extreme::new(Side::Lowest)),
            Function::Max => Self::Extreme(Extreme::new(Side::Highest)),
            Function::First => ordered(Pick::Earliest),
            Function::Last => ordered(Pick::Latest),
            Function::Spread(measure) => Self::Spread(Spread::new(*measure)),
            Function::Quantile(share) => Self::Quantile(Quantile::new(*share)),
            Function::Median => Self::Quantile(Quantile::new(0.5)),
            Function::Rate => readings(readings::Measure::Rate),
            Function::Increase => readings(readings::Measure::Increase),
            Function::Delta => readings(readings::Measure::Delta),
            Function::TimeAverage => readings(readings::Measure::TimeAverage),
            Function::TimeIn => readings(readings::Measure::TimeIn),
            Function::Histogram { schema } => Self::Histogram(Histogram::new(*schema)),
            Function::Buckets { bounds } => Self::Buckets(Buckets::new(bounds.clone())),
            Function::Collect => readings(readings::Measure::None),
        }
    }

    /// Gives it a value for every slot below `slots`.
    pub fn grow(&mut self, slots: usize) {
        each!(self, state => state.grow(slots));
    }

    /// Takes in rows; every slot must have a value already.
    pub fn update(
        &mut self,
        input: &Input<'_>,
        column: Option<&Column>,
        filter: Option<&[Trilean]>,
    ) {
        match (self, column) {
            (Self::Count(state), column) => state.update(input, column, filter),
            (Self::DistinctTexts(state), Some(Column::Text(values))) => {
                state.update(input, values, filter);
            }
            (Self::DistinctNumbers(state), Some(column)) => state.update(input, column, filter),
            (Self::Sum(state), Some(Column::Number(values))) => state.update(input, values, filter),
            (Self::Average(state), Some(Column::Number(values))) => {
                state.update(input, values, filter);
            }
            (Self::Extreme(state), Some(Column::Number(values))) => {
                state.update(input, values, filter);
            }
            (Self::OrderedNumber(state), Some(Column::Number(values))) => {
                state.update(input, values, filter, |value| !value.is_nan());
            }
            (Self::OrderedText(state), Some(Column::Text(values))) => {
                state.update(input, values, filter, |value| !value.is_null());
            }
            (Self::OrderedBoolean(state), Some(Column::Boolean(values))) => {
                state.update(input, values, filter, |value| *value != Trilean::Null);
            }
            (Self::ApproximateDistinct(state), Some(column)) => {
                state.update(input, column, filter);
            }
            (Self::Spread(state), Some(Column::Number(values))) => {
                state.update(input, values, filter);
            }
            (Self::Quantile(state), Some(Column::Number(values))) => {
                state.update(input, values, filter);
            }
            (Self::Readings(state), Some(column)) => state.update(input, column, filter),
            (Self::Histogram(state), Some(Column::Number(values))) => {
                state.update(input, values, filter);
            }
            (Self::Buckets(state), Some(Column::Number(values))) => {
                state.update(input, values, filter);
            }
            // The types were checked when the pipeline was loaded.
            _ => {}
        }
    }

    /// Adds another aggregate of the same kind; `slots` gives the slot here of each slot there.
    pub fn merge(&mut self, other: &Self, slots: &[u32], symbols: &SymbolMap<'_>) {
        match (self, other) {
            (Self::Count(mine), Self::Count(theirs)) => mine.merge(theirs, slots),
            (Self::DistinctTexts(mine), Self::DistinctTexts(theirs)) => {
                mine.merge(theirs, slots, symbols);
            }
            (Self::DistinctNumbers(mine), Self::DistinctNumbers(theirs)) => {
                mine.merge(theirs, slots);
            }
            (Self::Sum(mine), Self::Sum(theirs)) => mine.merge(theirs, slots),
            (Self::Average(mine), Self::Average(theirs)) => mine.merge(theirs, slots),
            (Self::Extreme(mine), Self::Extreme(theirs)) => mine.merge(theirs, slots),
            (Self::OrderedNumber(mine), Self::OrderedNumber(theirs)) => {
                mine.merge(theirs, slots, |value| value);
            }
            (Self::OrderedText(mine), Self::OrderedText(theirs)) => {
                mine.merge(theirs, slots, |symbol| symbols.get(symbol));
            }
            (Self::OrderedBoolean(mine), Self::OrderedBoolean(theirs)) => {
                mine.merge(theirs, slots, |value| value);
            }
            (Self::ApproximateDistinct(mine), Self::ApproximateDistinct(theirs)) => {
                mine.merge(theirs, slots);
            }
            (Self::Spread(mine), Self::Spread(theirs)) => mine.merge(theirs, slots),
            (Self::Quantile(mine), Self::Quantile(theirs)) => mine.merge(theirs, slots),
            (Self::Readings(mine), Self::Readings(theirs)) => mine.merge(theirs, slots),
            (Self::Histogram(mine), Self::Histogram(theirs)) => mine.merge(theirs, slots),
            (Self::Buckets(mine), Self::Buckets(theirs)) => mine.merge(theirs, slots),
            // Both sides come from the same metric.
            _ => {}
        }
    }

    /// Some of the slots, in the order given.
    pub fn pick(&self, slots: &[u32]) -> Self {
        match self {
            Self::Count(state) => Self::Count(state.pick(slots)),
            Self::DistinctTexts(state) => Self::DistinctTexts(state.pick(slots)),
            Self::DistinctNumbers(state) => Self::DistinctNumbers(state.pick(slots)),
            Self::Sum(state) => Self::Sum(state.pick(slots)),
            Self::Average(state) => Self::Average(state.pick(slots)),
            Self::Extreme(state) => Self::Extreme(state.pick(slots)),
            Self::OrderedNumber(state) => Self::OrderedNumber(state.pick(slots)),
            Self::OrderedText(state) => Self::OrderedText(state.pick(slots)),
            Self::OrderedBoolean(state) => Self::OrderedBoolean(state.pick(slots)),
            Self::ApproximateDistinct(state) => Self::ApproximateDistinct(state.pick(slots)),
            Self::Spread(state) => Self::Spread(state.pick(slots)),
            Self::Quantile(state) => Self::Quantile(state.pick(slots)),
            Self::Readings(state) => Self::Readings(state.pick(slots)),
            Self::Histogram(state) => Self::Histogram(state.pick(slots)),
            Self::Buckets(state) => Self::Buckets(state.pick(slots)),
        }
    }

    /// The results, a row for each slot. Those of a distribution are the numbers of its
    /// values; see [`Self::native_histogram`] and [`Self::classic_histogram`].
    pub fn finish(&self, windows: Extent<'_>) -> Column {
        match self {
            Self::Count(state) => state.finish(),
            Self::DistinctTexts(state) => state.finish(),
            Self::DistinctNumbers(state) => state.finish(),
            Self::Sum(state) => state.finish(),
            Self::Average(state) => state.finish(),
            Self::Extreme(state) => state.finish(),
            Self::OrderedNumber(state) => Column::Number(state.finish(f64::NAN)),
            Self::OrderedText(state) => Column::Text(state.finish(Symbol::NULL)),
            Self::OrderedBoolean(state) => Column::Boolean(state.finish(Trilean::Null)),
            Self::ApproximateDistinct(state) => state.finish(),
            Self::Spread(state) => state.finish(),
            Self::Quantile(state) => state.finish(),
            Self::Readings(state) => state.finish(windows),
            Self::Histogram(state) => state.finish(),
            Self::Buckets(state) => state.finish(),
        }
    }

    /// The different texts of a slot, where this is their set.
    pub fn for_each_distinct(&self, slot: usize, visit: impl FnMut(Symbol)) {
        if let Self::DistinctTexts(state) = self {
            state.for_each(slot, visit);
        }
    }

    /// The different texts of a slot that another set of texts does not have in the same slot.
    pub fn for_each_besides(&self, other: &Self, slot: usize, visit: impl FnMut(Symbol)) {
        if let (Self::DistinctTexts(mine), Self::DistinctTexts(others)) = (self, other) {
            mine.for_each_besides(others, slot, visit);
        }
    }

    /// The native histogram of a slot, where this is one and the slot has values.
    pub fn native_histogram(&self, slot: usize) -> Option<NativeHistogram> {
        match self {
            Self::Histogram(state) => state.histogram(slot),
            _ => None,
        }
    }

    /// The classic histogram of a slot, where this is one and the slot has values.
    pub fn classic_histogram(&self, slot: usize) -> Option<ClassicHistogram> {
        match self {
            Self::Buckets(state) => state.histogram(slot),
            _ => None,
        }
    }

    /// The readings of a slot by their times, one at each, where this collects readings.
    pub fn readings(&self, slot: usize) -> Vec<Reading> {
        match self {
            Self::Readings(state) => state.ordered(slot),
            _ => Vec::new(),
        }
    }

    /// Every symbol that is held, some of them several times.
    pub fn for_each_symbol(&self, visit: impl FnMut(Symbol)) {
        match self {
            Self::DistinctTexts(state) => state.for_each_symbol(visit),
            Self::OrderedText(state) => state.values().for_each(visit),
            _ => {}
        }
    }

    /// How many bytes it takes, about.
    pub fn byte_len(&self) -> usize {
        each!(self, state => state.byte_len())
    }
}

impl HoldsSymbols for Aggregate {
    fn mark_live(&self, live: &mut LiveSymbols) {
        match self {
            Self::DistinctTexts(state) => state.mark_live(live),
            Self::OrderedText(state) => state.mark_live(live),
            _ => {}
        }
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        match self {
            Self::DistinctTexts(state) => state.renumber(numbers),
            Self::OrderedText(state) => state.renumber(numbers),
            _ => {}
        }
    }
}

/// A result beyond the range of doubles is none.
fn null_unless_finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}

/// The states of some slots, copied.
fn pick_slots<T: Clone + Default>(states: &[T], slots: &[u32]) -> Vec<T> {
    slots
        .iter()
        .map(|slot| states.get(*slot as usize).cloned().unwrap_or_default())
        .collect()
}

/// Visits the state here of every state there.
fn merge_slots<T>(mine: &mut [T], theirs: &[T], slots: &[u32], mut merge: impl FnMut(&mut T, &T)) {
    for (theirs, slot) in theirs.iter().zip(slots) {
        if let Some(mine) = mine.get_mut(*slot as usize) {
            merge(mine, theirs);
        }
    }
}

#[cfg(test)]
mod tests;
