//! Arbitrary bytes as rows of CSV: whatever comes, its events are rows of every column or are counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

/// The names of columns are in the record or are known, and both kinds of characters between cells.
const NAMED: &str = r#""csv""#;
const FIXED: &str = r#"{"format": "csv", "columns": ["t", "a", "l.b"]}"#;
const SEMICOLONS: &str = r#"{"format": "csv", "delimiter": ";", "quote": "'"}"#;

const FIELDS: &str = r#"{"a": "number", "b": {"from": "l.b", "type": "text"}, "n": "text", "on": "boolean",
    "as_text": {"from": "a", "type": "text"}}"#;

records_target!([
    Fixture::new(NAMED, RECEIVED, FIELDS),
    Fixture::new(FIXED, ("t", "ms"), FIELDS),
    Fixture::new(SEMICOLONS, RECEIVED, FIELDS),
]);
