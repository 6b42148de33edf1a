//! Arbitrary bytes as lines of InfluxDB's protocol: whatever comes, its events are rows of every column or are
//! counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

const FORMAT: &str = r#""influx""#;

/// Of tags, which are always text, and of fields of every type.
const FIELDS: &str = r#"{"kind": {"from": "_measurement", "type": "text"}, "n": "text", "a": "number",
    "value": "boolean", "b": {"from": "l.b", "type": "text"}, "at": {"from": "_time", "type": "number"}}"#;

records_target!([
    Fixture::new(FORMAT, RECEIVED, FIELDS),
    Fixture::new(FORMAT, ("_time", "ns"), FIELDS),
]);
