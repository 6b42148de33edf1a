//! Every aggregate, `FILTER`, `per` and raw metrics against values computed by hand-written loops.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::reference::event::{Event, read};
use crate::reference::fleet::{Fleet, by_vehicle, expect_same};
use crate::reference::metric::{Labels, Metric, labels_from, raw};
use crate::support::files::write;
use crate::support::samples::{Sample, read_ndjson};

use super::LATE;

const WINDOW_MS: i64 = 3_000;

const HEAD: &str = r#"
pipeline: values
source:
  file: { path: events.ndjson }
event:
  time: { from: timestamp, unit: ms }
  fields:
    kind: { from: eventType, type: text }
    vehicle: { from: vehicleId, type: text }
    region: text
    measurement: number
time: { out_of_order: 2s }
enrich:
  - lookup: vehicles
    key: vehicle
    from: { csv: vehicles.csv, key: vehicle_id }
    add: [model]
write: { file: { path: samples.ndjson } }
metrics:
"#;

const AGGREGATES: &str = r#"
  readings:      { window: { tumbling: 3s }, by: [region], value: count(*) }
  measured:      { window: { tumbling: 3s }, by: [region], value: count(measurement) }
  everything:    { window: { tumbling: 3s }, value: sum(measurement) }
  turns_sum:     { where: kind = 'IC_RPM', window: { tumbling: 3s }, by: [region], value: sum(measurement) }
  turns_avg:     { where: kind = 'IC_RPM', window: { tumbling: 3s }, by: [region], value: avg(measurement) }
  turns_min:     { where: kind = 'IC_RPM', window: { tumbling: 3s }, by: [region], value: min(measurement) }
  turns_max:     { where: kind = 'IC_RPM', window: { tumbling: 3s }, by: [region], value: max(measurement) }
  turns_first:   { where: kind = 'IC_RPM', window: { tumbling: 3s }, by: [region], value: first(measurement) }
  turns_last:    { where: kind = 'IC_RPM', window: { tumbling: 3s }, by: [region], value: last(measurement) }
  in_reverse:
    window: { tumbling: 3s }
    by: [region]
    value: count(DISTINCT vehicle) FILTER (WHERE kind = 'ELECTRIC_RPM' AND measurement < 0)
  reverse_mean:
    window: { tumbling: 3s }
    by: [region]
    value: avg(measurement) FILTER (WHERE kind = 'ELECTRIC_RPM' AND measurement < 0)
  percent_with_engine:
    window: { tumbling: 3s }
    by: [region]
    value: 100 * count(DISTINCT vehicle) FILTER (WHERE kind = 'IC_RPM' AND measurement > 0) / count(DISTINCT vehicle)
"#;

const PER: &str = r#"
  in_motion:
    window: { tumbling: 3s }
    per:
      key: vehicle
      let:
        engine: max(measurement) FILTER (WHERE kind = 'IC_RPM')
        motor: max(abs(measurement)) FILTER (WHERE kind = 'ELECTRIC_RPM')
    by: [region]
    value: count(*) FILTER (WHERE engine > 0 OR motor > 0)
  mean_span:
    where: kind = 'ELECTRIC_RPM'
    window: { tumbling: 3s }
    per: { key: vehicle, let: { span: max(measurement) - min(measurement) } }
    by: [region]
    value: avg(span)
  last_lights:
    where: kind = 'WARNINGS'
    window: { tumbling: 3s }
    per: { key: vehicle, let: { lights: last(measurement) } }
    value: sum(lights)
"#;

const OVER_TIME: &str = r#"
  turns_spread:  { where: kind = 'IC_RPM', window: { tumbling: 3s }, by: [region], value: "round(stddev_pop(measurement), 3)" }
  about:         { window: { tumbling: 3s }, by: [region], value: approx_count_distinct(vehicle) }
  turns_up:
    where: kind = 'IC_RPM'
    window: { tumbling: 3s }
    per: { key: vehicle, let: { up: increase(measurement) } }
    by: [region]
    value: round(sum(up), 3)
  turns_held:
    where: kind = 'IC_RPM'
    window: { tumbling: 3s }
    per: { key: vehicle, let: { held: time_avg(measurement), turning: time_in(measurement > 0) } }
    by: [region]
    value: round(avg(held) + sum(turning), 3)
  turns:
    where: kind = 'IC_RPM'
    window: { tumbling: 3s }
    by: [region]
    value: buckets(measurement, 0, 1500, 3000)
"#;

const RAW: &str = r#"
  turns: { where: kind = 'IC_RPM', labels: [vehicle, region], value: measurement }
  by_region: { where: kind = 'WARNINGS', labels: [region], value: measurement }
"#;

/// Three splits with late events; in the last one are the same vehicles as in the others.
fn splits(fleet: &Fleet) -> Result<Vec<Vec<u8>>> {
    let mut splits = by_vehicle(&fleet.events(&LATE)?, 2);
    splits.push(fleet.events(&[&LATE[..], &["--seed", "2"]].concat())?);
    Ok(splits)
}

/// What a pipeline with these metrics gives for some splits.
fn run(fleet: &Fleet, splits: &[Vec<u8>], metrics: &str) -> Result<Vec<Sample>> {
    let pipeline = write(
        fleet.folder.path(),
        "values.yaml",
        &format!("{HEAD}{metrics}"),
    )?;
    let pipeline = pipeline.display().to_string();
    read_ndjson(&fleet.run_pipeline(&pipeline, splits, &["--workers", "2"])?)
}

fn by_region(event: &Event) -> Labels {
    labels_from(event, &[("region", "region")])
}

fn measurements(events: &[&Event]) -> Vec<f64> {
    events
        .iter()
        .filter_map(|event| event.number("measurement"))
        .collect()
}

fn distinct(events: &[&Event], filter: impl Fn(&Event) -> bool) -> f64 {
    let wanted = events.iter().filter(|event| filter(event));
    let vehicles: BTreeSet<_> = wanted.filter_map(|event| event.text("vehicleId")).collect();
    vehicles.len() as f64
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn is_reverse(event: &Event) -> bool {
    event.is("ELECTRIC_RPM") && event.number("measurement").is_some_and(|value| value < 0.0)
}

fn has_engine_on(event: &Event) -> bool {
    event.is("IC_RPM") && event.number("measurement").is_some_and(|value| value > 0.0)
}

/// The events of each vehicle, still in order.
fn rows<'a>(events: &[&'a Event]) -> BTreeMap<String, Vec<&'a Event>> {
    let mut rows: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events {
        if let Some(vehicle) = event.text("vehicleId") {
            rows.entry(vehicle).or_default().push(event);
        }
    }
    rows
}

/// A metric over windows of three seconds by region.
fn metric<'a>(
    name: &'static str,
    filter: &'a dyn Fn(&Event) -> bool,
    value: &'a dyn Fn(&[&Event]) -> Option<f64>,
) -> Metric<'a> {
    Metric {
        name,
        window_ms: WINDOW_MS,
        filter,
        labels: &by_region,
        value,
    }
}

fn evaluate(metrics: &[Metric<'_>], events: &[Event]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for metric in metrics {
        samples.extend(metric.evaluate(events).samples);
    }
    samples.sort();
    samples
}

#[test]
fn every_aggregate() -> Result<()> {
    let fleet = Fleet::new()?;
    let splits = splits(&fleet)?;
    let all = |_: &Event| true;
    let engine = |event: &Event| event.is("IC_RPM");
    let none = |_: &Event| Labels::new();
    let metrics = [
        metric("readings", &all, &|events| Some(events.len() as f64)),
        metric("measured", &all, &|events| {
            Some(measurements(events).len() as f64)
        }),
        Metric {
            labels: &none,
            ..metric("everything", &all, &|events| {
                Some(measurements(events).iter().sum())
            })
        },
        metric("turns_sum", &engine, &|events| {
            Some(measurements(events).iter().sum())
        }),
        metric("turns_avg", &engine, &|events| mean(&measurements(events))),
        metric("turns_min", &engine, &|events| {
            measurements(events).into_iter().reduce(f64::min)
        }),
        metric("turns_max", &engine, &|events| {
            measurements(events).into_iter().reduce(f64::max)
        }),
        metric("turns_first", &engine, &|events| {
            measurements(events).first().copied()
        }),
        metric("turns_last", &engine, &|events| {
            measurements(events).last().copied()
        }),
        metric("in_reverse", &all, &|events| {
            Some(distinct(events, is_reverse))
        }),
        metric("reverse_mean", &all, &|events| {
            let reverse = events.iter().copied().filter(|event| is_reverse(event));
            mean(&measurements(&reverse.collect::<Vec<_>>()))
        }),
        metric("percent_with_engine", &all, &|events| {
            Some(100.0 * distinct(events, has_engine_on) / distinct(events, |_| true))
        }),
    ];
    let expected = evaluate(&metrics, &read(&splits));
    expect_same(&run(&fleet, &splits, AGGREGATES)?, &expected)
}

#[test]
fn rows_per_vehicle() -> Result<()> {
    let fleet = Fleet::new()?;
    let splits = splits(&fleet)?;
    let all = |_: &Event| true;
    let motor = |event: &Event| event.is("ELECTRIC_RPM");
    let warnings = |event: &Event| event.is("WARNINGS");
    let none = |_: &Event| Labels::new();
    let metrics = [
        metric("in_motion", &all, &|events| {
            let moves = |events: &Vec<&Event>| {
                events.iter().any(|event| {
                    let value = event.number("measurement").unwrap_or_default();
                    event.is("IC_RPM") && value > 0.0 || event.is("ELECTRIC_RPM") && value != 0.0
                })
            };
            Some(rows(events).values().filter(|events| moves(events)).count() as f64)
        }),
        metric("mean_span", &motor, &|events| {
            let mut spans = Vec::new();
            for events in rows(events).values() {
                let values = measurements(events);
                let least = values.iter().copied().reduce(f64::min);
                let most = values.iter().copied().reduce(f64::max);
                spans.push(most? - least?);
            }
            mean(&spans)
        }),
        Metric {
            labels: &none,
            ..metric("last_lights", &warnings, &|events| {
                let rows = rows(events);
                let last = rows
                    .values()
                    .filter_map(|events| measurements(events).last().copied());
                Some(last.sum())
            })
        },
    ];
    let expected = evaluate(&metrics, &read(&splits));
    expect_same(&run(&fleet, &splits, PER)?, &expected)
}

/// The readings of a vehicle by time, the last one of each.
fn readings(events: &[&Event]) -> Vec<(i64, f64)> {
    let mut readings = BTreeMap::new();
    for event in events {
        if let Some(value) = event.number("measurement") {
            readings.insert(event.time_ms, value);
        }
    }
    readings.into_iter().collect()
}

fn increase(readings: &[(i64, f64)]) -> Option<f64> {
    let pairs = readings.iter().zip(readings.iter().skip(1));
    let steps = pairs.map(|((_, earlier), (_, later))| {
        if later < earlier {
            *later
        } else {
            later - earlier
        }
    });
    (readings.len() > 1).then(|| steps.sum())
}

/// The integral until the end of the window, in seconds, and the time that it is over.
fn integrate(readings: &[(i64, f64)], end_ms: i64) -> Option<(f64, f64)> {
    let (start_ms, _) = readings.first()?;
    let ends = readings.iter().skip(1).map(|(time, _)| *time);
    let parts = readings.iter().zip(ends.chain([end_ms]));
    let area = parts.map(|((time, value), end)| value * (end - time) as f64 / 1_000.0);
    Some((area.sum(), (end_ms - start_ms) as f64 / 1_000.0))
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[test]
fn over_time_and_as_buckets() -> Result<()> {
    let fleet = Fleet::new()?;
    let splits = splits(&fleet)?;
    let all = |_: &Event| true;
    let engine = |event: &Event| event.is("IC_RPM");
    let bounds = [
        ("0", 0.0),
        ("1500", 1_500.0),
        ("3000", 3_000.0),
        ("+Inf", f64::INFINITY),
    ];
    let mut expected = evaluate(
        &[
            metric("turns_spread", &engine, &|events| {
                let values = measurements(events);
                let mean = mean(&values)?;
                let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
                Some(round((squares / values.len() as f64).sqrt()))
            }),
            metric("about", &all, &|events| Some(distinct(events, |_| true))),
            metric("turns_up", &engine, &|events| {
                let rows = rows(events);
                let ups: Vec<f64> = rows
                    .values()
                    .filter_map(|events| increase(&readings(events)))
                    .collect();
                (!ups.is_empty()).then(|| round(ups.iter().sum()))
            }),
            metric("turns_held", &engine, &|events| {
                let (mut held, mut turning) = (Vec::new(), 0.0);
                for events in rows(events).values() {
                    let end_ms = events.first()?.window_end_ms(WINDOW_MS);
                    let mut readings = readings(events);
                    let (area, seconds) = integrate(&readings, end_ms)?;
                    held.push(area / seconds);
                    for (_, value) in &mut readings {
                        *value = f64::from(u8::from(*value > 0.0));
                    }
                    turning += integrate(&readings, end_ms)?.0;
                }
                Some(round(mean(&held)? + turning))
            }),
            metric("turns_sum", &engine, &|events| {
                Some(measurements(events).iter().sum())
            }),
            metric("turns_count", &engine, &|events| {
                Some(measurements(events).len() as f64)
            }),
        ],
        &read(&splits),
    );
    for (le, bound) in bounds {
        let with_bound = |event: &Event| {
            let mut labels = by_region(event);
            labels.insert("le".to_owned(), le.to_owned());
            labels
        };
        let below = |events: &[&Event]| {
            let values = measurements(events);
            Some(values.iter().filter(|value| **value <= bound).count() as f64)
        };
        let bucket = Metric {
            labels: &with_bound,
            ..metric("turns_bucket", &engine, &below)
        };
        expected.extend(evaluate(&[bucket], &read(&splits)));
    }
    expected.sort();
    expect_same(&run(&fleet, &splits, OVER_TIME)?, &expected)
}

#[test]
fn raw_metrics_are_in_order_and_one_a_time() -> Result<()> {
    let fleet = Fleet::new()?;
    let splits = splits(&fleet)?;
    let events = read(&splits);
    let vehicle =
        |event: &Event| labels_from(event, &[("vehicle", "vehicleId"), ("region", "region")]);
    let mut expected = raw(
        "by_region",
        &events,
        &|event| event.is("WARNINGS"),
        &by_region,
    );
    // Many vehicles of a region are read at the same millisecond, and only one can be its sample.
    let warnings = events.iter().filter(|event| event.is("WARNINGS"));
    assert!(expected.len() < warnings.count());
    expected.extend(raw("turns", &events, &|event| event.is("IC_RPM"), &vehicle));
    expected.sort();
    expect_same(&run(&fleet, &splits, RAW)?, &expected)?;

    let text = std::fs::read_to_string(fleet.path("samples.ndjson"))?;
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        let (series, rest) = line.split_once("\"timestamp_ms\":").unwrap_or_default();
        let (time, _) = rest.split_once(',').unwrap_or_default();
        // All times have the same number of digits.
        assert_eq!(time.len(), 13, "{line}");
        if let Some(before) = last.insert(series, time) {
            assert!(before < time, "{before} before {line}");
        }
    }
    Ok(())
}
