//! Lookups over tables of every kind, and their change between batches.

use std::sync::Arc;

use proptest::prelude::*;

use super::config::LookupConfig;
use super::lookup::Lookup;
use super::metrics::LookupMetrics;
use super::shared::SharedTable;
use super::table::Table;
use super::testing;
use crate::model::{Column, HoldsSymbols, Interner, LiveSymbols, Symbol, TimestampMs};
use crate::telemetry::Registry;

/// A lookup in `v.csv`, with further keys of `from`.
fn config(from: &str, rest: &str) -> LookupConfig {
    let json = format!(
        r#"{{"lookup": "v", "key": "vehicle", "from": {{"csv": "v.csv", "key": "id"{from}}},
            "add": ["model", {{"column": "kwh", "type": "number"}}], {rest}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

struct Fixture {
    lookup: Lookup,
    shared: Arc<SharedTable>,
    interner: Interner,
    config: LookupConfig,
}

impl Fixture {
    fn new(otherwise: &str, csv: &str) -> Self {
        let config = config("", &format!(r#""otherwise": {otherwise}"#));
        let table = testing::table(&config, csv.as_bytes()).unwrap();
        Self::of(config, table)
    }

    /// Rows that are valid from `from` to `to`, ms.
    fn dated(otherwise: &str, csv: &str) -> Self {
        let valid = r#", "valid": {"from": "from", "to": "to", "unit": "ms"}"#;
        let config = config(valid, &format!(r#""otherwise": {otherwise}"#));
        let table = testing::table(&config, csv.as_bytes()).unwrap();
        Self::of(config, table)
    }

    fn of(config: LookupConfig, table: Table) -> Self {
        let shared = SharedTable::new(table);
        let metrics = LookupMetrics::new(&Registry::new("test"));
        let lookup = Lookup::build(&config, shared.clone(), &metrics).unwrap();
        Self {
            lookup,
            shared,
            interner: Interner::new(),
            config,
        }
    }

    fn replace(&self, csv: &str) {
        let table = testing::table(&self.config, csv.as_bytes()).unwrap();
        self.shared.replace(table);
    }

    /// Models and battery sizes of the keys at a time, and the rows that stay.
    fn apply_at(&mut self, events: &[(&str, TimestampMs)]) -> Applied {
        let (mut keys, mut times) = (Vec::new(), Vec::new());
        for (key, time) in events {
            keys.push(self.interner.intern(key));
            times.push(*time);
        }
        let mut columns: Vec<Column> = Vec::new();
        let kept = self
            .lookup
            .apply(&keys, &times, &mut columns, &mut self.interner);
        let models = columns[0]
            .symbols()
            .iter()
            .map(|model| self.interner.text(*model).to_owned());
        (models.collect(), columns[1].numbers().to_vec(), kept)
    }

    fn apply(&mut self, keys: &[&str]) -> Applied {
        let events: Vec<_> = keys.iter().map(|key| (*key, 0)).collect();
        self.apply_at(&events)
    }

    /// Hits, misses and dropped events so far.
    fn counts(&self) -> [u64; 3] {
        [&self.lookup.hits, &self.lookup.misses, &self.lookup.dropped].map(|count| count.get())
    }
}

type Applied = (Vec<String>, Vec<f64>, Option<Vec<u32>>);

const CSV: &str = "id,model,kwh\nV1,Helion,50\nV2,Polara,60\n";

#[test]
fn adds_fields_and_falls_back_for_unknown_keys() {
    let mut fixture = Fixture::new(r#"{"model": "unknown"}"#, CSV);
    let (models, kwh, kept) = fixture.apply(&["V2", "V9", "V1", "V2"]);
    assert_eq!(models, ["Polara", "unknown", "Helion", "Polara"]);
    assert_eq!((kwh[0], kwh[2], kwh[1].is_nan()), (60.0, 50.0, true));
    assert_eq!(kept, None);
    assert_eq!(fixture.counts(), [3, 1, 0]);
    fixture.apply(&["V9"]);
    assert_eq!(fixture.counts(), [3, 2, 0]);
}

#[test]
fn drops_unknown_keys_where_it_is_told_to() {
    let mut fixture = Fixture::new(r#""drop""#, CSV);
    let (_, _, kept) = fixture.apply(&["V2", "V9", "V1"]);
    assert_eq!(kept, Some(vec![0, 2]));
    assert_eq!(fixture.counts(), [2, 1, 1]);
}

#[test]
fn takes_in_a_changed_table_at_the_next_batch() {
    let mut fixture = Fixture::new(r#""null""#, CSV);
    assert_eq!(fixture.apply(&["V1", "V9"]).0, ["Helion", ""]);
    fixture.replace("id,model,kwh\nV9,Galantor,70\n");
    assert_eq!(fixture.apply(&["V1", "V9"]).0, ["", "Galantor"]);
}

#[test]
fn refuses_fallbacks_that_do_not_fit() {
    let metrics = LookupMetrics::new(&Registry::new("test"));
    for (otherwise, message) in [
        (
            r#"{"mode": "x"}"#,
            "'mode' is not added by this lookup; it adds model, kwh",
        ),
        (r#"{"kwh": "x"}"#, "'kwh' is a number, found \"x\""),
    ] {
        let config = config("", &format!(r#""otherwise": {otherwise}"#));
        let table = testing::table(&config, CSV.as_bytes()).unwrap();
        let refused = Lookup::build(&config, SharedTable::new(table), &metrics);
        assert_eq!(refused.err().as_deref(), Some(message));
    }
}

#[test]
fn a_null_key_is_not_in_the_table() {
    let mut fixture = Fixture::new(r#"{"model": "unknown"}"#, CSV);
    let mut columns = Vec::new();
    let keys = [Symbol::NULL];
    let interner = &mut fixture.interner;
    fixture.lookup.apply(&keys, &[0], &mut columns, interner);
    assert_eq!(interner.text(columns[0].symbols()[0]), "unknown");
    assert_eq!(fixture.counts(), [0, 1, 0]);
}

const DATED: &str =
    "id,model,kwh,from,to\nV1,Polara,60,100,\nV2,Orbitra,70,10,20\nV1,Helion,50,,100\n";

#[test]
fn a_dated_row_counts_at_the_time_of_the_event() {
    let mut fixture = Fixture::dated(r#"{"model": "unknown"}"#, DATED);
    let events = [
        ("V1", 100),
        ("V1", 99),
        ("V2", 9),
        ("V2", 10),
        ("V1", -5),
        ("V2", 20),
        ("V9", 15),
        ("V1", 101),
    ];
    let (models, kwh, kept) = fixture.apply_at(&events);
    let expected = [
        "Polara", "Helion", "unknown", "Orbitra", "Helion", "unknown", "unknown", "Polara",
    ];
    assert_eq!(models, expected);
    assert_eq!(
        (kwh[0], kwh[1], kwh[3], kwh[2].is_nan()),
        (60.0, 50.0, 70.0, true)
    );
    assert_eq!((kept, fixture.counts()), (None, [5, 3, 0]));
}

#[test]
fn events_outside_of_all_validity_are_dropped_where_misses_are() {
    let mut fixture = Fixture::dated(r#""drop""#, DATED);
    let (_, _, kept) = fixture.apply_at(&[("V2", 5), ("V1", 5), ("V2", 15), ("V2", 25)]);
    assert_eq!(kept, Some(vec![1, 2]));
    assert_eq!(fixture.counts(), [2, 2, 2]);
}

#[test]
fn a_dated_table_may_be_exchanged() {
    let mut fixture = Fixture::dated(r#""null""#, DATED);
    assert_eq!(fixture.apply_at(&[("V1", 5), ("V3", 5)]).0, ["Helion", ""]);
    fixture.replace("id,model,kwh,from,to\nV3,Galantor,1,,\nV1,Polara,1,5,6\n");
    let events = [("V1", 5), ("V1", 6), ("V3", 5)];
    assert_eq!(fixture.apply_at(&events).0, ["Polara", "", "Galantor"]);
}

#[test]
fn what_was_taken_over_is_found_again_under_other_symbols() {
    let plain = Fixture::new(r#"{"model": "unknown"}"#, CSV);
    let dated = Fixture::dated(r#"{"model": "unknown"}"#, DATED);
    for mut fixture in [plain, dated] {
        fixture.interner.intern("nobody needs this");
        let models = fixture.apply(&["V9", "V2", "V1"]).0;
        let live = LiveSymbols::new(fixture.interner.len());
        let numbers = fixture.interner.compact(&live);
        fixture.lookup.renumber(&numbers);
        assert_eq!(fixture.interner.len(), 1);
        assert_eq!(fixture.apply(&["V9", "V2", "V1"]).0, models);
    }
}

#[test]
fn all_events_of_a_batch_see_one_version_while_the_table_is_exchanged() {
    const KEYS: usize = 50;
    let csv = |version: u64| {
        let rows = (0..KEYS).map(|key| format!("V{key},m{version},{version}\n"));
        format!("id,model,kwh\n{}", rows.collect::<String>())
    };
    let mut fixture = Fixture::new(r#""null""#, &csv(1));
    let (shared, config) = (fixture.shared.clone(), fixture.config.clone());
    let writer = std::thread::spawn(move || {
        for version in 2..=200 {
            let table = testing::table(&config, csv(version).as_bytes()).unwrap();
            assert_eq!(shared.replace(table), version);
        }
    });
    let keys: Vec<_> = (0..KEYS).map(|key| format!("V{key}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let (mut seen, mut last) = (0, 0.0);
    while last < 200.0 {
        let ended = writer.is_finished();
        let (models, versions, _) = fixture.apply(&keys);
        assert!(versions.iter().all(|version| *version == versions[0]));
        assert!(
            models
                .iter()
                .all(|model| *model == format!("m{}", versions[0]))
        );
        assert!(versions[0] >= last, "{} after {last}", versions[0]);
        seen += u64::from(versions[0] > last);
        last = versions[0];
        assert!(last == 200.0 || !ended, "the last table is not taken in");
    }
    assert!(seen > 1, "no change was seen");
    writer.join().unwrap();
}

proptest! {
    #[test]
    fn a_dated_lookup_equals_a_naive_scan(
        rows in proptest::collection::vec((0..6_u8, proptest::option::of(0..40_i64), proptest::option::of(0..40_i64)), 0..30),
        events in proptest::collection::vec((0..8_u8, -5..50_i64), 1..60),
        cut in 0..60_usize,
    ) {
        // Rows that can stand beside those before them.
        let mut kept: Vec<(u8, i64, i64)> = Vec::new();
        for (key, from, to) in rows {
            let (from, to) = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
            let free = |other: &(u8, i64, i64)| other.0 != key || to <= other.1 || other.2 <= from;
            if from < to && kept.iter().all(free) {
                kept.push((key, from, to));
            }
        }
        let time = |time: i64| match time {
            i64::MIN | i64::MAX => String::new(),
            time => time.to_string(),
        };
        let mut csv = String::from("id,model,kwh,from,to\n");
        for (row, (key, from, to)) in kept.iter().enumerate() {
            csv.push_str(&format!("V{key},m{row},{row},{},{}\n", time(*from), time(*to)));
        }
        let mut fixture = Fixture::dated(r#"{"model": "none", "kwh": -1}"#, &csv);
        let scan = |key: u8, at: i64| {
            let mut found = kept.iter().enumerate();
            let row = found.find(|(_, row)| row.0 == key && row.1 <= at && at < row.2);
            row.map_or(("none".to_owned(), -1.0), |(row, _)| (format!("m{row}"), row as f64))
        };
        let keys: Vec<_> = events.iter().map(|(key, _)| format!("V{key}")).collect();
        let named: Vec<_> = keys.iter().zip(&events).map(|(key, (_, at))| (key.as_str(), *at)).collect();
        let mut expected_hits = 0;
        // In two batches: the second one finds what the first has taken over.
        let (first, second) = named.split_at(cut.min(named.len()));
        let mut offset = 0;
        for batch in [first, second] {
            let (models, kwh, _) = fixture.apply_at(batch);
            for (model, kwh) in models.iter().zip(kwh) {
                let (key, at) = events[offset];
                let expected = scan(key, at);
                expected_hits += u64::from(expected.0 != "none");
                prop_assert_eq!((model.clone(), kwh), expected);
                offset += 1;
            }
        }
        let counts = fixture.counts();
        prop_assert_eq!(counts, [expected_hits, events.len() as u64 - expected_hits, 0]);
    }

    #[test]
    fn rows_that_are_valid_at_once_are_refused_and_no_others(
        rows in proptest::collection::vec((0..3_u8, 0..20_i64, 1..8_i64), 0..8),
    ) {
        let mut csv = String::from("id,model,kwh,from,to\n");
        for (key, from, length) in &rows {
            csv.push_str(&format!("V{key},m,1,{from},{}\n", from + length));
        }
        let valid = r#", "valid": {"from": "from", "to": "to", "unit": "ms"}"#;
        let table = testing::table(&config(valid, r#""otherwise": "null""#), csv.as_bytes());
        let overlaps = rows.iter().enumerate().any(|(at, a)| {
            rows.iter().skip(at + 1).any(|b| {
                a.0 == b.0 && a.1 < b.1 + b.2 && b.1 < a.1 + a.2
            })
        });
        prop_assert_eq!(table.is_err(), overlaps);
    }
}
