//! The source: splits of records, read in portions, and again from any position.

use fastrand::Rng;

use crate::model::{RecordBatch, TimestampMs};
use crate::pipeline::tests::bench::{START_MS, event, split};
use crate::source::{Resume, SourceEvent};

/// The records of each split with their positions.
#[derive(Debug)]
pub(super) struct Events(Vec<Vec<(u64, String)>>);

impl Events {
    /// Times go forward with disorder, some of it too great, and with pauses; positions have gaps.
    pub(super) fn random(random: &mut Rng) -> Self {
        let splits = random.usize(1..=4);
        let vehicles = random.u32(2..=8);
        // Names may be of a time, as those of trips are.
        let lifetime = [i64::MAX, 2_000, 500][random.usize(0..3)];
        let mut records = || {
            let (mut now, mut position) = (random.i64(0..500), 0);
            let records = 0..random.usize(0..=120);
            records
                .map(|_| {
                    now += random.i64(0..100);
                    if random.u8(..) < 5 {
                        now += random.i64(0..3_000);
                    }
                    let disorder = if random.u8(..) < 10 { 3_000 } else { 300 };
                    let time = now - random.i64(0..disorder);
                    let vehicle = format!("V{}-{}", random.u32(0..vehicles), now / lifetime);
                    let region = ["UK", "US", ""][random.usize(0..3)];
                    let x = f64::from(random.u32(0..100)) / 10.0;
                    position += random.u64(1..=2);
                    (position, event(time, &vehicle, region, x))
                })
                .collect()
        };
        Self((0..splits).map(|_| records()).collect())
    }

    /// The highest time of all; nothing where there are none.
    pub(super) fn last_time(&self) -> Option<TimestampMs> {
        let records = self.0.iter().flatten();
        let time = |record: &str| -> TimestampMs {
            let event: serde_json::Value = serde_json::from_str(record).unwrap();
            event["t"].as_i64().unwrap()
        };
        records.map(|(_, record)| time(record)).max()
    }

    pub(super) fn splits(&self) -> usize {
        self.0.len()
    }

    /// What a source says first: no window may close before all splits are known.
    pub(super) fn assignments(&self) -> impl Iterator<Item = SourceEvent> {
        (0..self.splits()).map(|number| SourceEvent::Assigned(split(number as u32)))
    }
}

/// How far the splits are read.
#[derive(Debug)]
pub(super) struct Reader(Vec<Reading>);

#[derive(Debug)]
struct Reading {
    is_finished: bool,
    /// The place of the next record.
    next: usize,
}

impl Reader {
    /// Reads from where a checkpoint says, or from some records before.
    pub(super) fn new(events: &Events, resume: &Resume, random: &mut Rng) -> Self {
        let too_early = if random.u8(..) < 50 { 6 } else { 1 };
        let splits = events.0.iter().enumerate();
        let reading = splits.map(|(number, records)| {
            let position = resume.position(&name_of(number)).unwrap_or_default();
            let next = records.partition_point(|(known, _)| *known < position);
            Reading {
                is_finished: false,
                next: next.saturating_sub(random.usize(0..too_early)),
            }
        });
        Self(reading.collect())
    }

    /// Whether there is nothing more to say of any split.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.iter().all(|reading| reading.is_finished)
    }

    /// What comes next of a split.
    pub(super) fn next(
        &mut self,
        events: &Events,
        number: usize,
        random: &mut Rng,
    ) -> Option<SourceEvent> {
        let (reading, records) = (&mut self.0[number], &events.0[number]);
        let split = split(number as u32);
        if reading.next == records.len() {
            let ended_before = std::mem::replace(&mut reading.is_finished, true);
            return (!ended_before).then_some(SourceEvent::Finished(split.id));
        }
        let end = records.len().min(reading.next + random.usize(1..=12));
        let mut batch = RecordBatch::new(split, START_MS);
        for (position, record) in &records[reading.next..end] {
            batch.push(record.as_bytes(), *position);
        }
        reading.next = end;
        Some(SourceEvent::Records(batch))
    }
}

/// The name of a split.
pub(super) fn name_of(number: usize) -> String {
    split(number as u32).name.to_string()
}
