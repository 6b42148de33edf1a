//! Every aggregate against a naive computation, and: however the input is split, and in whatever
//! order the parts are merged, the result is that of the whole.

mod naive;
mod state;

use proptest::prelude::*;

use super::*;
use crate::model::aggregate::Argument;
use crate::window::Bounds;

/// The window of all events.
const WINDOW: Bounds = Bounds { start: 0, end: 50 };

#[derive(Debug, Clone)]
struct Event {
    slot: u32,
    time: TimestampMs,
    value: Option<f64>,
    passes: bool,
}

/// Several events at one time are likely.
fn events(value: impl Strategy<Value = f64>) -> impl Strategy<Value = Vec<Event>> {
    let event = (
        0..3_u32,
        0..50_i64,
        prop::option::weighted(0.8, value),
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

/// Integers, of which a naive computation is exact.
fn integers() -> impl Strategy<Value = Vec<Event>> {
    events((-20..20_i32).prop_map(f64::from))
}

/// Everything that a number can be.
fn doubles() -> impl Strategy<Value = Vec<Event>> {
    events(prop_oneof![
        prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
        -1e3..1e3_f64,
        Just(0.1),
        Just(f64::MAX),
        Just(-f64::MAX),
    ])
}

/// Symbol `n + 100` for value `n`, so that negative values have one too.
fn columns(events: &[Event]) -> [Column; 3] {
    let number = |event: &Event| event.value.unwrap_or(f64::NAN);
    let text = |event: &Event| {
        event.value.map_or(Symbol::NULL, |value| {
            Symbol((value.clamp(-90.0, 1e4) + 100.0) as u32)
        })
    };
    let boolean = |event: &Event| {
        event
            .value
            .map_or(Trilean::Null, |value| (value > 0.0).into())
    };
    [
        Column::Number(events.iter().map(number).collect()),
        Column::Text(events.iter().map(text).collect()),
        Column::Boolean(events.iter().map(boolean).collect()),
    ]
}

/// A kind for each name and type that it takes, with usual constants.
fn kinds() -> Vec<AggregateKind> {
    let mut kinds = vec![AggregateKind::of_call("count", false, true, &[]).unwrap()];
    for name in NAMES {
        for data_type in [DataType::Number, DataType::Text, DataType::Boolean] {
            let values = Argument {
                data_type,
                constant: None,
            };
            let constant = |value| Argument {
                data_type: DataType::Number,
                constant: Some(value),
            };
            let arguments = match name {
                "quantile" => vec![constant(0.9), values],
                "buckets" => vec![values, constant(-5.0), constant(0.0), constant(7.5)],
                _ => vec![values],
            };
            let before = kinds.len();
            kinds.extend(AggregateKind::of_call(name, false, false, &arguments));
            kinds.extend(AggregateKind::of_call(name, true, false, &arguments));
            assert!(data_type != DataType::Number || kinds.len() > before || name == "time_in");
        }
    }
    assert!(kinds.iter().any(|kind| kind.function == Function::TimeIn));
    kinds
}

/// Aggregates events whose positions in their split begin at `first_position`.
fn aggregate(kind: &AggregateKind, events: &[Event], first_position: u64) -> Aggregate {
    let mut aggregate = Aggregate::new(kind);
    aggregate.grow(3);
    update(&mut aggregate, kind, events, first_position);
    aggregate
}

/// Goes on with more events.
fn update(aggregate: &mut Aggregate, kind: &AggregateKind, events: &[Event], first_position: u64) {
    let columns = columns(events);
    let column = kind.argument.map(|argument| match argument {
        // The numbers stand for the hashes of the texts.
        _ if kind.hashes_texts() => &columns[0],
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
}

/// All results: NaN equals NaN, for both are NULL, but 0 is not −0.
fn results(aggregate: &Aggregate) -> String {
    let column = match aggregate.finish(Extent::All(WINDOW)) {
        Column::Number(values) => {
            let bits = values.iter().map(|value| match value.is_nan() {
                true => None,
                false => Some(value.to_bits()),
            });
            format!("{:?}", bits.collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    };
    let distributions: Vec<_> = (0..3)
        .map(|slot| {
            (
                aggregate.native_histogram(slot),
                aggregate.classic_histogram(slot),
            )
        })
        .collect();
    format!("{column} {distributions:?}")
}

/// Cuts the events, aggregates each part, and merges the parts in another order, some of them first
/// with each other.
fn merged(kind: &AggregateKind, events: &[Event], cuts: &[usize], rotate: usize) -> Aggregate {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| *cut.min(&events.len())).collect();
    cuts.extend([0, events.len()]);
    cuts.sort_unstable();
    let mut parts: Vec<_> = cuts
        .windows(2)
        .map(|cut| aggregate(kind, &events[cut[0]..cut[1]], cut[0] as u64))
        .collect();
    let turn = rotate % parts.len();
    parts.rotate_left(turn);
    let (left, right) = parts.split_at(rotate % (parts.len() + 1));
    let join = |parts: &[Aggregate]| {
        let mut merged = Aggregate::new(kind);
        merged.grow(3);
        for part in parts {
            merged.merge(part, &[0, 1, 2], &SymbolMap::Same);
        }
        merged
    };
    let (mut joined, right) = (join(left), join(right));
    joined.merge(&right, &[0, 1, 2], &SymbolMap::Same);
    joined
}

proptest! {
    #[test]
    fn merging_any_split_in_any_order_equals_the_whole(
        integers in integers(),
        doubles in doubles(),
        cuts in prop::collection::vec(0..60_usize, 0..4),
        rotate in 0..5_usize,
    ) {
        for events in [integers, doubles] {
            for kind in kinds() {
                let whole = results(&aggregate(&kind, &events, 0));
                let merged = results(&merged(&kind, &events, &cuts, rotate));
                prop_assert_eq!(whole, merged, "{:?}", kind);
            }
        }
    }

    #[test]
    fn picked_slots_keep_their_values_under_other_numbers(events in doubles()) {
        for kind in kinds() {
            let whole = aggregate(&kind, &events, 0);
            let picked = whole.pick(&[2, 0]);
            let mut back = Aggregate::new(&kind);
            back.grow(3);
            back.merge(&picked, &[2, 0], &SymbolMap::Same);
            back.merge(&whole.pick(&[1]), &[1], &SymbolMap::Same);
            prop_assert_eq!(results(&whole), results(&back), "{:?}", kind);
        }
    }

    #[test]
    fn no_result_but_a_sum_is_infinite(events in doubles()) {
        for kind in kinds().into_iter().filter(|kind| kind.function != Function::Sum) {
            if let Column::Number(values) = aggregate(&kind, &events, 0).finish(Extent::All(WINDOW)) {
                let finite = values.iter().all(|value| !value.is_infinite());
                prop_assert!(finite, "{:?} {:?}", kind, values);
            }
        }
    }
}

#[test]
fn texts_are_translated_when_merged() {
    let events = [Event {
        slot: 0,
        time: 1,
        value: Some(5.0),
        passes: true,
    }];
    let kind = AggregateKind {
        function: Function::Last,
        argument: Some(DataType::Text),
    };
    let theirs = aggregate(&kind, &events, 0);
    let mut table = vec![Symbol::NULL; 200];
    table[105] = Symbol(7);
    let mut mine = Aggregate::new(&kind);
    mine.grow(1);
    mine.merge(&theirs, &[0], &SymbolMap::Table(&table));
    assert_eq!(
        mine.finish(Extent::All(WINDOW)),
        Column::Text(vec![Symbol(7)])
    );
}
