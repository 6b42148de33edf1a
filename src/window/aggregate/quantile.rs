//! `quantile(q, x)` and `median(x)`: about the value below which a share `q` of the values that are
//! not NULL lies. Of nothing: NULL. Merged by adding the counts of buckets.
//!
//! DDSketch (Masson, Rim and Lee, VLDB 2019) with buckets of base `γ = 2^(1/64)`: of `n` values in
//! order, that of rank `⌊q·(n−1)⌋` from 0 is in a bucket `(u/γ, u]`, and the result is `2u / (γ+1)`,
//! which is at most `(γ−1) / (γ+1) = 0.55 %` of the value away from it. No result is outside of the
//! lowest and the highest value, which are known exactly.

use super::exponential::Exponential;
use super::natural::scale;
use super::octave::upper_bound;
use super::state::{for_slots, must};
use super::{Input, merge_slots, pick_slots};
use crate::model::{Column, Corrupt, Decoder, Encoder, Trilean};

/// The schema whose base is `2^(1/64)`.
const SCHEMA: i32 = 6;
/// `2 / (γ+1)`.
const MIDDLE: f64 = 0.994_584_735_600_174_7;

#[derive(Debug, Clone)]
struct Sketch {
    counts: Exponential,
    lowest: f64,
    highest: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            counts: Exponential::default(),
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
        }
    }
}

impl Sketch {
    fn add(&mut self, value: f64) {
        let value = value + 0.0;
        self.counts.add(value, SCHEMA, 0.0);
        self.lowest = self.lowest.min(value);
        self.highest = self.highest.max(value);
    }

    fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
    }

    fn quantile(&self, share: f64) -> f64 {
        let count = self.counts.count();
        if count == 0 {
            return f64::NAN;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the count"
        )]
        let rank = (share * (count - 1) as f64) as u64;
        match rank {
            0 => self.lowest,
            rank if rank >= count - 1 => self.highest,
            rank => self.at(rank).clamp(self.lowest, self.highest),
        }
    }

    /// The value of a rank, from 0.
    fn at(&self, rank: u64) -> f64 {
        let mut below = 0;
        for (bucket, count) in self.counts.negative.iter().rev() {
            below += count;
            if rank < below {
                return -middle(*bucket);
            }
        }
        below += self.counts.zero;
        if rank < below {
            return 0.0;
        }
        for (bucket, count) in &self.counts.positive {
            below += count;
            if rank < below {
                return middle(*bucket);
            }
        }
        self.highest
    }
}

impl Sketch {
    /// Whether the ends are those of the values that are counted.
    fn is_valid(&self) -> bool {
        if self.counts.count() == 0 {
            return self.lowest == f64::INFINITY && self.highest == f64::NEG_INFINITY;
        }
        self.lowest.is_finite() && self.highest.is_finite() && self.lowest <= self.highest
    }
}

/// The value that stands for a bucket.
fn middle(bucket: i32) -> f64 {
    let (fraction, exponent) = upper_bound(bucket, SCHEMA);
    scale(fraction * MIDDLE, exponent)
}

/// Sketches by slot.
#[derive(Debug, Clone)]
pub struct Quantile {
    share: f64,
    sketches: Vec<Sketch>,
}

impl Quantile {
    pub(super) fn new(share: f64) -> Self {
        Self {
            share,
            sketches: Vec::new(),
        }
    }

    pub(super) fn grow(&mut self, slots: usize) {
        self.sketches.resize_with(slots, Sketch::default);
    }

    pub(super) fn update(&mut self, input: &Input<'_>, values: &[f64], filter: Option<&[Trilean]>) {
        let sketches = &mut self.sketches;
        input.for_each(filter, |row, slot| {
            if let (Some(value), Some(sketch)) = (values.get(row), sketches.get_mut(slot))
                && !value.is_nan()
            {
                sketch.add(*value);
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        merge_slots(&mut self.sketches, &other.sketches, slots, Sketch::merge);
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self {
            share: self.share,
            sketches: pick_slots(&self.sketches, slots),
        }
    }

    pub(super) fn finish(&self) -> Column {
        let quantile = |sketch: &Sketch| sketch.quantile(self.share);
        Column::Number(self.sketches.iter().map(quantile).collect())
    }

    /// The counts, the lowest and the highest values.
    pub(super) fn encode(&self, out: &mut Encoder) {
        Exponential::encode_all(out, self.sketches.iter().map(|sketch| &sketch.counts));
        out.f64s(self.sketches.iter().map(|sketch| sketch.lowest));
        out.f64s(self.sketches.iter().map(|sketch| sketch.highest));
    }

    pub(super) fn decode(
        empty: Self,
        from: &mut Decoder<'_>,
        slots: usize,
    ) -> Result<Self, Corrupt> {
        let counts = Exponential::decode_all(from, slots, SCHEMA)?;
        let lowest = from.f64s()?;
        let lowest = for_slots(from, lowest, slots)?;
        let highest = from.f64s()?;
        let highest = for_slots(from, highest, slots)?;
        let sketches: Vec<_> = counts
            .into_iter()
            .zip(lowest.into_iter().zip(highest))
            .map(|(counts, (lowest, highest))| Sketch {
                counts,
                lowest,
                highest,
            })
            .collect();
        must(from, sketches.iter().all(Sketch::is_valid), || {
            "buckets do not go with the lowest and highest value".to_owned()
        })?;
        Ok(Self { sketches, ..empty })
    }

    pub(super) fn byte_len(&self) -> usize {
        let counts = self.sketches.iter().map(|sketch| sketch.counts.byte_len());
        counts.sum::<usize>() + self.sketches.capacity() * size_of::<Sketch>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: [f64; 9] = [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.95, 0.999, 1.0];

    /// Compares with the values in order.
    fn check(mut values: Vec<f64>) {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        values.sort_by(f64::total_cmp);
        for share in SHARES {
            let exact = values[(share * (values.len() - 1) as f64) as usize];
            let found = sketch.quantile(share);
            let allowed = exact.abs() * 0.0055;
            assert!(
                (found - exact).abs() <= allowed,
                "{share}: {found} for {exact}"
            );
        }
    }

    #[test]
    fn the_error_is_bounded_on_several_distributions() {
        let uniform: Vec<f64> = (0..10_000).map(|n| f64::from(n * 7_919 % 10_000)).collect();
        check(uniform.iter().map(|n| n / 10_000.0).collect());
        check(uniform.iter().map(|n| -(n + 1.0).ln()).collect());
        check(uniform.iter().map(|n| (n / 700.0).exp()).collect());
        check(uniform.iter().map(|n| 1.0 / (1.0 - n / 10_000.0)).collect());
        check(uniform.iter().map(|n| (n - 5_000.0).powi(3)).collect());
        check(
            uniform
                .iter()
                .map(|n| if *n < 300.0 { 1e300 } else { 1e-300 })
                .collect(),
        );
        check(vec![0.0; 50]);
        check(vec![900.0; 7]);
        check(vec![
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::from_bits(3),
            f64::MIN,
        ]);
    }

    #[test]
    fn equal_values_are_their_own_quantiles() {
        let mut sketch = Sketch::default();
        assert!(sketch.quantile(0.5).is_nan());
        sketch.add(900.3);
        sketch.add(900.3);
        sketch.add(900.3);
        assert_eq!(sketch.quantile(0.5), 900.3);
    }
}
