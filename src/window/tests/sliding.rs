//! Sliding windows of shared panes against windows that are each computed of their events.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{Bounds, SlidingPanes, Windows};
use super::{Event, by_key, groups_of, kinds, naive, reread, results};

/// A size, a slide and an offset.
fn shapes() -> impl Strategy<Value = (i64, i64, i64)> {
    let shape = (1..60_i64).prop_flat_map(|size| (Just(size), 1..=size));
    shape.prop_flat_map(|(size, slide)| (Just(size), Just(slide), 0..slide))
}

/// Events in bursts with gaps between them, each with the window from which on it counts, of those
/// that it belongs to: the first one for most.
fn events() -> impl Strategy<Value = Vec<(Event, Option<Index>)>> {
    let time = (0..4_i64, 0..70_i64).prop_map(|(burst, time)| burst * 300 + time - 100);
    let event = (
        time,
        0..3_u32,
        prop::option::of(any::<i8>()),
        prop::option::of(0..5_u8),
    );
    let event = event.prop_map(|(time, key, value, text)| Event {
        time,
        key,
        value,
        text,
    });
    let late = prop::option::weighted(0.3, any::<Index>());
    prop::collection::vec((event, late), 0..80)
}

/// All ends of windows that a time belongs to.
fn ends_of(windows: &Windows, time: i64) -> Vec<i64> {
    let (mut ends, mut end) = (Vec::new(), windows.first_end(windows.pane(time)));
    while windows.window(end).contains(time) {
        ends.push(end);
        end = windows.next_end(end);
    }
    ends
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shared_panes_give_what_the_events_of_each_window_give(
        (size, slide, offset) in shapes(),
        events in events(),
        skips_silence: bool,
        saves in prop::collection::vec(prop::bool::weighted(0.2), 1..20),
    ) {
        let windows = Windows::sliding(size, slide, offset);
        // What comes for a pane with one window, as workers hand it over.
        let mut pending: BTreeMap<(i64, Bounds), Vec<&Event>> = BTreeMap::new();
        let mut due_of = Vec::new();
        for (event, late) in &events {
            let ends = ends_of(&windows, event.time);
            let due = late.map_or(ends[0], |late| ends[late.index(ends.len())]);
            due_of.push((event, due));
            pending.entry((due, windows.pane(event.time))).or_default().push(event);
        }
        let Some(mut end) = pending.keys().next().map(|(due, _)| *due) else {
            return Ok(());
        };
        let empty = || SlidingPanes::new(1, kinds(), windows.pane(0).length_ms(), size);
        let (mut panes, mut held) = (empty(), Vec::new());
        let mut saves = saves.iter().cycle();
        while !pending.is_empty() || !panes.is_empty() {
            let due = |entry: &(i64, Bounds)| entry.0 <= end;
            while pending.first_key_value().is_some_and(|(entry, _)| due(entry)) {
                let ((_, pane), events) = pending.pop_first().unwrap();
                panes.add(pane, &groups_of(&events));
            }
            if saves.next() == Some(&true) {
                let mut read = empty();
                for (start, piece) in panes.freeze() {
                    let groups = reread(&piece.groups);
                    // In parts, as of several owners.
                    let (some, others): (Vec<u32>, Vec<u32>) = (0..)
                        .take(groups.len())
                        .partition(|slot| slot % 3 == 0);
                    for part in [some, others] {
                        read.restore(start, groups.pick(&part));
                    }
                }
                prop_assert_eq!(read.len(), panes.len());
                panes = read;
            }
            if saves.next() == Some(&true) {
                let frozen = panes.freeze().into_iter();
                held.extend(frozen.map(|(_, piece)| (results(&piece.groups), piece)));
            }
            let window = windows.window(end);
            let found = results(&panes.window(window));
            let within = due_of.iter().filter(|(event, due)| {
                window.contains(event.time) && *due <= end
            });
            let expected: Vec<_> = by_key(within.map(|(event, _)| *event))
                .into_iter()
                .map(|(key, events)| (key, naive(&events)))
                .collect();
            prop_assert_eq!(found, expected, "window {:?}", window);
            end = match pending.keys().next() {
                Some((due, _)) if skips_silence && panes.is_empty() => *due,
                _ => windows.next_end(end),
            };
        }
        prop_assert!(pending.is_empty());
        let mut by_id = BTreeMap::new();
        for (before, piece) in held {
            prop_assert_eq!(&results(&piece.groups), &before, "what is held does not change");
            let same = by_id.entry(piece.id).or_insert_with(|| before.clone());
            prop_assert_eq!(&*same, &before, "nor what a number stands for");
        }
    }
}

#[test]
fn panes_are_forgotten_with_their_last_window() {
    let windows = Windows::sliding(60, 20, 0);
    let mut panes = SlidingPanes::new(1, kinds(), windows.pane(0).length_ms(), 60);
    let event = Event {
        time: 5,
        key: 1,
        value: None,
        text: None,
    };
    panes.add(windows.pane(5), &groups_of(&[&event]));
    for end in [20, 40, 60] {
        assert_eq!(panes.window(windows.window(end)).len(), 1, "{end}");
        assert!(!panes.is_empty());
    }
    assert_eq!(panes.window(windows.window(80)).len(), 0);
    assert!(panes.is_empty());
}

#[test]
fn each_pane_is_held_twice_whatever_the_overlap() {
    let windows = Windows::sliding(3_600, 1, 0);
    let mut panes = SlidingPanes::new(1, kinds(), 1, 3_600);
    let mut alone = 0;
    for time in 0..3_600 {
        let event = Event {
            time,
            key: u32::try_from(time).unwrap(),
            value: Some(1),
            text: None,
        };
        let groups = groups_of(&[&event]);
        alone += groups.byte_len();
        panes.add(windows.pane(time), &groups);
    }
    assert_eq!(panes.window(windows.window(3_600)).len(), 3_600);
    assert_eq!((panes.len(), panes.groups()), (3_600, 3_600));
    // Vectors and tables that grow by doubling take somewhat more than twice.
    let held = panes.byte_len();
    assert!(held < 4 * alone, "{held} bytes of {alone}");
}
