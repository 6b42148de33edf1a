//! Arbitrary messages of Sparkplug B, one behind the other: whatever comes, its events are rows of every column
//! or are counted as dropped, and what is kept is read again as it was written.
//!
//! A message begins with a byte that chooses its topic and one that says its length.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::decode::SparkplugState;
use weir::model::SplitId;
use weir_fuzz::{Fixture, NOW, RECEIVED, batch};

const TOPICS: [&[u8]; 6] = [
    b"spBv1.0/g/NBIRTH/n",
    b"spBv1.0/g/NDATA/n",
    b"spBv1.0/g/NDEATH/n",
    b"spBv1.0/g/DBIRTH/n/d",
    b"spBv1.0/g/DDATA/n/d",
    b"spBv1.0/g/DDEATH/n/d",
];

const FIELDS: &str = r#"{
    "name": "text", "value": "number", "text": "text", "boolean": "boolean", "datatype": "text",
    "unit": {"from": "properties.unit", "type": "text"}, "deep": {"from": "properties.a.b", "type": "number"}}"#;

fuzz_target!(|data: &[u8]| {
    let mut fixture = Fixture::new(r#""sparkplug_b""#, RECEIVED, FIELDS);
    let mut records = batch();
    let mut rest = data;
    while let [topic, length, behind @ ..] = rest {
        let (message, after) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = after;
        let topic = TOPICS.get(usize::from(*topic) % TOPICS.len()).copied();
        records.push_enveloped(
            message,
            records.len() as u64,
            topic.unwrap_or_default(),
            b"",
        );
        records.set_timestamp(NOW);
    }
    fixture.check(&records);
    if let Some(state) = fixture.decoder.state(SplitId(0)) {
        assert_eq!(read_again(&state), *state);
    }
    let mut state = SparkplugState::default();
    if state.read(data).is_ok() {
        assert_eq!(read_again(&state), state);
    }
});

fn read_again(state: &SparkplugState) -> SparkplugState {
    let mut read = SparkplugState::default();
    for births in state.births() {
        read.read(&births.encode()).expect("what was written");
    }
    read.read(&state.encode_sequences())
        .expect("what was written");
    read
}
