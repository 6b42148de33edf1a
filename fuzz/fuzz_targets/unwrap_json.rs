//! Arbitrary bytes as a record that stands at a path of a JSON object: whatever comes, nothing becomes longer than
//! it may, and events are rows of every column or are counted as dropped.

#![no_main]

use weir_fuzz::{Fixture, records_target};

records_target!([Fixture::wrapped(r#"[{"json": "a.b"}]"#)]);
