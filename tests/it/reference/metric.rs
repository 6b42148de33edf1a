//! A metric, evaluated over all events at once.

use std::collections::BTreeMap;

use crate::support::samples::Sample;

use super::event::Event;

/// Longer label values are not written, in bytes.
const MAX_LABEL_VALUE_BYTES: usize = 2_048;

/// The labels of a series, none with an empty value: to Prometheus that is no label.
pub(crate) type Labels = BTreeMap<String, String>;

/// What a metric is made of.
pub(crate) struct Metric<'a> {
    /// Its name.
    pub(crate) name: &'static str,
    /// The length of its tumbling windows.
    pub(crate) window_ms: i64,
    /// Which events count.
    pub(crate) filter: &'a dyn Fn(&Event) -> bool,
    /// The labels of an event's series.
    pub(crate) labels: &'a dyn Fn(&Event) -> Labels,
    /// The value of the events of a window and series, in order of time, split and line.
    pub(crate) value: &'a dyn Fn(&[&Event]) -> Option<f64>,
}

/// What became of the events.
pub(crate) struct Evaluated {
    /// The samples by series and time.
    pub(crate) samples: Vec<Sample>,
    /// How many events were late.
    pub(crate) late: u64,
}

impl Metric<'_> {
    /// Evaluates the metric over events in order of time, split and line.
    pub(crate) fn evaluate(&self, events: &[Event]) -> Evaluated {
        let mut late = 0;
        let mut windows: BTreeMap<(Labels, i64), Vec<&Event>> = BTreeMap::new();
        for event in events {
            if !(self.filter)(event) {
                continue;
            }
            let end_ms = event.window_end_ms(self.window_ms);
            if event.is_late(end_ms) {
                late += 1;
                continue;
            }
            let key = (labels_of(self.labels, event), end_ms);
            windows.entry(key).or_default().push(event);
        }
        let mut samples = Vec::new();
        for ((labels, timestamp_ms), events) in windows {
            let Some(value) = (self.value)(&events) else {
                continue;
            };
            samples.push(sample(self.name, labels, timestamp_ms, value));
        }
        samples.retain(is_writable);
        Evaluated { samples, late }
    }
}

/// Every event of a filter as a sample of its own; of several of one series and time the last one
/// by split and line. Raw events are put in order by the second.
pub(crate) fn raw(
    name: &'static str,
    events: &[Event],
    filter: &dyn Fn(&Event) -> bool,
    labels: &dyn Fn(&Event) -> Labels,
) -> Vec<Sample> {
    let mut last: BTreeMap<(Labels, i64), f64> = BTreeMap::new();
    for event in events {
        let Some(value) = event.number("measurement") else {
            continue;
        };
        if filter(event) && !event.is_late(event.window_end_ms(1_000)) {
            last.insert((labels_of(labels, event), event.time_ms), value);
        }
    }
    let mut samples = Vec::new();
    for ((labels, time_ms), value) in last {
        samples.push(sample(name, labels, time_ms, value));
    }
    samples.retain(is_writable);
    samples
}

fn labels_of(labels: &dyn Fn(&Event) -> Labels, event: &Event) -> Labels {
    let mut labels = labels(event);
    labels.retain(|_, value| !value.is_empty());
    labels
}

fn sample(name: &str, labels: Labels, timestamp_ms: i64, value: f64) -> Sample {
    Sample {
        name: name.to_owned(),
        labels,
        timestamp_ms,
        value,
    }
}

fn is_writable(sample: &Sample) -> bool {
    sample
        .labels
        .values()
        .all(|value| value.len() <= MAX_LABEL_VALUE_BYTES)
}

/// The labels of these fields.
pub(crate) fn labels_from(event: &Event, fields: &[(&str, &str)]) -> Labels {
    let mut labels = Labels::new();
    for (label, field) in fields {
        labels.insert((*label).to_owned(), event.text(field).unwrap_or_default());
    }
    labels
}
