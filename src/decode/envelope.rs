//! What the transport says of a record: its topic, key, time, headers and place.

use std::borrow::Cow;

use super::config::TimeUnit;
use super::path::Path;
use super::plan::Scalar;
use super::time::event_time;
use crate::model::record::Record;
use crate::model::{DataType, TimestampMs};

/// The time at which an event was received, where that is not known.
pub(super) const NOT_RECEIVED: TimestampMs = TimestampMs::MIN;

/// Where the time comes from at which an event was received.
#[derive(Debug)]
pub(super) struct Received {
    /// Where it stands in the record; if nowhere, the transport's time is taken.
    pub(super) path: Option<Path>,
    /// The entry of the plan that is the value itself.
    pub(super) entry: Option<usize>,
    /// Whether the time at which the batch was received will do in its place.
    pub(super) batch_will_do: bool,
}

impl Received {
    /// The time at which a record was received by what its envelope says, or by the time of its
    /// batch, `now_ms`.
    pub(super) fn by_envelope(
        &self,
        record: &Record<'_>,
        now_ms: TimestampMs,
        unit: TimeUnit,
    ) -> TimestampMs {
        match &self.path {
            Some(Path::Body(_)) => NOT_RECEIVED,
            None | Some(Path::Timestamp) => {
                let batch = self.batch_will_do && self.path.is_none();
                let timestamp = record.timestamp.or(batch.then_some(now_ms));
                timestamp.unwrap_or(NOT_RECEIVED)
            }
            Some(path) => envelope_value(path, record).map_or(NOT_RECEIVED, |value| {
                received_time(&envelope_scalar(value, DataType::Number), unit)
            }),
        }
    }
}

/// A time at which an event was received is judged by nothing else than whether it is a time.
pub(super) fn received_time(value: &Scalar<'_>, unit: TimeUnit) -> TimestampMs {
    event_time(value, unit, TimestampMs::MAX, 0).unwrap_or(NOT_RECEIVED)
}

/// The value of a field that comes from the envelope, where it is there.
pub(super) fn enveloped<'a>(
    path: &Path,
    data_type: DataType,
    record: &Record<'a>,
) -> Option<Scalar<'a>> {
    match path {
        Path::Timestamp => return record.timestamp.map(Scalar::Integer),
        Path::Partition => {
            return record
                .partition
                .map(|number| Scalar::Integer(number.into()));
        }
        // Other positions, such as those of a file's lines, are no offsets.
        Path::Offset => {
            record.partition?;
            return i64::try_from(record.position).ok().map(Scalar::Integer);
        }
        _ => {}
    }
    let value = envelope_value(path, record)?;
    Some(envelope_scalar(value, data_type))
}

/// The bytes of an envelope's part; nothing where the path is of the body or the part is not there.
pub(super) fn envelope_value<'a>(path: &Path, record: &Record<'a>) -> Option<&'a [u8]> {
    let value = match path {
        Path::Body(_) | Path::Timestamp | Path::Partition | Path::Offset => return None,
        Path::Topic => record.topic,
        Path::TopicSegment(index) => record.topic.split(|byte| *byte == b'/').nth(*index)?,
        Path::TopicLevel(level) => level.of(record.topic)?,
        Path::Key => record.key,
        Path::Header(name) => record.headers.get(name)?,
    };
    (!value.is_empty()).then_some(value)
}

/// An envelope holds text; where a number or truth value is wanted, the text must be one.
pub(super) fn envelope_scalar(value: &[u8], data_type: DataType) -> Scalar<'_> {
    text_scalar(String::from_utf8_lossy(value), data_type)
}

/// What a text says as what is wanted.
pub(super) fn text_scalar(text: Cow<'_, str>, data_type: DataType) -> Scalar<'_> {
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
