//! Arbitrary bytes as the body of a request, in every layout and coding: what is taken lies within its limit,
//! and is what the body consists of.
//!
//! The first byte chooses the headers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::source::body_records;

const LIMIT: usize = 1 << 16;

const TYPES: [&str; 3] = [
    "application/x-ndjson",
    "application/json",
    "application/octet-stream",
];
const CODINGS: [&str; 3] = ["", "gzip", "zstd"];

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let content_type = TYPES[usize::from(*choice) % 3];
    let coding = CODINGS[usize::from(*choice / 3) % 3];
    let Ok(records) = body_records(content_type, coding, body, LIMIT) else {
        return;
    };
    let held: usize = records.iter().map(Vec::len).sum();
    assert!(held <= if coding.is_empty() { body.len() } else { LIMIT });
    if content_type == "application/json" && coding.is_empty() {
        // Whatever is one array for others is one for us, with the same elements.
        if let Ok(serde_json::Value::Array(elements)) = serde_json::from_slice(body) {
            let found: Vec<serde_json::Value> = records
                .iter()
                .map(|record| serde_json::from_slice(record).expect("an element"))
                .collect();
            assert_eq!(found, elements);
        }
    }
});
