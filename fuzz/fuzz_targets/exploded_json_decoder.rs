//! Arbitrary bytes as a record of JSON whose items are events: whatever comes, its events are rows of every column
//! or are counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

/// Items at a path, behind another object, and of a record that is an array.
const EXPLODED: &str = r#"{"format": "json", "explode": "l"}"#;
const DEEPER: &str = r#"{"format": "json", "explode": "l.m"}"#;
const ARRAY: &str = r#"{"format": "json", "explode": "."}"#;

/// Of the item and of what is around it.
const FIELDS: &str = r#"{"a": "number", "n": "text", "b": {"from": "l.b", "type": "text"},
    "c": {"from": "l.c.0", "type": "boolean"}, "item": {"from": "l", "type": "number"}}"#;
const DEEPER_FIELDS: &str = r#"{"n": "text", "at": {"from": "l.at", "type": "text"},
    "b": {"from": "l.m.b", "type": "text"}, "v": {"from": "l.m.v", "type": "text"}}"#;
const ARRAY_FIELDS: &str = r#"{"a": "number", "n": "text", "b": {"from": "l.b", "type": "text"}}"#;

records_target!([
    Fixture::new(EXPLODED, RECEIVED, FIELDS),
    Fixture::new(EXPLODED, ("l.t", "ms"), FIELDS),
    Fixture::new(DEEPER, RECEIVED, DEEPER_FIELDS),
    Fixture::new(ARRAY, RECEIVED, ARRAY_FIELDS),
]);
