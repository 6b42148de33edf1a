//! The events of a record on their way into the columns.
//!
//! Most records are one event; some formats give several. Each event that cannot be used is refused on
//! its own, and the others are kept. A record that is broken as a whole gives none: what it had given
//! until then is taken back.

use std::io::Write as _;

use prometheus::IntCounter;

use super::cells::Cells;
use super::config::TimeUnit;
use super::envelope::{
    NOT_RECEIVED, Received, envelope_scalar, envelope_value, enveloped, received_time, text_scalar,
};
use super::metrics::Reason;
use super::path::Path;
use super::plan::{Leaves, Scalar};
use super::time::event_time;
use crate::model::record::Record;
use crate::model::{Batch, DataType, Interner, TextPlace, TimestampMs, Trilean};

/// The leaf that is the event time; fields follow from 1, and behind them the time of reception.
pub(super) const TIME_LEAF: usize = 0;

/// How many events one record may give. More is a mistake or an attack: a few compressed bytes could
/// otherwise become rows without end.
pub(super) const MAX_EVENTS: usize = 10_000;

/// Why there is no event, and what there is to say beyond the reason; may be empty.
pub(super) type Refusal = (Reason, String);

/// Why there is no record of more events.
pub(super) fn too_many_events() -> Refusal {
    (Reason::TooManyEvents, format!("more than {MAX_EVENTS}"))
}

/// A reason, what there is to say beyond it, and how many events were refused for it.
pub(super) type RefusedEvents = (Reason, String, usize);

/// The times of an event: its own, and that of its reception.
pub(super) type Times = (TimestampMs, TimestampMs);

/// What an event consists of.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) time_unit: TimeUnit,
    pub(super) time_path: Path,
    pub(super) fields: Vec<FieldDecoder>,
    pub(super) max_ahead_ms: i64,
    pub(super) received: Option<Received>,
    /// Whether anything comes from the envelope.
    pub(super) is_enveloped: bool,
}

impl Target {
    /// Finds out what comes from the envelope, once all is known.
    pub(super) fn settle(&mut self) {
        let is_enveloped = |path: &Path| !matches!(path, Path::Body(_));
        let received = self.received.as_ref();
        self.is_enveloped = is_enveloped(&self.time_path)
            || self.fields.iter().any(|field| is_enveloped(&field.path))
            || received.is_some_and(|received| received.path.as_ref().is_none_or(is_enveloped));
    }
}

/// What is known of a field, and its counters.
#[derive(Debug)]
pub(super) struct FieldDecoder {
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) path: Path,
    /// The entry of the plan that is the value itself.
    pub(super) entry: Option<usize>,
    pub(super) required: bool,
    pub(super) missing: IntCounter,
    pub(super) wrong_type: IntCounter,
    pub(super) not_finite: IntCounter,
}

impl FieldDecoder {
    /// Appends a value, or NULL where it is of another type. A text within `buffer` is interned with the
    /// others of its column.
    pub(super) fn push(
        &self,
        cells: &mut Cells,
        value: &Scalar<'_>,
        buffer: &[u8],
        interner: &mut Interner,
    ) {
        match (cells, value) {
            (Cells::Number(values), Scalar::Integer(value)) => values.push(*value as f64),
            (Cells::Number(values), Scalar::Number(value)) if value.is_finite() => {
                values.push(*value);
            }
            (Cells::Number(values), Scalar::Number(_)) => {
                self.not_finite.inc();
                values.push(f64::NAN);
            }
            (Cells::Number(values), Scalar::Time { raw, .. }) => values.push(*raw as f64),
            (Cells::Text(values), Scalar::Text(text)) => {
                values.push(match place(text.as_bytes(), buffer) {
                    Some(place) => place,
                    None => TextPlace::known(interner.intern(text)),
                })
            }
            (Cells::Text(values), Scalar::Symbol(symbol)) => values.push(TextPlace::known(*symbol)),
            (Cells::Text(values), Scalar::Integer(value) | Scalar::Time { raw: value, .. }) => {
                // Ids are numbers in many fleets, so this must cost no allocation.
                let mut digits = [0; 20];
                let text = written(*value, &mut digits);
                values.push(TextPlace::known(interner.intern(text)));
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

/// A whole number in decimal.
fn written(number: i64, digits: &mut [u8; 20]) -> &str {
    let mut rest = digits.as_mut_slice();
    // The longest one has 20 characters.
    let fits = write!(rest, "{number}").is_ok();
    let left = rest.len();
    let text = digits.get(..digits.len() - left).filter(|_| fits);
    std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
}

/// Whether all bytes are ASCII. Most texts are short, and two words are all of one.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    if let (4..=8, Some(first), Some(last)) = (
        bytes.len(),
        bytes.first_chunk::<4>(),
        bytes.last_chunk::<4>(),
    ) {
        let both = u32::from_le_bytes(*first) | u32::from_le_bytes(*last);
        return u64::from(both) & HIGH_BITS == 0;
    }
    if let (8..=16, Some(first), Some(last)) = (
        bytes.len(),
        bytes.first_chunk::<8>(),
        bytes.last_chunk::<8>(),
    ) {
        let both = u64::from_le_bytes(*first) | u64::from_le_bytes(*last);
        return both & HIGH_BITS == 0;
    }
    bytes.is_ascii()
}

/// Where a text lies in a buffer, if it does.
#[inline]
fn place(text: &[u8], buffer: &[u8]) -> Option<TextPlace> {
    let start = text.as_ptr().addr().checked_sub(buffer.as_ptr().addr())?;
    let end = start + text.len();
    if end > buffer.len() {
        return None;
    }
    Some(TextPlace::at(
        u32::try_from(start).ok()?,
        u32::try_from(end).ok()?,
    ))
}

/// The rows of a batch so far.
#[derive(Debug)]
pub(super) struct Rows {
    /// Times and positions; its columns come last.
    pub(super) batch: Batch,
    pub(super) columns: Vec<Cells>,
}

impl Rows {
    /// Completes a row whose cells are there.
    #[inline]
    pub(super) fn push(&mut self, target: &Target, (time, received): Times, position: u64) {
        self.batch.times.push(time);
        if target.received.is_some() {
            self.batch.received.push(received);
        }
        self.batch.positions.push(position);
    }

    /// Removes the rows from `rows` on, and the cells of one that is not complete.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.columns
            .iter_mut()
            .for_each(|cells| cells.truncate(rows));
        self.batch.times.truncate(rows);
        self.batch.received.truncate(rows);
        self.batch.positions.truncate(rows);
    }
}

/// The events of a record that were refused for one reason.
#[derive(Debug)]
struct Refused {
    reason: Reason,
    /// Of the first of them.
    detail: String,
    /// Which event of the record the first of them is, from 1.
    first: usize,
    events: usize,
}

/// Takes the events of one record.
pub(super) struct Events<'a> {
    target: &'a Target,
    record: &'a Record<'a>,
    now_ms: TimestampMs,
    rows: &'a mut Rows,
    /// The bytes that the texts of the batch lie in.
    buffer: &'a [u8],
    interner: &'a mut Interner,
    /// The rows before the record.
    before: usize,
    /// The rows before the event at hand.
    row: usize,
    time: Result<TimestampMs, Reason>,
    received: TimestampMs,
    /// How many events have ended.
    ended: usize,
    refused: Vec<Refused>,
}

impl<'a> Events<'a> {
    pub(super) fn new(
        target: &'a Target,
        record: &'a Record<'a>,
        now_ms: TimestampMs,
        rows: &'a mut Rows,
        buffer: &'a [u8],
        interner: &'a mut Interner,
    ) -> Self {
        let row = rows.batch.rows();
        Self {
            target,
            record,
            now_ms,
            rows,
            buffer,
            interner,
            before: row,
            row,
            time: Err(Reason::MissingTime),
            received: NOT_RECEIVED,
            ended: 0,
            refused: Vec::new(),
        }
    }

    /// The value of a leaf from a format that says no types: it is read as what the field is. Nothing
    /// between two separators is NULL.
    pub(super) fn take_text(&mut self, leaf: usize, text: &str) {
        let value = match self.target.fields.get(leaf.wrapping_sub(1)) {
            _ if text.is_empty() => Scalar::Null,
            Some(field) => text_scalar(text.into(), field.data_type),
            // The times.
            None => text_scalar(text.into(), DataType::Number),
        };
        self.take(leaf, &value);
    }

    /// The number of a leaf.
    #[inline]
    pub(super) fn take_number(&mut self, leaf: usize, number: f64) {
        match self.rows.columns.get_mut(leaf.wrapping_sub(1)) {
            Some(Cells::Number(values)) if number.is_finite() => {
                values.truncate(self.row);
                values.push(number);
            }
            _ => self.take(leaf, &Scalar::Number(number)),
        }
    }

    /// The whole number of a leaf.
    #[inline]
    pub(super) fn take_integer(&mut self, leaf: usize, number: i64) {
        match self.rows.columns.get_mut(leaf.wrapping_sub(1)) {
            Some(Cells::Number(values)) => {
                values.truncate(self.row);
                values.push(number as f64);
            }
            // Also the time.
            _ => self.take(leaf, &Scalar::Integer(number)),
        }
    }

    /// The text of a leaf, which is of the record.
    ///
    /// # Errors
    /// It is not UTF-8.
    #[inline]
    pub(super) fn take_utf8(&mut self, leaf: usize, bytes: &[u8]) -> Result<(), Refusal> {
        // Most texts are ASCII, which is quickly seen.
        if is_ascii(bytes)
            && let Some(place) = place(bytes, self.buffer)
            && let Some(Cells::Text(places)) = self.rows.columns.get_mut(leaf.wrapping_sub(1))
        {
            places.truncate(self.row);
            places.push(place);
            return Ok(());
        }
        let text =
            std::str::from_utf8(bytes).map_err(|error| (Reason::InvalidUtf8, error.to_string()))?;
        self.take(leaf, &Scalar::Text(text.into()));
        Ok(())
    }

    /// The value of a leaf that is a point in time: seconds since the epoch and nanoseconds, whatever the unit
    /// of times is. For a field it is seconds with a fraction.
    pub(super) fn take_instant(&mut self, leaf: usize, seconds: i64, nanos: i64) {
        if (1..=self.target.fields.len()).contains(&leaf) {
            self.take(leaf, &Scalar::Number(seconds as f64 + nanos as f64 / 1e9));
            return;
        }
        let ms = seconds
            .saturating_mul(1_000)
            .saturating_add(nanos.div_euclid(1_000_000));
        self.take(leaf, &Scalar::Time { raw: seconds, ms });
    }

    /// Whether a leaf is a field of type text.
    pub(super) fn wants_text(&self, leaf: usize) -> bool {
        let field = self.target.fields.get(leaf.wrapping_sub(1));
        field.is_some_and(|field| field.data_type == DataType::Text)
    }

    /// The value of a leaf, made to be handed over many times: a text gets its symbol once.
    pub(super) fn prepare(&mut self, leaf: usize, value: Scalar<'static>) -> Scalar<'static> {
        match value {
            Scalar::Text(text) if self.wants_text(leaf) => {
                Scalar::Symbol(self.interner.intern(&text))
            }
            value => value,
        }
    }

    /// When the transport took the record, ms since the epoch, where that is known.
    pub(super) fn timestamp(&self) -> Option<TimestampMs> {
        self.record.timestamp
    }

    /// The topic of the record.
    pub(super) fn topic(&self) -> &'a [u8] {
        self.record.topic
    }

    /// Ends the event at hand: fills what the record's envelope says and what is missing, and decides
    /// whether it is one. The next value is of the next event.
    ///
    /// # Errors
    /// The record has more events than a record may have.
    #[inline]
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        if self.target.is_enveloped {
            self.take_envelope();
        }
        let times = self.complete();
        self.settle(times)
    }

    /// Ends the event at hand, which cannot be used.
    ///
    /// # Errors
    /// The record has more events than a record may have.
    pub(super) fn refuse(&mut self, reason: Reason, detail: String) -> Result<(), Refusal> {
        self.settle(Err((reason, detail)))
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, the times go through memory, and each event ends here"
    )]
    fn settle(&mut self, times: Result<Times, Refusal>) -> Result<(), Refusal> {
        if self.ended == MAX_EVENTS {
            return Err(too_many_events());
        }
        self.ended += 1;
        match times {
            Ok(times) => {
                self.rows.push(self.target, times, self.record.position);
                self.row += 1;
            }
            Err((reason, detail)) => {
                let columns = &mut self.rows.columns;
                columns
                    .iter_mut()
                    .for_each(|cells| cells.truncate(self.row));
                match self.refused.iter_mut().find(|known| known.reason == reason) {
                    Some(known) => known.events += 1,
                    None => self.refused.push(Refused {
                        reason,
                        detail,
                        first: self.ended,
                        events: 1,
                    }),
                }
            }
        }
        self.time = Err(Reason::MissingTime);
        self.received = NOT_RECEIVED;
        Ok(())
    }

    /// How many events have ended.
    pub(super) fn ended(&self) -> usize {
        self.ended
    }

    /// Ends the record. Gives what was refused: each reason with what there is to say and the number
    /// of events. A record that is broken as a whole has no events and is refused as one.
    #[inline]
    pub(super) fn close(self, read: Result<(), Refusal>) -> Vec<RefusedEvents> {
        match read {
            Ok(()) if self.refused.is_empty() => Vec::new(),
            Ok(()) => self.refused(),
            Err((reason, detail)) => {
                self.rows.truncate(self.before);
                vec![(reason, detail, 1)]
            }
        }
    }

    #[cold]
    fn refused(self) -> Vec<RefusedEvents> {
        let several = self.ended > 1;
        let refused = self.refused.into_iter().map(|refused| {
            let Refused {
                reason,
                detail,
                first,
                events,
            } = refused;
            if !several {
                return (reason, detail, events);
            }
            let mut whole = format!("event {first}");
            if !detail.is_empty() {
                whole.push_str(": ");
                whole.push_str(&detail);
            }
            if events > 1 {
                let others = events - 1;
                whole.push_str(&format!("; and {others} more of this record"));
            }
            (reason, whole, events)
        });
        refused.collect()
    }

    /// Fills the fields that come from the envelope.
    fn take_envelope(&mut self) {
        let (target, record) = (self.target, self.record);
        if let Some(value) = envelope_value(&target.time_path, record) {
            self.take(TIME_LEAF, &envelope_scalar(value, DataType::Number));
        }
        for (field, leaf) in target.fields.iter().zip(TIME_LEAF + 1..) {
            if let Some(value) = enveloped(&field.path, field.data_type, record) {
                self.take(leaf, &value);
            }
        }
        if let (Path::Timestamp, Some(timestamp)) = (&target.time_path, record.timestamp) {
            let scalar = Scalar::Integer(timestamp);
            self.time = event_time(&scalar, TimeUnit::Ms, self.now_ms, target.max_ahead_ms);
        }
        if let Some(received) = &target.received
            && !matches!(received.path, Some(Path::Body(_)))
        {
            self.received = received.by_envelope(record, self.now_ms, target.time_unit);
        }
    }

    /// Fills what is missing, and decides whether there is an event.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, the times go through memory, and each event ends here"
    )]
    fn complete(&mut self) -> Result<Times, Refusal> {
        let time = self.time.map_err(|reason| (reason, String::new()))?;
        for (field, cells) in self.target.fields.iter().zip(self.rows.columns.iter_mut()) {
            if cells.len() == self.row {
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

impl Leaves for Events<'_> {
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        let target = self.target;
        if leaf == TIME_LEAF {
            self.time = event_time(value, target.time_unit, self.now_ms, target.max_ahead_ms);
            return;
        }
        let index = leaf - 1;
        let (Some(field), Some(cells)) =
            (target.fields.get(index), self.rows.columns.get_mut(index))
        else {
            self.received = received_time(value, target.time_unit);
            return;
        };
        cells.truncate(self.row);
        field.push(cells, value, self.buffer, self.interner);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sees_what_is_not_ascii(
            mut bytes in prop::collection::vec(0_u8..0x80, 0..40),
            other in prop::option::of((0_usize..40, 0x80_u8..)),
        ) {
            if let Some((place, byte)) = other
                && let Some(entry) = bytes.get_mut(place)
            {
                *entry = byte;
            }
            prop_assert_eq!(is_ascii(&bytes), bytes.is_ascii());
        }
    }
}
