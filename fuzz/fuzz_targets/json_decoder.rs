//! Arbitrary bytes as records: whatever comes, each record gives one row of every column or is
//! counted as dropped.
//!
//! A record is a line of the input; two tabs, where there are two, cut it into topic, key and body.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use weir::decode::{DecodeMetrics, Decoder, DecodeConfig, EventConfig};
use weir::model::{Batch, Column, Interner, RecordBatch, Split, SplitId, TimestampMs};
use weir::telemetry::Registry;

/// 3 November 2024.
const NOW: TimestampMs = 1_730_621_749_000;
const MAX_AHEAD_MS: i64 = 60_000;

/// Every type, nested paths that share a beginning, one key for two fields, and the envelope.
const FIELDS: &str = r#"{
    "kind": {"from": "eventType", "type": "text"},
    "vehicle": {"from": "vehicleId", "type": "text", "required": true},
    "measurement": "number",
    "as_text": {"from": "measurement", "type": "text"},
    "on": "boolean",
    "rpm": {"from": "engine.rpm", "type": "number"},
    "hot": {"from": "engine.state.hot", "type": "boolean"},
    "name": {"from": "engine.state.name", "type": "text"},
    "topic": {"from": "@topic", "type": "text"},
    "segment": {"from": "@topic[1]", "type": "number"},
    "key": {"from": "@key", "type": "boolean"}
}"#;

struct Fixture {
    decoder: Decoder,
    metrics: DecodeMetrics,
}

impl Fixture {
    fn new(from: &str, unit: &str) -> Self {
        let event =
            format!(r#"{{"time": {{"from": "{from}", "unit": "{unit}"}}, "fields": {FIELDS}}}"#);
        let config: EventConfig = serde_json::from_str(&event).expect("a valid event section");
        let metrics = DecodeMetrics::new(&Registry::new("fuzz"));
        let decoder = Decoder::build(&DecodeConfig::default(), &config, MAX_AHEAD_MS, metrics.clone());
        Self {
            decoder: decoder.expect("valid paths"),
            metrics,
        }
    }

    fn check(&mut self, records: &RecordBatch) {
        let before = (self.metrics.events_total(), self.metrics.dropped_total());
        let mut interner = Interner::new();
        let batch = self.decoder.decode(records, NOW, &mut interner);
        let events = self.metrics.events_total() - before.0;
        let dropped = self.metrics.dropped_total() - before.1;
        assert_eq!(events, batch.rows() as u64, "events are counted");
        assert_eq!(
            events + dropped,
            records.len() as u64,
            "every record is counted once"
        );
        check_rows(&batch);
        for column in &batch.columns {
            check_values(column, batch.rows(), &interner);
        }
    }
}

fn check_rows(batch: &Batch) {
    assert_eq!(batch.positions.len(), batch.rows());
    assert!(batch.positions.is_sorted(), "{:?}", batch.positions);
    for time in &batch.times {
        assert!(
            (weir::decode::EARLIEST_MS..=NOW + MAX_AHEAD_MS).contains(time),
            "{time}"
        );
    }
}

fn check_values(column: &Column, rows: usize, interner: &Interner) {
    assert_eq!(column.len(), rows, "{column:?}");
    assert!(
        column.numbers().iter().all(|value| !value.is_infinite()),
        "{column:?}"
    );
    assert!(
        column
            .symbols()
            .iter()
            .all(|symbol| symbol.index() < interner.len()),
        "{column:?}"
    );
}

thread_local! {
    static FIXTURES: RefCell<[Fixture; 3]> = RefCell::new([
        Fixture::new("timestamp", "ms"),
        Fixture::new("engine.at", "rfc3339"),
        Fixture::new("@key", "s"),
    ]);
}

fuzz_target!(|data: &[u8]| {
    let split = Split {
        id: SplitId(0),
        name: "fuzz".into(),
    };
    let mut records = RecordBatch::new(split, NOW);
    for (position, line) in data.split(|byte| *byte == b'\n').enumerate() {
        let parts: Vec<_> = line.splitn(3, |byte| *byte == b'\t').collect();
        match parts[..] {
            [topic, key, body] => records.push_enveloped(body, position as u64, topic, key),
            _ => records.push_enveloped(line, position as u64, b"", b""),
        }
    }
    FIXTURES.with_borrow_mut(|fixtures| {
        for fixture in fixtures {
            fixture.check(&records);
        }
    });
});
