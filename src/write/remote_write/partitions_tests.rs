use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::SampleValue;
use crate::telemetry::Registry;
use crate::write::metrics::Metrics;
use crate::write::remote_write::batch::Batch;
use crate::write::remote_write::config::{BatchConfig, OnThrottleLimit};
use crate::write::remote_write::last_sent::LastSent;
use crate::write::remote_write::partition::sample_bytes;
use crate::write::remote_write::protocol::Protocol;
use crate::write::rooms::Rooms;
use crate::write::testing::sample;

const OWNERS: usize = 2;

fn partitions(number: usize, shards: usize, capacity_bytes: usize) -> Partitions {
    let metrics = Arc::new(Metrics::new(&Registry::new("test")));
    let common = Common {
        capacity_bytes,
        on_throttle_limit: OnThrottleLimit::Wait,
        rooms: Arc::new(Rooms::new(OWNERS)),
        gauges: metrics.queue("remote_write"),
        metrics,
        assignment: Assignment::new(shards, 1),
        flow: Flow::default(),
    };
    Partitions::new(number, common)
}

fn of_series(series: usize, timestamp: TimestampMs) -> Sample {
    sample(&format!("m{series}"), &[], timestamp, series as f64)
}

fn limits(samples: usize, samples_per_series: usize) -> BatchConfig {
    BatchConfig {
        samples,
        samples_per_series,
        ..BatchConfig::default()
    }
}

/// One step of whoever has a hand in it.
#[derive(Debug, Clone)]
enum Step {
    /// Samples of an owner, each of one of its series.
    Offer(usize, Vec<usize>),
    Mark(usize),
    /// A shard takes what there is, and more the next time where there was not enough.
    Collect(usize),
    /// A shard's request is done.
    Done(usize),
    Run(usize),
    Hold(bool),
}

fn steps(shards: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..OWNERS, prop::collection::vec(0_usize..12, 1..12))
            .prop_map(|(owner, series)| Step::Offer(owner, series)),
        2 => (0..OWNERS).prop_map(Step::Mark),
        6 => (0..shards).prop_map(Step::Collect),
        4 => (0..shards).prop_map(Step::Done),
        2 => (1..=shards).prop_map(Step::Run),
        1 => any::<bool>().prop_map(Step::Hold),
    ];
    prop::collection::vec(step, 0..120)
}

/// What a shard is at.
#[derive(Debug, Default)]
struct Busy {
    first: usize,
    collected: Option<Collected>,
    is_sent: bool,
}

/// What must come out.
struct World {
    partitions: Partitions,
    limits: BatchConfig,
    shards: Vec<Busy>,
    time: TimestampMs,
    /// By series.
    offered: BTreeMap<String, Vec<TimestampMs>>,
    sent: BTreeMap<String, Vec<TimestampMs>>,
    /// How many of each series were offered before a mark, by owner and watermark.
    marks: BTreeMap<(usize, TimestampMs), BTreeMap<String, usize>>,
    reached: BTreeMap<(usize, usize), TimestampMs>,
    last_sent: LastSent,
}

impl World {
    fn collect(&mut self, shard: usize) -> Filled {
        let Self {
            partitions, shards, ..
        } = self;
        let busy = &mut shards[shard];
        if busy.is_sent {
            return Filled::Full;
        }
        let limits = self.limits;
        let collected = busy
            .collected
            .get_or_insert_with(|| Collected::into(Batch::new(limits, Protocol::V1)));
        let mut reached = Vec::new();
        let filled = partitions.collect(shard, &mut busy.first, collected, |mark| {
            reached.push(mark);
        });
        if filled >= Filled::Behind {
            assert!(!collected.batch.is_empty());
            busy.is_sent = true;
        }
        for mark in reached {
            self.reach(mark);
        }
        filled
    }

    fn done(&mut self, shard: usize) {
        self.shards[shard].is_sent = false;
        let Some(collected) = self.shards[shard].collected.take() else {
            return;
        };
        let sealed = collected.batch.seal(&self.last_sent);
        assert_eq!((sealed.duplicates, sealed.out_of_order), (0, 0));
        for group in sealed.groups {
            let times = self.sent.entry(group.series.name().to_string());
            let times = times.or_default();
            for (time, value) in group.points {
                times.push(time);
                let name = format!("m{}", value.number().unwrap());
                assert_eq!(name, **group.series.name());
                assert!(matches!(value, SampleValue::Number(_)));
            }
        }
        self.partitions.done(shard, &collected.partitions);
        for mark in collected.marks {
            self.reach(mark);
        }
    }

    /// Everything of this partition that stood before the mark has to be sent.
    fn reach(&mut self, mark: Mark) {
        let before = &self.marks[&(mark.owner, mark.watermark)];
        for (name, offered) in before {
            let series = of_series(name[1..].parse().unwrap(), 0).series;
            if series.hash() % self.partitions.all.len() as u64 != mark.partition as u64 {
                continue;
            }
            let sent = self.sent.get(name).map_or(0, Vec::len);
            assert!(sent >= *offered, "{name}: {sent} of {offered} at {mark:?}");
        }
        let reached = self.reached.entry((mark.partition, mark.owner));
        let reached = reached.or_insert(mark.watermark);
        *reached = mark.watermark.max(*reached);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Offer(owner, series) => {
                let mut samples = Vec::new();
                for series in series {
                    // The series of an owner are its own.
                    self.time += 1;
                    samples.push(of_series(series * OWNERS + owner, self.time));
                }
                let refused = self.partitions.offer(owner, samples.clone()).unwrap();
                for sample in samples {
                    if refused.contains(&sample) {
                        continue;
                    }
                    let name = sample.series.name().to_string();
                    let times = self.offered.entry(name).or_default();
                    times.push(sample.timestamp_ms);
                }
            }
            Step::Mark(owner) => {
                self.time += 1;
                let offered = self.offered.iter();
                let before = offered
                    .filter(|(name, _)| name[1..].parse::<usize>().unwrap() % OWNERS == owner)
                    .map(|(name, times)| (name.clone(), times.len()));
                self.marks.insert((owner, self.time), before.collect());
                self.partitions.mark(owner, self.time);
            }
            Step::Collect(shard) => {
                self.collect(shard);
            }
            Step::Done(shard) => self.done(shard),
            Step::Run(shards) => self.partitions.assignment().run(shards),
            Step::Hold(true) => self.partitions.assignment().hold(),
            Step::Hold(false) => self.partitions.assignment().let_go(),
        }
    }

    /// Closes, and has every shard send until there is nothing left.
    fn finish(&mut self) {
        self.partitions.assignment().let_go();
        self.partitions.close();
        let mut ended = vec![false; self.shards.len()];
        for _ in 0..1_000 {
            for (shard, ended) in ended.iter_mut().enumerate() {
                if *ended {
                    continue;
                }
                let filled = self.collect(shard);
                let collected = self.shards[shard].collected.as_ref();
                let is_empty = collected.is_some_and(|collected| collected.batch.is_empty());
                *ended = filled == Filled::Closed && is_empty;
                // Otherwise it has nothing to send, and waits for another that has.
                if filled != Filled::Waiting {
                    assert!(*ended || !is_empty);
                    self.done(shard);
                }
            }
        }
        assert!(ended.iter().all(|ended| *ended), "{ended:?}");
    }
}

proptest! {
    /// Whatever the number of shards does: everything is sent once and in order, by one shard at a time.
    #[test]
    fn every_sample_goes_out_once_and_in_order(
        number in 1_usize..7,
        samples in 1_usize..8,
        samples_per_series in 0_usize..3,
        capacity in prop_oneof![Just(50_usize), Just(1 << 20)],
        steps in steps(4),
    ) {
        let mut world = World {
            partitions: partitions(number, 4, capacity),
            limits: limits(samples, samples_per_series),
            shards: (0..4).map(|_| Busy::default()).collect(),
            time: 0,
            offered: BTreeMap::new(),
            sent: BTreeMap::new(),
            marks: BTreeMap::new(),
            reached: BTreeMap::new(),
            last_sent: LastSent::new(number),
        };
        for step in steps {
            world.step(step);
        }
        let waiting = world.partitions.unacknowledged().len();
        let sent: usize = world.sent.values().map(Vec::len).sum();
        let offered: usize = world.offered.values().map(Vec::len).sum();
        prop_assert_eq!(waiting + sent, offered);
        world.finish();
        prop_assert_eq!(&world.sent, &world.offered);
        prop_assert_eq!(world.partitions.unacknowledged(), vec![]);
        prop_assert_eq!(world.partitions.bytes(), 0);
        for partition in 0..number {
            for owner in 0..OWNERS {
                let last = world.marks.keys().rev().find(|(marked, _)| *marked == owner);
                let reached = world.reached.get(&(partition, owner)).copied();
                prop_assert_eq!(reached, last.map(|(_, watermark)| *watermark));
            }
        }
    }
}

#[test]
fn a_partition_that_is_never_empty_does_not_keep_the_others_waiting() {
    let partitions = partitions(4, 1, 1 << 20);
    let offer = |series: usize, times: std::ops::Range<i64>| {
        let samples = times.map(|time| of_series(series, time)).collect();
        assert_eq!(partitions.offer(0, samples), Ok(vec![]));
    };
    // One series in each partition.
    let of_partition = |partition: u64| {
        let is_in = |series: &usize| of_series(*series, 0).series.hash() % 4 == partition;
        (0..).find(is_in).unwrap()
    };
    offer(of_partition(0), 0..100);
    for partition in 1..4 {
        offer(of_partition(partition), 0..3);
    }
    let mut first = 0;
    let mut requests = Vec::new();
    for _ in 0..5 {
        let batch = Batch::new(limits(10, 0), Protocol::V1);
        let mut collected = Collected::into(batch);
        let filled = partitions.collect(0, &mut first, &mut collected, |_| {});
        assert_eq!(filled, Filled::Full);
        requests.push(collected.partitions.clone());
        partitions.done(0, &collected.partitions);
    }
    assert_eq!(
        requests,
        [vec![0], vec![1, 2, 3, 0], vec![0], vec![0], vec![0]]
    );
}

#[test]
fn shards_that_end_do_not_wait_for_each_other() {
    let partitions = partitions(2, 2, 1 << 20);
    let of_partition = |partition: u64| {
        let is_in = |series: &usize| of_series(*series, 0).series.hash() % 2 == partition;
        (0..).find(is_in).unwrap()
    };
    let offer = |partition, time| {
        let sample = of_series(of_partition(partition), time);
        assert_eq!(partitions.offer(0, vec![sample]), Ok(vec![]));
    };
    let mut shards = [0, 1].map(|_| Collected::into(Batch::new(limits(10, 0), Protocol::V1)));
    let mut collect = |shard: usize| {
        let filled = partitions.collect(shard, &mut 0, &mut shards[shard], |_| {});
        (filled, shards[shard].partitions.clone())
    };
    // Shard 1 has something of partition 1, and shard 0 something of partition 0.
    partitions.run(2);
    offer(1, 1);
    assert_eq!(collect(1), (Filled::Waiting, vec![1]));
    offer(0, 2);
    assert_eq!(collect(0), (Filled::Waiting, vec![0]));
    // Partition 1 is of shard 0 now, which has to wait for shard 1, that may get more until its deadline.
    partitions.run(1);
    offer(1, 3);
    assert_eq!(collect(0), (Filled::Waiting, vec![0]));
    partitions.close();
    assert_eq!(collect(0), (Filled::Behind, vec![0]));
    assert_eq!(collect(1), (Filled::Closed, vec![1]));
}

#[test]
fn a_queue_is_as_full_as_its_gauges_say() {
    let registry = Registry::new("test");
    let metrics = Arc::new(Metrics::new(&registry));
    let common = Common {
        gauges: metrics.queue("remote_write"),
        metrics,
        capacity_bytes: 1 << 20,
        on_throttle_limit: OnThrottleLimit::Wait,
        rooms: Arc::new(Rooms::new(1)),
        assignment: Assignment::new(1, 1),
        flow: Flow::default(),
    };
    let partitions = Partitions::new(3, common);
    let gauges = || {
        let text = Registry::text([&registry]);
        ["bytes", "samples"].map(|what| {
            let name = format!("weir_queue_{what}{{queue=\"remote_write\",pipeline=\"test\"}} ");
            let found = text.lines().find_map(|line| line.strip_prefix(&*name));
            found.unwrap().parse::<usize>().unwrap()
        })
    };
    let samples: Vec<_> = (0..10).map(|series| of_series(series, 1)).collect();
    let bytes: usize = samples.iter().map(sample_bytes).sum();
    partitions.offer(0, samples).unwrap();
    assert_eq!(gauges(), [bytes, 10]);
    partitions.restore(0, vec![of_series(0, 0)]);
    assert_eq!(gauges(), [bytes + sample_bytes(&of_series(0, 0)), 11]);
    assert_eq!(partitions.bytes(), gauges()[0]);
    for samples in [1, 100] {
        let mut collected = Collected::into(Batch::new(limits(samples, 0), Protocol::V1));
        partitions.collect(0, &mut 0, &mut collected, |_| {});
        partitions.done(0, &collected.partitions);
    }
    assert_eq!(gauges(), [0, 0]);
}
