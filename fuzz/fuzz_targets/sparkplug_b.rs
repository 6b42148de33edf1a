//! Arbitrary messages of Sparkplug B, one behind the other: whatever comes, its events are rows of every column
//! or are counted as dropped, and what is kept is read again as it was written.
//!
//! A message begins with a byte that chooses its topic and one that says its length.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::decode::{DecodeConfig, DecodeMetrics, Decoder, EventConfig, SparkplugState};
use weir::model::{Interner, RecordBatch, Split, SplitId, TimestampMs};
use weir::telemetry::Registry;

/// 3 November 2024.
const NOW: TimestampMs = 1_730_621_749_000;

const TOPICS: [&[u8]; 6] = [
    b"spBv1.0/g/NBIRTH/n",
    b"spBv1.0/g/NDATA/n",
    b"spBv1.0/g/NDEATH/n",
    b"spBv1.0/g/DBIRTH/n/d",
    b"spBv1.0/g/DDATA/n/d",
    b"spBv1.0/g/DDEATH/n/d",
];

const EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {
    "name": "text", "value": "number", "text": "text", "boolean": "boolean", "datatype": "text",
    "unit": {"from": "properties.unit", "type": "text"}, "deep": {"from": "properties.a.b", "type": "number"}}}"#;

fuzz_target!(|data: &[u8]| {
    let format: DecodeConfig = serde_json::from_str(r#""sparkplug_b""#).expect("a valid format");
    let config: EventConfig = serde_json::from_str(EVENT).expect("a valid event section");
    let metrics = DecodeMetrics::new(&Registry::new("fuzz"));
    let decoder = Decoder::build(&format, &config, 60_000, metrics.clone());
    let mut decoder = decoder.expect("valid paths");
    let split = Split {
        id: SplitId(0),
        name: "fuzz".into(),
    };
    let mut records = RecordBatch::new(split, NOW);
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
    let batch = decoder.decode(&records, NOW, &mut Interner::new());
    assert_eq!(
        metrics.events_total(),
        batch.rows() as u64,
        "events are counted"
    );
    for column in &batch.columns {
        assert_eq!(column.len(), batch.rows(), "{column:?}");
    }
    if let Some(state) = decoder.state(SplitId(0)) {
        let read = SparkplugState::decode(&state.encode()).expect("what was written");
        assert_eq!(read, *state);
    }
    if let Ok(state) = SparkplugState::decode(data) {
        assert_eq!(SparkplugState::decode(&state.encode()).as_ref(), Ok(&state));
    }
});
