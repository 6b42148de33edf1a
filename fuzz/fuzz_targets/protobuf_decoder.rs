//! Arbitrary bytes as a message of `all_types.proto`: whatever comes, its events are rows of every column or are
//! counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, records_target};

/// What is exploded, and the field that an item is.
const FORMATS: [(&str, &str); 4] = [
    (
        "",
        r#", "place": {"from": "numbers.1", "type": "number"},
            "item": {"from": "items.0.deeper.number", "type": "number"}"#,
    ),
    (
        r#", "explode": "items""#,
        r#", "item": {"from": "items.deeper.number", "type": "number"}"#,
    ),
    (
        r#", "explode": "numbers""#,
        r#", "item": {"from": "numbers", "type": "number"}"#,
    ),
    (
        r#", "explode": "texts""#,
        r#", "item": {"from": "texts", "type": "text"}"#,
    ),
];

const FIELDS: &str = r#"{
    "double": "number", "int32": "number", "uint64": "number", "sint64": "number", "bool": "boolean",
    "string": "text", "bytes": "text", "state": "text", "told": "number", "left": "number",
    "right": {"from": "right.deeper.text", "type": "text"},
    "inner": {"from": "inner.deeper.number", "type": "number"},
    "gauge": {"from": "gauges.a", "type": "number"}, "pair": {"from": "inners.1.text", "type": "text"},
    "answer": {"from": "answers.true", "type": "text"}, "at": "number", "lasts": "number",
    "boxed": "number", "far": "number"@ITEM@}"#;

fn fixture((explode, item): (&str, &str)) -> Fixture {
    let format = format!(
        r#"{{"format": "protobuf", "message": "all.v1.Record", "files": ["all_types.proto"]{explode}}}"#
    );
    Fixture::new(&format, RECEIVED, &FIELDS.replace("@ITEM@", item))
}

records_target!(FORMATS.map(fixture));
