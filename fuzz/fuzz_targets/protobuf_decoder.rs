//! Arbitrary bytes as a message of `all_types.proto`: whatever comes, its events are rows of every column or are
//! counted as dropped.
//!
//! The first byte chooses which repeated field is exploded.

#![no_main]

use std::cell::RefCell;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weir::decode::{DecodeConfig, DecodeMetrics, Decoder, EventConfig};
use weir::model::{Interner, RecordBatch, Split, SplitId, TimestampMs};
use weir::telemetry::Registry;

/// 3 November 2024.
const NOW: TimestampMs = 1_730_621_749_000;

const FORMATS: [&str; 4] = [
    "",
    r#", "explode": "items""#,
    r#", "explode": "numbers""#,
    r#", "explode": "texts""#,
];

const EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {
    "double": "number", "int32": "number", "uint64": "number", "sint64": "number", "bool": "boolean",
    "string": "text", "bytes": "text", "state": "text", "told": "number", "left": "number",
    "right": {"from": "right.deeper.text", "type": "text"},
    "inner": {"from": "inner.deeper.number", "type": "number"},
    "gauge": {"from": "gauges.a", "type": "number"}, "pair": {"from": "inners.1.text", "type": "text"},
    "answer": {"from": "answers.true", "type": "text"}, "at": "number", "lasts": "number",
    "boxed": "number", "far": "number"@ITEM@}}"#;

struct Fixture {
    decoder: Decoder,
    metrics: DecodeMetrics,
}

impl Fixture {
    fn new(explode: &str) -> Self {
        let format = format!(
            r#"{{"format": "protobuf", "message": "all.v1.Record", "files": ["all_types.proto"]{explode}}}"#
        );
        let item = match explode {
            r#", "explode": "items""# => {
                r#", "item": {"from": "items.deeper.number", "type": "number"}"#
            }
            r#", "explode": "numbers""# => r#", "item": {"from": "numbers", "type": "number"}"#,
            r#", "explode": "texts""# => r#", "item": {"from": "texts", "type": "text"}"#,
            _ => "",
        };
        let mut format: DecodeConfig = serde_json::from_str(&format).expect("a valid format");
        let problems = format.load(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(problems, [], "the file compiles");
        let config: EventConfig =
            serde_json::from_str(&EVENT.replace("@ITEM@", item)).expect("a valid event section");
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
        assert!(batch.rows() <= 10_000, "{} rows", batch.rows());
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
    let Some((number, record)) = data.split_first() else {
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
        let number = usize::from(*number) % fixtures.len();
        if let Some(fixture) = fixtures.get_mut(number) {
            fixture.check(&records);
        }
    });
});
