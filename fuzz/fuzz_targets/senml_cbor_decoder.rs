//! Arbitrary bytes as a pack of SenML in CBOR: whatever comes, its events are rows of every column or are counted
//! as dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

const FORMAT: &str = r#""senml_cbor""#;

/// Of every label.
const FIELDS: &str = r#"{"name": {"from": "n", "type": "text"}, "unit": {"from": "u", "type": "text"},
    "value": {"from": "v", "type": "number"}, "text": {"from": "vs", "type": "text"},
    "on": {"from": "vb", "type": "boolean"}, "data": {"from": "vd", "type": "text"},
    "sum": {"from": "s", "type": "number"}, "update": {"from": "ut", "type": "number"}}"#;

records_target!([
    Fixture::new(FORMAT, RECEIVED, FIELDS),
    Fixture::new(FORMAT, ("t", "s"), FIELDS),
]);
