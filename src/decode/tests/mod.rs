//! The formats, each from bytes to rows.

mod avro;
mod avro_beside_json;
mod avro_sources;
mod cbor;
mod cloudevents;
mod csv;
mod explode;
mod explode_nested;
mod hostile;
mod influx;
mod number;
mod pieces;
mod places;
mod protobuf;
mod protobuf_oracle;
mod remote_write;
mod senml;
mod sparkplug;
mod unwrap;

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::decode::{DecodeConfig, DecodeMetrics, Decoder, EventConfig, SchemaSource, UnwrapStep};
use crate::model::{Batch, Column, Interner, RecordBatch, Split, SplitId, TimestampMs, Trilean};
use crate::telemetry::Registry;

/// 3 November 2024.
pub(super) const NOW: TimestampMs = 1_730_621_749_000;

/// A decoder, and what came out of it.
pub(super) struct Fixture {
    pub(super) decoder: Decoder,
    interner: Interner,
    pub(super) metrics: DecodeMetrics,
}

/// What a batch gave: the time, the position and the cells of each row, and what was refused, as
/// `index reason detail`.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub(super) rows: Vec<(TimestampMs, u64, Vec<String>)>,
    pub(super) refused: Vec<String>,
}

impl Decoded {
    /// The cells alone.
    pub(super) fn cells(&self) -> Vec<String> {
        let rows = self.rows.iter();
        rows.map(|(_, _, cells)| cells.join(" ")).collect()
    }
}

impl Fixture {
    /// `decode` and `event` as they stand in a pipeline file, in JSON.
    pub(super) fn new(decode: &str, event: &str) -> Self {
        let mut decode: DecodeConfig = serde_json::from_str(decode).unwrap();
        assert_eq!(decode.validate(), []);
        assert_eq!(decode.load(Path::new(env!("CARGO_MANIFEST_DIR"))), []);
        let event: EventConfig = serde_json::from_str(event).unwrap();
        let metrics = DecodeMetrics::new(&Registry::new("test"));
        let mut decoder = Decoder::build(&decode, &event, 60_000, metrics.clone()).unwrap();
        decoder.keep_rejected();
        Self {
            decoder,
            interner: Interner::new(),
            metrics,
        }
    }

    /// The same, with something around each record, of which a step may give 1 MiB.
    pub(super) fn unwrapping(mut self, steps: &str) -> Self {
        let steps: Vec<UnwrapStep> = serde_json::from_str(steps).unwrap();
        assert_eq!(UnwrapStep::validate(&steps), []);
        self.decoder = self.decoder.with_unwrap(&steps, 1024 * 1024).unwrap();
        self
    }

    /// Asks for schemas.
    pub(super) fn ask(&mut self, source: Arc<dyn SchemaSource>, wake: Sender<()>) {
        self.decoder.ask_for_schemas(source, wake);
    }

    /// Whether records can be decoded.
    pub(super) fn is_ready_for(&mut self, records: &[&[u8]]) -> bool {
        self.decoder.is_ready_for(&Self::batch(records))
    }

    fn batch(records: &[&[u8]]) -> RecordBatch {
        Self::batch_of(records.iter().map(|record| ("fleet/UK/rpm", *record)))
    }

    fn batch_of<'r>(records: impl Iterator<Item = (&'r str, &'r [u8])>) -> RecordBatch {
        let split = Split {
            id: SplitId(0),
            name: "s".into(),
        };
        let mut batch = RecordBatch::new(split, NOW);
        for ((topic, record), number) in records.zip(1..) {
            batch.push_enveloped(record, number * 10, topic.as_bytes(), b"V7");
            batch.set_timestamp(NOW - 5);
        }
        batch
    }

    /// Decodes records at positions 10, 20, 30 and so on.
    pub(super) fn decode(&mut self, records: &[&[u8]]) -> Decoded {
        self.decode_batch(&Self::batch(records))
    }

    /// The same with their topics.
    pub(super) fn decode_messages(&mut self, messages: &[(&str, Vec<u8>)]) -> Decoded {
        let messages = messages.iter();
        self.decode_batch(&Self::batch_of(
            messages.map(|(topic, message)| (*topic, message.as_slice())),
        ))
    }

    fn decode_batch(&mut self, batch: &RecordBatch) -> Decoded {
        assert!(self.decoder.is_ready_for(batch));
        let before = (self.metrics.events_total(), self.metrics.dropped_total());
        let decoded = self.decoder.decode(batch, NOW, &mut self.interner);
        assert!(
            decoded
                .columns
                .iter()
                .all(|column| column.len() == decoded.rows())
        );
        assert_eq!(decoded.positions.len(), decoded.rows());
        let events = self.metrics.events_total() - before.0;
        assert_eq!(events, decoded.rows() as u64);
        let refused: Vec<_> = self
            .decoder
            .rejected()
            .iter()
            .map(|rejected| {
                let text = format!(
                    "{} {} {}",
                    rejected.index,
                    rejected.reason.name(),
                    rejected.detail
                );
                text.trim_end().to_owned()
            })
            .collect();
        assert!(self.metrics.dropped_total() - before.1 >= refused.len() as u64);
        Decoded {
            rows: (0..decoded.rows())
                .map(|row| self.row(&decoded, row))
                .collect(),
            refused,
        }
    }

    fn row(&self, batch: &Batch, row: usize) -> (TimestampMs, u64, Vec<String>) {
        let cells = batch.columns.iter().map(|column| match column {
            Column::Number(values) if values[row].is_nan() => "-".to_owned(),
            Column::Number(values) => values[row].to_string(),
            Column::Boolean(values) => match values[row] {
                Trilean::True => "true".to_owned(),
                Trilean::False => "false".to_owned(),
                Trilean::Null => "-".to_owned(),
            },
            Column::Text(symbols) if symbols[row].is_null() => "-".to_owned(),
            Column::Text(symbols) => self.interner.text(symbols[row]).to_owned(),
        });
        (batch.times[row], batch.positions[row], cells.collect())
    }
}
