//! Records of a batch into columns.

mod wrapped;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::avro::SchemaSource;
use super::cells::Cells;
use super::config::EventConfig;
use super::envelope::{NOT_RECEIVED, Received, enveloped, received_time};
use super::events::{Events, FieldDecoder, Refusal, RefusedEvents, Rows, TIME_LEAF, Target, Times};
use super::format::{DecodeConfig, Payload, Reader};
use super::metrics::{DecodeMetrics, Reason};
use super::path::{InvalidPath, Path};
use super::plain::{Shape, Token, Value};
use super::plan::{ObjectPlan, Wanted};
use super::sparkplug::SparkplugState;
use super::time::event_time;
use super::unwrap::{UnwrapStep, Unwrapper};

use crate::model::record::Record;
use crate::model::{
    Batch, Interner, RecordBatch, Schema, SplitId, TextPlace, TimestampMs, TopicTemplate,
};
use crate::telemetry::LogLimit;
use wrapped::Wrapped;

/// How often it is logged that something was dropped for the same reason.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How many rows are enough: no further record is decoded into a batch that has them. A few bytes of a record may be
/// 10000 events, so that the records of one batch could be rows without end. Sources give 256 KiB of records at once:
/// those of one event each are not divided, unless they are of less than 16 bytes.
const ENOUGH_ROWS: usize = 16_384;

/// Decodes a pipeline's records; one per worker.
#[derive(Debug)]
pub struct Decoder {
    config: DecodeConfig,
    /// What is looked for in a record.
    wanted: Vec<Wanted>,
    reader: Reader,
    /// What takes off what is around records, where there is anything.
    unwrapper: Option<Box<Wrapped>>,
    /// The fast way through ordinary records, where the format has one.
    plain: Option<Plain>,
    target: Target,
    metrics: DecodeMetrics,
    /// Of each reason, so that a frequent one does not hide the others.
    logs: [LogLimit; Reason::ALL.len()],
    /// What of the last batch gave no event, where somebody asks for it.
    rejected: Option<Vec<Rejected>>,
}

/// A record, or events of it, that could not be used for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Why.
    pub reason: Reason,
    /// What there is to say beyond the reason; may be empty. Of a record with several events, which of
    /// them.
    pub detail: String,
}

/// What a record or a message of it gave.
pub(super) struct Given {
    /// How many events, with those that were refused.
    pub(super) ended: usize,
    pub(super) refused: Vec<RefusedEvents>,
}

/// The fast way through ordinary JSON records.
#[derive(Debug)]
struct Plain {
    plan: ObjectPlan,
    /// The shape of ordinary records, and their values by entry of the plan.
    shape: Shape,
    values: Vec<Value>,
    /// The entry of the plan that is the time.
    time_entry: Option<usize>,
}

impl Decoder {
    /// A decoder of the events that a pipeline describes. Events more than `max_ahead_ms` ahead of
    /// the time at which they were received are dropped.
    ///
    /// # Errors
    /// A path that cannot be read.
    pub fn build(
        format: &DecodeConfig,
        config: &EventConfig,
        max_ahead_ms: i64,
        metrics: DecodeMetrics,
    ) -> Result<Self, InvalidPath> {
        let mut wanted = Vec::new();
        let time_path: Path = config.time.from.parse()?;
        Wanted::add(&mut wanted, &time_path, TIME_LEAF);
        let mut fields: Vec<FieldDecoder> = Vec::new();
        for (name, field) in &config.fields {
            let path: Path = match field.from() {
                Some(from) => from.parse()?,
                None => Path::Body(vec![name.clone()]),
            };
            Wanted::add(&mut wanted, &path, fields.len() + 1);
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
        let mut decoder = Self {
            config: format.clone(),
            reader: Reader::compile(format, &wanted)?,
            wanted,
            unwrapper: None,
            plain: None,
            target: Target {
                time_unit: config.time.unit,
                time_path,
                fields,
                max_ahead_ms,
                received: None,
                is_enveloped: true,
            },
            metrics,
            logs: std::array::from_fn(|_| LogLimit::every(LOG_EVERY)),
            rejected: None,
        };
        decoder.find_entries();
        Ok(decoder)
    }

    /// Finds out what comes from where, whether there is a fast way, and where the values stand on it.
    fn find_entries(&mut self) {
        self.target.settle();
        let Some(plan) = self.reader.plain_plan() else {
            self.plain = None;
            return;
        };
        for (field, leaf) in self.target.fields.iter_mut().zip(TIME_LEAF + 1..) {
            field.entry = plan.place_of(leaf);
        }
        let received_leaf = self.target.fields.len() + 1;
        if let Some(received) = &mut self.target.received {
            received.entry = plan.place_of(received_leaf);
        }
        self.plain = Some(Plain {
            shape: Shape::default(),
            values: vec![Value::default(); plan.len()],
            time_entry: plan.place_of(TIME_LEAF),
            plan: plan.clone(),
        });
    }

    /// Knows the topics by these templates, for the fields that come from a named level.
    #[must_use]
    pub fn with_topics(mut self, templates: Vec<TopicTemplate>) -> Self {
        let templates: Vec<_> = templates.into_iter().map(Arc::new).collect();
        self.target.time_path.place(&templates);
        for field in &mut self.target.fields {
            field.path.place(&templates);
        }
        let received = self.target.received.as_mut();
        if let Some(path) = received.and_then(|received| received.path.as_mut()) {
            path.place(&templates);
        }
        self
    }

    /// From now on, keeps what of each batch gave no event, for [`rejected`](Self::rejected).
    pub fn keep_rejected(&mut self) {
        self.rejected = Some(Vec::new());
    }

    /// What of the last batch gave no event, in the order of its records and for each of them once a
    /// reason; nothing unless [`keep_rejected`](Self::keep_rejected) was called.
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
        if let Some(path) = &path {
            // The leaf behind the fields.
            Wanted::add(&mut self.wanted, path, self.target.fields.len() + 1);
            self.reader = Reader::compile(&self.config, &self.wanted)?;
        }
        self.target.received = Some(Received {
            entry: None,
            path,
            batch_will_do,
        });
        self.find_entries();
        Ok(self)
    }

    /// The same, and something is around each record: `steps`, the outermost first. What a step gives may be so
    /// many bytes long, all messages of a record together.
    ///
    /// # Errors
    /// A path that cannot be read.
    pub fn with_unwrap(
        mut self,
        steps: &[UnwrapStep],
        max_bytes: usize,
    ) -> Result<Self, InvalidPath> {
        self.unwrapper = match steps {
            [] => None,
            steps => Some(Box::new(Wrapped::new(Unwrapper::new(steps, max_bytes)?))),
        };
        Ok(self)
    }

    /// Where schemas are that records name by a number; `wake` is filled when one has come.
    pub fn ask_for_schemas(&mut self, source: Arc<dyn SchemaSource>, wake: Sender<()>) {
        if let Reader::Avro(reader) = &mut self.reader {
            reader.ask(source, wake);
        }
    }

    /// Whether a batch can be decoded: all schemas are known that its records name. Otherwise they are
    /// asked for, and the batch is to be brought again.
    pub fn is_ready_for(&mut self, records: &RecordBatch) -> bool {
        let Self {
            reader, unwrapper, ..
        } = self;
        let Reader::Avro(reader) = reader else {
            return true;
        };
        reader.find_schemas(records, |look_at| {
            let all =
                (0..records.len()).filter_map(|index| Some((index, records.get(index)?.bytes)));
            match unwrapper {
                None => all.for_each(|(index, bytes)| look_at(index, bytes)),
                Some(wrapped) => wrapped.look_into(all, look_at),
            }
        })
    }

    /// What later records of a split may need of its earlier ones, where the format keeps something.
    pub fn state(&self, split: SplitId) -> Option<Arc<SparkplugState>> {
        match &self.reader {
            Reader::Sparkplug(reader) => reader.state(split),
            _ => None,
        }
    }

    /// A split goes on with what was kept of it; with nothing where it is somebody else's.
    pub fn set_state(&mut self, split: SplitId, state: Option<Arc<SparkplugState>>) {
        match &mut self.reader {
            Reader::Sparkplug(reader) => reader.set_state(split, state),
            Reader::Avro(reader) => reader.forget(split),
            _ => {}
        }
    }

    /// The columns of decoded batches.
    pub fn schema(&self) -> Schema {
        let mut schema = Schema::new();
        for field in &self.target.fields {
            schema.push(field.name.clone(), field.data_type);
        }
        schema
    }

    /// Decodes all records of a batch, however many rows they are.
    pub fn decode(
        &mut self,
        records: &RecordBatch,
        now_ms: TimestampMs,
        interner: &mut Interner,
    ) -> Batch {
        self.decode_until(usize::MAX, records, 0, now_ms, interner)
            .0
    }

    /// Decodes records of a batch from one of them on, until there are enough rows: 16384, and the last record may give
    /// some more. Gives which record is next. What gives no event is counted and logged at a bounded rate. `now_ms` is
    /// the time against which events of the future are judged.
    pub fn decode_from(
        &mut self,
        first: usize,
        records: &RecordBatch,
        now_ms: TimestampMs,
        interner: &mut Interner,
    ) -> (Batch, usize) {
        self.decode_until(ENOUGH_ROWS, records, first, now_ms, interner)
    }

    fn decode_until(
        &mut self,
        enough: usize,
        records: &RecordBatch,
        first: usize,
        now_ms: TimestampMs,
        interner: &mut Interner,
    ) -> (Batch, usize) {
        if let Some(rejected) = &mut self.rejected {
            rejected.clear();
        }
        let split = records.split().id;
        match &mut self.reader {
            Reader::Sparkplug(reader) => reader.begin(split, self.metrics.sequence_gaps()),
            Reader::Avro(reader) => reader.begin(split),
            Reader::RemoteWrite(reader) => reader.begin(self.metrics.stale_markers()),
            _ => {}
        }
        let mut batch = Batch::new(split);
        let left = records.len().saturating_sub(first).min(enough);
        batch.times.reserve(left);
        batch.positions.reserve(left);
        let room = |field: &FieldDecoder| Cells::with_capacity(field.data_type, left);
        let columns: Vec<_> = self.target.fields.iter().map(room).collect();
        let mut rows = Rows { batch, columns };
        let mut next = first;
        let batch = match self.unwrapper.take() {
            None => {
                next = self.decode_bare(records, first, enough, now_ms, &mut rows, interner);
                self.finish(records, rows, records.buffer(), interner)
            }
            Some(mut wrapped) => {
                while next < records.len() && rows.batch.rows() < enough {
                    self.decode_wrapped(&mut wrapped, records, next, now_ms, &mut rows, interner);
                    next += 1;
                }
                let batch = self.finish(records, rows, &wrapped.texts, interner);
                wrapped.shrink();
                self.unwrapper = Some(wrapped);
                batch
            }
        };
        if let Reader::Avro(reader) = &mut self.reader
            && next < records.len()
        {
            reader.leave(split);
        }
        (batch, next)
    }

    /// Decodes records with nothing around them until there are enough rows; gives which one is next.
    fn decode_bare(
        &mut self,
        records: &RecordBatch,
        first: usize,
        enough: usize,
        now_ms: TimestampMs,
        rows: &mut Rows,
        interner: &mut Interner,
    ) -> usize {
        // Where the whole buffer is UTF-8, so is every record that begins and ends between two
        // characters; looking at it once is faster than at each record.
        let valid = match self.reader.is_text() {
            true => std::str::from_utf8(records.buffer()).ok(),
            false => None,
        };
        for index in first..records.len() {
            if rows.batch.rows() >= enough {
                return index;
            }
            let (Some(record), Some(range)) = (records.get(index), records.range(index)) else {
                continue;
            };
            let text = valid.and_then(|valid| valid.get(range.start as usize..range.end as usize));
            let payload = Payload {
                bytes: record.bytes,
                text,
                start: range.start,
            };
            let buffer = records.buffer();
            let given = self.read(&record, &payload, now_ms, rows, buffer, interner);
            if !given.refused.is_empty() {
                for refused in given.refused {
                    self.reject(records, index, refused);
                }
            }
        }
        records.len()
    }

    /// Reads the events of a record, or of a message of it, which lies in `buffer`.
    #[inline]
    pub(super) fn read(
        &mut self,
        record: &Record<'_>,
        payload: &Payload<'_>,
        now_ms: TimestampMs,
        rows: &mut Rows,
        buffer: &[u8],
        interner: &mut Interner,
    ) -> Given {
        if let Some(plain) = &mut self.plain
            && let Ok(text) = payload.text()
        {
            let event = Event {
                record,
                text,
                start: payload.start,
                now_ms,
            };
            match plain.take(&self.target, &event, &mut rows.columns, interner) {
                Some(Ok(times)) => {
                    rows.push(&self.target, times, record.position);
                    return Given {
                        ended: 1,
                        refused: Vec::new(),
                    };
                }
                Some(Err((reason, detail))) => {
                    rows.truncate(rows.batch.rows());
                    return Given {
                        ended: 1,
                        refused: vec![(reason, detail, 1)],
                    };
                }
                None => {}
            }
        }
        let mut events = Events::new(&self.target, record, now_ms, rows, buffer, interner);
        let read = self.reader.read(payload, &mut events);
        Given {
            ended: events.ended(),
            refused: events.close(read),
        }
    }

    /// The batch of all rows; texts that have no symbol yet lie in `texts`.
    fn finish(
        &mut self,
        records: &RecordBatch,
        rows: Rows,
        texts: &[u8],
        interner: &mut Interner,
    ) -> Batch {
        let Rows { mut batch, columns } = rows;
        let columns = columns.into_iter();
        batch.columns = columns
            .map(|cells| cells.into_column(texts, interner))
            .collect();
        self.metrics.decoded(&records.split().name, batch.rows());
        batch
    }

    pub(super) fn reject(
        &mut self,
        records: &RecordBatch,
        index: usize,
        (reason, detail, events): RefusedEvents,
    ) {
        self.metrics.dropped(reason).inc_by(events as u64);
        self.log_rejected(records, index, reason, &detail);
        if let Some(rejected) = &mut self.rejected {
            rejected.push(Rejected {
                index,
                reason,
                detail,
            });
        }
    }

    /// Whether what was dropped for a reason is logged now; if so, how much was not since the last one.
    fn may_log(&mut self, reason: Reason) -> Option<u64> {
        self.logs.get_mut(reason as usize)?.admit()
    }

    fn log_rejected(&mut self, records: &RecordBatch, index: usize, reason: Reason, detail: &str) {
        let Some(held_back) = self.may_log(reason) else {
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
            "a record, or an event of it, was dropped"
        );
    }
}

impl Plain {
    /// Appends an ordinary event to the columns, or leaves some of them one row too long and says
    /// why there is no event. Gives nothing, and has done nothing, where the record is not ordinary
    /// or its time cannot be used.
    #[inline]
    fn take(
        &mut self,
        target: &Target,
        event: &Event<'_>,
        columns: &mut [Cells],
        interner: &mut Interner,
    ) -> Option<Result<Times, Refusal>> {
        let entry = self.time_entry?;
        self.shape
            .walk(event.text.as_bytes(), &self.plan, &mut self.values)?;
        let time = self.values.get(entry)?.scalar(event.text)?;
        let time = event_time(&time, target.time_unit, event.now_ms, target.max_ahead_ms).ok()?;
        let received = self.received(target, event);
        let mut absent = None;
        for (field, cells) in target.fields.iter().zip(columns) {
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
                    match enveloped(&field.path, field.data_type, event.record) {
                        Some(value) => field.push(cells, &value, &[], interner),
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
    fn received(&self, target: &Target, event: &Event<'_>) -> TimestampMs {
        let Some(received) = &target.received else {
            return NOT_RECEIVED;
        };
        let value = received.entry.and_then(|entry| self.values.get(entry));
        match value.and_then(|value| value.scalar(event.text)) {
            Some(value) => received_time(&value, target.time_unit),
            None => received.by_envelope(event.record, event.now_ms, target.time_unit),
        }
    }
}

/// A record on its way to an event.
struct Event<'a> {
    record: &'a Record<'a>,
    text: &'a str,
    /// Where the record begins in its batch's buffer.
    start: u32,
    now_ms: TimestampMs,
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
