//! `time_avg(x)` and `time_in(condition)`: each reading that is not NULL holds until the next one, the
//! last one until the window's end. Before the first one nothing is known, and that time does not
//! count. Of nothing: NULL.

use super::readings::Reading;
use super::sum::ExactSum;
use crate::window::Bounds;

/// The mean of the values, each weighted with how long it held.
pub(super) fn average(readings: &[Reading], window: Bounds) -> f64 {
    let (area, milliseconds) = integrate(readings, window);
    if milliseconds == 0.0 {
        return f64::NAN;
    }
    area / milliseconds
}

/// For how many seconds the value was 1.
pub(super) fn seconds_in(readings: &[Reading], window: Bounds) -> f64 {
    let (area, _) = integrate(readings, window);
    area / 1_000.0
}

/// The integral of the value over time, and the time, both over milliseconds.
fn integrate(readings: &[Reading], window: Bounds) -> (f64, f64) {
    let mut area = ExactSum::default();
    let mut milliseconds = ExactSum::default();
    let ends = readings.iter().skip(1).map(|reading| reading.time);
    for (reading, end) in readings.iter().zip(ends.chain([window.end])) {
        let held = end.saturating_sub(reading.time).max(0) as f64;
        let part = reading.value * held;
        if !part.is_finite() {
            return (f64::NAN, f64::NAN);
        }
        area.add(part);
        milliseconds.add(held);
    }
    (area.total(), milliseconds.total())
}
