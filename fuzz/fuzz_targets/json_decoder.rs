//! Arbitrary bytes as records: whatever comes, each record gives one row of every column or is
//! counted as dropped.
//!
//! A record is a line of the input; two tabs, where there are two, cut it into topic, key and body.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Fixture, batch};

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
    "key": {"from": "@key", "type": "boolean"},
    "first": {"from": "engine.temperatures.0", "type": "number"}
}"#;

fn fixture(from: &str, unit: &str) -> Fixture {
    Fixture::new(r#""json""#, (from, unit), FIELDS)
}

thread_local! {
    static FIXTURES: RefCell<[Fixture; 3]> = RefCell::new([
        fixture("timestamp", "ms"),
        fixture("engine.at", "rfc3339"),
        fixture("@key", "s"),
    ]);
}

fuzz_target!(|data: &[u8]| {
    let mut records = batch();
    for (position, line) in data.split(|byte| *byte == b'\n').enumerate() {
        let parts: Vec<_> = line.splitn(3, |byte| *byte == b'\t').collect();
        match parts[..] {
            [topic, key, body] => records.push_enveloped(body, position as u64, topic, key),
            _ => records.push_enveloped(line, position as u64, b"", b""),
        }
    }
    FIXTURES.with_borrow_mut(|fixtures| {
        for fixture in fixtures {
            let counted = fixture.check(&records);
            assert_eq!(
                counted.events + counted.dropped,
                records.len() as u64,
                "every record is counted once"
            );
        }
    });
});
