//! What the targets share that decode records.

use std::path::Path;

pub use libfuzzer_sys;
use weir::decode::{DecodeConfig, DecodeMetrics, Decoder, EARLIEST_MS, EventConfig, UnwrapStep};
use weir::model::{Batch, Interner, RecordBatch, Split, SplitId, TimestampMs};
use weir::telemetry::Registry;

/// 3 November 2024.
pub const NOW: TimestampMs = 1_730_621_749_000;

/// The time at which a record was received is that of its events.
pub const RECEIVED: (&str, &str) = ("@timestamp", "ms");

/// A column of every label that SenML has.
pub const SENML_FIELDS: &str = r#"{"name": {"from": "n", "type": "text"}, "unit": {"from": "u", "type": "text"},
    "value": {"from": "v", "type": "number"}, "text": {"from": "vs", "type": "text"},
    "on": {"from": "vb", "type": "boolean"}, "data": {"from": "vd", "type": "text"},
    "sum": {"from": "s", "type": "number"}, "update": {"from": "ut", "type": "number"}}"#;

/// How far ahead of now an event may be.
const MAX_AHEAD_MS: i64 = 60_000;

/// A decoder, and what it counts.
#[derive(Debug)]
pub struct Fixture {
    pub decoder: Decoder,
    metrics: DecodeMetrics,
}

/// What a batch gave.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub events: u64,
    pub dropped: u64,
}

impl Fixture {
    /// A decoder of `decode`, with the times of events at `time`, and of `fields`, in JSON as in a pipeline file.
    /// Files are looked for in the folder of the targets' manifest.
    pub fn new(decode: &str, time: (&str, &str), fields: &str) -> Self {
        let (from, unit) = time;
        let event =
            format!(r#"{{"time": {{"from": "{from}", "unit": "{unit}"}}, "fields": {fields}}}"#);
        let mut decode: DecodeConfig = serde_json::from_str(decode).expect("a valid format");
        let problems = decode.load(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(problems, [], "the files can be read");
        let event: EventConfig = serde_json::from_str(&event).expect("a valid event section");
        let metrics = DecodeMetrics::new(&Registry::new("fuzz"));
        let decoder = Decoder::build(&decode, &event, MAX_AHEAD_MS, metrics.clone());
        let mut decoder = decoder.expect("valid paths");
        decoder.keep_rejected();
        Self { decoder, metrics }
    }

    /// A decoder of JSON with something around each record, of which a step may give 100 kB.
    pub fn wrapped(steps: &str) -> Self {
        let fixture = Self::new(r#""json""#, RECEIVED, r#"{"a": "number", "n": "text"}"#);
        let steps: Vec<UnwrapStep> = serde_json::from_str(steps).expect("a valid list");
        let decoder = fixture.decoder.with_unwrap(&steps, 100_000);
        Self {
            decoder: decoder.expect("valid paths"),
            metrics: fixture.metrics,
        }
    }

    /// Decodes a batch: its events are rows of every column or are counted as dropped.
    pub fn check(&mut self, records: &RecordBatch) -> Counted {
        let before = (self.metrics.events_total(), self.metrics.dropped_total());
        let mut interner = Interner::new();
        let batch = self.decoder.decode(records, NOW, &mut interner);
        let counted = Counted {
            events: self.metrics.events_total() - before.0,
            dropped: self.metrics.dropped_total() - before.1,
        };
        assert_eq!(counted.events, batch.rows() as u64, "events are counted");
        assert!(
            batch.rows() <= 10_000 * records.len(),
            "{} rows",
            batch.rows()
        );
        assert!(counted.dropped >= self.decoder.rejected().len() as u64);
        check_rows(&batch, &interner);
        counted
    }
}

fn check_rows(batch: &Batch, interner: &Interner) {
    assert_eq!(batch.positions.len(), batch.rows());
    assert!(batch.positions.is_sorted(), "{:?}", batch.positions);
    for time in &batch.times {
        assert!((EARLIEST_MS..=NOW + MAX_AHEAD_MS).contains(time), "{time}");
    }
    for column in &batch.columns {
        assert_eq!(column.len(), batch.rows(), "{column:?}");
        assert!(
            column.numbers().iter().all(|value| !value.is_infinite()),
            "{column:?}"
        );
        let mut symbols = column.symbols().iter();
        assert!(
            symbols.all(|symbol| symbol.index() < interner.len()),
            "{column:?}"
        );
    }
}

/// A batch without records.
pub fn batch() -> RecordBatch {
    let split = Split {
        id: SplitId(0),
        name: "fuzz".into(),
    };
    RecordBatch::new(split, NOW)
}

/// A batch of one record that has a topic, a key and a time.
pub fn single(record: &[u8]) -> RecordBatch {
    let mut records = batch();
    records.push_enveloped(record, 0, b"fleet/UK", b"V1");
    records.set_timestamp(NOW);
    records
}

/// A target whose inputs are records, of one format or with one thing around them: each is decoded by each of an
/// array of fixtures, which are kept from one input to the next, as a worker keeps its decoder.
#[macro_export]
macro_rules! records_target {
    ($fixtures:expr) => {
        thread_local! {
            static FIXTURES: std::cell::RefCell<Vec<$crate::Fixture>> =
                std::cell::RefCell::new($fixtures.into());
        }

        $crate::libfuzzer_sys::fuzz_target!(|record: &[u8]| {
            let records = $crate::single(record);
            FIXTURES.with_borrow_mut(|fixtures| {
                for fixture in fixtures {
                    fixture.check(&records);
                }
            });
        });
    };
}
