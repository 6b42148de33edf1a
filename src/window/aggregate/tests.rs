//! Every aggregate against a naive computation, and: however the input is split, and in whatever
//! order the parts are merged, the result is that of the whole.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Event {
    slot: u32,
    time: TimestampMs,
    value: Option<i32>,
    passes: bool,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (
        0..3_u32,
        0..50_i64,
        prop::option::weighted(0.8, -20..20_i32),
        any::<bool>(),
    );
    let event = event.prop_map(|(slot, time, value, passes)| Event {
        slot,
        time,
        value,
        passes,
    });
    prop::collection::vec(event, 0..60)
}

/// Symbol `n + 100` for value `n`, so that negative values have one too.
fn columns(events: &[Event]) -> [Column; 3] {
    let number = |event: &Event| event.value.map_or(f64::NAN, f64::from);
    let text = |event: &Event| {
        event
            .value
            .map_or(Symbol::NULL, |value| Symbol((value + 100) as u32))
    };
    let boolean = |event: &Event| {
        event
            .value
            .map_or(Trilean::Null, |value| (value > 0).into())
    };
    [
        Column::Number(events.iter().map(number).collect()),
        Column::Text(events.iter().map(text).collect()),
        Column::Boolean(events.iter().map(boolean).collect()),
    ]
}

fn kinds() -> Vec<AggregateKind> {
    let mut kinds = vec![AggregateKind {
        function: Function::Count,
        argument: None,
    }];
    for argument in [DataType::Number, DataType::Text, DataType::Boolean] {
        for (name, distinct) in [
            ("count", false),
            ("count", true),
            ("first", false),
            ("last", false),
        ] {
            kinds.push(AggregateKind::of_call(name, distinct, false, &[argument]).unwrap());
        }
    }
    for name in ["sum", "avg", "min", "max"] {
        kinds.push(AggregateKind::of_call(name, false, false, &[DataType::Number]).unwrap());
    }
    kinds
}

/// Aggregates events whose positions in their split begin at `first_position`.
fn aggregate(kind: AggregateKind, events: &[Event], first_position: u64) -> Aggregate {
    let mut aggregate = Aggregate::new(kind);
    aggregate.grow(3);
    let columns = columns(events);
    let column = kind.argument.map(|argument| match argument {
        DataType::Number => &columns[0],
        DataType::Text => &columns[1],
        DataType::Boolean => &columns[2],
    });
    let filter: Vec<Trilean> = events.iter().map(|event| event.passes.into()).collect();
    let positions: Vec<u64> = (first_position..).take(events.len()).collect();
    aggregate.update(
        &Input {
            rows: &(0..events.len() as u32).collect::<Vec<_>>(),
            slots: &events.iter().map(|event| event.slot).collect::<Vec<_>>(),
            times: &events.iter().map(|event| event.time).collect::<Vec<_>>(),
            origin: Origin {
                split: SplitId(0),
                positions: &positions,
            },
        },
        column,
        Some(&filter),
    );
    aggregate
}

/// NaN equals NaN here: both are NULL.
fn assert_same(left: &Column, right: &Column) {
    match (left, right) {
        (Column::Number(left), Column::Number(right)) => {
            let bits = |values: &[f64]| {
                values
                    .iter()
                    .map(|value| value.to_bits())
                    .collect::<Vec<_>>()
            };
            assert_eq!(bits(left), bits(right));
        }
        _ => assert_eq!(left, right),
    }
}

fn naive_number(function: Function, events: &[&Event]) -> f64 {
    let values: Vec<f64> = events
        .iter()
        .filter_map(|event| event.value)
        .map(f64::from)
        .collect();
    let ordered = || {
        events
            .iter()
            .enumerate()
            .filter_map(|(at, e)| Some((e.time, at, e.value?)))
    };
    match function {
        Function::Count => values.len() as f64,
        Function::CountDistinct => values
            .iter()
            .map(|value| *value as i64)
            .collect::<BTreeSet<_>>()
            .len() as f64,
        _ if values.is_empty() => f64::NAN,
        Function::Sum => values.iter().sum(),
        Function::Average => values.iter().sum::<f64>() / values.len() as f64,
        Function::Min => values.iter().copied().fold(f64::INFINITY, f64::min) + 0.0,
        Function::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max) + 0.0,
        Function::First => ordered()
            .min()
            .map_or(f64::NAN, |(_, _, value)| f64::from(value)),
        Function::Last => ordered()
            .max()
            .map_or(f64::NAN, |(_, _, value)| f64::from(value)),
        Function::Collect => unreachable!(),
    }
}

proptest! {
    #[test]
    fn equals_the_naive_computation(events in events()) {
        for kind in kinds().into_iter().filter(|kind| kind.argument == Some(DataType::Number)) {
            let result = aggregate(kind, &events, 0).finish();
            for (slot, value) in result.numbers().iter().enumerate() {
                let of_slot: Vec<_> = events
                    .iter()
                    .filter(|event| event.slot as usize == slot && event.passes)
                    .collect();
                let naive = naive_number(kind.function, &of_slot);
                prop_assert_eq!(value.to_bits(), naive.to_bits(), "{:?}", kind);
            }
        }
    }

    #[test]
    fn merging_any_split_in_any_order_equals_the_whole(
        events in events(),
        cuts in prop::collection::vec(0..60_usize, 0..4),
        rotate in 0..5_usize,
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(events.len())).collect();
        cuts.extend([0, events.len()]);
        cuts.sort_unstable();
        for kind in kinds() {
            let whole = aggregate(kind, &events, 0).finish();
            let mut parts: Vec<_> = cuts
                .windows(2)
                .map(|cut| aggregate(kind, &events[cut[0]..cut[1]], cut[0] as u64))
                .collect();
            let turn = rotate % parts.len();
            parts.rotate_left(turn);
            let mut merged = Aggregate::new(kind);
            merged.grow(3);
            for part in &parts {
                merged.merge(part, &[0, 1, 2], &SymbolMap::Same);
            }
            assert_same(&whole, &merged.finish());
        }
    }

    #[test]
    fn picked_slots_keep_their_values_under_other_numbers(events in events()) {
        for kind in kinds() {
            let whole = aggregate(kind, &events, 0);
            let picked = whole.pick(&[2, 0]);
            let mut back = Aggregate::new(kind);
            back.grow(3);
            back.merge(&picked, &[2, 0], &SymbolMap::Same);
            back.merge(&whole.pick(&[1]), &[1], &SymbolMap::Same);
            assert_same(&whole.finish(), &back.finish());
        }
    }
}

#[test]
fn texts_are_translated_when_merged() {
    let events = [Event {
        slot: 0,
        time: 1,
        value: Some(5),
        passes: true,
    }];
    let kind = AggregateKind {
        function: Function::Last,
        argument: Some(DataType::Text),
    };
    let theirs = aggregate(kind, &events, 0);
    let mut table = vec![Symbol::NULL; 200];
    table[105] = Symbol(7);
    let mut mine = Aggregate::new(kind);
    mine.grow(1);
    mine.merge(&theirs, &[0], &SymbolMap::Table(&table));
    assert_eq!(mine.finish(), Column::Text(vec![Symbol(7)]));
}
