//! Open windows that are frozen now and then against such that are not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Argument, Dropped, Groups, PaneKey, Piece, Rows, WindowStore, Windows};
use super::{Event, Results, kinds, reread, results};
use crate::model::{Column, SplitId, Symbol, TimestampMs};
use crate::window::aggregate::{Origin, SymbolMap};

/// How far events may be behind the highest one before them.
const DISORDER: i64 = 30;

#[derive(Debug, Clone)]
struct Batch {
    events: Vec<Event>,
    /// Freezes before it, and whether what was frozen is held on to.
    freeze: Option<bool>,
    /// By how much the watermark moves behind it.
    step: i64,
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let event = (
        0..60_i64,
        1..9_u32,
        prop::option::of(any::<i8>()),
        prop::option::of(0..5_u8),
    );
    let event = event.prop_map(|(time, key, value, text)| Event {
        time,
        key,
        value,
        text,
    });
    let batch = (
        prop::collection::vec(event, 0..30),
        prop::option::of(any::<bool>()),
        0..40_i64,
    );
    let batch = batch.prop_map(|(events, freeze, step)| Batch {
        events,
        freeze,
        step,
    });
    prop::collection::vec(batch, 1..16)
}

/// Tumbling, sliding and session windows.
fn windows() -> impl Strategy<Value = Windows> {
    prop_oneof![
        Just(Windows::sliding(20, 20, 0)),
        Just(Windows::sliding(60, 20, 5).with_allowed_lateness(7)),
        Just(Windows::session(40, None)),
    ]
}

fn store(windows: &Windows) -> WindowStore {
    WindowStore::new(windows.clone(), kinds(), 1, false)
}

/// Times count from `start`.
fn ingest(store: &mut WindowStore, events: &[Event], start: TimestampMs) -> Dropped {
    let times: Vec<TimestampMs> = events.iter().map(|event| start + event.time).collect();
    let numbers = |number: fn(&Event) -> f64| events.iter().map(number).collect::<Vec<_>>();
    let value = Column::Number(numbers(|event| event.value.map_or(f64::NAN, f64::from)));
    let text = |event: &Event| {
        let text = event.text;
        text.map_or(Symbol::NULL, |text| Symbol(u32::from(text) + 1))
    };
    let text = Column::Text(events.iter().map(text).collect());
    let time = Column::Number(times.iter().map(|time| *time as f64).collect());
    let columns = [None, Some(&value), Some(&text), Some(&time), Some(&time)];
    let arguments = columns.map(|column| Argument {
        column,
        filter: None,
    });
    let keys: Vec<Symbol> = events.iter().map(|event| Symbol(event.key)).collect();
    let rows = Rows {
        times: &times,
        origin: Origin {
            split: SplitId(0),
            positions: &(0..events.len() as u64).collect::<Vec<_>>(),
        },
        watermarks: &vec![start - DISORDER; events.len()],
        span: (
            times.iter().copied().min().unwrap_or_default(),
            times.iter().copied().max().unwrap_or_default(),
        ),
        last_watermark: start - DISORDER,
        written: TimestampMs::MIN,
        selected: None,
    };
    store.ingest(&rows, &[&keys], &arguments)
}

type Shown = Vec<(PaneKey, Vec<(u32, Results)>)>;

fn shown(closed: Vec<(PaneKey, Groups)>) -> Shown {
    let closed = closed.into_iter();
    closed
        .map(|(key, groups)| (key, results(&groups)))
        .collect()
}

/// All pieces of a pane in one.
fn joined(pieces: &[Piece]) -> Groups {
    let mut all = Groups::new(1, &kinds());
    for piece in pieces {
        all.merge(&reread(&piece.groups), &SymbolMap::Same);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn freezing_changes_nothing(windows in windows(), batches in batches()) {
        let (mut plain, mut frozen) = (store(&windows), store(&windows));
        let (mut held, mut start) = (Vec::new(), 0);
        for batch in &batches {
            if let Some(holds) = batch.freeze {
                let panes = frozen.freeze();
                prop_assert_eq!(panes.len(), frozen.open_windows());
                for (_, pieces) in &panes {
                    for piece in pieces {
                        prop_assert!(!piece.groups.is_empty());
                        held.push((results(&piece.groups), piece.clone()));
                    }
                }
                drop(panes);
                if !holds {
                    held.clear();
                    frozen.merge_pieces();
                }
            }
            let dropped = ingest(&mut plain, &batch.events, start);
            prop_assert_eq!(ingest(&mut frozen, &batch.events, start), dropped);
            prop_assert_eq!(plain.open_windows(), frozen.open_windows());
            prop_assert!(plain.open_groups() <= frozen.open_groups());
            start += batch.step;
            let closed = shown(plain.close(start - DISORDER));
            prop_assert_eq!(shown(frozen.close(start - DISORDER)), closed);
            let mut by_id = BTreeMap::new();
            for (before, piece) in &held {
                prop_assert_eq!(&results(&piece.groups), before, "what is held does not change");
                let same = by_id.entry(piece.id).or_insert(before);
                prop_assert_eq!(*same, before, "nor what a number stands for");
            }
        }
        let closed = shown(plain.close(TimestampMs::MAX));
        prop_assert_eq!(shown(frozen.close(TimestampMs::MAX)), closed);
        prop_assert_eq!((frozen.open_groups(), frozen.byte_len()), (0, 0));
    }

    #[test]
    fn what_was_frozen_and_what_comes_behind_it_is_the_whole(
        windows in windows(),
        batches in batches(),
        at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(batches.len());
        let mut plain = store(&windows);
        let (mut expected, mut found): (BTreeMap<_, Groups>, BTreeMap<_, Groups>) = Default::default();
        let add = |all: &mut BTreeMap<PaneKey, Groups>, panes: Vec<(PaneKey, Groups)>| {
            for (key, groups) in panes {
                let known = all.entry(key).or_insert_with(|| Groups::new(1, &kinds()));
                known.merge(&groups, &SymbolMap::Same);
            }
        };
        let (mut start, mut restored) = (0, store(&windows));
        for (number, batch) in batches.iter().enumerate() {
            if number == at || batch.freeze.is_some() {
                let panes = plain.freeze();
                if number == at {
                    let joined = panes.iter().map(|(key, pieces)| (*key, joined(pieces)));
                    add(&mut found, joined.collect());
                    restored.restore(start - DISORDER);
                }
            }
            let dropped = ingest(&mut plain, &batch.events, start);
            if number >= at {
                prop_assert_eq!(ingest(&mut restored, &batch.events, start), dropped);
            }
            start += batch.step;
            let closed = plain.close(start - DISORDER);
            if number < at {
                continue;
            }
            add(&mut expected, closed);
            add(&mut found, restored.close(start - DISORDER));
        }
        add(&mut expected, plain.close(TimestampMs::MAX));
        add(&mut found, restored.close(TimestampMs::MAX));
        let shown = |all: BTreeMap<PaneKey, Groups>| shown(all.into_iter().collect());
        prop_assert_eq!(shown(found), shown(expected));
    }
}

#[test]
fn a_pane_has_few_pieces_and_each_group_about_twice() {
    let windows = Windows::sliding(1_000_000, 1_000_000, 0);
    let mut store = store(&windows);
    let mut most = 0;
    for round in 0..200_u32 {
        // All keys in some rounds, a few in the others.
        let keys = if round % 20 == 0 { 250 } else { 10 };
        let event = |key| Event {
            time: 5,
            key,
            value: Some(1),
            text: None,
        };
        ingest(&mut store, &(1..=keys).map(event).collect::<Vec<_>>(), 0);
        store.merge_pieces();
        for (_, pieces) in store.freeze() {
            most = most.max(pieces.len());
        }
        assert!(store.open_groups() < 550, "{}", store.open_groups());
    }
    assert!(most <= 9, "{most} pieces");
    let closed = store.close(TimestampMs::MAX);
    let [(_, groups)] = closed.as_slice() else {
        panic!("{} panes", closed.len());
    };
    let counts: u64 = results(groups).iter().map(|(_, result)| result.0).sum();
    assert_eq!((groups.len(), counts), (250, 10 * 250 + 190 * 10));
}

#[test]
fn pieces_that_did_not_change_keep_their_numbers() {
    let windows = Windows::sliding(100, 100, 0);
    let mut store = store(&windows);
    let event = |time, key| Event {
        time,
        key,
        value: Some(1),
        text: None,
    };
    ingest(&mut store, &[event(5, 1), event(150, 1), event(150, 2)], 0);
    let ids = |panes: &[(PaneKey, Vec<Piece>)]| -> Vec<Vec<u64>> {
        let ids = |pieces: &Vec<Piece>| pieces.iter().map(|piece| piece.id).collect();
        panes.iter().map(|(_, pieces)| ids(pieces)).collect()
    };
    let first = store.freeze();
    assert_eq!(ids(&first), ids(&store.freeze()));
    ingest(&mut store, &[event(150, 3)], 0);
    let second = store.freeze();
    let (before, after) = (ids(&first), ids(&second));
    assert_eq!(after[0], before[0]);
    assert_eq!((after[1].len(), after[1][0]), (2, before[1][0]));
    drop((first, second));
    store.merge_pieces();
    let third = ids(&store.freeze());
    assert_eq!(third[0], before[0]);
    assert_eq!(third[1].len(), 1, "2 groups and 1 were merged");
    assert!(!after.concat().contains(&third[1][0]));
}
