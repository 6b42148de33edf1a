//! What is counted of devices' clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use crate::telemetry::Registry;
use crate::window::clock::{ClockState, SKEW_BOUNDS_MS, SkewCounts};

/// How many combinations of labels are shown by themselves; the rest are one, `other`.
const MOST_LABELS: usize = 100;

/// The label of what is beyond the most labels.
const OTHER: &str = "other";

/// How a clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::pipeline) enum State {
    Ahead,
    Behind,
}

impl State {
    pub(in crate::pipeline) const ALL: [Self; 2] = [Self::Ahead, Self::Behind];

    /// How a clock is wrong, where it is.
    pub(in crate::pipeline) fn of(state: ClockState) -> Option<Self> {
        match state {
            ClockState::Right => None,
            ClockState::Ahead => Some(Self::Ahead),
            ClockState::Behind => Some(Self::Behind),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Behind => "behind",
        }
    }

    /// Why an event was dropped.
    pub(in crate::pipeline) fn reason(self) -> &'static str {
        match self {
            Self::Ahead => "clock_ahead",
            Self::Behind => "clock_behind",
        }
    }
}

/// What one worker adds to the gauges.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct ClockShare {
    /// Devices by state and labels.
    pub(in crate::pipeline) devices: BTreeMap<(State, Vec<String>), u64>,
    /// Devices by their estimated skew.
    pub(in crate::pipeline) skews: SkewCounts,
}

/// The metrics of a pipeline's clocks.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct ClockMetrics {
    events: IntCounterVec,
    dropped: IntCounterVec,
    /// Events ahead of the other devices', where nothing is known of when they were received.
    pub(in crate::pipeline) ahead_of_others: IntCounter,
    devices: IntGaugeVec,
    skews: IntGaugeVec,
    shown: Arc<Mutex<Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    shares: BTreeMap<usize, ClockShare>,
    labels: BTreeSet<Vec<String>>,
}

impl ClockMetrics {
    /// The metrics in a registry; devices are counted by these labels besides their state.
    pub(in crate::pipeline) fn new(registry: &Registry, by: &[&str]) -> Self {
        let labels: Vec<_> = std::iter::once("state").chain(by.iter().copied()).collect();
        let events = registry.counters(
            "weir_clock_skewed_events_total",
            "Events of clocks that are wrong by more than is allowed, by how.",
            &["state"],
        );
        let metrics = Self {
            ahead_of_others: events.with_label_values(&["ahead_of_others"]),
            events,
            dropped: registry.counters(
                "weir_clock_dropped_events_total",
                "Events dropped because of their clocks, by reason.",
                &["reason"],
            ),
            devices: registry.int_gauges(
                "weir_clock_skewed_devices",
                "Devices whose clocks are wrong by more than is allowed, by how.",
                &labels,
            ),
            skews: registry.int_gauges(
                "weir_clock_skew_devices",
                "Devices whose clocks have an estimated skew of at most so many seconds.",
                &["le"],
            ),
            shown: Arc::default(),
        };
        for state in State::ALL {
            metrics.skewed(state);
            metrics.dropped(state);
            if by.is_empty() {
                metrics.devices.with_label_values(&[state.name()]);
            }
        }
        metrics.publish(0, ClockShare::default());
        metrics
    }

    pub(in crate::pipeline) fn skewed(&self, state: State) -> IntCounter {
        self.events.with_label_values(&[state.name()])
    }

    pub(in crate::pipeline) fn dropped(&self, state: State) -> IntCounter {
        self.dropped.with_label_values(&[state.reason()])
    }

    /// Takes a worker's share in place of its last one.
    pub(in crate::pipeline) fn publish(&self, worker: usize, share: ClockShare) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.shares.insert(worker, share);
        let mut skews = SkewCounts::default();
        let mut devices: BTreeMap<&(State, Vec<String>), u64> = BTreeMap::new();
        for share in shown.shares.values() {
            for (labels, count) in &share.devices {
                *devices.entry(labels).or_default() += count;
            }
            for (sum, count) in skews.iter_mut().zip(&share.skews) {
                *sum += count;
            }
        }
        let bounds = SKEW_BOUNDS_MS
            .iter()
            .map(|bound| format!("{}", f64::from(*bound) / 1e3));
        let mut sum = 0;
        for (count, bound) in skews.iter().zip(bounds.chain([String::from("+Inf")])) {
            sum += count;
            let gauge = self.skews.with_label_values(&[&bound]);
            gauge.set(i64::try_from(sum).unwrap_or(i64::MAX));
        }
        let counts = most_frequent(&devices);
        for (labels, count) in &counts {
            let gauge = self.devices.with_label_values(labels);
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        for labels in &shown.labels {
            if counts.contains_key(labels) {
                continue;
            }
            if labels.len() == 1 {
                // Without further labels both states are always there.
                self.devices.with_label_values(labels).set(0);
            } else if let Err(error) = self
                .devices
                .remove_label_values(&labels.iter().map(String::as_str).collect::<Vec<_>>())
            {
                tracing::debug!(%error, "a gauge of clocks was not there");
            }
        }
        shown.labels = counts.into_keys().collect();
    }
}

/// The labels of the gauges with their numbers: the most frequent ones, and for each state the sum
/// of the others.
fn most_frequent(devices: &BTreeMap<&(State, Vec<String>), u64>) -> BTreeMap<Vec<String>, u64> {
    let mut sorted: Vec<_> = devices.iter().collect();
    // The sort is stable, so that equal numbers stay in the order of their labels.
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut counts = BTreeMap::new();
    for (place, ((state, by), count)) in sorted.into_iter().enumerate() {
        let by = by.iter().map(|text| match place {
            0..MOST_LABELS => text.clone(),
            _ => OTHER.to_owned(),
        });
        let labels = std::iter::once(state.name().to_owned()).chain(by).collect();
        *counts.entry(labels).or_default() += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(registry: &Registry, name: &str) -> Vec<String> {
        let text = Registry::text([registry]);
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.replace(",pipeline=\"test\"", ""))
            .collect()
    }

    #[test]
    fn shares_of_workers_are_added_and_what_is_gone_is_removed() {
        let registry = Registry::new("test");
        let metrics = ClockMetrics::new(&registry, &["model"]);
        let share = |model: &str, count| ClockShare {
            devices: [((State::Ahead, vec![model.to_owned()]), count)].into(),
            ..ClockShare::default()
        };
        metrics.publish(0, share("A", 2));
        metrics.publish(1, share("A", 3));
        let name = "weir_clock_skewed_devices";
        assert_eq!(
            lines(&registry, name),
            [
                format!("{name}{{model=\"A\",pipeline=\"test\",state=\"ahead\"}} 5")
                    .replace(",pipeline=\"test\"", "")
            ]
        );
        metrics.publish(0, share("B", 1));
        metrics.publish(1, ClockShare::default());
        assert_eq!(
            lines(&registry, name),
            [format!("{name}{{model=\"B\",state=\"ahead\"}} 1")]
        );
    }

    #[test]
    fn rare_labels_are_one() {
        let devices: Vec<_> = (0..150_u64)
            .map(|number| ((State::Behind, vec![format!("M{number}")]), 150 - number))
            .collect();
        let devices = devices
            .iter()
            .map(|(labels, count)| (labels, *count))
            .collect();
        let counts = most_frequent(&devices);
        assert_eq!(counts.len(), MOST_LABELS + 1);
        assert_eq!(counts[&vec!["behind".to_owned(), "M0".to_owned()]], 150);
        let others = (1..=50).sum::<u64>();
        assert_eq!(counts[&vec!["behind".to_owned(), OTHER.to_owned()]], others);
    }
}
