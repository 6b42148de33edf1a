//! Arbitrary bytes as a record of CBOR: whatever comes, its events are rows of every column or are counted as
//! dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

const PLAIN: &str = r#""cbor""#;
/// Items at a path, behind another object, and of a record that is an array.
const EXPLODED: &str = r#"{"format": "cbor", "explode": "l"}"#;
const DEEPER: &str = r#"{"format": "cbor", "explode": "l.m"}"#;
const ARRAY: &str = r#"{"format": "cbor", "explode": "."}"#;

/// Keys are texts and whole numbers; a number is also the place of an item.
const FIELDS: &str = r#"{"a": "number", "n": "text", "b": {"from": "l.b", "type": "text"},
    "one": {"from": "1", "type": "number"}, "minus_two": {"from": "-2", "type": "boolean"}}"#;
const PLAIN_FIELDS: &str = r#"{"a": "number", "n": "text", "b": {"from": "l.1.b", "type": "text"},
    "first": {"from": "l.0", "type": "number"}, "one": {"from": "1", "type": "number"},
    "minus_two": {"from": "-2", "type": "boolean"}}"#;
const DEEPER_FIELDS: &str = r#"{"n": "text", "at": {"from": "l.at", "type": "text"},
    "b": {"from": "l.m.b", "type": "text"}}"#;

records_target!([
    Fixture::new(PLAIN, RECEIVED, PLAIN_FIELDS),
    Fixture::new(PLAIN, ("a", "s"), PLAIN_FIELDS),
    Fixture::new(EXPLODED, RECEIVED, FIELDS),
    Fixture::new(DEEPER, RECEIVED, DEEPER_FIELDS),
    Fixture::new(ARRAY, RECEIVED, FIELDS),
]);
