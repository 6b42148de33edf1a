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
    /// The number of its Kafka partition, where it is of one.
    pub partition: Option<u32>,
    /// Those of its headers that are asked for.
    pub headers: Headers<'a>,
}

/// The headers of a record that somebody asks for, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    names: &'a [Arc<str>],
    /// As many as names, or none at all.
    values: &'a [Option<Range<u32>>],
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The value of a header; nothing where the record has none of the name, or nobody asked for it.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let index = self.names.iter().position(|known| **known == *name)?;
        let range = self.values.get(index)?.as_ref()?;
        self.bytes.get(range.start as usize..range.end as usize)
    }

    /// All that the record has, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Arc<str>, &'a [u8])> + '_ {
        let names = self.names.iter();
        names.filter_map(|name| Some((name, self.get(name)?)))
    }
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
    partition: Option<Box<Partition>>,
}

/// What a batch of a Kafka partition has beside.
#[derive(Debug, Clone)]
struct Partition {
    number: u32,
    /// The headers that are asked for.
    header_names: Arc<[Arc<str>]>,
    /// Their values: of each record as many as there are names.
    headers: Vec<Option<Range<u32>>>,
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
            partition: None,
        }
    }

    /// Says that the records are of a Kafka partition with this number, and which of their headers
    /// will be given by [`set_headers`](Self::set_headers).
    #[must_use]
    pub fn of_partition(mut self, partition: u32, headers: Arc<[Arc<str>]>) -> Self {
        self.partition = Some(Box::new(Partition {
            number: partition,
            header_names: headers,
            headers: Vec::new(),
        }));
        self
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

    /// Copies the headers of the record that was added last: `value_of` says what each of the names
    /// that are asked for has. Either all records of a batch get theirs or none.
    pub fn set_headers<'a>(&mut self, value_of: impl Fn(&str) -> Option<&'a [u8]>) {
        let Some(mut partition) = self.partition.take() else {
            return;
        };
        for name in partition.header_names.iter() {
            let range = value_of(name).map(|value| self.append(value));
            partition.headers.push(range);
        }
        self.partition = Some(partition);
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
    #[inline]
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let envelope = self.envelopes.get(index);
        Some(Record {
            bytes: self.slice(self.ranges.get(index)?),
            position: *self.positions.get(index)?,
            topic: envelope.map_or(&[], |envelope| self.slice(&envelope.topic)),
            key: envelope.map_or(&[], |envelope| self.slice(&envelope.key)),
            timestamp: self.timestamps.get(index).copied().flatten(),
            partition: self.partition.as_ref().map(|partition| partition.number),
            headers: self.headers_of(index),
        })
    }

    #[inline]
    fn headers_of(&self, index: usize) -> Headers<'_> {
        let Some(partition) = &self.partition else {
            return Headers::default();
        };
        let count = partition.header_names.len();
        let values = partition.headers.get(index * count..(index + 1) * count);
        Headers {
            names: &partition.header_names,
            values: values.unwrap_or_default(),
            bytes: &self.bytes,
        }
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

    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SplitId;

    #[test]
    fn headers_are_those_of_their_record() {
        let split = Split {
            id: SplitId(3),
            name: "events/3".into(),
        };
        let names = ["trace", "tenant"].map(Arc::from);
        let mut batch = RecordBatch::new(split, 0).of_partition(3, names.into());
        let records: [&[(&str, &str)]; 3] = [
            &[("tenant", "acme"), ("other", "x")],
            &[],
            &[("trace", ""), ("tenant", "duff")],
        ];
        for (position, headers) in (10..).zip(records) {
            batch.push(b"record", position);
            let value = |name: &str| headers.iter().find(|(known, _)| *known == name);
            batch.set_headers(|name| Some(value(name)?.1.as_bytes()));
        }
        let found = |index: usize| {
            let record = batch.get(index).unwrap();
            assert_eq!((record.bytes, record.partition), (&b"record"[..], Some(3)));
            let headers = record.headers;
            assert_eq!(headers.get("other"), None);
            let all = headers.iter().map(|(name, value)| (&**name, value));
            all.collect::<Vec<_>>()
        };
        assert_eq!(found(0), [("tenant", &b"acme"[..])]);
        assert_eq!(found(1), []);
        assert_eq!(found(2), [("trace", &b""[..]), ("tenant", &b"duff"[..])]);
        assert_eq!(batch.get(3), None);
    }
}
