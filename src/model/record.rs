//! What a source hands over: whole records as bytes, with where they came from.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::time::TimestampMs;

/// The number of a split within its pipeline. It is derived from the source's own order (topic and
/// partition, place in the list of files), never from the order of arrival, because it breaks ties
/// between events of the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitId(pub u32);

/// An independently read, ordered part of a source: a file, a Kafka partition, an MQTT session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Its number.
    pub id: SplitId,
    /// Its name in metrics and messages: `events.ndjson`, `vehicle-events/3`.
    pub name: Arc<str>,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a record's transport says of it, as ranges of the batch's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The topic.
    pub topic: Range<u32>,
    /// The message key; empty where there is none.
    pub key: Range<u32>,
}

/// One record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its undecoded bytes.
    pub bytes: &'a [u8],
    /// Where it stands in its split: a byte offset, a Kafka offset, a sequence number. It grows
    /// within a split.
    pub position: u64,
    /// Its topic, empty where there is none.
    pub topic: &'a [u8],
    /// Its key, empty where there is none.
    pub key: &'a [u8],
    /// When its transport took it, ms since the epoch, where that is known.
    pub timestamp: Option<TimestampMs>,
}

/// Some consecutive records of one split in one buffer.
#[derive(Debug, Clone)]
pub struct RecordBatch {
    split: Split,
    received_ms: TimestampMs,
    first_line: Option<u64>,
    bytes: Vec<u8>,
    ranges: Vec<Range<u32>>,
    positions: Vec<u64>,
    envelopes: Vec<Envelope>,
    timestamps: Vec<Option<TimestampMs>>,
}

impl RecordBatch {
    /// An empty batch of a split, received at `received_ms` (ms since the epoch).
    pub fn new(split: Split, received_ms: TimestampMs) -> Self {
        Self::over(split, received_ms, Vec::new())
    }

    /// A batch over bytes that are already in one buffer; records are added by
    /// [`push_range`](Self::push_range).
    pub fn over(split: Split, received_ms: TimestampMs, bytes: Vec<u8>) -> Self {
        Self {
            split,
            received_ms,
            first_line: None,
            bytes,
            ranges: Vec::new(),
            positions: Vec::new(),
            envelopes: Vec::new(),
            timestamps: Vec::new(),
        }
    }

    /// Says that record 0 stands on this line (from 1) of a text file, and each record on the next.
    #[must_use]
    pub fn with_first_line(mut self, line: u64) -> Self {
        self.first_line = Some(line);
        self
    }

    /// Adds a record by copying it.
    pub fn push(&mut self, bytes: &[u8], position: u64) {
        let range = self.append(bytes);
        self.ranges.push(range);
        self.positions.push(position);
    }

    /// Adds a record with its topic and key by copying them. Either all records of a batch are
    /// added so or none.
    pub fn push_enveloped(&mut self, bytes: &[u8], position: u64, topic: &[u8], key: &[u8]) {
        let topic = self.append(topic);
        let key = self.append(key);
        self.push(bytes, position);
        self.envelopes.push(Envelope { topic, key });
    }

    /// Says when the transport took the record that was added last, ms since the epoch.
    pub fn set_timestamp(&mut self, timestamp: TimestampMs) {
        self.timestamps.resize(self.ranges.len(), None);
        if let Some(last) = self.timestamps.last_mut() {
            *last = Some(timestamp);
        }
    }

    /// Adds a record that lies in the buffer already.
    pub fn push_range(&mut self, range: Range<u32>, position: u64) {
        self.ranges.push(range);
        self.positions.push(position);
    }

    fn append(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        clamp(start)..clamp(self.bytes.len())
    }

    /// The split.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// When the batch was received, ms since the epoch.
    pub fn received_ms(&self) -> TimestampMs {
        self.received_ms
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many bytes the batch holds on to.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Record `index`, where there is one.
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let envelope = self.envelopes.get(index);
        Some(Record {
            bytes: self.slice(self.ranges.get(index)?),
            position: *self.positions.get(index)?,
            topic: envelope.map_or(&[], |envelope| self.slice(&envelope.topic)),
            key: envelope.map_or(&[], |envelope| self.slice(&envelope.key)),
            timestamp: self.timestamps.get(index).copied().flatten(),
        })
    }

    /// The place in the batch of the record at a position of the split.
    pub fn find(&self, position: u64) -> Option<usize> {
        self.positions.binary_search(&position).ok()
    }

    /// The buffer that all records lie in, with whatever stands between them.
    pub fn buffer(&self) -> &[u8] {
        &self.bytes
    }

    /// Where record `index` lies in the [`buffer`](Self::buffer).
    pub fn range(&self, index: usize) -> Option<Range<u32>> {
        self.ranges.get(index).cloned()
    }

    /// All records in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Where record `index` stands, for a message: `events.ndjson:17`, `vehicle-events/3@4711`.
    pub fn place(&self, index: usize) -> String {
        match self.first_line {
            Some(line) => format!("{}:{}", self.split.name, line + index as u64),
            None => {
                let position = self.positions.get(index).copied().unwrap_or_default();
                format!("{}@{position}", self.split.name)
            }
        }
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        self.bytes
            .get(range.start as usize..range.end as usize)
            .unwrap_or_default()
    }
}

/// Batches are cut long before 4 GiB; a longer one would be a bug of a source, and reads as empty.
fn clamp(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
