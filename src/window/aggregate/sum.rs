//! `sum(x)`: the sum of the values that are not NULL. Of nothing: NULL, hence no sample.
//!
//! Floating-point addition depends on the order, and the order in which workers see events depends
//! on timing. So the sum is kept as a 128-bit fixed-point number (in units of 2⁻⁶⁴), which holds
//! every value below 2⁶² with up to 64 binary places exactly; integer addition has no order.
//! Other values (very large, very small, or with more places) go through compensated floating-point
//! addition (Neumaier, ZAMM 54, 1974), which is right to the last place or nearly so.

use super::{Input, merge_slots, pick_slots};
use crate::model::{Column, Trilean};

/// 2⁶⁴.
const SCALE: f64 = 18_446_744_073_709_551_616.0;
/// 2⁶².
const EXACT_BELOW: f64 = 4_611_686_018_427_387_904.0;

/// A sum that does not depend on the order of its values.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ExactSum {
    fixed: i128,
    rest: f64,
    compensation: f64,
    count: u64,
}

impl ExactSum {
    /// Adds a value.
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

    #[inline]
    fn add_fixed(&mut self, fixed: i128) {
        match self.fixed.checked_add(fixed) {
            Some(sum) => self.fixed = sum,
            None => {
                let spilled = std::mem::replace(&mut self.fixed, fixed);
                self.add_rest(spilled as f64 / SCALE);
            }
        }
    }

    fn add_rest(&mut self, value: f64) {
        let sum = self.rest + value;
        self.compensation += if self.rest.abs() >= value.abs() {
            (self.rest - sum) + value
        } else {
            (value - sum) + self.rest
        };
        self.rest = sum;
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.add_fixed(other.fixed);
        self.add_rest(other.rest);
        self.compensation += other.compensation;
        self.count += other.count;
    }

    /// The sum; NaN, that is NULL, where nothing was added.
    pub fn total(&self) -> f64 {
        if self.count == 0 {
            return f64::NAN;
        }
        let fixed = self.fixed as f64 / SCALE;
        if self.rest == 0.0 {
            return fixed + self.compensation;
        }
        fixed + (self.rest + self.compensation)
    }

    /// How many values were added.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// Sums by slot.
#[derive(Debug, Clone, Default)]
pub struct Sum(Vec<ExactSum>);

impl Sum {
    pub(super) fn grow(&mut self, slots: usize) {
        self.0.resize(slots, ExactSum::default());
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

    pub(super) fn byte_len(&self) -> usize {
        self.0.capacity() * size_of::<ExactSum>()
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
        assert!(sum(&[]).is_nan());
        assert_eq!(sum(&[0.0]), 0.0);
    }

    proptest::proptest! {
        #[test]
        fn has_no_order(
            mut values in proptest::collection::vec(-1e9..1e9_f64, 1..50),
            split in 0..50_usize,
        ) {
            // Readings have a limited number of binary places.
            values.iter_mut().for_each(|value| *value = (*value * 1024.0).trunc() / 1024.0);
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
