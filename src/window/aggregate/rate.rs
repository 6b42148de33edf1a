//! `increase(x)`, `rate(x)` and `delta(x)`: how a value moves from the first reading of the window to
//! the last one that is not NULL. Fewer than two readings, or all at one time: NULL.
//!
//! A counter that is lower than before was reset in between and has counted from 0 since, as PromQL
//! takes it (<https://prometheus.io/docs/prometheus/latest/querying/functions/#increase>). Unlike
//! there, nothing is extrapolated to the edges of the window: what happened between the last reading
//! of one window and the first of the next is in neither.

use super::readings::Reading;
use super::sum::ExactSum;

/// How much a counter has counted.
pub(super) fn increase(readings: &[Reading]) -> f64 {
    let mut sum = ExactSum::default();
    for (earlier, later) in readings.iter().zip(readings.iter().skip(1)) {
        let step = if later.value < earlier.value {
            later.value
        } else {
            later.value - earlier.value
        };
        if !step.is_finite() {
            return f64::NAN;
        }
        sum.add(step);
    }
    sum.total()
}

/// How much a counter has counted in a second, between its first and last reading.
pub(super) fn rate(readings: &[Reading]) -> f64 {
    let seconds = ends(readings).map(|(first, last)| {
        let milliseconds = last.time.saturating_sub(first.time);
        milliseconds as f64 / 1_000.0
    });
    seconds.map_or(f64::NAN, |seconds| increase(readings) / seconds)
}

/// The difference of a gauge's last reading to its first.
pub(super) fn delta(readings: &[Reading]) -> f64 {
    ends(readings).map_or(f64::NAN, |(first, last)| last.value - first.value)
}

fn ends(readings: &[Reading]) -> Option<(&Reading, &Reading)> {
    match readings {
        [first, .., last] => Some((first, last)),
        _ => None,
    }
}
