//! Aggregates as bytes: columns, a value for each slot.
//!
//! An aggregate begins with a number that says which state follows; each state's format is beside the
//! state. What a kind says, such as the bounds of buckets, is not taken from the bytes but held
//! against them. A value that no aggregation could have made is refused, so that what was decoded
//! never fails later.

use super::buckets::Buckets;
use super::extreme::Extreme;
use super::histogram::Histogram;
use super::ordered::Ordered;
use super::quantile::Quantile;
use super::readings::Readings;
use super::spread::Spread;
use super::{
    Aggregate, AggregateKind, ApproximateDistinct, Average, Count, DistinctNumbers, DistinctTexts,
    Sum,
};
use crate::model::{Corrupt, Decoder, Encoder, Symbol, SymbolReader, SymbolWriter, Trilean};

/// No group has seen so many values, and several such numbers can be added.
pub(super) const MOST_VALUES: u64 = 1 << 60;

impl Aggregate {
    /// Which state it is, as it is written; a number is never used again for another one.
    fn number(&self) -> u8 {
        match self {
            Self::Count(_) => 1,
            Self::DistinctTexts(_) => 2,
            Self::DistinctNumbers(_) => 3,
            Self::ApproximateDistinct(_) => 4,
            Self::Sum(_) => 5,
            Self::Average(_) => 6,
            Self::Spread(_) => 7,
            Self::Quantile(_) => 8,
            Self::Extreme(_) => 9,
            Self::OrderedNumber(_) => 10,
            Self::OrderedText(_) => 11,
            Self::OrderedBoolean(_) => 12,
            Self::Readings(_) => 13,
            Self::Histogram(_) => 14,
            Self::Buckets(_) => 15,
        }
    }

    /// Writes the values of all slots.
    pub fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        out.u8(self.number());
        match self {
            Self::Count(state) => state.encode(out),
            Self::DistinctTexts(state) => state.encode(out, symbols),
            Self::DistinctNumbers(state) => state.encode(out),
            Self::ApproximateDistinct(state) => state.encode(out),
            Self::Sum(state) => state.encode(out),
            Self::Average(state) => state.encode(out),
            Self::Spread(state) => state.encode(out),
            Self::Quantile(state) => state.encode(out),
            Self::Extreme(state) => state.encode(out),
            Self::OrderedNumber(state) => {
                state.encode(out, |out, values| out.f64s(values.into_iter()));
            }
            Self::OrderedText(state) => state.encode(out, |out, values| {
                out.u32s(values.into_iter().map(|symbol| symbols.number(symbol)));
            }),
            Self::OrderedBoolean(state) => state.encode(out, |out, values| {
                out.u8s(values.into_iter().map(|value| u8::from(value.is_true())));
            }),
            Self::Readings(state) => state.encode(out),
            Self::Histogram(state) => state.encode(out),
            Self::Buckets(state) => state.encode(out),
        }
    }

    /// Reads what [`encode`](Self::encode) has written of an aggregate of the same kind.
    ///
    /// # Errors
    /// The bytes are of another kind or another number of slots, or no state at all.
    pub fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        kind: &AggregateKind,
        slots: usize,
    ) -> Result<Self, Corrupt> {
        let empty = Self::new(kind);
        let (found, expected) = (from.u8()?, empty.number());
        if found != expected {
            let state = kind.describe();
            return Err(from.corrupt(format!(
                "state number {found} is not that of {state}, which is {expected}"
            )));
        }
        Ok(match empty {
            Self::Count(_) => Self::Count(Count::decode(from, slots)?),
            Self::DistinctTexts(_) => {
                Self::DistinctTexts(DistinctTexts::decode(from, symbols, slots)?)
            }
            Self::DistinctNumbers(_) => {
                Self::DistinctNumbers(DistinctNumbers::decode(from, slots)?)
            }
            Self::ApproximateDistinct(_) => {
                Self::ApproximateDistinct(ApproximateDistinct::decode(from, slots)?)
            }
            Self::Sum(_) => Self::Sum(Sum::decode(from, slots)?),
            Self::Average(_) => Self::Average(Average::decode(from, slots)?),
            Self::Spread(empty) => Self::Spread(Spread::decode(empty, from, slots)?),
            Self::Quantile(empty) => Self::Quantile(Quantile::decode(empty, from, slots)?),
            Self::Extreme(empty) => Self::Extreme(Extreme::decode(empty, from, slots)?),
            Self::OrderedNumber(empty) => {
                Self::OrderedNumber(Ordered::decode(empty, from, slots, |from| {
                    let values = from.f64s()?;
                    must(from, values.iter().all(|value| !value.is_nan()), || {
                        "a value that was kept is NULL".to_owned()
                    })?;
                    Ok(values)
                })?)
            }
            Self::OrderedText(empty) => {
                Self::OrderedText(Ordered::decode(empty, from, slots, |from| {
                    read_symbols(from, symbols)
                })?)
            }
            Self::OrderedBoolean(empty) => {
                Self::OrderedBoolean(Ordered::decode(empty, from, slots, |from| {
                    let values = from.u8s()?;
                    must(from, values.iter().all(|value| *value <= 1), || {
                        "a truth value is neither 0 nor 1".to_owned()
                    })?;
                    Ok(values
                        .into_iter()
                        .map(|value| Trilean::from(value == 1))
                        .collect())
                })?)
            }
            Self::Readings(empty) => Self::Readings(Readings::decode(empty, from, slots)?),
            Self::Histogram(empty) => Self::Histogram(Histogram::decode(empty, from, slots)?),
            Self::Buckets(empty) => Self::Buckets(Buckets::decode(empty, from, slots)?),
        })
    }
}

/// That something holds of what was read.
pub(super) fn must(
    from: &Decoder<'_>,
    holds: bool,
    reason: impl FnOnce() -> String,
) -> Result<(), Corrupt> {
    if holds {
        Ok(())
    } else {
        Err(from.corrupt(reason()))
    }
}

/// A column that has a value for each slot.
pub(super) fn for_slots<T>(
    from: &Decoder<'_>,
    column: Vec<T>,
    slots: usize,
) -> Result<Vec<T>, Corrupt> {
    let found = column.len();
    must(from, found == slots, || {
        format!("a column has {found} values for {slots} groups")
    })?;
    Ok(column)
}

/// Numbers of values, one for each slot.
pub(super) fn read_counts(from: &mut Decoder<'_>, slots: usize) -> Result<Vec<u64>, Corrupt> {
    let counts = from.u64s()?;
    let most = counts.iter().copied().max().unwrap_or_default();
    must(from, most <= MOST_VALUES, || {
        format!("a group has {most} values, more than there can be")
    })?;
    for_slots(from, counts, slots)
}

/// How many values each slot has in a column of the values of all slots.
pub(super) fn write_lengths(out: &mut Encoder, lengths: impl ExactSizeIterator<Item = usize>) {
    out.u64s(lengths.map(|length| length as u64));
}

/// Reads what [`write_lengths`] has written.
pub(super) fn read_lengths(from: &mut Decoder<'_>, slots: usize) -> Result<Vec<usize>, Corrupt> {
    let lengths = from.u64s()?;
    // What does not fit is longer than any column.
    let length = |length| usize::try_from(length).unwrap_or(usize::MAX);
    for_slots(from, lengths.into_iter().map(length).collect(), slots)
}

/// That a column has as many values as all slots together.
pub(super) fn must_add_up(
    from: &Decoder<'_>,
    lengths: impl IntoIterator<Item = usize>,
    found: usize,
) -> Result<(), Corrupt> {
    let total = lengths.into_iter().try_fold(0_usize, usize::checked_add);
    must(from, total == Some(found), || match total {
        Some(total) => format!("a column has {found} values, not the {total} of all groups"),
        None => format!("a column has {found} values, far fewer than the groups say"),
    })
}

/// A column of symbols that are not NULL.
pub(super) fn read_symbols(
    from: &mut Decoder<'_>,
    symbols: &SymbolReader,
) -> Result<Vec<Symbol>, Corrupt> {
    let numbers = from.u32s()?;
    must(from, !numbers.contains(&0), || {
        "a text that was kept is NULL".to_owned()
    })?;
    numbers
        .into_iter()
        .map(|number| symbols.symbol(number))
        .collect()
}
