//! Exact numbers without a sign, as wide as they need to be: sums of doubles and of their squares.
//!
//! A double is an integer times a power of two, and integers have no rounding, so what is added up
//! here has no order (Kulisch, Computer Arithmetic and Validity, 2013, calls it a long accumulator).

use std::cmp::Ordering;

use super::state::must;
use crate::model::{Corrupt, Decoder, Encoder};

/// Places of words below this and from its negative on are those of no sum: squares of doubles are
/// multiples of 2^−2148 and below 2^2048, and as many as can be counted are below 2^2112.
const LOWEST_PLACE: i32 = -34;

/// The sum of `words[i] × 2^(64 × (lowest + i))`.
#[derive(Debug, Clone, Default)]
pub(super) struct Natural {
    lowest: i32,
    words: Vec<u64>,
}

impl Natural {
    /// Adds `magnitude × 2^exponent`.
    pub(super) fn add(&mut self, magnitude: u128, exponent: i32) {
        if magnitude == 0 {
            return;
        }
        let (place, shift) = (exponent.div_euclid(64), exponent.rem_euclid(64));
        let (low, high) = (low_word(magnitude), low_word(magnitude >> 64));
        let parts = [u128::from(low) << shift, u128::from(high) << shift];
        for (part, place) in parts.into_iter().zip(place..) {
            self.add_word(low_word(part), place);
            self.add_word(low_word(part >> 64), place + 1);
        }
    }

    /// Adds another number.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (word, place) in other.words.iter().zip(other.lowest..) {
            self.add_word(*word, place);
        }
    }

    fn add_word(&mut self, word: u64, place: i32) {
        if word == 0 {
            return;
        }
        self.cover(place);
        let first = usize::try_from(place - self.lowest).unwrap_or_default();
        let mut carry = word;
        for word in self.words.iter_mut().skip(first) {
            let (sum, overflows) = word.overflowing_add(carry);
            *word = sum;
            if !overflows {
                return;
            }
            carry = 1;
        }
        self.words.push(carry);
    }

    /// Makes room for a word.
    fn cover(&mut self, place: i32) {
        if self.words.is_empty() {
            self.lowest = place;
        }
        if place < self.lowest {
            let missing = usize::try_from(self.lowest - place).unwrap_or_default();
            self.words.splice(0..0, std::iter::repeat_n(0, missing));
            self.lowest = place;
        }
        let length = usize::try_from(place - self.lowest).unwrap_or_default() + 1;
        if length > self.words.len() {
            self.words.resize(length, 0);
        }
    }

    /// The product with another number.
    pub(super) fn times(&self, other: &Self) -> Self {
        let mut product = Self::default();
        for (mine, place) in self.words.iter().zip(self.lowest..) {
            for (theirs, other_place) in other.words.iter().zip(other.lowest..) {
                let part = u128::from(*mine) * u128::from(*theirs);
                product.add(part, (place + other_place) * 64);
            }
        }
        product
    }

    /// The difference to another number, and whether that one is the larger of the two.
    pub(super) fn difference(&self, other: &Self) -> (bool, Self) {
        let is_less = self.order(other) == Ordering::Less;
        let (large, small) = if is_less {
            (other, self)
        } else {
            (self, other)
        };
        let mut rest = large.clone();
        for (word, place) in small.words.iter().zip(small.lowest..) {
            rest.subtract_word(*word, place);
        }
        (is_less, rest)
    }

    fn subtract_word(&mut self, word: u64, place: i32) {
        if word == 0 {
            return;
        }
        self.cover(place);
        let first = usize::try_from(place - self.lowest).unwrap_or_default();
        let mut borrow = word;
        for word in self.words.iter_mut().skip(first) {
            let (rest, underflows) = word.overflowing_sub(borrow);
            *word = rest;
            if !underflows {
                return;
            }
            borrow = 1;
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let highest =
            |number: &Self| number.lowest + i32::try_from(number.words.len()).unwrap_or_default();
        let from = self.lowest.min(other.lowest);
        let to = highest(self).max(highest(other));
        let places = (from..to).rev();
        places
            .map(|place| self.word(place).cmp(&other.word(place)))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    }

    fn word(&self, place: i32) -> u64 {
        usize::try_from(place - self.lowest)
            .ok()
            .and_then(|index| self.words.get(index).copied())
            .unwrap_or_default()
    }

    /// The nearest double, ties to even, as a number of at most 2^53 and a power of two: the
    /// double itself may be out of range.
    pub(super) fn rounded(&self) -> (f64, i32) {
        let Some(top) = self.words.iter().rposition(|word| *word != 0) else {
            return (0.0, 0);
        };
        let place = self.lowest + i32::try_from(top).unwrap_or_default();
        let high = u128::from(self.word(place)) << 64 | u128::from(self.word(place - 1));
        let zeros = high.leading_zeros();
        // The highest bit first: 128 bits, of which the lowest says whether anything is below.
        let below = self.words.iter().take(top.saturating_sub(1));
        let third = u128::from(self.word(place - 2));
        let bits = high << zeros | third << zeros >> 64;
        let rest = below.into_iter().any(|word| *word != 0);
        let bits = bits | u128::from(rest);
        // Integers become the nearest double.
        let exponent = (place - 1) * 64 - i32::try_from(zeros).unwrap_or_default();
        (bits as f64 / power_of_two(75), exponent + 75)
    }

    /// Whether it is 0.
    pub(super) fn is_zero(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The place of the lowest word, and the words.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.i32(self.lowest);
        out.u64s(self.words.iter().copied());
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, Corrupt> {
        let lowest = from.i32()?;
        let words = from.u64s()?;
        let places = LOWEST_PLACE..=-LOWEST_PLACE;
        let end = i32::try_from(words.len())
            .ok()
            .and_then(|length| lowest.checked_add(length));
        let fits = places.contains(&lowest) && end.is_some_and(|end| places.contains(&end));
        must(from, fits, || {
            let length = words.len();
            format!("{length} words from {lowest} on are the exact sum of no doubles")
        })?;
        Ok(Self { lowest, words })
    }

    /// How many bytes it takes beside itself.
    pub(super) fn byte_len(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
fn low_word(wide: u128) -> u64 {
    wide as u64
}

/// A finite number as `magnitude × 2^exponent`, without its sign.
pub(super) fn parts(value: f64) -> (u64, i32) {
    let fraction = value.to_bits() & ((1 << 52) - 1);
    match i32::try_from(value.to_bits() >> 52 & 0x7ff).unwrap_or_default() {
        0 => (fraction, -1074),
        biased => (fraction | 1 << 52, biased - 1075),
    }
}

/// `value × 2^exponent`; infinite where it is out of range.
pub(super) fn scale(value: f64, exponent: i32) -> f64 {
    // In steps, because powers beyond the range of doubles may still give a product within it.
    let (mut scaled, mut left) = (value, exponent);
    while left != 0 && scaled != 0.0 && scaled.is_finite() {
        let step = left.clamp(-1000, 1000);
        scaled *= power_of_two(step);
        left -= step;
    }
    scaled
}

/// `2^exponent` for an exponent of −1022 to 1023.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(u64::try_from(exponent + 1023).unwrap_or_default() << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn natural(value: f64) -> Natural {
        let (magnitude, exponent) = parts(value);
        let mut natural = Natural::default();
        natural.add(u128::from(magnitude), exponent);
        natural
    }

    fn double(natural: &Natural) -> f64 {
        let (value, exponent) = natural.rounded();
        scale(value, exponent)
    }

    #[test]
    fn doubles_come_back() {
        for value in [
            0.0,
            1.0,
            0.1,
            1e300,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            3e-310,
        ] {
            assert_eq!(double(&natural(value)), value);
        }
    }

    #[test]
    fn rounds_to_the_nearest_and_ties_to_even() {
        let sum = |values: &[f64]| {
            let mut sum = Natural::default();
            values
                .iter()
                .for_each(|value| sum.add_all(&natural(*value)));
            double(&sum)
        };
        let large = 9_007_199_254_740_992.0;
        assert_eq!(sum(&[large, 1.0]), large);
        assert_eq!(sum(&[large, 1.0, 1e-300]), large + 2.0);
        assert_eq!(sum(&[large, 2.0, 1.0]), large + 4.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
    }

    proptest::proptest! {
        #[test]
        fn computes_as_integers_do(a in 0..u64::MAX, b in 0..u64::MAX, c in 0..u64::MAX) {
            let number = |value: u64| {
                let mut number = Natural::default();
                number.add(u128::from(value), 0);
                number
            };
            let expected = u128::from(a) * u128::from(b);
            let product = number(a).times(&number(b));
            proptest::prop_assert_eq!(double(&product), expected as f64);
            let (negative, rest) = product.difference(&number(c));
            proptest::prop_assert_eq!(negative, expected < u128::from(c));
            proptest::prop_assert_eq!(double(&rest), expected.abs_diff(u128::from(c)) as f64);
        }
    }
}
