//! Arbitrary bytes as records with something around them: whatever comes, nothing becomes longer than it may, and
//! events are rows of every column or are counted as dropped.
//!
//! The first byte chooses what is around the record.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use weir::decode::{DecodeConfig, DecodeMetrics, Decoder, EventConfig, UnwrapStep};
use weir::model::{Interner, RecordBatch, Split, SplitId, TimestampMs};
use weir::telemetry::Registry;

/// 3 November 2024.
const NOW: TimestampMs = 1_730_621_749_000;

const STEPS: [&str; 7] = [
    r#"["gzip"]"#,
    r#"["zstd"]"#,
    r#"["base64"]"#,
    r#"["length_delimited"]"#,
    r#"[{"json": "a.b"}]"#,
    r#"["base64", "gzip", "length_delimited"]"#,
    r#"[{"json": "a"}, "base64", "length_delimited", "zstd"]"#,
];

const EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {"a": "number", "n": "text"}}"#;

struct Fixture {
    decoder: Decoder,
    metrics: DecodeMetrics,
}

impl Fixture {
    fn new(steps: &str) -> Self {
        let steps: Vec<UnwrapStep> = serde_json::from_str(steps).expect("a valid list");
        let config: EventConfig = serde_json::from_str(EVENT).expect("a valid event section");
        let metrics = DecodeMetrics::new(&Registry::new("fuzz"));
        let decoder = Decoder::build(&DecodeConfig::default(), &config, 60_000, metrics.clone());
        let decoder = decoder.and_then(|decoder| decoder.with_unwrap(&steps, 100_000));
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
    static FIXTURES: RefCell<Vec<Fixture>> = RefCell::new(STEPS.map(Fixture::new).into());
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
