//! The staleness markers of a metric, found in its samples: the naive computation.

use super::setting::STALE_AFTER_MS;
use super::world::Received;
use crate::model::{STALE_NAN_BITS, TimestampMs};

/// How often a series ends.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// Because it is silent.
    pub(super) at_a_window: u64,
    /// Because the input has ended.
    pub(super) with_the_input: u64,
}

/// From one end of a window of a metric to the next, and the size of windows, ms; nothing where its series
/// do not end. All are aligned to the epoch.
fn grid(metric: &str) -> Option<(i64, i64)> {
    match metric {
        "sums" | "firsts" | "held" | "best" => Some((1_000, 1_000)),
        "devices" => Some((2_000, 2_000)),
        "moving" => Some((1_000, 3_000)),
        _ => None,
    }
}

/// The first multiple of a step at or after a time.
fn ceiling(time: i64, step: i64) -> i64 {
    (time + step - 1).div_euclid(step) * step
}

/// Adds the markers to all series, of an input whose last event was at a time.
pub(super) fn add_markers(received: &mut Received, last_event: Option<TimestampMs>) -> Markers {
    let mut markers = Markers::default();
    for (series, samples) in received {
        let metric = series.split('/').next().unwrap_or_default();
        let (Some((step, size)), Some(last_event)) = (grid(metric), last_event) else {
            continue;
        };
        // The last window that has the event in it; a pane is as long as the step.
        let last_end = last_event.div_euclid(step) * step + size;
        let mut with_markers = Vec::new();
        for (number, sample) in samples.iter().enumerate() {
            with_markers.push(*sample);
            let silent = ceiling(sample.0 + STALE_AFTER_MS, step);
            let at = match samples.get(number + 1) {
                Some((next, _)) if *next <= silent => continue,
                Some(_) => silent,
                None => silent.min(last_end + step),
            };
            if at > last_end {
                markers.with_the_input += 1;
            } else {
                markers.at_a_window += 1;
            }
            with_markers.push((at, STALE_NAN_BITS));
        }
        *samples = with_markers;
    }
    markers
}
