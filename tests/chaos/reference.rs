//! The metrics of the fleet, each in the plainest computation: every window a list of events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{Event, Kind};
use crate::support::samples::Sample;

/// The metrics as weir is told of them. `vehicle <> 'flush'` keeps out what only closes windows.
pub(crate) const METRICS: &str = "
metrics:
  chaos_events:
    where: vehicle <> 'flush'
    window: { tumbling: 1s }
    by: [region]
    value: count(*)
  chaos_sum:
    where: vehicle <> 'flush'
    window: { tumbling: 1s }
    by: [region, kind]
    value: sum(value)
  chaos_average:
    where: vehicle <> 'flush'
    window: { tumbling: 2s }
    by: [region]
    value: avg(value)
  chaos_vehicles:
    where: vehicle <> 'flush'
    window: { tumbling: 5s }
    by: [region]
    value: count(DISTINCT vehicle) FILTER (WHERE kind = 'fuel')
  chaos_fastest:
    where: vehicle <> 'flush'
    window: { tumbling: 2s }
    per: { key: vehicle, let: { top: max(value) } }
    by: [region]
    value: sum(top) + 1000 * count(*)
  chaos_sliding:
    where: vehicle <> 'flush'
    window: { sliding: 6s, slide: 2s }
    by: [region]
    value: count(DISTINCT vehicle) + 100 * count(*)
  chaos_trips:
    where: vehicle <> 'flush'
    window: { session: 3s }
    by: [vehicle]
    value: session_duration * 1000 + 100000 * count(*)
  chaos_held:
    where: vehicle <> 'flush'
    window: { tumbling: 1s }
    per: { key: vehicle, let: { x: last(value) }, hold: 4s }
    by: [region]
    value: sum(x) + 1000 * count(*) + 100000 * count(x)
  chaos_busiest:
    where: vehicle <> 'flush'
    window: { tumbling: 2s }
    by: [vehicle]
    topk: 3
    value: count(*)
  chaos_fuel:
    where: kind = 'fuel' AND vehicle <> 'flush'
    labels: [vehicle]
    value: value
";

/// Their names.
pub(crate) const NAMES: [&str; 10] = [
    "chaos_average",
    "chaos_busiest",
    "chaos_events",
    "chaos_fastest",
    "chaos_fuel",
    "chaos_held",
    "chaos_sliding",
    "chaos_sum",
    "chaos_trips",
    "chaos_vehicles",
];

const SESSION_GAP_MS: i64 = 3_000;
const HOLD_MS: i64 = 4_000;

/// All samples of these events, which stand in the order of their partitions, sorted.
pub(crate) fn samples(events: &[Event]) -> Vec<Sample> {
    let mut ordered: Vec<&Event> = events.iter().collect();
    // Stable: events of one time stay in the order of their partition.
    ordered.sort_by_key(|event| (event.time_ms, event.partition()));

    let mut samples = Vec::new();
    let seconds = windows(&ordered, 1_000, 1_000);
    let twos = windows(&ordered, 2_000, 2_000);
    let region = |event: &Event| vec![("region", event.region())];
    samples.extend(groups("chaos_events", &seconds, region, |events| {
        Some(events.len() as f64)
    }));
    let kind = |event: &Event| {
        let kind = event.kind.name().to_owned();
        vec![("kind", kind), ("region", event.region())]
    };
    samples.extend(groups("chaos_sum", &seconds, kind, |events| {
        values(events).reduce(|sum, value| sum + value)
    }));
    samples.extend(groups("chaos_average", &twos, region, |events| {
        let count = values(events).count();
        (count > 0).then(|| values(events).sum::<f64>() / count as f64)
    }));
    let fives = windows(&ordered, 5_000, 5_000);
    samples.extend(groups("chaos_vehicles", &fives, region, |events| {
        let fuel = events.iter().filter(|event| event.kind == Kind::Fuel);
        Some(distinct(fuel) as f64)
    }));
    samples.extend(groups("chaos_fastest", &twos, region, fastest));
    let sliding = windows(&ordered, 6_000, 2_000);
    samples.extend(groups("chaos_sliding", &sliding, region, |events| {
        Some(distinct(events.iter()) as f64 + 100.0 * events.len() as f64)
    }));
    samples.extend(trips(&ordered));
    samples.extend(held(&seconds));
    samples.extend(busiest(&twos));
    samples.extend(fuel(&ordered));
    samples.sort();
    samples
}

type Windows<'a> = BTreeMap<i64, Vec<&'a Event>>;

/// The events of each window by its end.
fn windows<'a>(events: &[&'a Event], size_ms: i64, slide_ms: i64) -> Windows<'a> {
    let mut windows = Windows::new();
    for event in events {
        let mut end_ms = (event.time_ms.div_euclid(slide_ms) + 1) * slide_ms;
        while end_ms <= event.time_ms + size_ms {
            windows.entry(end_ms).or_default().push(*event);
            end_ms += slide_ms;
        }
    }
    windows
}

/// One value for each group of each window.
fn groups(
    name: &str,
    windows: &Windows<'_>,
    key: impl Fn(&Event) -> Vec<(&'static str, String)>,
    value: impl Fn(&[&Event]) -> Option<f64>,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (end_ms, events) in windows {
        let mut groups: BTreeMap<Vec<(&str, String)>, Vec<&Event>> = BTreeMap::new();
        for event in events {
            groups.entry(key(event)).or_default().push(event);
        }
        for (labels, events) in groups {
            if let Some(value) = value(&events) {
                let labels: Vec<(&str, &str)> = labels
                    .iter()
                    .map(|(label, text)| (*label, text.as_str()))
                    .collect();
                samples.push(Sample::new(name, &labels, *end_ms, value));
            }
        }
    }
    samples
}

fn values<'a>(events: &'a [&Event]) -> impl Iterator<Item = f64> + 'a {
    events.iter().filter_map(|event| event.value)
}

fn distinct<'a>(events: impl Iterator<Item = &'a &'a Event>) -> usize {
    let vehicles: BTreeSet<u16> = events.map(|event| event.number).collect();
    vehicles.len()
}

fn fastest(events: &[&Event]) -> Option<f64> {
    let mut tops: BTreeMap<u16, Option<f64>> = BTreeMap::new();
    for event in events {
        let top = tops.entry(event.number).or_default();
        *top = match (*top, event.value) {
            (Some(top), Some(value)) => Some(top.max(value)),
            (top, value) => top.or(value),
        };
    }
    let sum = tops
        .values()
        .flatten()
        .copied()
        .reduce(|sum, top| sum + top)?;
    Some(sum + 1_000.0 * tops.len() as f64)
}

fn trips(ordered: &[&Event]) -> Vec<Sample> {
    let mut samples = Vec::new();
    // First and last time, and how many.
    let mut open: BTreeMap<u16, (i64, i64, u32)> = BTreeMap::new();
    let mut close = |number: u16, (first, last, count): (i64, i64, u32)| {
        let value = (last - first) as f64 + 100_000.0 * f64::from(count);
        let vehicle = format!("V{number:02}");
        let labels = [("vehicle", vehicle.as_str())];
        samples.push(Sample::new(
            "chaos_trips",
            &labels,
            last + SESSION_GAP_MS,
            value,
        ));
    };
    for event in ordered {
        let new = (event.time_ms, event.time_ms, 1);
        match open.get_mut(&event.number) {
            Some(session) if event.time_ms - session.1 < SESSION_GAP_MS => {
                session.1 = event.time_ms;
                session.2 += 1;
            }
            Some(session) => close(event.number, std::mem::replace(session, new)),
            None => {
                open.insert(event.number, new);
            }
        }
    }
    for (number, session) in open {
        close(number, session);
    }
    samples
}

/// What a vehicle said last, and at which window's end.
struct Memory {
    region: String,
    spoke_ms: i64,
    x: Option<(f64, i64)>,
}

fn held(seconds: &Windows<'_>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut memories: BTreeMap<u16, Memory> = BTreeMap::new();
    let Some(mut end_ms) = seconds.keys().next().copied() else {
        return samples;
    };
    let last_ms = seconds.keys().next_back().copied().unwrap_or(end_ms);
    while end_ms <= last_ms + HOLD_MS {
        for event in seconds.get(&end_ms).into_iter().flatten() {
            let memory = memories.entry(event.number).or_insert_with(|| Memory {
                region: event.region(),
                spoke_ms: end_ms,
                x: None,
            });
            memory.spoke_ms = end_ms;
            memory.x = event.value.map(|value| (value, end_ms)).or(memory.x);
        }
        memories.retain(|_, memory| end_ms - memory.spoke_ms <= HOLD_MS);
        let mut regions: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
        for memory in memories.values() {
            let x = memory
                .x
                .filter(|(_, since_ms)| end_ms - since_ms <= HOLD_MS);
            regions
                .entry(&memory.region)
                .or_default()
                .push(x.map(|(x, _)| x));
        }
        for (region, xs) in regions {
            let known: Vec<f64> = xs.iter().flatten().copied().collect();
            if !known.is_empty() {
                let sum: f64 = known.iter().sum();
                let value = sum + 1_000.0 * xs.len() as f64 + 100_000.0 * known.len() as f64;
                samples.push(Sample::new(
                    "chaos_held",
                    &[("region", region)],
                    end_ms,
                    value,
                ));
            }
        }
        end_ms += 1_000;
    }
    samples
}

fn busiest(twos: &Windows<'_>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (end_ms, events) in twos {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for event in events {
            *counts.entry(event.vehicle()).or_default() += 1;
        }
        let mut counts: Vec<(String, u32)> = counts.into_iter().collect();
        // Stable: of equal ones those whose names come first.
        counts.sort_by_key(|(_, count)| Reverse(*count));
        for (vehicle, count) in counts.into_iter().take(3) {
            let labels = [("vehicle", vehicle.as_str())];
            samples.push(Sample::new(
                "chaos_busiest",
                &labels,
                *end_ms,
                f64::from(count),
            ));
        }
    }
    samples
}

/// Readings as they are; of several of one vehicle and time the last one.
fn fuel(ordered: &[&Event]) -> Vec<Sample> {
    let mut readings: BTreeMap<(u16, i64), (String, f64)> = BTreeMap::new();
    for event in ordered.iter().filter(|event| event.kind == Kind::Fuel) {
        if let Some(value) = event.value {
            readings.insert((event.number, event.time_ms), (event.vehicle(), value));
        }
    }
    let readings = readings.into_iter();
    readings
        .map(|((_, time_ms), (vehicle, value))| {
            Sample::new("chaos_fuel", &[("vehicle", &vehicle)], time_ms, value)
        })
        .collect()
}
