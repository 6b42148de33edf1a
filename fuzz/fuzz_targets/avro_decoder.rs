//! Arbitrary schemas of Avro and arbitrary data: whatever comes, its events are rows of every column or are
//! counted as dropped.
//!
//! The first byte chooses how a record says its schema: it holds it, or what stands before the first zero
//! byte is the schema of the data behind it.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use weir::decode::{AvroSchema, SchemaQuestion, SchemaSource};
use weir_fuzz::{Fixture, single};

const FIELDS: &str = r#"{
    "a": "number", "b": {"from": "l.b", "type": "text"}, "c": {"from": "l.1.c", "type": "boolean"},
    "n": {"from": "a.a.a", "type": "number"}, "received": {"from": "@timestamp", "type": "number"}}"#;

/// Knows one schema.
#[derive(Debug)]
struct One(Arc<AvroSchema>);

impl SchemaSource for One {
    fn ask(&self, _: u32, _: &str, _: &crossbeam_channel::Sender<()>) -> Arc<SchemaQuestion> {
        SchemaQuestion::answered(Ok(self.0.clone()))
    }
}

fn check(format: &str, schema: Option<AvroSchema>, record: &[u8]) {
    let mut fixture = Fixture::new(format, ("t", "ms"), FIELDS);
    if let Some(schema) = schema {
        fixture.decoder.ask_for_schemas(
            Arc::new(One(Arc::new(schema))),
            crossbeam_channel::bounded(1).0,
        );
    }
    let records = single(record);
    assert!(fixture.decoder.is_ready_for(&records));
    fixture.check(&records);
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    if *choice == b'c' {
        check(r#""avro""#, None, rest);
        return;
    }
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (Some(schema), Some(datum)) = (parts.next(), parts.next()) else {
        return;
    };
    let Ok(schema) = std::str::from_utf8(schema)
        .map_err(drop)
        .and_then(|text| AvroSchema::parse(text).map_err(drop))
    else {
        return;
    };
    let record = [&[0; 5], datum].concat();
    let registry = r#"{"format": "avro", "registry": {"url": "http://registry"}}"#;
    let exploded = r#"{"format": "avro", "registry": {"url": "http://registry"}, "explode": "l"}"#;
    check(
        if *choice == b'e' { exploded } else { registry },
        Some(schema),
        &record,
    );
});
