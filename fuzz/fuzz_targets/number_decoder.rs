//! Arbitrary bytes as a bare number: whatever comes, its events are rows of every column or are counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

const FORMAT: &str = r#""number""#;

const FIELDS: &str = r#"{"value": "number", "as_text": {"from": "value", "type": "text"},
    "as_boolean": {"from": "value", "type": "boolean"}, "key": {"from": "@key", "type": "text"}}"#;

records_target!([
    Fixture::new(FORMAT, RECEIVED, FIELDS),
    Fixture::new(FORMAT, ("value", "s"), FIELDS),
]);
