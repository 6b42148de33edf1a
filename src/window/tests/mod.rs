//! Windows out of panes against the plainest computation of them.

mod sessions;
mod sliding;
mod state;
mod store;
mod watermarks;

use std::collections::{BTreeMap, BTreeSet};

use super::aggregate::{AggregateKind, Function, Input, Origin};
use super::{Bounds, Extent, Groups};
use crate::model::{Column, DataType, Interner, SplitId, Symbol, TimestampMs};

/// An event of a key.
#[derive(Debug, Clone)]
struct Event {
    time: TimestampMs,
    key: u32,
    value: Option<i8>,
    text: Option<u8>,
}

/// What is computed of events: their count, the sum of their values, how many different texts they
/// have, and when the first and the last of them was.
type Results = (u64, Option<i64>, usize, TimestampMs, TimestampMs);

fn kinds() -> Vec<AggregateKind> {
    let kind = |function, argument| AggregateKind { function, argument };
    vec![
        kind(Function::Count, None),
        kind(Function::Sum, Some(DataType::Number)),
        kind(Function::CountDistinct, Some(DataType::Text)),
        kind(Function::Min, Some(DataType::Number)),
        kind(Function::Max, Some(DataType::Number)),
    ]
}

/// The groups of some events.
fn groups_of(events: &[&Event]) -> Groups {
    let mut groups = Groups::new(1, &kinds());
    let slots: Vec<u32> = events
        .iter()
        .map(|event| groups.slot(&[Symbol(event.key)]))
        .collect();
    groups.grow_aggregates();
    let rows: Vec<u32> = (0..).take(events.len()).collect();
    let numbers = |number: fn(&Event) -> f64| {
        Column::Number(events.iter().map(|event| number(event)).collect())
    };
    let text = |event: &&Event| {
        let text = event.text;
        text.map_or(Symbol::NULL, |text| Symbol(u32::from(text) + 1))
    };
    let times = numbers(|event| event.time as f64);
    let columns = [
        None,
        Some(numbers(|event| event.value.map_or(f64::NAN, f64::from))),
        Some(Column::Text(events.iter().map(text).collect())),
        Some(times.clone()),
        Some(times),
    ];
    let input = Input {
        rows: &rows,
        slots: &slots,
        times: &[],
        origin: Origin {
            split: SplitId(0),
            positions: &[],
        },
    };
    for (aggregate, column) in groups.aggregates_mut().iter_mut().zip(&columns) {
        aggregate.update(&input, column.as_ref(), None);
    }
    groups
}

/// The results of groups, a row a key.
fn results(groups: &Groups) -> Vec<(u32, Results)> {
    let any = Extent::All(Bounds { start: 0, end: 0 });
    let columns: Vec<Column> = groups
        .aggregates()
        .iter()
        .map(|aggregate| aggregate.finish(any))
        .collect();
    let mut results: Vec<_> = (0..groups.len())
        .map(|slot| {
            let of = |column: usize| columns[column].numbers()[slot];
            let sum = (!of(1).is_nan()).then_some(of(1) as i64);
            let result = (
                of(0) as u64,
                sum,
                of(2) as usize,
                of(3) as TimestampMs,
                of(4) as TimestampMs,
            );
            (groups.key(slot)[0].0, result)
        })
        .collect();
    results.sort_unstable();
    results
}

/// The results of events of one key, computed plainly.
fn naive(events: &[&Event]) -> Results {
    let values: Vec<i64> = events
        .iter()
        .filter_map(|event| event.value.map(i64::from))
        .collect();
    let texts: BTreeSet<u8> = events.iter().filter_map(|event| event.text).collect();
    let times = events.iter().map(|event| event.time);
    (
        events.len() as u64,
        (!values.is_empty()).then(|| values.iter().sum()),
        texts.len(),
        times.clone().min().unwrap(),
        times.max().unwrap(),
    )
}

/// Texts for all symbols that events have.
const TEXTS: u32 = 300;

fn interner() -> Interner {
    let mut interner = Interner::new();
    for number in 1..=TEXTS {
        interner.intern(&format!("text {number}"));
    }
    interner
}

/// Written and read again.
fn reread(groups: &Groups) -> Groups {
    let mut interner = interner();
    let bytes = groups.to_bytes(&interner.texts());
    Groups::from_bytes(&bytes, &mut interner, 1, &kinds()).unwrap()
}

fn by_key<'e>(events: impl Iterator<Item = &'e Event>) -> BTreeMap<u32, Vec<&'e Event>> {
    let mut keys: BTreeMap<u32, Vec<&Event>> = BTreeMap::new();
    for event in events {
        keys.entry(event.key).or_default().push(event);
    }
    keys
}
