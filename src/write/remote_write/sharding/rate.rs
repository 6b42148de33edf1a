//! A rate that follows what is measured slowly.

use std::time::Duration;

/// How much the newest measurement counts: `ewmaWeight` of Prometheus.
const WEIGHT: f64 = 0.2;

/// An exponentially weighted moving average of something per second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    per_second: Option<f64>,
}

impl Rate {
    /// Within `time` there was so much. The average begins with the first that is not zero.
    pub(super) fn add(&mut self, amount: f64, time: Duration) {
        if time.is_zero() {
            return;
        }
        let newest = amount / time.as_secs_f64();
        match &mut self.per_second {
            Some(rate) => *rate += WEIGHT * (newest - *rate),
            None if amount > 0.0 => self.per_second = Some(newest),
            None => {}
        }
    }

    /// The average.
    pub(super) fn per_second(&self) -> f64 {
        self.per_second.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_is_measured() {
        let mut rate = Rate::default();
        for (amount, seconds, expected) in [
            (0.0, 10, 0.0),
            (100.0, 10, 10.0),
            (200.0, 10, 12.0),
            (0.0, 0, 12.0),
            (0.0, 5, 9.6),
        ] {
            rate.add(amount, Duration::from_secs(seconds));
            assert!((rate.per_second() - expected).abs() < 1e-9, "{rate:?}");
        }
    }
}
