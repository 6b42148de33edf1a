//! Each aggregate computed as its definition says, from a list of values.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The values by their times, the last one of each.
fn by_time(events: &[&Event]) -> Vec<(TimestampMs, f64)> {
    let mut readings = BTreeMap::new();
    for event in events {
        if let Some(value) = event.value {
            readings.insert(event.time, value);
        }
    }
    readings.into_iter().collect()
}

/// The value in each millisecond of the window, from the first reading on.
fn every_millisecond(events: &[&Event]) -> Vec<f64> {
    let readings = by_time(events);
    (WINDOW.start..WINDOW.end)
        .filter_map(|now| {
            let known = readings.iter().rev().find(|(time, _)| *time <= now)?;
            Some(known.1)
        })
        .collect()
}

fn increase(readings: &[(TimestampMs, f64)]) -> f64 {
    readings
        .windows(2)
        .map(|pair| match pair[1].1 < pair[0].1 {
            true => pair[1].1,
            false => pair[1].1 - pair[0].1,
        })
        .sum()
}

fn spread(values: &[f64], divisor: f64) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if divisor > 0.0 {
        squares / divisor
    } else {
        f64::NAN
    }
}

fn quantile(share: f64, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(share * (values.len() - 1) as f64).floor() as usize]
}

fn naive(function: &Function, events: &[&Event]) -> f64 {
    let values: Vec<f64> = events.iter().filter_map(|event| event.value).collect();
    let ordered = || {
        events
            .iter()
            .enumerate()
            .filter_map(|(at, e)| Some((e.time, at, e.value? as i64)))
    };
    let distinct = || {
        let integers = values.iter().map(|value| *value as i64);
        integers.collect::<BTreeSet<_>>().len() as f64
    };
    let readings = by_time(events);
    let two = readings.len() >= 2;
    match function {
        Function::Count => values.len() as f64,
        Function::CountDistinct | Function::ApproxCountDistinct => distinct(),
        _ if values.is_empty() => f64::NAN,
        Function::Sum => values.iter().sum(),
        Function::Average => values.iter().sum::<f64>() / values.len() as f64,
        Function::Min => values.iter().copied().fold(f64::INFINITY, f64::min) + 0.0,
        Function::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max) + 0.0,
        Function::First => ordered()
            .min()
            .map_or(f64::NAN, |(_, _, value)| value as f64),
        Function::Last => ordered()
            .max()
            .map_or(f64::NAN, |(_, _, value)| value as f64),
        Function::Spread(measure) => {
            let less = f64::from(u8::from(!measure.population));
            let variance = spread(&values, values.len() as f64 - less);
            if measure.root {
                variance.sqrt()
            } else {
                variance
            }
        }
        Function::Quantile(share) => quantile(*share, values),
        Function::Median => quantile(0.5, values),
        Function::Rate | Function::Increase | Function::Delta if !two => f64::NAN,
        Function::Increase => increase(&readings),
        Function::Rate => {
            let milliseconds = readings[readings.len() - 1].0 - readings[0].0;
            increase(&readings) / (milliseconds as f64 / 1_000.0)
        }
        Function::Delta => readings[readings.len() - 1].1 - readings[0].1,
        Function::TimeAverage => {
            let held = every_millisecond(events);
            held.iter().sum::<f64>() / held.len() as f64
        }
        Function::Histogram { .. } | Function::Buckets { .. } => values.len() as f64,
        Function::TimeIn | Function::Collect => unreachable!(),
    }
}

/// How far a result may be from the naive one, whose rounding differs, as a part of it.
fn tolerance(function: &Function) -> f64 {
    match function {
        Function::Spread(_) | Function::TimeAverage => 1e-12,
        Function::Quantile(_) | Function::Median => 0.0055,
        _ => 0.0,
    }
}

fn of_slot(events: &[Event], slot: usize) -> Vec<&Event> {
    let events = events.iter();
    events
        .filter(|event| event.slot as usize == slot && event.passes)
        .collect()
}

proptest! {
    #[test]
    fn numbers_equal_the_naive_computation(events in integers()) {
        let kinds = kinds().into_iter();
        for kind in kinds.filter(|kind| kind.argument == Some(DataType::Number)) {
            let result = aggregate(&kind, &events, 0).finish(Extent::All(WINDOW));
            for (slot, value) in result.numbers().iter().enumerate() {
                let expected = naive(&kind.function, &of_slot(&events, slot));
                let allowed = tolerance(&kind.function) * expected.abs();
                let near = (value - expected).abs() <= allowed;
                let both_null = value.is_nan() && expected.is_nan();
                prop_assert!(near || both_null, "{:?}: {} for {}", kind, value, expected);
            }
        }
    }

    #[test]
    fn conditions_hold_until_the_next_reading(events in integers()) {
        let kind = AggregateKind {
            function: Function::TimeIn,
            argument: Some(DataType::Boolean),
        };
        let result = aggregate(&kind, &events, 0).finish(Extent::All(WINDOW));
        for (slot, value) in result.numbers().iter().enumerate() {
            let held = every_millisecond(&of_slot(&events, slot));
            if held.is_empty() {
                prop_assert!(value.is_nan());
                continue;
            }
            let milliseconds = held.iter().filter(|value| **value > 0.0).count();
            prop_assert_eq!(*value, milliseconds as f64 / 1_000.0);
        }
    }

    #[test]
    fn distributions_equal_the_naive_computation(events in doubles()) {
        let numbers = Some(DataType::Number);
        let bounds = [-5.0, 0.0, 7.5];
        let classic = AggregateKind {
            function: Function::Buckets { bounds: bounds.into() },
            argument: numbers,
        };
        let native = AggregateKind {
            function: Function::Histogram { schema: 0 },
            argument: numbers,
        };
        let classic = aggregate(&classic, &events, 0);
        let native = aggregate(&native, &events, 0);
        for slot in 0..3 {
            let values: Vec<f64> = of_slot(&events, slot)
                .iter()
                .filter_map(|event| event.value)
                .collect();
            let (Some(classic), Some(native)) =
                (classic.classic_histogram(slot), native.native_histogram(slot))
            else {
                prop_assert!(values.is_empty());
                continue;
            };
            for (bound, count) in bounds.iter().zip(&classic.cumulative) {
                let below = values.iter().filter(|value| *value <= bound).count();
                prop_assert_eq!(*count, below as u64);
            }
            prop_assert_eq!(classic.count, values.len() as u64);
            let zero = values.iter().filter(|v| v.abs() <= native.zero_threshold).count();
            prop_assert_eq!(native.zero_count, zero as u64);
            prop_assert_eq!(native.count, values.len() as u64);
            let base = 2_f64.powi(-native.schema);
            for (sign, buckets) in [(1.0, &native.positive), (-1.0, &native.negative)] {
                let mut counted = 0;
                for (bucket, count) in buckets {
                    let (low, high) = (f64::from(bucket - 1) * base, f64::from(*bucket) * base);
                    let inside = values.iter().map(|value| value * sign).filter(|value| {
                        *value > native.zero_threshold
                            && low < value.log2()
                            && value.log2() <= high
                    });
                    counted += count;
                    // The logarithm rounds just above a power of two, and is exact elsewhere.
                    prop_assert!((inside.count() as u64).abs_diff(*count) <= 2);
                }
                let all = values.iter().filter(|v| **v * sign > native.zero_threshold).count();
                prop_assert_eq!(counted, all as u64);
            }
        }
    }
}
