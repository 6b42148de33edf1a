//! Records with a number for each key, as they are and put together, while shards are split and merged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use md5::{Digest as _, Md5};

use super::session::{LIMIT, Ledger};
use crate::support::kinesis::{Kinesis, Shard};

/// How many records of a key are written with one request.
const AT_ONCE: u64 = 5;

/// Records with their keys.
type Keyed = Vec<(String, Vec<u8>)>;

/// Writes to a stream and knows what it has written.
#[derive(Debug)]
pub(super) struct Load<'k> {
    kinesis: &'k Kinesis,
    stream: String,
    next: BTreeMap<String, u64>,
    /// The shards as they were when they were last looked at.
    shards: Vec<Shard>,
    put_again: usize,
}

impl<'k> Load<'k> {
    pub(super) fn new(kinesis: &'k Kinesis, stream: &str, keys: usize) -> Self {
        let keys = (0..keys).map(|key| (format!("scooter-{key}"), 0));
        Self {
            kinesis,
            stream: stream.to_owned(),
            next: keys.collect(),
            shards: Vec::new(),
            put_again: 0,
        }
    }

    /// Writes `count` records of every key: some put together, then some as they are, and so on. A request
    /// follows when the one before is through, so that each key keeps its order.
    pub(super) fn put(&mut self, count: u64) -> Result<()> {
        let (mut left, mut is_together) = (count, true);
        while left > 0 {
            let some = left.min(AT_ONCE);
            let records = self.make(some);
            if is_together {
                self.put_together(records)?;
            } else {
                self.kinesis.put(&self.stream, &records)?;
            }
            left -= some;
            is_together = !is_together;
        }
        Ok(())
    }

    fn make(&mut self, count: u64) -> Keyed {
        let mut records = Vec::new();
        for (key, next) in &mut self.next {
            let numbers = *next..*next + count;
            records.extend(numbers.map(|number| (key.clone(), format!("{key}:{number}").into())));
            *next += count;
        }
        records
    }

    /// Writes records as the producer library does: together those that belonged to one shard when it last
    /// looked. Where shards have changed since, they all go to the shard of the first one, and those that are
    /// not of that shard are put again; readers drop the first of the two.
    fn put_together(&mut self, mut records: Keyed) -> Result<()> {
        if self.shards.is_empty() {
            self.shards = self.kinesis.shards(&self.stream)?;
        }
        while !records.is_empty() {
            let mut groups: BTreeMap<&str, Keyed> = BTreeMap::new();
            for record in records {
                let open = self.shards.iter().filter(|shard| shard.is_open);
                let mut own = open.filter(|shard| shard.has(hash_key(&record.0)));
                let shard = own.next().context("a key without a shard")?;
                groups.entry(&shard.id).or_default().push(record);
            }
            let whole = groups.values().map(|group| {
                let first = group.first().map(|(key, _)| key.clone());
                (first.unwrap_or_default(), put_together(group))
            });
            let whole: Vec<_> = whole.collect();
            let taken = self.kinesis.put_and_tell(&self.stream, &whole)?;
            if groups.keys().eq(&taken) {
                return Ok(());
            }
            let groups: Vec<_> = groups.into_values().collect();
            self.shards = self.kinesis.shards(&self.stream)?;
            records = Vec::new();
            for (group, id) in groups.into_iter().zip(taken) {
                let shard = self.shards.iter().find(|shard| shard.id == id);
                let shard = shard.with_context(|| format!("there is no {id}"))?;
                let others = group.into_iter();
                records.extend(others.filter(|(key, _)| !shard.has(hash_key(key))));
            }
            self.put_again += records.len();
        }
        Ok(())
    }

    /// Writes without a pause while another thread splits and merges, so that some records come to parents just
    /// before they end, and some to children before the change is over. Kinesis itself gives parents records
    /// until then; kinesis-local ends them as soon as it is asked, and a reader sees both alike: more and more
    /// records, then the end.
    pub(super) fn put_while_changing(&mut self, rounds: usize) -> Result<()> {
        let (kinesis, stream) = (self.kinesis, self.stream.clone());
        // Odd while there is a change.
        let turns = AtomicUsize::new(0);
        let (wrote, written) = sync_channel(0);
        let mut meanwhile = 0;
        thread::scope(|scope| {
            let changes = scope.spawn(|| change(kinesis, &stream, rounds, &turns, written));
            while !changes.is_finished() {
                let before = turns.load(Ordering::SeqCst);
                self.put(7)?;
                let is_quiet = before.is_multiple_of(2) && before == turns.load(Ordering::SeqCst);
                meanwhile += usize::from(!is_quiet);
                // Whoever does not wait for it needs no word.
                wrote.try_send(()).ok();
            }
            changes.join().ok().context("the changes panicked")?
        })?;
        ensure!(meanwhile > 0, "nothing was written during {rounds} changes");
        self.put(7)
    }

    /// How many records were written.
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.next.values().sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// How many of them are in the stream once more, in a shard that is not theirs.
    pub(super) fn put_again(&self) -> usize {
        self.put_again
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

/// Splits and merges; between two changes something is written.
fn change(
    kinesis: &Kinesis,
    stream: &str,
    rounds: usize,
    turns: &AtomicUsize,
    written: Receiver<()>,
) -> Result<()> {
    let await_written = || written.recv_timeout(LIMIT).context("nothing is written");
    let change = |change: fn(&Kinesis, &str, usize) -> Result<()>, number| {
        await_written()?;
        turns.fetch_add(1, Ordering::SeqCst);
        let changed = change(kinesis, stream, number);
        turns.fetch_add(1, Ordering::SeqCst);
        changed
    };
    for round in 0..rounds {
        match round % 3 {
            0 => change(Kinesis::split, round)?,
            1 => change(Kinesis::merge, round)?,
            _ => {
                change(Kinesis::split, round + 1)?;
                change(Kinesis::merge, round)?;
            }
        }
    }
    Ok(())
}

/// What decides to which shard a key belongs.
fn hash_key(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

/// Some records of one key as one, as the producer library puts them together.
pub(super) fn aggregated(key: &str, records: &[Vec<u8>]) -> Vec<u8> {
    let records = records.iter().map(|data| (key.to_owned(), data.clone()));
    put_together(&records.collect())
}

/// Some records of any keys as one.
fn put_together(records: &Keyed) -> Vec<u8> {
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
    let mut keys: Vec<&str> = Vec::new();
    let mut parts = Vec::new();
    for (key, data) in records {
        let known = keys.iter().position(|known| known == key);
        let index = known.unwrap_or(keys.len());
        if known.is_none() {
            keys.push(key);
        }
        let mut record = vec![1 << 3, index as u8];
        field(&mut record, 3, data);
        field(&mut parts, 3, &record);
    }
    for key in keys {
        field(&mut message, 1, key.as_bytes());
    }
    message.extend(parts);
    let digest = Md5::digest(&message);
    [&[0xf3, 0x89, 0x9a, 0xc2][..], &message, &digest].concat()
}
