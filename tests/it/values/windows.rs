//! Every kind of window against the plainest computation of it, over random events, for any number
//! of workers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::script::{Arrival, arrival, lines, run, script, sorted, texts};
use crate::reference::event::{Event, OUT_OF_ORDER_MS, read};
use crate::reference::fleet::expect_same;
use crate::support::files::temporary_folder;
use crate::support::samples::Sample;

const PIPELINE: &str = "
pipeline: windows
source: { kafka: { brokers: none, topics: [none], group: none }, decode: json }
event:
  time: { from: timestamp, unit: ms }
  fields: { vehicle: { from: vehicleId, type: text }, region: text, measurement: number }
time: { out_of_order: 2s, max_ahead: 1h }
metrics:
  shifted:
    window: { tumbling: 4s, offset: 1s, allowed_lateness: 3s }
    by: [region]
    value: sum(measurement) + 100 * count(*)
  sliding:
    window: { sliding: 6s, slide: 2s }
    by: [region]
    value: count(DISTINCT vehicle) + 100 * count(*)
  uneven:
    window: { sliding: 5s, slide: 3s, offset: 1s, allowed_lateness: 1s }
    by: [region]
    value: count(*)
  trips:
    window: { session: 3s, allowed_lateness: 500ms }
    by: [vehicle]
    value: session_duration * 1000 + 100000 * count(*) + 0 * (session_end - session_start)
  trips_by_region:
    window: { session: 3s, every: 5s }
    per: { key: vehicle, let: { length: session_duration * 1000, readings: count(*) } }
    by: [region]
    value: sum(length) + 1000000 * sum(readings) + 1000000000 * count(*)
  held:
    window: { tumbling: 1s }
    per: { key: vehicle, let: { x: last(measurement) }, hold: 4s }
    by: [region]
    value: sum(x) + 1000 * count(*) + 100 * count(x)
  held_few:
    window: { tumbling: 1s }
    per: { key: vehicle, let: { x: last(measurement) }, hold: 4s, max_held_keys: 2 }
    by: [region]
    value: sum(x) + 1000 * count(*) + 100 * count(x)
  busiest:
    window: { tumbling: 2s }
    by: [vehicle]
    topk: 2
    value: count(*)
  coldest:
    window: { sliding: 4s, slide: 2s }
    per: { key: vehicle, let: { x: min(measurement) } }
    by: [region]
    bottomk: 1
    value: min(x)
  budgeted:
    window: { tumbling: 2s }
    by: [vehicle]
    max_series: 2
    value: count(*)
  budgeted_rows:
    window: { tumbling: 2s }
    per: { key: vehicle, let: { n: count(*) } }
    by: [vehicle]
    max_series: 3
    value: sum(n) + 100 * count(*)
write: { file: { path: none } }
";

/// Windows that slide: all of which an event is late for none.
struct Sliding {
    name: &'static str,
    size_ms: i64,
    slide_ms: i64,
    offset_ms: i64,
    lateness_ms: i64,
}

impl Sliding {
    fn ends(&self, event: &Event) -> Vec<i64> {
        (event.time_ms + 1..=event.time_ms + self.size_ms)
            .filter(|end| (end - self.offset_ms).rem_euclid(self.slide_ms) == 0)
            .filter(|end| !event.is_late(end + self.lateness_ms))
            .collect()
    }

    fn evaluate(&self, events: &[Event], value: impl Fn(&[&Event]) -> Option<f64>) -> Vec<Sample> {
        let mut windows: BTreeMap<(String, i64), Vec<&Event>> = BTreeMap::new();
        for event in events {
            for end in self.ends(event) {
                windows.entry((region(event), end)).or_default().push(event);
            }
        }
        let windows = windows.into_iter();
        windows
            .filter_map(|((region, end), events)| {
                Some(sample(self.name, "region", &region, end, value(&events)?))
            })
            .collect()
    }
}

fn region(event: &Event) -> String {
    event.text("region").unwrap_or_default()
}

fn vehicle(event: &Event) -> Option<String> {
    event.text("vehicleId")
}

fn sample(name: &str, label: &str, text: &str, timestamp_ms: i64, value: f64) -> Sample {
    let mut labels = BTreeMap::from([(label.to_owned(), text.to_owned())]);
    labels.retain(|_, value| !value.is_empty());
    Sample {
        name: name.to_owned(),
        labels,
        timestamp_ms,
        value,
    }
}

/// The sessions of each key, each the events with less than the gap between them.
fn sessions<K: Ord + Clone>(
    events: &[Event],
    gap_ms: i64,
    lateness_ms: i64,
    key: impl Fn(&Event) -> Option<K>,
) -> Vec<(K, Vec<&Event>)> {
    let mut by_key: BTreeMap<K, Vec<&Event>> = BTreeMap::new();
    for event in events {
        // Late is what is itself behind the watermark of its split.
        if let Some(key) = key(event)
            && !event.is_late(event.time_ms + lateness_ms + 1)
        {
            by_key.entry(key).or_default().push(event);
        }
    }
    let mut sessions = Vec::new();
    for (key, events) in by_key {
        let mut session: Vec<&Event> = Vec::new();
        for event in events {
            if session
                .last()
                .is_some_and(|last| event.time_ms - last.time_ms >= gap_ms)
            {
                sessions.push((key.clone(), std::mem::take(&mut session)));
            }
            session.push(event);
        }
        sessions.push((key, session));
    }
    sessions
}

fn span(session: &[&Event]) -> (i64, i64) {
    let times = session.iter().map(|event| event.time_ms);
    (times.clone().min().unwrap_or(0), times.max().unwrap_or(0))
}

fn trips(events: &[Event]) -> Vec<Sample> {
    let mut samples = Vec::new();
    // A missing vehicle is a group as well.
    let key = |event: &Event| Some(vehicle(event).unwrap_or_default());
    for (vehicle, session) in sessions(events, 3_000, 500, key) {
        let (first, last) = span(&session);
        let value = (last - first) as f64 + 100_000.0 * session.len() as f64;
        samples.push(sample("trips", "vehicle", &vehicle, last + 3_000, value));
    }
    samples
}

fn trips_by_region(events: &[Event]) -> Vec<Sample> {
    let mut gathered: BTreeMap<(String, i64), f64> = BTreeMap::new();
    let key = |event: &Event| Some((region(event), vehicle(event)?));
    for ((region, _), session) in sessions(events, 3_000, 0, key) {
        let (first, last) = span(&session);
        let end = (last + 3_000 + 4_999).div_euclid(5_000) * 5_000;
        *gathered.entry((region, end)).or_default() +=
            (last - first) as f64 + 1e6 * session.len() as f64 + 1e9;
    }
    let gathered = gathered.into_iter();
    gathered
        .map(|((region, end), value)| sample("trips_by_region", "region", &region, end, value))
        .collect()
}

/// What a vehicle said last, and in which window.
#[derive(Clone)]
struct Memory {
    region: String,
    last: i64,
    x: Option<(f64, i64)>,
}

fn held(name: &str, limit: usize, events: &[Event]) -> Vec<Sample> {
    const SIZE: i64 = 1_000;
    const HOLD: i64 = 4_000;
    let mut windows: BTreeMap<i64, BTreeMap<(String, String), Vec<&Event>>> = BTreeMap::new();
    for event in events {
        let end = event.window_end_ms(SIZE);
        if let Some(vehicle) = vehicle(event)
            && !event.is_late(end)
        {
            let rows = windows.entry(end).or_default();
            rows.entry((vehicle, region(event)))
                .or_default()
                .push(event);
        }
    }
    let Some((first, last)) = windows.keys().next().zip(windows.keys().last()) else {
        return Vec::new();
    };
    let reached = events.iter().map(|event| event.time_ms).max().unwrap_or(0) - OUT_OF_ORDER_MS;
    let mut memory: BTreeMap<String, Memory> = BTreeMap::new();
    let mut samples = Vec::new();
    let mut end = *first;
    while end <= *last.max(&reached) {
        let mut rows: Vec<(String, Option<f64>)> = Vec::new();
        let mut present: Vec<(i64, String, String, Option<f64>)> = Vec::new();
        for ((vehicle, region), events) in windows.get(&end).into_iter().flatten() {
            let x = events
                .iter()
                .rev()
                .find_map(|event| event.number("measurement"));
            let time = events.iter().map(|event| event.time_ms).max().unwrap_or(0);
            present.push((time, region.clone(), vehicle.clone(), x));
        }
        present.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        let holds = |seen: i64| end - seen <= HOLD;
        memory.retain(|_, memory| holds(memory.last));
        let keys: BTreeSet<&String> = present.iter().map(|(_, _, vehicle, _)| vehicle).collect();
        for key in keys {
            if memory.len() < limit {
                memory.entry(key.clone()).or_insert(Memory {
                    region: String::new(),
                    last: end,
                    x: None,
                });
            }
        }
        for (_, region, vehicle, x) in &present {
            let Some(known) = memory.get_mut(vehicle) else {
                continue;
            };
            known.region = region.clone();
            known.last = end;
            known.x = x.map(|x| (x, end)).or(known.x);
        }
        for (_, region, vehicle, x) in present {
            let known = memory.get(&vehicle).and_then(|memory| memory.x);
            let x = x.or(known.filter(|(_, seen)| holds(*seen)).map(|(x, _)| x));
            rows.push((region, x));
        }
        for memory in memory.values().filter(|memory| memory.last < end) {
            let x = memory.x.filter(|(_, seen)| holds(*seen)).map(|(x, _)| x);
            rows.push((memory.region.clone(), x));
        }
        let mut groups: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
        for (region, x) in rows {
            groups.entry(region).or_default().push(x);
        }
        for (region, xs) in groups {
            let known: Vec<f64> = xs.iter().flatten().copied().collect();
            if !known.is_empty() {
                let value = known.iter().sum::<f64>()
                    + 1_000.0 * xs.len() as f64
                    + 100.0 * known.len() as f64;
                samples.push(sample(name, "region", &region, end, value));
            }
        }
        end += SIZE;
    }
    samples
}

/// The events of each tumbling window of two seconds by the key.
fn by_window(
    events: &[Event],
    key: impl Fn(&Event) -> Option<String>,
) -> BTreeMap<i64, BTreeMap<String, Vec<&Event>>> {
    let mut windows: BTreeMap<i64, BTreeMap<String, Vec<&Event>>> = BTreeMap::new();
    for event in events {
        let end = event.window_end_ms(2_000);
        if let Some(key) = key(event)
            && !event.is_late(end)
        {
            windows
                .entry(end)
                .or_default()
                .entry(key)
                .or_default()
                .push(event);
        }
    }
    windows
}

fn busiest(events: &[Event]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (end, groups) in by_window(events, |event| Some(vehicle(event).unwrap_or_default())) {
        let mut counts: Vec<_> = groups
            .iter()
            .map(|(key, events)| (events.len(), key))
            .collect();
        counts.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
        for (count, key) in counts.into_iter().take(2) {
            samples.push(sample("busiest", "vehicle", key, end, count as f64));
        }
    }
    samples
}

fn coldest(events: &[Event]) -> Vec<Sample> {
    let sliding = Sliding {
        name: "coldest",
        size_ms: 4_000,
        slide_ms: 2_000,
        offset_ms: 0,
        lateness_ms: 0,
    };
    let all = sliding.evaluate(events, |events| {
        let numbers = events.iter().filter(|event| vehicle(event).is_some());
        let numbers = numbers.filter_map(|event| event.number("measurement"));
        numbers.reduce(f64::min)
    });
    let mut first: BTreeMap<i64, Sample> = BTreeMap::new();
    for sample in all {
        let key = |sample: &Sample| (sample.value, sample.labels.get("region").cloned());
        let best = first.entry(sample.timestamp_ms).or_insert(sample.clone());
        if key(&sample) < key(best) {
            *best = sample;
        }
    }
    first.into_values().collect()
}

/// Counts by vehicle, those without a place in `other`; `rows` is what each vehicle adds.
fn budgeted(name: &str, events: &[Event], limit: usize, nulls: bool, rows: f64) -> Vec<Sample> {
    let key = |event: &Event| match vehicle(event) {
        None if nulls => Some(String::new()),
        vehicle => vehicle,
    };
    let mut placed: Vec<String> = Vec::new();
    let mut samples = Vec::new();
    for (end, groups) in by_window(events, key) {
        let mut other = 0.0;
        for (vehicle, events) in groups {
            let value = events.len() as f64 + rows;
            if !placed.contains(&vehicle) && placed.len() < limit {
                placed.push(vehicle.clone());
            }
            if placed.contains(&vehicle) {
                samples.push(sample(name, "vehicle", &vehicle, end, value));
            } else {
                other += value;
            }
        }
        if other > 0.0 {
            samples.push(sample(name, "vehicle", "other", end, other));
        }
    }
    samples
}

fn expected(events: &[Event]) -> Vec<Sample> {
    let shifted = Sliding {
        name: "shifted",
        size_ms: 4_000,
        slide_ms: 4_000,
        offset_ms: 1_000,
        lateness_ms: 3_000,
    };
    let mut samples = shifted.evaluate(events, |events| {
        let numbers: Vec<f64> = events
            .iter()
            .filter_map(|event| event.number("measurement"))
            .collect();
        let sum: f64 = numbers.iter().sum();
        (!numbers.is_empty()).then_some(sum + 100.0 * events.len() as f64)
    });
    let sliding = Sliding {
        name: "sliding",
        size_ms: 6_000,
        slide_ms: 2_000,
        offset_ms: 0,
        lateness_ms: 0,
    };
    samples.extend(sliding.evaluate(events, |events| {
        let mut vehicles: Vec<_> = events.iter().filter_map(|event| vehicle(event)).collect();
        vehicles.sort();
        vehicles.dedup();
        Some(vehicles.len() as f64 + 100.0 * events.len() as f64)
    }));
    let uneven = Sliding {
        name: "uneven",
        size_ms: 5_000,
        slide_ms: 3_000,
        offset_ms: 1_000,
        lateness_ms: 1_000,
    };
    samples.extend(uneven.evaluate(events, |events| Some(events.len() as f64)));
    samples.extend(trips(events));
    samples.extend(trips_by_region(events));
    samples.extend(held("held", usize::MAX, events));
    samples.extend(held("held_few", 2, events));
    samples.extend(busiest(events));
    samples.extend(coldest(events));
    samples.extend(budgeted("budgeted", events, 2, true, 0.0));
    samples.extend(budgeted("budgeted_rows", events, 3, false, 100.0));
    samples
}

fn check(arrivals: &[Arrival]) -> Result<()> {
    let lines = lines(arrivals);
    let splits = texts(&lines)?;
    let expected = sorted(expected(&read(&splits)));
    let folder = temporary_folder()?;
    for workers in 1..=3 {
        let output = folder.path().join(format!("samples-{workers}.ndjson"));
        let found = run(PIPELINE, Vec::new(), &output, script(&lines)?, workers)?;
        let found = sorted(found);
        expect_same(&found, &expected).with_context(|| format!("{workers} workers"))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_kind_of_window(arrivals in vec(arrival(), 0..160)) {
        check(&arrivals).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
    }
}
