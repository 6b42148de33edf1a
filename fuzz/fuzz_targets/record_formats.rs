//! Arbitrary bytes as a record of every format: whatever comes, its events are rows of every column or are
//! counted as dropped.
//!
//! The first byte chooses the format.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use weir::decode::{DecodeConfig, DecodeMetrics, Decoder, EventConfig};
use weir::model::{Interner, RecordBatch, Split, SplitId, TimestampMs};
use weir::telemetry::Registry;

/// 3 November 2024.
const NOW: TimestampMs = 1_730_621_749_000;

const FORMATS: [&str; 11] = [
    r#"{"format": "json", "explode": "l"}"#,
    r#"{"format": "json", "explode": "."}"#,
    r#""csv""#,
    r#"{"format": "csv", "columns": ["t", "a", "l.b"]}"#,
    r#"{"format": "cbor", "explode": "l"}"#,
    r#""influx""#,
    r#""senml_json""#,
    r#""senml_cbor""#,
    r#""cloudevents""#,
    r#""number""#,
    r#""remote_write""#,
];

const EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {
    "a": "number", "b": {"from": "l.b", "type": "text"}, "l": "number", "value": "boolean",
    "n": {"type": "text", "required": true}, "t": "number", "v": "number",
    "kind": {"from": "_measurement", "type": "text"}, "rpm": {"from": "data.rpm", "type": "number"}}}"#;

struct Fixture {
    decoder: Decoder,
    metrics: DecodeMetrics,
}

impl Fixture {
    fn new(format: &str) -> Self {
        let format: DecodeConfig = serde_json::from_str(format).expect("a valid format");
        let config: EventConfig = serde_json::from_str(EVENT).expect("a valid event section");
        let metrics = DecodeMetrics::new(&Registry::new("fuzz"));
        let decoder = Decoder::build(&format, &config, 60_000, metrics.clone());
        let mut decoder = decoder.expect("valid paths");
        decoder.keep_rejected();
        Self { decoder, metrics }
    }

    fn check(&mut self, records: &RecordBatch) {
        let before = (self.metrics.events_total(), self.metrics.dropped_total());
        let mut interner = Interner::new();
        let batch = self.decoder.decode(records, NOW, &mut interner);
        let events = self.metrics.events_total() - before.0;
        let dropped = self.metrics.dropped_total() - before.1;
        assert_eq!(events, batch.rows() as u64, "events are counted");
        assert_eq!(batch.positions.len(), batch.rows());
        assert!(dropped >= self.decoder.rejected().len() as u64);
        for column in &batch.columns {
            assert_eq!(column.len(), batch.rows(), "{column:?}");
            assert!(column.numbers().iter().all(|value| !value.is_infinite()));
        }
    }
}

thread_local! {
    static FIXTURES: RefCell<Vec<Fixture>> = RefCell::new(FORMATS.map(Fixture::new).into());
}

fuzz_target!(|data: &[u8]| {
    let Some((format, record)) = data.split_first() else {
        return;
    };
    let split = Split {
        id: SplitId(0),
        name: "fuzz".into(),
    };
    let mut records = RecordBatch::new(split, NOW);
    records.push_enveloped(record, 0, b"fleet/UK", b"V1");
    records.set_timestamp(NOW);
    FIXTURES.with_borrow_mut(|fixtures| {
        let format = usize::from(*format) % fixtures.len();
        if let Some(fixture) = fixtures.get_mut(format) {
            fixture.check(&records);
        }
    });
});
