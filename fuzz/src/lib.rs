//! What the targets share that decode records.

use std::path::Path;

use weir::decode::{
    DecodeConfig, DecodeMetrics, Decoder, EARLIEST_MS, EventConfig, UnwrapStep,
};
use weir::model::{Batch, Interner, RecordBatch, Split, SplitId, TimestampMs};
use weir::telemetry::Registry;

/// 3 November 2024.
pub const NOW: TimestampMs = 1_730_621_749_000;

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
    /// A decoder of `decode` and `event` as they stand in a pipeline file, in JSON. Files are looked for in the
    /// folder of the targets' manifest.
    pub fn new(decode: &str, event: &str) -> Self {
        let mut decode: DecodeConfig = serde_json::from_str(decode).expect("a valid format");
        let problems = decode.load(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(problems, [], "the files can be read");
        let event: EventConfig = serde_json::from_str(event).expect("a valid event section");
        let metrics = DecodeMetrics::new(&Registry::new("fuzz"));
        let decoder = Decoder::build(&decode, &event, MAX_AHEAD_MS, metrics.clone());
        let mut decoder = decoder.expect("valid paths");
        decoder.keep_rejected();
        Self { decoder, metrics }
    }

    /// The same with something around each record, of which a step may give so many bytes.
    pub fn unwrapping(mut self, steps: &str, max_bytes: usize) -> Self {
        let steps: Vec<UnwrapStep> = serde_json::from_str(steps).expect("a valid list");
        let decoder = self.decoder.with_unwrap(&steps, max_bytes);
        self.decoder = decoder.expect("valid paths");
        self
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

/// Decodes an input whose first byte chooses one of several fixtures.
pub fn check_chosen(fixtures: &mut [Fixture], input: &[u8]) {
    let Some((number, record)) = input.split_first() else {
        return;
    };
    let number = usize::from(*number) % fixtures.len();
    if let Some(fixture) = fixtures.get_mut(number) {
        fixture.check(&single(record));
    }
}
