//! Records of a batch into columns.

use std::time::Duration;

use prometheus::IntCounter;

use super::cells::Cells;
use super::config::{EventConfig, Format, TimeUnit};
use super::envelope::{
    NOT_RECEIVED, Received, envelope_scalar, envelope_value, enveloped, received_time,
};
use super::json::{self, JsonError};
use super::metrics::{DecodeMetrics, Reason};
use super::path::{InvalidPath, Path};
use super::plain::{Shape, Token, Value};
use super::plan::{Leaves, ObjectPlan, Scalar};
use super::time::event_time;
use crate::model::record::Record;
use crate::model::{
    Batch, DataType, Interner, RecordBatch, Schema, TextPlace, TimestampMs, Trilean,
};
use crate::telemetry::LogLimit;

/// The leaf that is the event time; fields follow from 1.
const TIME_LEAF: usize = 0;

/// Decodes a pipeline's records; one per worker.
#[derive(Debug)]
pub struct Decoder {
    plan: ObjectPlan,
    /// The shape of ordinary records, and their values by entry of the plan.
    shape: Shape,
    values: Vec<Value>,
    time_unit: TimeUnit,
    time_path: Path,
    /// The entry of the plan that is the time.
    time_entry: Option<usize>,
    fields: Vec<FieldDecoder>,
    max_ahead_ms: i64,
    received: Option<Received>,
    metrics: DecodeMetrics,
    log: LogLimit,
    /// The records of the last batch that gave no event, where somebody asks for them.
    rejected: Option<Vec<Rejected>>,
}

/// A record that gave no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Why.
    pub reason: Reason,
    /// What there is to say beyond the reason; may be empty.
    pub detail: String,
}

/// What is known of a field, and its counters.
#[derive(Debug)]
struct FieldDecoder {
    name: String,
    data_type: DataType,
    path: Path,
    /// The entry of the plan that is the value itself.
    entry: Option<usize>,
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
        let mut fields: Vec<FieldDecoder> = Vec::new();
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
                entry: None,
                required: field.required(),
                missing: metrics.missing(name),
                wrong_type: metrics.wrong_type(name),
                not_finite: metrics.not_finite(name),
            });
        }
        // The plan is complete only now.
        for (field, leaf) in fields.iter_mut().zip(TIME_LEAF + 1..) {
            field.entry = plan.place_of(leaf);
        }
        let log = LogLimit::every(Duration::from_secs(10));
        let time_unit = config.time.unit;
        Ok(Self {
            shape: Shape::default(),
            values: vec![Value::default(); plan.len()],
            time_entry: plan.place_of(TIME_LEAF),
            plan,
            time_unit,
            time_path,
            fields,
            max_ahead_ms,
            received: None,
            metrics,
            log,
            rejected: None,
        })
    }

    /// From now on, keeps what of each batch gave no event, for [`rejected`](Self::rejected).
    pub fn keep_rejected(&mut self) {
        self.rejected = Some(Vec::new());
    }

    /// The records of the last batch that gave no event, in order; none unless
    /// [`keep_rejected`](Self::keep_rejected) was called.
    pub fn rejected(&self) -> &[Rejected] {
        self.rejected.as_deref().unwrap_or_default()
    }

    /// The same, and [`Batch::received`] is filled: from a path, written as the event's time is, or
    /// else from the transport, or else, where `batch_will_do`, with the time at which the batch
    /// was received.
    ///
    /// # Errors
    /// A path that cannot be read.
    pub fn with_received(
        mut self,
        path: Option<&str>,
        batch_will_do: bool,
    ) -> Result<Self, InvalidPath> {
        let path: Option<Path> = path.map(str::parse).transpose()?;
        if let Some(Path::Body(keys)) = &path {
            // The leaf behind the fields.
            self.plan.add(keys, self.fields.len() + 1);
            self.values = vec![Value::default(); self.plan.len()];
        }
        self.received = Some(Received {
            entry: self.plan.place_of(self.fields.len() + 1),
            path,
            batch_will_do,
        });
        Ok(self)
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
        if let Some(rejected) = &mut self.rejected {
            rejected.clear();
        }
        let mut batch = Batch::new(records.split().id);
        batch.times.reserve(records.len());
        batch.positions.reserve(records.len());
        let room = |field: &FieldDecoder| Cells::with_capacity(field.data_type, records.len());
        let mut columns: Vec<_> = self.fields.iter().map(room).collect();
        // Where the whole buffer is UTF-8, so is every record that begins and ends between two
        // characters; looking at it once is faster than at each record.
        let valid = std::str::from_utf8(records.buffer()).ok();
        for index in 0..records.len() {
            let (Some(record), Some(range)) = (records.get(index), records.range(index)) else {
                continue;
            };
            let rows = batch.times.len();
            let text = valid.and_then(|valid| valid.get(range.start as usize..range.end as usize));
            let text = text.map_or_else(|| std::str::from_utf8(record.bytes), Ok);
            let decoded = match text {
                Err(error) => Err((Reason::InvalidUtf8, error.to_string())),
                Ok(text) => {
                    let event = Event {
                        record,
                        text,
                        start: range.start,
                        now_ms,
                        rows,
                    };
                    match self.take_plain(&event, &mut columns, interner) {
                        Some(decoded) => decoded,
                        None => self.take_any(&event, &mut columns, interner),
                    }
                }
            };
            match decoded {
                Ok((time, received)) => {
                    batch.times.push(time);
                    if self.received.is_some() {
                        batch.received.push(received);
                    }
                    batch.positions.push(record.position);
                }
                Err((reason, detail)) => {
                    columns.iter_mut().for_each(|cells| cells.truncate(rows));
                    self.reject(records, index, reason, detail);
                }
            }
        }
        let columns = columns.into_iter();
        batch.columns = columns
            .map(|cells| cells.into_column(records.buffer(), interner))
            .collect();
        self.metrics.decoded(&records.split().name, batch.rows());
        batch
    }

    /// Appends an ordinary event to the columns, or leaves some of them one row too long and says
    /// why there is no event. Gives nothing, and has done nothing, where the record is not ordinary
    /// or its time cannot be used.
    #[inline]
    fn take_plain(
        &mut self,
        event: &Event<'_>,
        columns: &mut [Cells],
        interner: &mut Interner,
    ) -> Option<Decoded> {
        let entry = self.time_entry?;
        self.shape
            .walk(event.text.as_bytes(), &self.plan, &mut self.values)?;
        let time = self.values.get(entry)?.scalar(event.text)?;
        let time = event_time(&time, self.time_unit, event.now_ms, self.max_ahead_ms).ok()?;
        let received = self.received_plain(event);
        let mut absent = None;
        for (field, cells) in self.fields.iter().zip(columns) {
            let value = match field.entry {
                Some(entry) => self.values.get(entry).copied().unwrap_or_default(),
                None => Value::default(),
            };
            match (&mut *cells, value.token) {
                (Cells::Number(values), Token::Integer(value)) => values.push(value as f64),
                (Cells::Number(values), Token::Number(value)) => values.push(value),
                (Cells::Boolean(values), Token::Boolean(value)) => values.push(value.into()),
                // A whole number is written in one way only, so its text is that of the record.
                (Cells::Text(values), Token::Text | Token::Integer(_)) => {
                    let (start, end) = (event.start + value.start, event.start + value.end);
                    values.push(TextPlace::at(start, end));
                }
                (cells, Token::Missing) => {
                    match enveloped(&field.path, field.data_type, &event.record) {
                        Some(value) => field.push(cells, &value, interner),
                        None => {
                            if !field.required && absent.is_none() {
                                field.missing.inc();
                            }
                            cells.push_null();
                        }
                    }
                }
                (cells, Token::Null) => cells.push_null(),
                (cells, _) => {
                    field.wrong_type.inc();
                    cells.push_null();
                }
            }
            if field.required && absent.is_none() && cells.ends_with_null() {
                absent = Some(field);
            }
        }
        Some(match absent {
            Some(field) => Err((Reason::MissingField, field.name.clone())),
            None => Ok((time, received)),
        })
    }

    /// When an ordinary event was received, whose values are known.
    #[inline]
    fn received_plain(&self, event: &Event<'_>) -> TimestampMs {
        let Some(received) = &self.received else {
            return NOT_RECEIVED;
        };
        let value = received.entry.and_then(|entry| self.values.get(entry));
        match value.and_then(|value| value.scalar(event.text)) {
            Some(value) => received_time(&value, self.time_unit),
            None => received.by_envelope(&event.record, event.now_ms, self.time_unit),
        }
    }

    /// Appends one event to the columns, or leaves some of them one row too long and says why there
    /// is no event.
    #[cold]
    fn take_any(
        &self,
        event: &Event<'_>,
        columns: &mut [Cells],
        interner: &mut Interner,
    ) -> Decoded {
        let mut row = Row {
            decoder: self,
            now_ms: event.now_ms,
            rows: event.rows,
            columns,
            interner,
            time: Err(Reason::MissingTime),
            received: NOT_RECEIVED,
        };
        json::parse(event.text, &self.plan, &mut row).map_err(|error| match error {
            JsonError::NotAnObject => (Reason::NotAnObject, String::new()),
            JsonError::Malformed(message) => (Reason::MalformedJson, message),
        })?;
        row.take_envelope(&event.record);
        row.finish()
    }

    fn reject(&mut self, records: &RecordBatch, index: usize, reason: Reason, detail: String) {
        self.metrics.dropped(reason).inc();
        self.log_rejected(records, index, reason, &detail);
        if let Some(rejected) = &mut self.rejected {
            rejected.push(Rejected {
                index,
                reason,
                detail,
            });
        }
    }

    fn log_rejected(&mut self, records: &RecordBatch, index: usize, reason: Reason, detail: &str) {
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

/// A record on its way to an event.
struct Event<'a> {
    record: Record<'a>,
    text: &'a str,
    /// Where the record begins in its batch's buffer.
    start: u32,
    now_ms: TimestampMs,
    /// The columns' length before this event.
    rows: usize,
}

/// The time of an event, or why there is none.
type Decoded = Result<(TimestampMs, TimestampMs), (Reason, String)>;

impl FieldDecoder {
    /// Appends a value, or NULL where it is of another type.
    fn push(&self, cells: &mut Cells, value: &Scalar<'_>, interner: &mut Interner) {
        match (cells, value) {
            (Cells::Number(values), Scalar::Integer(value)) => values.push(*value as f64),
            (Cells::Number(values), Scalar::Number(value)) if value.is_finite() => {
                values.push(*value);
            }
            (Cells::Number(values), Scalar::Number(_)) => {
                self.not_finite.inc();
                values.push(f64::NAN);
            }
            (Cells::Text(values), Scalar::Text(text)) => {
                values.push(TextPlace::known(interner.intern(text)));
            }
            (Cells::Text(values), Scalar::Integer(value)) => {
                // Ids are numbers in many fleets.
                values.push(TextPlace::known(interner.intern(&value.to_string())));
            }
            (Cells::Boolean(values), Scalar::Boolean(value)) => {
                values.push(Trilean::from(*value));
            }
            (cells, Scalar::Null) => cells.push_null(),
            (cells, _) => {
                self.wrong_type.inc();
                cells.push_null();
            }
        }
    }
}

/// One event on its way into the columns, as the complete parser gives it.
struct Row<'a> {
    decoder: &'a Decoder,
    now_ms: TimestampMs,
    /// The columns' length before this row.
    rows: usize,
    columns: &'a mut [Cells],
    interner: &'a mut Interner,
    time: Result<TimestampMs, Reason>,
    received: TimestampMs,
}

impl Leaves for Row<'_> {
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        if leaf == TIME_LEAF {
            let decoder = self.decoder;
            self.time = event_time(value, decoder.time_unit, self.now_ms, decoder.max_ahead_ms);
            return;
        }
        let index = leaf - 1;
        let (Some(field), Some(cells)) =
            (self.decoder.fields.get(index), self.columns.get_mut(index))
        else {
            self.received = received_time(value, self.decoder.time_unit);
            return;
        };
        cells.truncate(self.rows);
        field.push(cells, value, self.interner);
    }
}

impl Row<'_> {
    /// Fills the fields that come from the envelope.
    fn take_envelope(&mut self, record: &Record<'_>) {
        if let Some(value) = envelope_value(&self.decoder.time_path, record) {
            self.take(TIME_LEAF, &envelope_scalar(value, DataType::Number));
        }
        for (index, field) in self.decoder.fields.iter().enumerate() {
            if let Some(value) = enveloped(&field.path, field.data_type, record) {
                self.take(index + 1, &value);
            }
        }
        if let (Path::Timestamp, Some(timestamp)) = (&self.decoder.time_path, record.timestamp) {
            let scalar = Scalar::Integer(timestamp);
            let max_ahead_ms = self.decoder.max_ahead_ms;
            self.time = event_time(&scalar, TimeUnit::Ms, self.now_ms, max_ahead_ms);
        }
        if let Some(received) = &self.decoder.received
            && !matches!(received.path, Some(Path::Body(_)))
        {
            self.received = received.by_envelope(record, self.now_ms, self.decoder.time_unit);
        }
    }

    /// Fills what is missing, and decides whether there is an event.
    fn finish(self) -> Decoded {
        let time = self.time.map_err(|reason| (reason, String::new()))?;
        for (field, cells) in self.decoder.fields.iter().zip(self.columns.iter_mut()) {
            if cells.len() == self.rows {
                if !field.required {
                    field.missing.inc();
                }
                cells.push_null();
            }
            if field.required && cells.ends_with_null() {
                return Err((Reason::MissingField, field.name.clone()));
            }
        }
        Ok((time, self.received))
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
