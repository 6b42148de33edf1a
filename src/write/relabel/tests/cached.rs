//! What is remembered, and series that become one.

use std::sync::Arc;

use serde_json::json;

use crate::model::Series;

use super::super::{REMEMBERED_SERIES, Refused, Relabelled};
use super::{relabelling, series};

fn vehicle(number: usize, model: &str) -> Arc<Series> {
    let vin = format!("V{number}");
    series(&[("__name__", "speed"), ("model", model), ("vin", &vin)])
}

fn result(became: Relabelled) -> String {
    match became {
        Ok(Some(series)) => series.to_string(),
        Ok(None) => "dropped".to_owned(),
        Err(refused) => refused.to_string(),
    }
}

#[test]
fn without_relabelling_a_series_stays_the_same() {
    let relabelling = relabelling(&[], &json!([]));
    assert!(relabelling.is_identity());
    let series = vehicle(1, "XC60");
    let mut relabeller = relabelling.relabeller(REMEMBERED_SERIES);
    let same = relabeller.apply(&series).unwrap().unwrap();
    assert!(Arc::ptr_eq(&same, &series));
}

#[test]
fn a_series_becomes_one_result() {
    let relabelling = relabelling(&[("env", "prod")], &json!([]));
    assert!(!relabelling.is_identity());
    let mut relabeller = relabelling.relabeller(16);
    let first = relabeller.apply(&vehicle(1, "XC60")).unwrap().unwrap();
    assert_eq!(
        first.to_string(),
        r#"speed{env="prod", model="XC60", vin="V1"}"#
    );
    // Another Arc of an equal series.
    let again = relabeller.apply(&vehicle(1, "XC60")).unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &again));
}

#[test]
fn drops_and_refusals_are_remembered() {
    let steps = json!([
        {"source_labels": ["model"], "regex": "S90", "action": "drop"},
        {"source_labels": ["model"], "regex": "(\\d.*)", "target_label": "__name__"},
        {"source_labels": ["model"], "regex": "none", "target_label": "__name__", "replacement": ""},
        {"regex": "__(vin)", "action": "labelmap", "replacement": "$1"},
    ]);
    let relabelling = relabelling(&[], &steps);
    let mut relabeller = relabelling.relabeller(16);
    for _ in 0..2 {
        assert_eq!(relabeller.apply(&vehicle(1, "S90")), Ok(None));
        assert_eq!(
            relabeller.apply(&vehicle(1, "7")),
            Err(Refused::MetricName("7".into()))
        );
        assert_eq!(relabeller.apply(&vehicle(1, "none")), Err(Refused::NoName));
    }
    let messages =
        [vehicle(1, "7"), vehicle(1, "none")].map(|series| result(relabeller.apply(&series)));
    assert_eq!(
        messages,
        [
            "relabelling makes '7', which is no metric name; use letters, digits, _ and :, no digit first",
            "relabelling leaves no metric name; with labelkeep, keep __name__",
        ]
    );
}

#[test]
fn what_is_forgotten_is_found_out_again() {
    let steps = json!([
        {"source_labels": ["vin"], "target_label": "shard", "action": "hashmod", "modulus": 5},
        {"source_labels": ["shard"], "regex": "[0-2]", "action": "keep"},
    ]);
    let relabelling = relabelling(&[], &steps);
    let mut tiny = relabelling.relabeller(2);
    let mut large = relabelling.relabeller(10_000);
    for round in 0..3 {
        for number in 0..500 {
            let series = vehicle(number * (round + 1) % 500, "XC60");
            let expected = relabelling.relabel(&series);
            assert_eq!(tiny.apply(&series), expected);
            assert_eq!(large.apply(&series), expected);
        }
    }
    assert_eq!((tiny.take_collisions(), large.take_collisions()), (0, 0));
}

#[test]
fn series_that_become_one_are_found_whoever_owns_them() {
    let relabelling = relabelling(&[], &json!([{"regex": "model", "action": "labeldrop"}]));
    let mut owners = [relabelling.relabeller(64), relabelling.relabeller(64)];
    for number in 0..10 {
        let became = owners[0].apply(&vehicle(number, "XC60"));
        assert_eq!(result(became), format!(r#"speed{{vin="V{number}"}}"#));
    }
    assert_eq!(owners[0].take_collisions(), 0);
    // The same series at another owner is no other series.
    owners[1].apply(&vehicle(3, "XC60")).unwrap();
    assert_eq!(owners[1].take_collisions(), 0);
    for _ in 0..3 {
        let became = owners[1].apply(&vehicle(3, "S90"));
        assert_eq!(result(became), r#"speed{vin="V3"}"#);
    }
    // Once a pair, however many samples there are.
    assert_eq!(owners[1].take_collisions(), 1);
    assert_eq!(owners[1].take_collisions(), 0);
    // One that stays as it is meets one that becomes it.
    let plain = series(&[("__name__", "speed"), ("vin", "V3")]);
    owners[0].apply(&plain).unwrap();
    assert_eq!(owners[0].take_collisions(), 1);
}
