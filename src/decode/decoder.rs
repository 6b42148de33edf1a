//! Records of a batch into columns.

use std::time::Duration;

use prometheus::IntCounter;

use super::config::{EventConfig, Format, TimeUnit};
use super::json::{self, JsonError};
use super::metrics::{DecodeMetrics, Reason};
use super::path::{InvalidPath, Path};
use super::plan::{Leaves, ObjectPlan, Scalar};
use super::time::event_time;
use crate::model::record::Record;
use crate::model::{
    Batch, Column, DataType, Interner, RecordBatch, Schema, Symbol, TimestampMs, Trilean,
};
use crate::telemetry::LogLimit;

/// The leaf that is the event time; fields follow from 1.
const TIME_LEAF: usize = 0;

/// Decodes a pipeline's records; one per worker.
#[derive(Debug)]
pub struct Decoder {
    plan: ObjectPlan,
    time_unit: TimeUnit,
    time_path: Path,
    fields: Vec<FieldDecoder>,
    max_ahead_ms: i64,
    metrics: DecodeMetrics,
    log: LogLimit,
}

/// What is known of a field, and its counters.
#[derive(Debug)]
struct FieldDecoder {
    name: String,
    data_type: DataType,
    path: Path,
    required: bool,
    missing: IntCounter,
    wrong_type: IntCounter,
    not_finite: IntCounter,
}

impl Decoder {
    /// A decoder of the events that a pipeline describes. Events more than `max_ahead_ms` ahead of
    /// the time at which they were received are dropped.
    ///
    /// # Errors
    /// A path that cannot be read.
    pub fn build(
        format: Format,
        config: &EventConfig,
        max_ahead_ms: i64,
        metrics: DecodeMetrics,
    ) -> Result<Self, InvalidPath> {
        let Format::Json = format;
        let mut plan = ObjectPlan::default();
        let time_path: Path = config.time.from.parse()?;
        if let Path::Body(keys) = &time_path {
            plan.add(keys, TIME_LEAF);
        }
        let mut fields = Vec::new();
        for (name, field) in &config.fields {
            let path: Path = match field.from() {
                Some(from) => from.parse()?,
                None => Path::Body(vec![name.clone()]),
            };
            if let Path::Body(keys) = &path {
                plan.add(keys, fields.len() + 1);
            }
            fields.push(FieldDecoder {
                name: name.clone(),
                data_type: field.data_type(),
                path,
                required: field.required(),
                missing: metrics.missing(name),
                wrong_type: metrics.wrong_type(name),
                not_finite: metrics.not_finite(name),
            });
        }
        let log = LogLimit::every(Duration::from_secs(10));
        let time_unit = config.time.unit;
        Ok(Self {
            plan,
            time_unit,
            time_path,
            fields,
            max_ahead_ms,
            metrics,
            log,
        })
    }

    /// The columns of decoded batches.
    pub fn schema(&self) -> Schema {
        let mut schema = Schema::new();
        for field in &self.fields {
            schema.push(field.name.clone(), field.data_type);
        }
        schema
    }

    /// Decodes a batch. What gives no event is counted and logged at a bounded rate.
    /// `now_ms` is the time against which events of the future are judged.
    pub fn decode(
        &mut self,
        records: &RecordBatch,
        now_ms: TimestampMs,
        interner: &mut Interner,
    ) -> Batch {
        let mut batch = Batch::new(records.split().id);
        batch.times.reserve(records.len());
        batch.positions.reserve(records.len());
        batch.columns = self
            .fields
            .iter()
            .map(|field| Column::empty(field.data_type))
            .collect();
        for (index, record) in records.records().enumerate() {
            match self.decode_record(&record, now_ms, &mut batch.columns, interner) {
                Ok(time) => {
                    batch.times.push(time);
                    batch.positions.push(record.position);
                }
                Err((reason, detail)) => {
                    let rows = batch.times.len();
                    batch
                        .columns
                        .iter_mut()
                        .filter(|column| column.len() > rows)
                        .for_each(Column::pop);
                    self.reject(records, index, reason, &detail);
                }
            }
        }
        self.metrics.decoded(&records.split().name, batch.rows());
        batch
    }

    /// Appends one event to the columns, or leaves some of them one row too long and says why there
    /// is no event.
    fn decode_record(
        &self,
        record: &Record<'_>,
        now_ms: TimestampMs,
        columns: &mut [Column],
        interner: &mut Interner,
    ) -> Result<TimestampMs, (Reason, String)> {
        let text = std::str::from_utf8(record.bytes)
            .map_err(|error| (Reason::InvalidUtf8, error.to_string()))?;
        let mut row = Row {
            decoder: self,
            now_ms,
            rows: columns.first().map_or(0, Column::len),
            columns,
            interner,
            time: Err(Reason::MissingTime),
        };
        // The length before this row: the columns are all of one length here.
        json::walk(text, &self.plan, &mut row).map_err(|error| match error {
            JsonError::NotAnObject => (Reason::NotAnObject, String::new()),
            JsonError::Malformed(message) => (Reason::MalformedJson, message),
        })?;
        row.take_envelope(record);
        row.finish()
    }

    fn reject(&mut self, records: &RecordBatch, index: usize, reason: Reason, detail: &str) {
        self.metrics.dropped(reason).inc();
        let Some(held_back) = self.log.admit() else {
            return;
        };
        let bytes = records
            .get(index)
            .map(|record| record.bytes)
            .unwrap_or_default();
        let excerpt = bytes.get(..bytes.len().min(200)).unwrap_or_default();
        tracing::warn!(
            place = records.place(index),
            reason = reason.name(),
            detail,
            record = %String::from_utf8_lossy(excerpt),
            held_back,
            "a record gave no event"
        );
    }
}

/// One event on its way into the columns.
struct Row<'a> {
    decoder: &'a Decoder,
    now_ms: TimestampMs,
    /// The columns' length before this row.
    rows: usize,
    columns: &'a mut [Column],
    interner: &'a mut Interner,
    time: Result<TimestampMs, Reason>,
}

impl Leaves for Row<'_> {
    #[inline]
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        if leaf == TIME_LEAF {
            let decoder = self.decoder;
            self.time = event_time(value, decoder.time_unit, self.now_ms, decoder.max_ahead_ms);
            return;
        }
        let index = leaf - 1;
        let (Some(field), Some(column)) =
            (self.decoder.fields.get(index), self.columns.get_mut(index))
        else {
            return;
        };
        if column.len() > self.rows {
            column.pop();
        }
        match (column, value) {
            (Column::Number(values), Scalar::Integer(value)) => values.push(*value as f64),
            (Column::Number(values), Scalar::Number(value)) if value.is_finite() => {
                values.push(*value);
            }
            (Column::Number(values), Scalar::Number(_)) => {
                field.not_finite.inc();
                values.push(f64::NAN);
            }
            (Column::Text(values), Scalar::Text(text)) => {
                values.push(self.interner.intern(text));
            }
            (Column::Text(values), Scalar::Integer(value)) => {
                // Ids are numbers in many fleets.
                values.push(self.interner.intern(&value.to_string()));
            }
            (Column::Boolean(values), Scalar::Boolean(value)) => {
                values.push(Trilean::from(*value));
            }
            (column, Scalar::Null) => column.push_null(),
            (column, _) => {
                field.wrong_type.inc();
                column.push_null();
            }
        }
    }
}

impl Row<'_> {
    /// Fills the fields that come from the envelope.
    fn take_envelope(&mut self, record: &Record<'_>) {
        if let Some(value) = envelope_value(&self.decoder.time_path, record) {
            self.take(TIME_LEAF, &envelope_scalar(value, DataType::Number));
        }
        for (index, field) in self.decoder.fields.iter().enumerate() {
            if let Some(value) = envelope_value(&field.path, record) {
                self.take(index + 1, &envelope_scalar(value, field.data_type));
            }
        }
    }

    /// Fills what is missing, and decides whether there is an event.
    fn finish(self) -> Result<TimestampMs, (Reason, String)> {
        let time = self.time.map_err(|reason| (reason, String::new()))?;
        for (field, column) in self.decoder.fields.iter().zip(self.columns.iter_mut()) {
            if column.len() == self.rows {
                if !field.required {
                    field.missing.inc();
                }
                column.push_null();
            }
            if field.required && is_null(column, self.rows) {
                return Err((Reason::MissingField, field.name.clone()));
            }
        }
        Ok(time)
    }
}

fn is_null(column: &Column, row: usize) -> bool {
    match column {
        Column::Number(values) => values.get(row).is_none_or(|value| value.is_nan()),
        Column::Boolean(values) => values.get(row).is_none_or(|value| *value == Trilean::Null),
        Column::Text(values) => values.get(row).is_none_or(|value| *value == Symbol::NULL),
    }
}

/// The bytes of an envelope's part; nothing where the path is of the body or the part is not there.
fn envelope_value<'a>(path: &Path, record: &Record<'a>) -> Option<&'a [u8]> {
    let value = match path {
        Path::Body(_) => return None,
        Path::Topic => record.topic,
        Path::TopicSegment(index) => record.topic.split(|byte| *byte == b'/').nth(*index)?,
        Path::Key => record.key,
    };
    (!value.is_empty()).then_some(value)
}

/// An envelope holds text; where a number or truth value is wanted, the text must be one.
fn envelope_scalar(value: &[u8], data_type: DataType) -> Scalar<'_> {
    let text = String::from_utf8_lossy(value);
    match data_type {
        DataType::Text => Scalar::Text(text),
        DataType::Number => match text.parse::<i64>() {
            Ok(value) => Scalar::Integer(value),
            Err(_) => text.parse().map_or(Scalar::Text(text), Scalar::Number),
        },
        DataType::Boolean => match &*text {
            "true" => Scalar::Boolean(true),
            "false" => Scalar::Boolean(false),
            _ => Scalar::Text(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Split, SplitId};
    use crate::telemetry::Registry;

    const NOW: TimestampMs = 1_730_621_749_000;

    struct Fixture {
        decoder: Decoder,
        interner: Interner,
        registry: Registry,
    }

    impl Fixture {
        fn new() -> Self {
            let config: EventConfig = serde_json::from_str(
                r#"{"time": {"from": "timestamp"}, "fields": {
                    "vehicle": {"from": "vehicleId", "type": "text", "required": true},
                    "rpm": {"from": "engine.rpm", "type": "number"},
                    "on": "boolean",
                    "region": {"from": "@topic[1]", "type": "text"}}}"#,
            )
            .unwrap();
            let registry = Registry::new("test");
            let metrics = DecodeMetrics::new(&registry);
            let decoder = Decoder::build(Format::Json, &config, 60_000, metrics).unwrap();
            Self {
                decoder,
                interner: Interner::new(),
                registry,
            }
        }

        fn decode(&mut self, records: &[&[u8]]) -> Batch {
            let split = Split {
                id: SplitId(0),
                name: "s".into(),
            };
            let mut batch = RecordBatch::new(split, NOW);
            for (position, record) in records.iter().enumerate() {
                batch.push_enveloped(record, position as u64, b"fleet/UK/1", b"");
            }
            self.decoder.decode(&batch, NOW, &mut self.interner)
        }

        fn has(&self, line: &str) {
            let text = Registry::text([&self.registry]);
            assert!(
                text.lines().any(|found| found == line),
                "no line {line} in\n{text}"
            );
        }
    }

    #[test]
    fn fills_columns_and_keeps_positions() {
        let mut fixture = Fixture::new();
        let batch = fixture.decode(&[
            br#"{"vehicleId":"V1","timestamp":1730621749000,"engine":{"rpm":900},"on":true}"#,
            b"{",
            br#"{"vehicleId":17,"timestamp":1730621748000,"engine":{"rpm":-0.5},"on":false}"#,
        ]);
        assert_eq!(batch.times, [NOW, NOW - 1_000]);
        assert_eq!(batch.positions, [0, 2]);
        let vehicles: Vec<_> = batch.columns[0]
            .symbols()
            .iter()
            .map(|symbol| fixture.interner.text(*symbol))
            .collect();
        assert_eq!(vehicles, ["V1", "17"]);
        assert_eq!(batch.columns[1].numbers(), [900.0, -0.5]);
        assert_eq!(batch.columns[2].booleans(), [Trilean::True, Trilean::False]);
        assert_eq!(fixture.interner.text(batch.columns[3].symbols()[1]), "UK");
        fixture.has(r#"weir_events_total{split="s",pipeline="test"} 2"#);
        fixture.has(r#"weir_decode_errors_total{reason="malformed_json",pipeline="test"} 1"#);
    }

    #[test]
    fn counts_what_is_missing_or_of_another_type() {
        let mut fixture = Fixture::new();
        let batch = fixture.decode(&[
            br#"{"vehicleId":"V1","timestamp":1730621749000,"engine":{"rpm":"fast"},"on":1}"#,
            br#"{"vehicleId":"V1","timestamp":1730621749000,"engine":7}"#,
            br#"{"vehicleId":null,"timestamp":1730621749000}"#,
            br#"{"vehicleId":"V2"}"#,
            br#"{"vehicleId":"V2","timestamp":17306217490000}"#,
            br#"{"vehicleId":"V2","timestamp":1730621809001}"#,
            b"\xff\xfe",
            b"[]",
        ]);
        assert_eq!(batch.rows(), 2);
        assert!(batch.columns.iter().all(|column| column.len() == 2));
        assert!(
            batch.columns[1]
                .numbers()
                .iter()
                .all(|value| value.is_nan())
        );
        for line in [
            r#"weir_field_errors_total{field="rpm",reason="wrong_type",pipeline="test"} 1"#,
            r#"weir_field_errors_total{field="rpm",reason="missing",pipeline="test"} 1"#,
            r#"weir_field_errors_total{field="on",reason="wrong_type",pipeline="test"} 1"#,
            r#"weir_decode_errors_total{reason="missing_field",pipeline="test"} 1"#,
            r#"weir_decode_errors_total{reason="missing_time",pipeline="test"} 1"#,
            r#"weir_decode_errors_total{reason="time_out_of_range",pipeline="test"} 1"#,
            r#"weir_decode_errors_total{reason="too_far_ahead",pipeline="test"} 1"#,
            r#"weir_decode_errors_total{reason="invalid_utf8",pipeline="test"} 1"#,
            r#"weir_decode_errors_total{reason="not_an_object",pipeline="test"} 1"#,
        ] {
            fixture.has(line);
        }
        assert_eq!(fixture.decoder.metrics.dropped_total(), 6);
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_keeps_columns_of_one_length(
            records in proptest::collection::vec(
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60), 0..20),
        ) {
            let mut fixture = Fixture::new();
            let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
            let batch = fixture.decode(&records);
            for column in &batch.columns {
                proptest::prop_assert_eq!(column.len(), batch.rows());
            }
        }
    }
}
