//! Arbitrary bytes as records with something around them: whatever comes, nothing becomes longer than it may, and
//! events are rows of every column or are counted as dropped.
//!
//! The first byte chooses what is around the record.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Fixture, check_chosen};

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

thread_local! {
    static FIXTURES: RefCell<Vec<Fixture>> = RefCell::new(STEPS
        .map(|steps| Fixture::new(r#""json""#, EVENT).unwrapping(steps, 100_000))
        .into());
}

fuzz_target!(|data: &[u8]| FIXTURES.with_borrow_mut(|fixtures| check_chosen(fixtures, data)));
