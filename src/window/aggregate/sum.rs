//! `sum(x)`: the sum of the values that are not NULL. Of nothing: NULL, hence no sample.
//!
//! Floating-point addition depends on the order, and the order in which workers see events depends
//! on timing. So the sum is kept as a 128-bit fixed-point number (in units of 2⁻⁶⁴), which holds
//! every value below 2⁶² with up to 64 binary places exactly; integer addition has no order.
//! Other values (very large, very small, or with more places), and what overflows, go into an exact
//! number that is as wide as it needs to be. So every sum is exact, and rounded once at the end.

use super::natural::{Natural, parts, scale};
use super::state::{for_slots, must, read_counts};
use super::{Input, merge_slots, pick_slots};
use crate::model::{Column, Corrupt, Decoder, Encoder, Trilean};

/// 2⁶⁴.
const SCALE: f64 = 18_446_744_073_709_551_616.0;
/// 2⁶².
const EXACT_BELOW: f64 = 4_611_686_018_427_387_904.0;
/// 2³².
const SQUARE_SCALE: f64 = 4_294_967_296.0;
/// 2³⁰.
const SQUARE_EXACT_BELOW: f64 = 1_073_741_824.0;

/// A sum that does not depend on the order of its values.
#[derive(Debug, Clone, Default)]
pub struct ExactSum {
    /// In units of 2⁻⁶⁴.
    fixed: i128,
    count: u64,
    /// What the fixed-point number could not take.
    rest: Option<Box<Rest>>,
}

/// Two sums, because each of them has no sign.
#[derive(Debug, Clone, Default)]
struct Rest {
    positive: Natural,
    negative: Natural,
}

impl Rest {
    fn side(&mut self, is_negative: bool) -> &mut Natural {
        if is_negative {
            &mut self.negative
        } else {
            &mut self.positive
        }
    }
}

impl ExactSum {
    /// Adds a value, which must be finite.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let whole = value.trunc();
        if value.abs() < EXACT_BELOW {
            #[expect(clippy::cast_possible_truncation, reason = "below 2^62")]
            let mut fixed = i128::from(whole as i64) << 64;
            if whole != value {
                let places = (value - whole) * SCALE;
                if places.trunc() != places {
                    return self.add_rest(value);
                }
                #[expect(clippy::cast_possible_truncation, reason = "below 2^64")]
                let places = places as i128;
                fixed += places;
            }
            return self.add_fixed(fixed);
        }
        self.add_rest(value);
    }

    /// Adds the square of a value, which must be finite.
    #[inline]
    pub fn add_square(&mut self, value: f64) {
        self.count += 1;
        let scaled = value * SQUARE_SCALE;
        if value.abs() < SQUARE_EXACT_BELOW && scaled.trunc() == scaled {
            #[expect(clippy::cast_possible_truncation, reason = "below 2^62")]
            let root = i128::from(scaled as i64);
            return self.add_fixed(root * root);
        }
        let (magnitude, exponent) = parts(value);
        let square = u128::from(magnitude) * u128::from(magnitude);
        let rest = self.rest.get_or_insert_default();
        rest.positive.add(square, 2 * exponent);
    }

    #[inline]
    fn add_fixed(&mut self, fixed: i128) {
        match self.fixed.checked_add(fixed) {
            Some(sum) => self.fixed = sum,
            None => {
                let spilled = std::mem::replace(&mut self.fixed, fixed);
                let rest = self.rest.get_or_insert_default();
                let side = rest.side(spilled < 0);
                side.add(spilled.unsigned_abs(), -64);
            }
        }
    }

    #[cold]
    fn add_rest(&mut self, value: f64) {
        let (magnitude, exponent) = parts(value);
        let rest = self.rest.get_or_insert_default();
        let side = rest.side(value.is_sign_negative());
        side.add(u128::from(magnitude), exponent);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.add_fixed(other.fixed);
        if let Some(theirs) = &other.rest {
            let rest = self.rest.get_or_insert_default();
            rest.positive.add_all(&theirs.positive);
            rest.negative.add_all(&theirs.negative);
        }
        self.count += other.count;
    }

    /// The sum, the nearest double to the exact one; NaN, that is NULL, where nothing was added, and
    /// infinite beyond the range of doubles.
    pub fn total(&self) -> f64 {
        if self.count == 0 {
            return f64::NAN;
        }
        if self.rest.is_none() {
            return self.fixed as f64 / SCALE;
        }
        let (value, exponent) = self.rounded();
        scale(value, exponent)
    }

    /// The sum divided by the number of values; NaN, that is NULL, where nothing was added.
    pub fn mean(&self) -> f64 {
        let total = self.total();
        if !total.is_infinite() {
            return total / self.count as f64;
        }
        let (value, exponent) = self.rounded();
        scale(value / self.count as f64, exponent)
    }

    /// How many values were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The exact sum without its sign, and whether it is negative.
    pub(super) fn exact(&self) -> (bool, Natural) {
        let mut sum = self.rest.as_deref().cloned().unwrap_or_default();
        let side = sum.side(self.fixed < 0);
        side.add(self.fixed.unsigned_abs(), -64);
        sum.positive.difference(&sum.negative)
    }

    fn rounded(&self) -> (f64, i32) {
        let (is_negative, magnitude) = self.exact();
        let (value, exponent) = magnitude.rounded();
        (if is_negative { -value } else { value }, exponent)
    }

    /// Writes the sums of all slots: the fixed-point numbers, the numbers of values, and behind them
    /// the few rests, each with its slot.
    pub(super) fn encode_all<'s>(
        out: &mut Encoder,
        sums: impl ExactSizeIterator<Item = &'s Self> + Clone,
    ) {
        out.i128s(sums.clone().map(|sum| sum.fixed));
        out.u64s(sums.clone().map(|sum| sum.count));
        let rests: Vec<(u64, &Rest)> = (0_u64..)
            .zip(sums)
            .filter_map(|(slot, sum)| Some((slot, sum.rest.as_deref()?)))
            .collect();
        out.u64s(rests.iter().map(|(slot, _)| *slot));
        for (_, rest) in rests {
            rest.positive.encode(out);
            rest.negative.encode(out);
        }
    }

    /// Reads what [`encode_all`](Self::encode_all) has written.
    pub(super) fn decode_all(from: &mut Decoder<'_>, slots: usize) -> Result<Vec<Self>, Corrupt> {
        let fixed = from.i128s()?;
        let fixed = for_slots(from, fixed, slots)?;
        let counts = read_counts(from, slots)?;
        let mut sums: Vec<Self> = fixed
            .into_iter()
            .zip(counts)
            .map(|(fixed, count)| Self {
                fixed,
                count,
                rest: None,
            })
            .collect();
        let rests = from.u64s()?;
        must(from, rests.is_sorted_by(|one, next| one < next), || {
            "the rests of sums are not in the order of their groups".to_owned()
        })?;
        for slot in rests {
            let positive = Natural::decode(from)?;
            let negative = Natural::decode(from)?;
            let sum = usize::try_from(slot)
                .ok()
                .and_then(|slot| sums.get_mut(slot));
            let Some(sum) = sum else {
                return Err(from.corrupt(format!("group {slot} of {slots} has the rest of a sum")));
            };
            sum.rest = Some(Box::new(Rest { positive, negative }));
        }
        let is_sum = |sum: &Self| sum.count > 0 || sum.fixed == 0 && sum.rest.is_none();
        must(from, sums.iter().all(is_sum), || {
            "the sum of no values is not 0".to_owned()
        })?;
        Ok(sums)
    }

    /// Whether it can be a sum of squares.
    pub(super) fn is_positive(&self) -> bool {
        let rest = self.rest.as_deref();
        self.fixed >= 0 && rest.is_none_or(|rest| rest.negative.is_zero())
    }

    /// How many bytes it takes beside itself, about.
    pub(super) fn byte_len(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| {
            size_of::<Rest>() + rest.positive.byte_len() + rest.negative.byte_len()
        })
    }
}

/// Sums by slot.
#[derive(Debug, Clone, Default)]
pub struct Sum(Vec<ExactSum>);

impl Sum {
    pub(super) fn grow(&mut self, slots: usize) {
        self.0.resize_with(slots, ExactSum::default);
    }

    pub(super) fn update(&mut self, input: &Input<'_>, values: &[f64], filter: Option<&[Trilean]>) {
        let sums = &mut self.0;
        input.for_each(filter, |row, slot| {
            if let (Some(value), Some(sum)) = (values.get(row), sums.get_mut(slot))
                && !value.is_nan()
            {
                sum.add(*value);
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        merge_slots(&mut self.0, &other.0, slots, ExactSum::merge);
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self(pick_slots(&self.0, slots))
    }

    pub(super) fn sums(&self) -> &[ExactSum] {
        &self.0
    }

    pub(super) fn finish(&self) -> Column {
        Column::Number(self.0.iter().map(ExactSum::total).collect())
    }

    /// The exact sums.
    pub(super) fn encode(&self, out: &mut Encoder) {
        ExactSum::encode_all(out, self.0.iter());
    }

    pub(super) fn decode(from: &mut Decoder<'_>, slots: usize) -> Result<Self, Corrupt> {
        Ok(Self(ExactSum::decode_all(from, slots)?))
    }

    pub(super) fn byte_len(&self) -> usize {
        let rests: usize = self.0.iter().map(ExactSum::byte_len).sum();
        rests + self.0.capacity() * size_of::<ExactSum>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum.total()
    }

    #[test]
    fn is_exact_where_floats_are_not() {
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e15, 0.25, -1e15]), 0.25);
        assert_eq!(sum(&[1e300, 1.0, -1e300]), 1.0);
        assert_eq!(sum(&[1e-300, 1.0, -1.0]), 1e-300);
        assert_eq!(sum(&[-0.5, -0.25]), -0.75);
        assert_eq!(
            sum(&[EXACT_BELOW - 1024.0; 8]),
            (EXACT_BELOW - 1024.0) * 8.0
        );
        assert_eq!(sum(&[1e-20, 1e300, 3e-310, -1e300]), 1e-20);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert!(sum(&[]).is_nan());
        assert_eq!(sum(&[0.0]), 0.0);
    }

    proptest::proptest! {
        #[test]
        fn has_no_order(
            values in proptest::collection::vec(proptest::num::f64::NORMAL, 1..50),
            split in 0..50_usize,
        ) {
            let forward = sum(&values);
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = ExactSum::default();
            right.iter().rev().for_each(|value| merged.add(*value));
            let mut other = ExactSum::default();
            left.iter().rev().for_each(|value| other.add(*value));
            merged.merge(&other);
            proptest::prop_assert_eq!(forward.to_bits(), merged.total().to_bits());
        }
    }
}
