//! Whatever comes, no format panics, and all columns have one length.

use proptest::prelude::*;
use serde_json::json;

use super::cbor::cbor;
use super::remote_write::request;
use super::{Fixture, NOW};

const EVENT: &str = r#"{"time": {"from": "t"}, "fields": {
    "a": "number", "b": {"from": "l.b", "type": "text"}, "value": "boolean", "n": "text"}}"#;

const FORMATS: [&str; 12] = [
    r#"{"format": "json", "explode": "l"}"#,
    r#""csv""#,
    r#"{"format": "cbor", "explode": "l"}"#,
    r#"{"format": "json", "explode": "l.m"}"#,
    r#"{"format": "cbor", "explode": "l.m"}"#,
    r#""cbor""#,
    r#""influx""#,
    r#""senml_json""#,
    r#""senml_cbor""#,
    r#""cloudevents""#,
    r#""number""#,
    r#""remote_write""#,
];

/// A good record of some format.
fn records() -> Vec<Vec<u8>> {
    let record =
        json!({"t": NOW, "l": [{"b": "x", "t": NOW}, {"b": "y"}], "a": 1.5, "value": true});
    let nested =
        json!({"t": NOW, "l": [{"b": "x", "m": [{"t": NOW}, 1]}, {"m": [], "b": "y"}], "a": 1.5});
    let pack = json!([{"bn": "x", "bt": 1_730_621_749, "v": 1}, {"n": "y", "vs": "z"}]);
    let cloud = json!({"specversion": "1.0", "data": {"a": 1}, "t": NOW, "data_base64": "e30="});
    vec![
        record.to_string().into_bytes(),
        cbor(&record),
        nested.to_string().into_bytes(),
        cbor(&nested),
        pack.to_string().into_bytes(),
        cbor(&pack),
        cloud.to_string().into_bytes(),
        format!("t,a,l.b\n{NOW},1,\"x,\"\"y\"\n{NOW},,\n").into_bytes(),
        format!("m,b=x a=1,value=t,n=\"\\\"x\" {NOW}\nm a=2i\n").into_bytes(),
        b"-12.5e1".to_vec(),
        request(&[(&[("n", "x"), ("l.b", "y")], &[(1.0, NOW), (2.0, 0)])]),
    ]
}

/// A record of so many events.
type Record<'r> = &'r dyn Fn(usize) -> Vec<u8>;

/// Joins the same text so many times.
fn times(text: &str, count: usize, between: &str) -> String {
    vec![text; count].join(between)
}

#[test]
fn no_record_of_any_format_has_more_events_than_the_most() {
    let event = r#"{"time": {"from": "@timestamp"}, "fields": {"a": "number"}}"#;
    let csv = |count| format!("a,b\n{}", times("1,2", count, "\n")).into_bytes();
    let influx = |count| times("m a=1", count, "\n").into_bytes();
    let senml = |count| format!("[{}]", times(r#"{"v":1}"#, count, ",")).into_bytes();
    let clouds =
        |count| format!("[{}]", times(r#"{"specversion":"1.0"}"#, count, ",")).into_bytes();
    let cbor_items = |count: usize| cbor(&json!({"l": vec![json!({}); count]}));
    let samples = |count: usize| request(&[(&[("n", "x")], &vec![(1.0, NOW); count])]);
    let formats: [(&str, Record<'_>); 6] = [
        (r#""csv""#, &csv),
        (r#""influx""#, &influx),
        (r#""senml_json""#, &senml),
        (r#""cloudevents""#, &clouds),
        (r#"{"format": "cbor", "explode": "l"}"#, &cbor_items),
        (r#""remote_write""#, &samples),
    ];
    for (format, record) in formats {
        let decoded = Fixture::new(format, event).decode(&[&record(10_000), &record(10_001)]);
        assert_eq!(decoded.rows.len(), 10_000, "{format}");
        let expected = ["1 too_many_events more than 10000"];
        let refused: Vec<_> = decoded
            .refused
            .iter()
            .map(|refused| refused.trim_end_matches(" records"))
            .collect();
        assert_eq!(refused, expected, "{format}");
    }
}

proptest! {
    #[test]
    fn cut_off_flipped_and_arbitrary_bytes_are_survived(
        record in proptest::sample::select(records()),
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        arbitrary in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let cut = record[..cut.index(record.len())].to_vec();
        let mut flipped = record;
        for (place, byte) in flips {
            let place = place.index(flipped.len());
            flipped[place] = byte;
        }
        for format in FORMATS {
            Fixture::new(format, EVENT).decode(&[&cut, &flipped, &arbitrary]);
        }
    }
}
