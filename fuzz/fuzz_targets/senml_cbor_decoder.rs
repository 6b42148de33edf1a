//! Arbitrary bytes as a pack of SenML in CBOR: whatever comes, its events are rows of every column or are counted
//! as dropped.

#![no_main]

use weir_fuzz::{Fixture, RECEIVED, SENML_FIELDS, records_target};

const FORMAT: &str = r#""senml_cbor""#;

records_target!([
    Fixture::new(FORMAT, RECEIVED, SENML_FIELDS),
    Fixture::new(FORMAT, ("t", "s"), SENML_FIELDS),
]);
