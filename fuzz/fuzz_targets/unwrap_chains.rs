//! Arbitrary bytes as a record with several things around it: whatever comes, nothing becomes longer than it may,
//! and events are rows of every column or are counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, records_target};

records_target!([
    Fixture::wrapped(r#"["base64", "gzip", "length_delimited"]"#),
    Fixture::wrapped(r#"[{"json": "a"}, "base64", "length_delimited", "zstd"]"#),
]);
