//! Arbitrary bytes as a Remote-Write request of both versions, compressed or not: what is taken can be decoded,
//! and lies within its limit.
//!
//! The first byte chooses the version, and whether the rest is compressed first.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use weir::decode::{DecodeConfig, DecodeMetrics, Decoder, EventConfig, Format, Reason};
use weir::model::{Interner, RecordBatch, Split, SplitId};
use weir::source::remote_write_records;
use weir::telemetry::Registry;

const LIMIT: usize = 1 << 16;

const TYPES: [&str; 2] = [
    "application/x-protobuf",
    "application/x-protobuf;proto=io.prometheus.write.v2.Request",
];

const EVENT: &str = r#"{"time": {"from": "timestamp"}, "fields": {
    "name": {"from": "__name__", "type": "text"}, "value": "number"}}"#;

fn decoder() -> Decoder {
    let format = DecodeConfig::Format(Format::RemoteWrite);
    let config: EventConfig = serde_json::from_str(EVENT).expect("a valid event section");
    let metrics = DecodeMetrics::new(&Registry::new("fuzz"));
    let mut decoder = Decoder::build(&format, &config, 60_000, metrics).expect("valid paths");
    decoder.keep_rejected();
    decoder
}

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::new(decoder());
}

/// Bytes in snappy's block format, as one literal.
fn literal(bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut length = bytes.len();
    while length >= 0x80 {
        block.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    block.push(length as u8);
    if let Some(last) = bytes.len().checked_sub(1) {
        // A literal with two bytes for its length.
        block.push(61 << 2);
        block.extend((last as u16).to_le_bytes());
        block.extend(bytes);
    }
    block
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let is_plain = choice & 2 != 0 && body.len() < 60_000;
    let body = if is_plain {
        literal(body)
    } else {
        body.to_vec()
    };
    let Ok(records) = remote_write_records(TYPES[usize::from(choice & 1)], &body, LIMIT) else {
        return;
    };
    let held: usize = records.iter().map(Vec::len).sum();
    assert!(held <= 6 * LIMIT, "{held}");
    let split = Split {
        id: SplitId(0),
        name: "fuzz".into(),
    };
    let mut batch = RecordBatch::new(split, 0);
    for (record, position) in records.iter().zip(0..) {
        batch.push(record, position);
    }
    DECODER.with_borrow_mut(|decoder| {
        decoder.decode(&batch, 0, &mut Interner::new());
        let is_malformed = |reason| matches!(reason, Reason::Malformed | Reason::TooManyEvents);
        assert!(
            decoder
                .rejected()
                .iter()
                .all(|rejected| !is_malformed(rejected.reason))
        );
    });
});
