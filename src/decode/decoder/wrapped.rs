//! Records with something around them: what is in them is decoded.

use super::super::events::{MAX_EVENTS, RefusedEvents, Rows};
use super::super::format::Payload;
use super::super::metrics::Reason;
use super::super::unwrap::Unwrapper;
use super::Decoder;
use crate::model::record::Record;
use crate::model::{Interner, RecordBatch, TimestampMs};

/// How much of what is in records is kept until its texts get their symbols together, bytes.
const SETTLED_BYTES: usize = 4 * 1024 * 1024;

/// What is around records, and the bytes that were in those of the batch at hand.
#[derive(Debug)]
pub(super) struct Wrapped {
    unwrapper: Unwrapper,
    pub(super) texts: Vec<u8>,
}

impl Wrapped {
    pub(super) fn new(unwrapper: Unwrapper) -> Self {
        Self {
            unwrapper,
            texts: Vec::new(),
        }
    }

    pub(super) fn shrink(&mut self) {
        self.unwrapper.shrink();
        self.texts.clear();
        self.texts.shrink_to(2 * SETTLED_BYTES);
    }

    /// Shows all messages that are in some records, with the places of these. What cannot be unwrapped has none; it is refused when
    /// it is decoded.
    pub(super) fn look_into<'r>(
        &mut self,
        records: impl Iterator<Item = (usize, &'r [u8])>,
        look_at: &mut dyn FnMut(usize, &[u8]),
    ) {
        for (index, record) in records {
            if self.unwrapper.unwrap(record).is_err() {
                continue;
            }
            let bytes = self.unwrapper.bytes();
            for range in self.unwrapper.ranges() {
                look_at(index, bytes.get(range.clone()).unwrap_or_default());
            }
        }
        self.unwrapper.shrink();
    }
}

impl Decoder {
    /// Decodes what is in a record. A message that is broken is refused, and the others are kept.
    pub(super) fn decode_wrapped(
        &mut self,
        wrapped: &mut Wrapped,
        records: &RecordBatch,
        index: usize,
        now_ms: TimestampMs,
        rows: &mut Rows,
        interner: &mut Interner,
    ) {
        let Some(record) = records.get(index) else {
            return;
        };
        if wrapped.texts.len() > SETTLED_BYTES {
            for cells in &mut rows.columns {
                cells.settle(&wrapped.texts, interner);
            }
            wrapped.texts.clear();
        }
        if let Err((reason, detail)) = wrapped.unwrapper.unwrap(record.bytes) {
            return self.reject(records, index, (reason, detail, 1));
        }
        let refused = self.read_messages(wrapped, &record, now_ms, rows, interner);
        for refused in refused {
            self.reject(records, index, refused);
        }
    }

    /// Reads the messages of a record, and gives what was refused, once a reason.
    fn read_messages(
        &mut self,
        wrapped: &mut Wrapped,
        record: &Record<'_>,
        now_ms: TimestampMs,
        rows: &mut Rows,
        interner: &mut Interner,
    ) -> Vec<RefusedEvents> {
        let Wrapped { unwrapper, texts } = wrapped;
        let before = rows.batch.rows();
        let start = texts.len();
        texts.extend_from_slice(unwrapper.bytes());
        let ranges = unwrapper.ranges();
        let several = ranges.len() > 1;
        let mut refused: Vec<RefusedEvents> = Vec::new();
        let mut more: Vec<usize> = Vec::new();
        let mut ended = 0;
        for (range, number) in ranges.iter().zip(1..) {
            let place = start.saturating_add(range.start);
            let end = start.saturating_add(range.end);
            let (Some(bytes), Ok(place)) = (texts.get(place..end), u32::try_from(place)) else {
                continue;
            };
            let payload = Payload {
                bytes,
                text: None,
                start: place,
            };
            let given = self.read(record, &payload, now_ms, rows, texts, interner);
            ended += given.ended;
            if ended > MAX_EVENTS {
                rows.truncate(before);
                let detail = format!("more than {MAX_EVENTS}");
                return vec![(Reason::TooManyEvents, detail, 1)];
            }
            for (reason, mut detail, events) in given.refused {
                let known = refused.iter().position(|known| known.0 == reason);
                if let Some((known, more)) =
                    known.and_then(|at| refused.get_mut(at).zip(more.get_mut(at)))
                {
                    known.2 += events;
                    *more += events;
                    continue;
                }
                if several {
                    let separator = if detail.is_empty() { "" } else { ": " };
                    detail = format!("message {number}{separator}{detail}");
                }
                refused.push((reason, detail, events));
                more.push(0);
            }
        }
        for ((_, detail, _), more) in refused.iter_mut().zip(more) {
            if more > 0 {
                detail.push_str(&format!("; and {more} in other messages"));
            }
        }
        refused
    }
}
