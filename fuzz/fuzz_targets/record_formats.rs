//! Arbitrary bytes as a record of every format: whatever comes, its events are rows of every column or are
//! counted as dropped.
//!
//! The first byte chooses the format.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Fixture, check_chosen};

const FORMATS: [&str; 11] = [
    r#"{"format": "json", "explode": "l"}"#,
    r#"{"format": "json", "explode": "."}"#,
    r#""csv""#,
    r#"{"format": "csv", "columns": ["t", "a", "l.b"]}"#,
    r#"{"format": "cbor", "explode": "l"}"#,
    r#""influx""#,
    r#""senml_json""#,
    r#""senml_cbor""#,
    r#""cloudevents""#,
    r#""number""#,
    r#""remote_write""#,
];

const EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {
    "a": "number", "b": {"from": "l.b", "type": "text"}, "l": "number", "value": "number",
    "n": "text", "t": "number", "v": "boolean",
    "kind": {"from": "_measurement", "type": "text"}, "rpm": {"from": "data.rpm", "type": "number"}}}"#;

thread_local! {
    static FIXTURES: RefCell<Vec<Fixture>> = RefCell::new(FORMATS.map(|format| Fixture::new(format, EVENT)).into());
}

fuzz_target!(|data: &[u8]| FIXTURES.with_borrow_mut(|fixtures| check_chosen(fixtures, data)));
