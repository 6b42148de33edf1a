//! Arbitrary bytes as a record written in Base64: whatever comes, nothing becomes longer than it may, and events
//! are rows of every column or are counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, records_target};

records_target!([Fixture::wrapped(r#"["base64"]"#)]);
