//! Arbitrary bytes as CloudEvents in JSON: whatever comes, its events are rows of every column or are counted as
//! dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

const FORMAT: &str = r#""cloudevents""#;

/// Of the attributes and of the data, which may be in Base64.
const FIELDS: &str = r#"{"id": "text", "kind": {"from": "type", "type": "text"}, "n": "text",
    "rpm": {"from": "data.rpm", "type": "number"}, "first": {"from": "data.l.0", "type": "number"}}"#;
/// Of the attributes alone: the data is passed over.
const ATTRIBUTES: &str = r#"{"id": "text", "kind": {"from": "type", "type": "text"}}"#;

records_target!([
    Fixture::new(FORMAT, RECEIVED, FIELDS),
    Fixture::new(FORMAT, ("time", "rfc3339"), FIELDS),
    Fixture::new(FORMAT, RECEIVED, ATTRIBUTES),
]);
