//! Polled messages on their way to batches, by partition.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::message::{BorrowedHeaders, Headers as _};

use crate::model::{RecordBatch, Split, SplitId, TimestampMs};

/// When a batch is handed over: at so many bytes, at so many records, or so long after its first.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_RECORDS: usize = 4_096;
const LINGER: Duration = Duration::from_millis(20);

/// How many bytes all partitions together may hold back.
const TOTAL_BYTES: usize = 8 * 1024 * 1024;

/// A message of a partition.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) payload: &'a [u8],
    pub(super) offset: u64,
    /// The topic and key, where a field is taken from them.
    pub(super) envelope: Option<(&'a [u8], &'a [u8])>,
    /// All of its headers, where fields are taken from some.
    pub(super) headers: Option<&'a BorrowedHeaders>,
    /// When its producer or its broker says that it was sent, ms since the epoch.
    pub(super) timestamp: Option<TimestampMs>,
}

/// The open batches of all partitions.
#[derive(Debug, Default)]
pub(super) struct Gather {
    open: BTreeMap<SplitId, Open>,
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    batch: RecordBatch,
    since: Instant,
}

impl Gather {
    /// Adds a message; gives the batches that are full because of it.
    pub(super) fn push(
        &mut self,
        split: &Split,
        message: Message<'_>,
        now: Instant,
        begin: impl FnOnce(Split) -> RecordBatch,
    ) -> Vec<RecordBatch> {
        let open = self.open.entry(split.id).or_insert_with(|| Open {
            batch: begin(split.clone()),
            since: now,
        });
        let before = open.batch.byte_len();
        match message.envelope {
            None => open.batch.push(message.payload, message.offset),
            Some((topic, key)) => {
                open.batch
                    .push_enveloped(message.payload, message.offset, topic, key);
            }
        }
        open.batch.set_headers(|name| last(message.headers?, name));
        if let Some(timestamp) = message.timestamp {
            open.batch.set_timestamp(timestamp);
        }
        self.bytes += open.batch.byte_len() - before;
        if open.batch.byte_len() >= BATCH_BYTES || open.batch.len() >= BATCH_RECORDS {
            return Vec::from_iter(self.take(split.id));
        }
        if self.bytes >= TOTAL_BYTES {
            self.take_all()
        } else {
            Vec::new()
        }
    }

    /// The batches that have waited long enough.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<RecordBatch> {
        let waited = |open: &Open| now.saturating_duration_since(open.since) >= LINGER;
        let due: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| waited(open))
            .map(|(split, _)| *split)
            .collect();
        due.into_iter()
            .filter_map(|split| self.take(split))
            .collect()
    }

    /// The open batch of a partition.
    pub(super) fn take(&mut self, split: SplitId) -> Option<RecordBatch> {
        let open = self.open.remove(&split)?;
        self.bytes = self.bytes.saturating_sub(open.batch.byte_len());
        Some(open.batch)
    }

    /// All open batches.
    pub(super) fn take_all(&mut self) -> Vec<RecordBatch> {
        self.bytes = 0;
        std::mem::take(&mut self.open)
            .into_values()
            .map(|open| open.batch)
            .collect()
    }
}

/// The value of the last header of a name: what is added on the way comes behind what was there.
fn last<'a>(headers: &'a BorrowedHeaders, name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    for header in headers.iter() {
        if header.key == name {
            found = header.value;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(id: u32) -> Split {
        Split {
            id: SplitId(id),
            name: format!("events/{id}").into(),
        }
    }

    fn begin(split: Split) -> RecordBatch {
        RecordBatch::new(split, 0)
    }

    fn message(payload: &[u8], offset: u64) -> Message<'_> {
        Message {
            payload,
            offset,
            envelope: None,
            headers: None,
            timestamp: None,
        }
    }

    #[test]
    fn a_batch_is_full_at_its_records_or_its_bytes() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        for offset in 0..4_095 {
            assert!(
                gather
                    .push(&split(0), message(b"a", offset), now, |split| {
                        RecordBatch::new(split, 7)
                    })
                    .is_empty()
            );
        }
        let full = gather.push(&split(0), message(b"a", 4_095), now, |split| {
            RecordBatch::new(split, 8)
        });
        assert_eq!(
            (full.len(), full[0].len(), full[0].received_ms()),
            (1, 4_096, 7)
        );
        let half = vec![0; 128 * 1024];
        assert!(
            gather
                .push(&split(0), message(&half, 1), now, begin)
                .is_empty()
        );
        assert!(
            gather
                .push(&split(1), message(&half, 1), now, begin)
                .is_empty()
        );
        let full = gather.push(&split(0), message(&half, 2), now, begin);
        assert_eq!(
            full[0]
                .records()
                .map(|record| record.position)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(gather.take_all().len(), 1);
    }

    #[test]
    fn a_batch_waits_no_longer_than_its_first_record_may() {
        let (mut gather, start) = (Gather::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        gather.push(&split(0), message(b"a", 1), at(0), begin);
        gather.push(&split(1), message(b"a", 1), at(10), begin);
        gather.push(&split(0), message(b"a", 2), at(19), begin);
        assert!(gather.take_due(at(19)).is_empty());
        let due = gather.take_due(at(20));
        assert_eq!(
            (due.len(), due[0].len(), due[0].split().id),
            (1, 2, SplitId(0))
        );
        assert_eq!(gather.take_due(at(30)).len(), 1);
        assert!(gather.take_all().is_empty());
    }

    #[test]
    fn many_partitions_together_hold_a_bounded_amount() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        let payload = vec![0; 200 * 1024];
        let mut pushed = 0;
        let all = loop {
            let full = gather.push(&split(pushed), message(&payload, 0), now, begin);
            pushed += 1;
            if !full.is_empty() {
                break full;
            }
        };
        assert_eq!((pushed, all.len()), (41, 41));
        assert!(gather.take_all().is_empty());
    }

    #[test]
    fn topic_and_key_come_along_where_they_are_wanted() {
        let mut gather = Gather::default();
        let envelope = Some((&b"events"[..], &b"V1"[..]));
        let message = Message {
            payload: b"{}",
            offset: 9,
            envelope,
            headers: None,
            timestamp: Some(77),
        };
        gather.push(&split(0), message, Instant::now(), begin);
        let batch = gather.take(SplitId(0)).unwrap();
        let record = batch.get(0).unwrap();
        assert_eq!(
            (record.bytes, record.topic, record.key),
            (&b"{}"[..], &b"events"[..], &b"V1"[..])
        );
        assert_eq!(record.timestamp, Some(77));
    }
}
