//! Arbitrary schemas of Avro and arbitrary data: whatever comes, its events are rows of every column or are
//! counted as dropped.
//!
//! The first byte chooses how a record says its schema: it holds it, or what stands before the first zero
//! byte is the schema of the data behind it.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use weir::decode::{
    AvroSchema, DecodeConfig, DecodeMetrics, Decoder, EventConfig, SchemaAnswer, SchemaSource,
};
use weir::model::{Interner, RecordBatch, Split, SplitId, TimestampMs};
use weir::telemetry::Registry;

/// 3 November 2024.
const NOW: TimestampMs = 1_730_621_749_000;

const EVENT: &str = r#"{"time": {"from": "t"}, "fields": {
    "a": "number", "b": {"from": "l.b", "type": "text"}, "c": {"from": "l.1.c", "type": "boolean"},
    "n": {"from": "a.a.a", "type": "number"}, "received": {"from": "@timestamp", "type": "number"}}}"#;

/// Knows one schema.
#[derive(Debug)]
struct One(Arc<AvroSchema>);

impl SchemaSource for One {
    fn schema(&self, _: u32, _: &crossbeam_channel::Sender<()>) -> SchemaAnswer {
        SchemaAnswer::Schema(self.0.clone())
    }
}

fn check(format: &str, schema: Option<AvroSchema>, record: &[u8]) {
    let format: DecodeConfig = serde_json::from_str(format).expect("a valid format");
    let config: EventConfig = serde_json::from_str(EVENT).expect("a valid event section");
    let metrics = DecodeMetrics::new(&Registry::new("fuzz"));
    let decoder = Decoder::build(&format, &config, 60_000, metrics.clone());
    let mut decoder = decoder.expect("valid paths");
    if let Some(schema) = schema {
        decoder.ask_for_schemas(
            Arc::new(One(Arc::new(schema))),
            crossbeam_channel::bounded(1).0,
        );
    }
    let split = Split {
        id: SplitId(0),
        name: "fuzz".into(),
    };
    let mut records = RecordBatch::new(split, NOW);
    records.push_enveloped(record, 0, b"fleet/UK", b"V1");
    records.set_timestamp(NOW);
    assert!(decoder.is_ready_for(&records));
    let batch = decoder.decode(&records, NOW, &mut Interner::new());
    assert_eq!(
        metrics.events_total(),
        batch.rows() as u64,
        "events are counted"
    );
    for column in &batch.columns {
        assert_eq!(column.len(), batch.rows(), "{column:?}");
        assert!(column.numbers().iter().all(|value| !value.is_infinite()));
    }
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
