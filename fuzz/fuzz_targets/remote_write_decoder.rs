//! Arbitrary bytes as a request of Prometheus Remote-Write 1.0, not compressed: whatever comes, its events are rows
//! of every column or are counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

const FORMAT: &str = r#""remote_write""#;

/// Of labels, and of what a sample has in their place.
const FIELDS: &str = r#"{"name": {"from": "__name__", "type": "text"}, "n": "text",
    "number": {"from": "n", "type": "number"}, "b": {"from": "l.b", "type": "text"}, "value": "number",
    "at": {"from": "timestamp", "type": "number"}}"#;

records_target!([
    Fixture::new(FORMAT, RECEIVED, FIELDS),
    Fixture::new(FORMAT, ("timestamp", "ms"), FIELDS),
]);
