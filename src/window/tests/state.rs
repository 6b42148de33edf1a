//! Windows as bytes.

use proptest::prelude::*;

use super::super::{Bounds, Ended, Groups, PaneKey, Span};
use super::{Event, TEXTS, groups_of, interner, kinds};
use crate::model::{Corrupt, Decoder, Encoder, Interner, Symbol, SymbolReader, SymbolWriter};
use crate::window::Extent;
use crate::window::aggregate::{AggregateKind, Function};

/// Events of keys that are symbols.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (
        -200..400_i64,
        1..9_u32,
        prop::option::of(any::<i8>()),
        prop::option::of(any::<u8>()),
    );
    let event = event.prop_map(|(time, key, value, text)| Event {
        time,
        key,
        value,
        text,
    });
    prop::collection::vec(event, 0..80)
}

fn groups(events: &[Event]) -> Groups {
    groups_of(&events.iter().collect::<Vec<_>>())
}

/// Keys as texts and results, slot by slot.
fn shown(groups: &Groups, interner: &Interner) -> (Vec<String>, String) {
    let texts = |slot| {
        let texts = groups.key(slot).iter();
        let texts: Vec<_> = texts.map(|symbol| interner.text(*symbol)).collect();
        texts.join(" ")
    };
    let any = Extent::All(Bounds { start: 0, end: 0 });
    let columns: Vec<_> = groups
        .aggregates()
        .iter()
        .map(|aggregate| aggregate.finish(any))
        .collect();
    (
        (0..groups.len()).map(texts).collect(),
        format!("{columns:?}"),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_mean_the_same_to_another_interner(events in events(), before in 0..50_u32) {
        let mut mine = interner();
        let groups = groups(&events);
        let bytes = groups.to_bytes(&mine.texts());
        let mut other = Interner::new();
        for number in 0..before {
            other.intern(&format!("text {}", number * 3));
        }
        let read = Groups::from_bytes(&bytes, &mut other, 1, &kinds()).unwrap();
        prop_assert_eq!(shown(&groups, &mine), shown(&read, &other));
        for slot in 0..read.len() {
            let found = read.find(read.key(slot));
            prop_assert_eq!(found.map(|slot| slot as usize), Some(slot));
        }
        let bytes = read.to_bytes(&other.texts());
        let back = Groups::from_bytes(&bytes, &mut mine, 1, &kinds()).unwrap();
        prop_assert_eq!(shown(&groups, &mine), shown(&back, &mine));
    }

    #[test]
    fn changed_bytes_of_groups_do_no_harm(
        events in events(),
        flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..60),
    ) {
        let mut interner = interner();
        let groups = groups(&events);
        let bytes = groups.to_bytes(&interner.texts());
        for (place, bit) in flips {
            let mut changed = bytes.clone();
            changed[place.index(bytes.len())] ^= 1 << (bit % 8);
            if let Ok(read) = Groups::from_bytes(&changed, &mut interner, 1, &kinds()) {
                let mut merged = groups.clone();
                merged.merge(&read, &crate::window::aggregate::SymbolMap::Same);
                shown(&merged, &interner);
            }
        }
    }
}

#[test]
fn every_cut_of_groups_is_refused() {
    let mut interner = interner();
    let event = |number: u32| Event {
        time: i64::from(number),
        key: number % 7 + 1,
        value: i8::try_from(number).ok(),
        text: u8::try_from(number * 3).ok(),
    };
    let groups = groups(&(0..60).map(event).collect::<Vec<_>>());
    let bytes = groups.to_bytes(&interner.texts());
    for end in 0..bytes.len() {
        let read = Groups::from_bytes(&bytes[..end], &mut interner, 1, &kinds());
        assert!(read.is_err(), "{end}");
    }
    let mut more = bytes.clone();
    more.push(0);
    let error = Groups::from_bytes(&more, &mut interner, 1, &kinds()).unwrap_err();
    assert_eq!(error.reason, "1 bytes too many");
}

#[test]
fn groups_of_other_keys_and_aggregates_are_refused() {
    let mut interner = interner();
    let key = [Symbol(5), Symbol(9)];
    let mut groups = Groups::new(2, &[]);
    groups.slot(&key);
    let bytes = groups.to_bytes(&interner.texts());
    let mut refusal = |bytes: &[u8], width, kinds: &[AggregateKind]| {
        Groups::from_bytes(bytes, &mut interner, width, kinds)
            .unwrap_err()
            .reason
    };
    assert_eq!(
        refusal(&bytes, 1, &[]),
        "groups have 2 symbols in a key and 0 aggregates, not 1 and 0"
    );
    let count = AggregateKind {
        function: Function::Count,
        argument: None,
    };
    assert_eq!(
        refusal(&bytes, 2, &[count]),
        "groups have 2 symbols in a key and 0 aggregates, not 2 and 1"
    );
    let written = |width: u64, slots: u64, keys: &[u32]| {
        let mut out = Encoder::new();
        out.u32s(std::iter::empty());
        out.u8(1);
        out.u64(width);
        out.u64(slots);
        out.u32s(keys.iter().copied());
        out.count(0);
        out.into_bytes()
    };
    assert_eq!(
        refusal(&written(1, 2, &[0, 0]), 1, &[]),
        "group 1 has the key of another one"
    );
    assert_eq!(
        refusal(&written(0, 2, &[]), 0, &[]),
        "0 symbols are not the keys of 2 groups, 0 each"
    );
    assert_eq!(
        refusal(&written(1, 1, &[4]), 1, &[]),
        "text 4 is used, of 1 that there are"
    );
    assert_eq!(
        refusal(&[0, 0, 0, 0, 0, 0, 0, 0, 2], 1, &[]),
        "groups are of version 2, this weir reads version 1"
    );
}

#[test]
fn keys_of_any_width_are_kept() {
    let mut interner = interner();
    for width in 0..=4 {
        let mut groups = Groups::new(width, &[]);
        for number in 0..40_u32 {
            let key: Vec<Symbol> = (0..width)
                .map(|place| Symbol((number * 7 + u32::try_from(place).unwrap()) % TEXTS))
                .collect();
            groups.slot(&key);
        }
        let bytes = groups.to_bytes(&interner.texts());
        let read = Groups::from_bytes(&bytes, &mut interner, width, &[]).unwrap();
        assert_eq!(read.len(), groups.len());
        for slot in 0..groups.len() {
            assert_eq!(read.key(slot), groups.key(slot));
        }
    }
}

#[test]
fn panes_and_sessions_are_read_as_written() {
    let key = PaneKey {
        due: 60,
        pane: Bounds {
            start: -20,
            end: 20,
        },
    };
    let mut out = Encoder::new();
    key.encode(&mut out);
    assert_eq!(PaneKey::decode(&mut Decoder::new(out.as_bytes())), Ok(key));
    let wrong = PaneKey { due: 10, ..key };
    let mut out = Encoder::new();
    wrong.encode(&mut out);
    let error = PaneKey::decode(&mut Decoder::new(out.as_bytes())).unwrap_err();
    assert_eq!(error.reason, "a window ends at 10, before its pane at 20");

    let mut interner = interner();
    let event = |key, time| Event {
        time,
        key,
        value: Some(1),
        text: None,
    };
    let ended = |spans| Ended {
        groups: groups(&[event(3, 5), event(3, 9), event(4, 7)]),
        spans,
    };
    let (one, other) = (Span { first: 5, last: 9 }, Span { first: 7, last: 7 });
    let mut round = |ended: &Ended| {
        let texts = interner.texts();
        let (mut out, mut symbols) = (Encoder::new(), SymbolWriter::new(&texts));
        ended.encode(&mut out, &mut symbols);
        let bytes = symbols.finish(&out);
        let mut from = Decoder::new(&bytes);
        let symbols = SymbolReader::read(&mut from, &mut interner)?;
        let read = Ended::decode(&mut from, &symbols, 1, &kinds())?;
        from.end()?;
        Ok::<_, Corrupt>((shown(&read.groups, &interner), read.spans))
    };
    let (_, spans) = round(&ended(vec![one, other])).unwrap();
    assert_eq!(spans, [one, other]);
    let error = round(&ended(vec![one])).unwrap_err();
    assert_eq!(error.reason, "2 sessions have 1 beginnings");
    let backwards = Span { first: 9, last: 5 };
    let error = round(&ended(vec![one, backwards])).unwrap_err();
    assert_eq!(error.reason, "a session ends before its beginning");
}
