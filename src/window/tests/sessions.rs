//! Sessions of panes against the union of the intervals that events keep open.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Bounds, Ended, Sessions, Windows};
use super::{Event, Results, by_key, groups_of, kinds, naive, reread, results};
use crate::model::TimestampMs;

/// A key and its session.
type Session = (u32, Results);

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (
        -200..400_i64,
        0..4_u32,
        prop::option::of(any::<i8>()),
        prop::option::of(0..5_u8),
    );
    let event = event.prop_map(|(time, key, value, text)| Event {
        time,
        key,
        value,
        text,
    });
    prop::collection::vec(event, 0..120)
}

/// Each event keeps its session open for `[time, time + gap)`: a session is a run of events whose
/// intervals touch or overlap, with one in common at least.
fn naive_sessions(events: &[Event], gap: i64) -> Vec<Session> {
    let mut sessions = Vec::new();
    for (key, mut events) in by_key(events.iter()) {
        events.sort_by_key(|event| event.time);
        let overlap = |one: &&Event, other: &&Event| other.time < one.time + gap;
        let runs = events.chunk_by(overlap);
        sessions.extend(runs.map(|run| (key, naive(run))));
    }
    sessions.sort_unstable();
    sessions
}

fn take(ended: Option<Ended>, sessions: &mut Vec<Session>) -> Vec<TimestampMs> {
    let Some(ended) = ended else {
        return Vec::new();
    };
    let found = results(&ended.groups);
    assert_eq!(found.len(), ended.spans.len(), "no key twice");
    for (slot, span) in ended.spans.iter().enumerate() {
        let key = ended.groups.key(slot)[0].0;
        let (_, (_, _, _, first, last)) = found.iter().find(|(known, _)| *known == key).unwrap();
        assert_eq!((span.first, span.last), (*first, *last));
    }
    sessions.extend(found);
    ended.spans.iter().map(|span| span.last).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_are_the_unions_of_their_events_intervals(
        events in events(),
        gap in 1..60_i64,
        steps in prop::collection::vec(1..90_i64, 1..20),
        saves in prop::collection::vec(prop::bool::weighted(0.3), 1..20),
    ) {
        let windows = Windows::session(gap, None);
        let mut pending: BTreeMap<Bounds, Vec<&Event>> = BTreeMap::new();
        for event in &events {
            pending.entry(windows.pane(event.time)).or_default().push(event);
        }
        let mut sessions = Sessions::new(gap, 1, &kinds());
        let (mut found, mut held) = (Vec::new(), Vec::new());
        let mut saves = saves.iter().cycle();
        let (mut watermark, mut before) = (-250, TimestampMs::MIN);
        let steps = steps.iter().cycle().copied();
        for step in steps {
            watermark += step;
            if saves.next() == Some(&true) {
                let piece = sessions.freeze();
                let groups = reread(&piece.groups);
                held.push((results(&piece.groups), piece));
                if saves.next() == Some(&true) {
                    sessions = Sessions::new(gap, 1, &kinds());
                    let (some, others): (Vec<u32>, Vec<u32>) = (0..)
                        .take(groups.len())
                        .partition(|slot| slot % 2 == 0);
                    sessions.restore(groups.pick(&some));
                    sessions.restore(groups.pick(&others));
                    prop_assert_eq!(sessions.len(), groups.len());
                }
            }
            let until = windows.panes_until(watermark);
            prop_assert!(until > watermark - gap, "no end is known more than a pane behind it");
            let mut ends = Vec::new();
            while pending.first_key_value().is_some_and(|(pane, _)| pane.end <= until) {
                let (_, events) = pending.pop_first().unwrap();
                ends.extend(take(sessions.add(&groups_of(&events)), &mut found));
            }
            ends.extend(take(sessions.end(until), &mut found));
            for last in ends {
                let end = last + gap;
                prop_assert!(before < end && end <= until, "{} by {}", end, until);
            }
            before = until;
            if watermark > 600 {
                break;
            }
        }
        prop_assert!(sessions.is_empty());
        prop_assert_eq!(sessions.len(), 0);
        found.sort_unstable();
        prop_assert_eq!(found, naive_sessions(&events, gap));
        let mut by_id = BTreeMap::new();
        for (before, piece) in held {
            prop_assert_eq!(&results(&piece.groups), &before, "what is held does not change");
            let same = by_id.entry(piece.id).or_insert_with(|| before.clone());
            prop_assert_eq!(&*same, &before, "nor what a number stands for");
        }
    }
}

#[test]
fn at_the_end_of_time_every_session_ends() {
    let event = |time| Event {
        time,
        key: 7,
        value: Some(1),
        text: None,
    };
    let mut sessions = Sessions::new(100, 1, &kinds());
    assert!(sessions.add(&groups_of(&[&event(0), &event(20)])).is_none());
    assert!(sessions.end(119).is_none());
    assert_eq!(sessions.len(), 1);
    let mut found = Vec::new();
    take(sessions.end(TimestampMs::MAX), &mut found);
    assert_eq!(found, [(7, (2, Some(2), 0, 0, 20))]);
    assert!(sessions.is_empty());
}
