//! Batches of more rows than are decoded at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Sender, bounded};

use super::unwrap::gzip;
use super::{Fixture, NOW};
use crate::decode::{AvroSchema, SchemaQuestion, SchemaSource};
use crate::model::{Column, RecordBatch};

const EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {"rpm": "number"}}"#;

/// An array of records without fields, of which an item has no byte.
const ITEMS: &str = r#"{"type": "record", "name": "r", "fields": [{"name": "rpm", "type": "long"},
    {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "i", "fields": []}}}]}"#;

/// The rows of each piece, and all of their positions and numbers together; with the refused records.
type Pieces = (Vec<usize>, Vec<u64>, Vec<f64>, Vec<String>);

fn pieces(fixture: &mut Fixture, batch: &RecordBatch) -> Pieces {
    let (mut rows, mut positions, mut numbers, mut refused) = Pieces::default();
    // What was found for a batch holds until all of it is decoded.
    assert!(fixture.decoder.is_ready_for(batch));
    let mut first = 0;
    while first < batch.len() {
        let (decoded, next) = fixture
            .decoder
            .decode_from(first, batch, NOW, &mut fixture.interner);
        assert!(next > first);
        first = next;
        rows.push(decoded.rows());
        positions.extend(decoded.positions);
        match &decoded.columns[0] {
            Column::Number(values) => numbers.extend(values),
            other => panic!("{other:?}"),
        }
        let rejected = fixture.decoder.rejected().iter();
        refused.extend(rejected.map(|one| format!("{} {}", one.index, one.reason.name())));
    }
    (rows, positions, numbers, refused)
}

/// Records at the positions 10, 20 and so on: a bad one, and six of 10000 events each.
fn seven<'r>(many: &'r [u8], bad: &'r [u8]) -> [&'r [u8]; 7] {
    [many, many, many, bad, many, many, many]
}

fn expect(found: &Pieces, reason: &str) {
    assert_eq!(found.0, [20_000; 3]);
    let positions = [10, 20, 30, 50, 60, 70];
    let positions = positions.iter().flat_map(|position| [*position; 10_000]);
    assert!(found.1.iter().copied().eq(positions));
    assert_eq!(found.2.len(), 60_000);
    assert!(found.2.iter().all(|number| *number == 1.0));
    assert_eq!(found.3, [format!("3 {reason}")]);
}

#[test]
fn records_of_many_events_are_decoded_in_pieces() {
    let rows = b"1\n".repeat(10_000);
    let csv = r#"{"format": "csv", "columns": ["rpm"]}"#;
    let mut bare = Fixture::new(csv, EVENT);
    expect(
        &pieces(&mut bare, &Fixture::batch(&seven(&rows, b"1,2"))),
        "malformed",
    );
    let packed = gzip(&rows);
    assert!(packed.len() < 100);
    let mut wrapped = Fixture::new(csv, EVENT).unwrapping(r#"["gzip"]"#);
    let batch = Fixture::batch(&seven(&packed, b"{"));
    expect(&pieces(&mut wrapped, &batch), "cannot_unwrap");
    // As a whole, where that is asked for.
    let whole = wrapped.decoder.decode(&batch, NOW, &mut wrapped.interner);
    assert_eq!(whole.rows(), 60_000);
}

#[test]
fn data_without_bytes_are_decoded_in_pieces() {
    let schema = br#"{"type":"record","name":"r","fields":[]}"#;
    let mut record = b"Obj\x01\x02\x16avro.schema".to_vec();
    record.push((schema.len() * 2) as u8);
    record.extend(schema);
    record.push(0);
    record.extend([7; 16]);
    // 10000 data of no bytes.
    record.extend([0xa0, 0x9c, 0x01, 0x00]);
    record.extend([7; 16]);
    let event = r#"{"time": {"from": "@timestamp"}, "fields": {"none": "number"}}"#;
    let mut fixture = Fixture::new(r#""avro""#, event);
    let found = pieces(&mut fixture, &Fixture::batch(&[record.as_slice(); 5]));
    assert_eq!(found.0, [20_000, 20_000, 10_000]);
    assert_eq!(found.3, [""; 0]);
}

/// Knows a schema, and counts how often it is asked.
#[derive(Debug, Default)]
struct Source(AtomicUsize);

impl SchemaSource for Source {
    fn ask(&self, _id: u32, _place: &str, _wake: &Sender<()>) -> Arc<SchemaQuestion> {
        self.0.fetch_add(1, Ordering::Relaxed);
        SchemaQuestion::answered(Ok(Arc::new(AvroSchema::parse(ITEMS).unwrap())))
    }
}

#[test]
fn a_batch_in_pieces_asks_for_its_schemas_once() {
    let config =
        r#"{"format": "avro", "registry": {"url": "http://registry"}, "explode": "items"}"#;
    let mut fixture = Fixture::new(config, EVENT);
    let source = Arc::new(Source::default());
    fixture.ask(source.clone(), bounded(1).0);
    // The schema's number, 1, a block of 10000 items and the end of the array.
    let record = [0, 0, 0, 0, 7, 2, 0xa0, 0x9c, 0x01, 0];
    let unknown = [1, 0, 0, 0, 7, 2];
    let batch = Fixture::batch(&seven(&record, &unknown));
    expect(&pieces(&mut fixture, &batch), "malformed");
    assert_eq!(source.0.load(Ordering::Relaxed), 1);
    // What was found for a batch does not stay for others.
    let again = pieces(&mut fixture, &Fixture::batch(&[&record]));
    assert_eq!(again.0, [10_000]);
}
