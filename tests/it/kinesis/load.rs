//! Records with a number for each key, as they are and put together, while shards are split and merged.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use md5::{Digest as _, Md5};

use super::session::Ledger;
use crate::support::kinesis::Kinesis;

/// Writes to a stream and knows what it has written.
#[derive(Debug)]
pub(super) struct Load<'k> {
    kinesis: &'k Kinesis,
    stream: String,
    next: BTreeMap<String, u64>,
}

impl<'k> Load<'k> {
    pub(super) fn new(kinesis: &'k Kinesis, stream: &str, keys: usize) -> Self {
        let keys = (0..keys).map(|key| (format!("scooter-{key}"), 0));
        Self {
            kinesis,
            stream: stream.to_owned(),
            next: keys.collect(),
        }
    }

    /// Writes `count` records of every key, of which some are put together.
    pub(super) fn put(&mut self, count: u64) -> Result<()> {
        let mut records = Vec::new();
        for (key, next) in &mut self.next {
            let texts: Vec<_> = (*next..*next + count)
                .map(|number| format!("{key}:{number}").into_bytes())
                .collect();
            *next += count;
            for (index, five) in texts.chunks(5).enumerate() {
                if index % 2 == 0 {
                    records.push((key.clone(), aggregated(key, five)));
                } else {
                    records.extend(five.iter().map(|text| (key.clone(), text.clone())));
                }
            }
        }
        self.kinesis.put(&self.stream, &records)
    }

    /// Writes, splits and merges; after each change there are records for the parents and the children.
    pub(super) fn put_while_changing(&mut self, rounds: usize) -> Result<()> {
        for round in 0..rounds {
            self.put(7)?;
            match round % 3 {
                0 => self.kinesis.split(&self.stream, round)?,
                1 => self.kinesis.merge(&self.stream, round)?,
                _ => {
                    self.kinesis.split(&self.stream, round + 1)?;
                    self.put(3)?;
                    self.kinesis.merge(&self.stream, round)?;
                }
            }
            self.put(7)?;
        }
        Ok(())
    }

    /// How many records were written.
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.next.values().sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Whether a ledger has each record once, those of each key in their order.
    pub(super) fn check(&self, ledger: &Ledger) -> Result<()> {
        for (key, next) in &self.next {
            let seen = ledger.seen.get(key).cloned().unwrap_or_default();
            let expected: Vec<u64> = (0..*next).collect();
            ensure!(seen == expected, "{key}: {seen:?}");
        }
        ensure!(ledger.count() == self.count(), "there are others as well");
        Ok(())
    }
}

/// Some records of one key as one, as the producer library puts them together.
pub(super) fn aggregated(key: &str, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = Vec::new();
    let field = |to: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
        to.push(tag << 3 | 2);
        let mut length = bytes.len();
        while length >= 128 {
            to.push((length % 128) as u8 | 128);
            length /= 128;
        }
        to.push(length as u8);
        to.extend_from_slice(bytes);
    };
    field(&mut message, 1, key.as_bytes());
    for data in records {
        let mut record = vec![1 << 3, 0];
        field(&mut record, 3, data);
        field(&mut message, 3, &record);
    }
    let digest = Md5::digest(&message);
    [&[0xf3, 0x89, 0x9a, 0xc2][..], &message, &digest].concat()
}
