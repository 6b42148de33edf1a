//! Paths through arrays, whose items are named by their places.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::cbor::cbor;
use super::{Fixture, NOW};

const PATHS: [&str; 9] = [
    "a", "a.0", "a.1.b", "a.0.0", "a.b.1", "a.1", "b.12", "b.00", "b.-1",
];

/// A field of each path.
fn event() -> String {
    let fields = PATHS.iter().enumerate();
    let fields: Vec<_> = fields
        .map(|(number, path)| format!(r#""f{number}": {{"from": "{path}", "type": "number"}}"#))
        .collect();
    let fields = fields.join(", ");
    format!(r#"{{"time": {{"from": "t"}}, "fields": {{{fields}}}}}"#)
}

/// What stands at a path, one key after the other.
fn naive(record: &Value, path: &str) -> String {
    let mut value = record;
    for key in path.split('.') {
        let inner = match value {
            Value::Object(members) => members.get(key),
            Value::Array(items) => {
                let mut places = (0..items.len()).filter(|place| place.to_string() == key);
                places.next().and_then(|place| items.get(place))
            }
            _ => None,
        };
        match inner {
            Some(inner) => value = inner,
            None => return "-".to_owned(),
        }
    }
    value
        .as_f64()
        .map_or("-".to_owned(), |number| number.to_string())
}

fn values() -> impl Strategy<Value = Value> {
    let single = prop_oneof![
        (-100..100_i64).prop_map(|number| json!(number)),
        Just(json!(null)),
        Just(json!("text")),
    ];
    single.prop_recursive(4, 60, 15, |inner| {
        let key = prop::sample::select(vec!["a", "b", "0", "1", "00", "-1"]);
        let members = prop::collection::vec((key, inner.clone()), 0..4);
        prop_oneof![
            2 => prop::collection::vec(inner, 0..15).prop_map(Value::from),
            1 => members.prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn lead_where_a_naive_walk_leads(a in values(), b in values()) {
        let record = json!({"t": NOW, "a": a, "b": b});
        let expected: Vec<_> = PATHS.iter().map(|path| naive(&record, path)).collect();
        let text = record.to_string();
        for (format, bytes) in [(r#""json""#, text.as_bytes()), (r#""cbor""#, &cbor(&record))] {
            let decoded = Fixture::new(format, &event()).decode(&[bytes]);
            prop_assert_eq!(decoded.cells(), [expected.join(" ")], "{} {}", format, text);
        }
    }
}

#[test]
fn items_that_are_arrays_are_events_where_their_places_are_wanted() {
    let event = r#"{"time": {"from": "l.0"}, "fields": {"rpm": {"from": "l.2", "type": "number"}, "id": "text"}}"#;
    let record = json!({"id": "V1", "l": [[NOW, 7, 900], [NOW, 8], 7, {"0": NOW, "2": 800}]});
    let text = record.to_string();
    for (format, bytes) in [("json", text.as_bytes()), ("cbor", &cbor(&record))] {
        let format = format!(r#"{{"format": "{format}", "explode": "l"}}"#);
        let decoded = Fixture::new(&format, event).decode(&[bytes]);
        assert_eq!(decoded.cells(), ["900 V1", "- V1", "800 V1"], "{format}");
        assert_eq!(decoded.refused, ["0 not_an_object event 3"]);
    }
}
