//! `variance(x)`, `stddev(x)` and their kin of a whole population: how far the values that are not
//! NULL are from their mean. Of nothing: NULL; the sample's ones (SQL's `VAR_SAMP`, `STDDEV_SAMP`) are
//! NULL of one value too. Merged by adding sums, sums of squares and counts.
//!
//! With `n` values, `Σx` and `Σx²`, the variance is `(n·Σx² − (Σx)²) / (n·(n−1))`, and that of a
//! population the same over `n²`. Both sums are exact and so is the difference, hence nothing is lost
//! to cancellation, wherever the mean is; the result is rounded at the end.

use super::natural::{Natural, scale};
use super::state::must;
use super::sum::ExactSum;
use super::{Input, merge_slots, null_unless_finite, pick_slots};
use crate::model::{Column, Corrupt, Decoder, Encoder, Trilean};

/// Which measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measure {
    /// Over the whole population; else over a sample of it.
    pub population: bool,
    /// The root of the variance.
    pub root: bool,
}

#[derive(Debug, Clone, Default)]
struct Moments {
    sum: ExactSum,
    squares: ExactSum,
}

impl Moments {
    fn finish(&self, measure: Measure) -> f64 {
        let count = self.sum.count();
        let freedom = if measure.population {
            count
        } else {
            count.saturating_sub(1)
        };
        if freedom == 0 {
            return f64::NAN;
        }
        let mut number = Natural::default();
        number.add(u128::from(count), 0);
        let (_, sum) = self.sum.exact();
        let (_, squares) = self.squares.exact();
        let (_, difference) = number.times(&squares).difference(&sum.times(&sum));
        let (value, exponent) = difference.rounded();
        let variance = value / (count as f64 * freedom as f64);
        let result = match measure.root {
            false => scale(variance, exponent),
            true if exponent % 2 == 0 => scale(variance.sqrt(), exponent / 2),
            true => scale((variance * 2.0).sqrt(), (exponent - 1) / 2),
        };
        null_unless_finite(result)
    }
}

/// Sums and sums of squares by slot.
#[derive(Debug, Clone)]
pub struct Spread {
    measure: Measure,
    moments: Vec<Moments>,
}

impl Spread {
    pub(super) fn new(measure: Measure) -> Self {
        Self {
            measure,
            moments: Vec::new(),
        }
    }

    pub(super) fn grow(&mut self, slots: usize) {
        self.moments.resize_with(slots, Moments::default);
    }

    pub(super) fn update(&mut self, input: &Input<'_>, values: &[f64], filter: Option<&[Trilean]>) {
        let all = &mut self.moments;
        input.for_each(filter, |row, slot| {
            if let (Some(value), Some(moments)) = (values.get(row), all.get_mut(slot))
                && !value.is_nan()
            {
                moments.sum.add(*value);
                moments.squares.add_square(*value);
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        merge_slots(&mut self.moments, &other.moments, slots, |mine, theirs| {
            mine.sum.merge(&theirs.sum);
            mine.squares.merge(&theirs.squares);
        });
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self {
            measure: self.measure,
            moments: pick_slots(&self.moments, slots),
        }
    }

    pub(super) fn finish(&self) -> Column {
        let finish = |moments: &Moments| moments.finish(self.measure);
        Column::Number(self.moments.iter().map(finish).collect())
    }

    /// The sums, and the sums of squares.
    pub(super) fn encode(&self, out: &mut Encoder) {
        ExactSum::encode_all(out, self.moments.iter().map(|moments| &moments.sum));
        ExactSum::encode_all(out, self.moments.iter().map(|moments| &moments.squares));
    }

    pub(super) fn decode(
        empty: Self,
        from: &mut Decoder<'_>,
        slots: usize,
    ) -> Result<Self, Corrupt> {
        let sums = ExactSum::decode_all(from, slots)?;
        let squares = ExactSum::decode_all(from, slots)?;
        let moments: Vec<_> = sums
            .into_iter()
            .zip(squares)
            .map(|(sum, squares)| Moments { sum, squares })
            .collect();
        let is_of_same_values = |moments: &Moments| {
            moments.sum.count() == moments.squares.count() && moments.squares.is_positive()
        };
        must(from, moments.iter().all(is_of_same_values), || {
            "a sum and a sum of squares are not of the same values".to_owned()
        })?;
        Ok(Self { moments, ..empty })
    }

    pub(super) fn byte_len(&self) -> usize {
        let rests = |moments: &Moments| moments.sum.byte_len() + moments.squares.byte_len();
        let rests: usize = self.moments.iter().map(rests).sum();
        rests + self.moments.capacity() * size_of::<Moments>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Measure = Measure {
        population: false,
        root: false,
    };

    fn spread(values: &[f64], measure: Measure) -> f64 {
        let mut moments = Moments::default();
        for value in values {
            moments.sum.add(*value);
            moments.squares.add_square(*value);
        }
        moments.finish(measure)
    }

    #[test]
    fn measures_differ_in_divisor_and_root() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let measure = |population, root| Measure { population, root };
        assert_eq!(spread(&values, measure(true, false)), 4.0);
        assert_eq!(spread(&values, measure(true, true)), 2.0);
        assert_eq!(spread(&values, measure(false, false)), 32.0 / 7.0);
        assert_eq!(
            spread(&values, measure(false, true)),
            (32.0_f64 / 7.0).sqrt()
        );
        assert!(spread(&[], measure(true, false)).is_nan());
        assert!(spread(&[3.0], SAMPLE).is_nan());
        assert_eq!(spread(&[3.0], measure(true, true)), 0.0);
    }

    #[test]
    fn the_range_of_doubles_is_no_limit_to_squares() {
        let root = Measure {
            population: true,
            root: true,
        };
        assert_eq!(spread(&[1e200, -1e200], root), 1e200);
        assert_eq!(spread(&[1e-200, -1e-200], root), 1e-200);
        assert!(spread(&[1e200, -1e200], SAMPLE).is_nan(), "out of range");
    }

    proptest::proptest! {
        /// Multiples of 2⁻¹⁰, whose variance integers give exactly.
        #[test]
        fn small_differences_of_large_values_are_exact(
            offset in -2_000_000_000_i64..2_000_000_000,
            noise in proptest::collection::vec(-1_000_i64..1_000, 2..40),
        ) {
            let values: Vec<i128> = noise
                .iter()
                .map(|noise| i128::from(offset * 1024 + noise))
                .collect();
            let count = values.len() as i128;
            let sum: i128 = values.iter().sum();
            let squares: i128 = values.iter().map(|value| value * value).sum();
            let exact = (count * squares - sum * sum) as f64 / (count * (count - 1)) as f64;
            let doubles: Vec<f64> = values.iter().map(|value| *value as f64 / 1024.0).collect();
            let found = spread(&doubles, SAMPLE);
            proptest::prop_assert_eq!(found, exact / 1_048_576.0);
        }

        /// The two passes of a textbook, over differences from the mean.
        #[test]
        fn equals_two_passes(values in proptest::collection::vec(-1.0..1.0_f64, 2..60)) {
            let shifted: Vec<f64> = values.iter().map(|value| 1e9 + value).collect();
            let origin = 1e9;
            let mean = shifted.iter().map(|v| v - origin).sum::<f64>() / shifted.len() as f64;
            let squares: f64 = shifted.iter().map(|v| (v - origin - mean).powi(2)).sum();
            let expected = squares / (shifted.len() - 1) as f64;
            let found = spread(&shifted, SAMPLE);
            proptest::prop_assert!((found - expected).abs() <= 1e-12 * expected, "{found} {expected}");
        }
    }
}
