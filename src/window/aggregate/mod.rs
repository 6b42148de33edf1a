//! Aggregates: a file each, all mergeable.
//!
//! An [`Aggregate`] holds one value for every slot (group) of a window. Merging is associative and
//! commutative, so the result depends neither on how events were distributed to workers nor on
//! when they arrived.

mod average;
mod collect;
mod count;
mod distinct;
mod extreme;
mod kind;
mod ordered;
mod sum;

use average::Average;
use collect::Collect;
use count::Count;
use distinct::{DistinctNumbers, DistinctTexts};
use extreme::{Extreme, Side};
use ordered::{Ordered, Pick};
use sum::Sum;

pub use collect::Reading;
pub use kind::{AggregateKind, Function, NAMES};
pub use sum::ExactSum;

use crate::model::{Column, DataType, SplitId, Symbol, TimestampMs, Trilean};

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
    /// `sum`.
    Sum(Sum),
    /// `avg`.
    Average(Average),
    /// `min` and `max`.
    Extreme(Extreme),
    /// `first` and `last` of numbers.
    OrderedNumber(Ordered<f64>),
    /// `first` and `last` of texts.
    OrderedText(Ordered<Symbol>),
    /// `first` and `last` of truth values.
    OrderedBoolean(Ordered<Trilean>),
    /// All readings, for metrics without a window.
    Collect(Collect),
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
            Aggregate::Collect($state) => $body,
        }
    };
}

impl Aggregate {
    /// No slots yet.
    pub fn new(kind: AggregateKind) -> Self {
        let ordered = |pick| match kind.argument {
            Some(DataType::Text) => Self::OrderedText(Ordered::new(pick)),
            Some(DataType::Boolean) => Self::OrderedBoolean(Ordered::new(pick)),
            _ => Self::OrderedNumber(Ordered::new(pick)),
        };
        match kind.function {
            Function::Count => Self::Count(Count::default()),
            Function::CountDistinct if kind.argument == Some(DataType::Text) => {
                Self::DistinctTexts(DistinctTexts::default())
            }
            Function::CountDistinct => Self::DistinctNumbers(DistinctNumbers::default()),
            Function::Sum => Self::Sum(Sum::default()),
            Function::Average => Self::Average(Average::default()),
            Function::Min => Self::Extreme(Extreme::new(Side::Lowest)),
            Function::Max => Self::Extreme(Extreme::new(Side::Highest)),
            Function::First => ordered(Pick::Earliest),
            Function::Last => ordered(Pick::Latest),
            Function::Collect => Self::Collect(Collect::default()),
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
            (Self::Collect(state), Some(Column::Number(values))) => state.update(input, values),
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
            (Self::Collect(mine), Self::Collect(theirs)) => mine.merge(theirs, slots),
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
            Self::Collect(state) => Self::Collect(state.pick(slots)),
        }
    }

    /// The results, a row for each slot.
    pub fn finish(&self) -> Column {
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
            Self::Collect(_) => Column::Number(Vec::new()),
        }
    }

    /// The readings of a slot, where this collects them.
    pub fn readings(&self, slot: usize) -> Option<&[Reading]> {
        match self {
            Self::Collect(state) => state.readings(slot),
            _ => None,
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
