//! The sender is killed at any moment and goes on from its last checkpoint: the receiver has every
//! sample once, never with two values, and refuses nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::{Builder, Handle};
use tokio::time::sleep;

use super::config::{BackoffConfig, BatchConfig, RemoteWriteConfig};
use super::delivery::failure::Failure;
use super::delivery::reply::Reply;
use super::journal::file::{self, Record};
use super::journal::folder::find;
use super::oracle::{Oracle, SeriesName};
use super::protocol::encode::Body;
use super::shard::Transport;
use super::{Limits, Past, RemoteWriter};
use crate::model::{Sample, TimestampMs};
use crate::telemetry::Registry;
use crate::write::admission::Admission;
use crate::write::guard::Guard;
use crate::write::intake::Intake;
use crate::write::relabel::Relabelling;
use crate::write::rooms::Rooms;
use crate::write::snapshot::{DestinationSnapshot, WriterSnapshot};
use crate::write::testing::sample;
use crate::write::{Context, Destination, Writer, WriterHandle};

/// How many lives each seed has.
const LIVES: u32 = 4;

/// How many windows each owner closes.
const WINDOWS: usize = 15;

/// The way to the oracle: slow, and with failures before and after the request was taken.
struct Faulty {
    oracle: Arc<Mutex<Oracle>>,
    random: Mutex<Rng>,
    is_down: bool,
}

impl Transport for Faulty {
    async fn post(&self, body: Body, _: u32) -> Reply {
        self.answer(&body.bytes).await.into()
    }
}

impl Faulty {
    async fn answer(&self, body: &[u8]) -> Result<u16, Failure> {
        let (before, after, luck) = {
            let mut random = self.random.lock().unwrap();
            (random.u64(0..40), random.u64(0..40), random.u8(0..10))
        };
        sleep(Duration::from_millis(before)).await;
        if luck < 2 || self.is_down {
            return Err(Failure::Network("refused".into()));
        }
        self.oracle.lock().unwrap().take(body);
        sleep(Duration::from_millis(after)).await;
        if luck < 4 {
            return Err(Failure::Network("reset".into()));
        }
        Ok(204)
    }
}

/// How far an owner is.
#[derive(Debug, Clone, Default)]
struct Owner {
    windows: usize,
    /// What the writer had no room for.
    outbox: VecDeque<Sample>,
}

/// A checkpoint that is complete.
#[derive(Debug, Clone)]
struct Checkpoint {
    number: u64,
    owners: Vec<Owner>,
    state: Option<Vec<u8>>,
    acknowledged: TimestampMs,
}

/// A checkpoint on its way.
#[derive(Debug)]
struct Begun {
    number: u64,
    owners: Vec<Option<Owner>>,
    acknowledged: TimestampMs,
}

/// What outlives a crash, and what happens.
struct World {
    random: Rng,
    /// The samples of each owner's windows.
    script: Vec<Vec<Vec<Sample>>>,
    /// By name.
    receivers: BTreeMap<&'static str, Arc<Mutex<Oracle>>>,
    folder: tempfile::TempDir,
    checkpoints: Vec<Checkpoint>,
    /// Some of the checkpoints, which stay for ever.
    savepoints: Vec<Checkpoint>,
    /// Up to when everything was acknowledged where this life began.
    acknowledged: TimestampMs,
    keep: usize,
    next_checkpoint: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let owners = random.usize(1..=3);
        let script: Vec<Vec<_>> = (0..owners)
            .map(|owner| {
                let series = random.usize(1..=6);
                let window = |window: usize| {
                    let mut all: Vec<_> = (0..series).filter(|_| random.u8(..) < 200).collect();
                    random.shuffle(&mut all);
                    all.into_iter()
                        .map(|series| {
                            let name = format!("{owner}-{series}");
                            let value = random.f64();
                            sample("up", &[("s", &name)], end_of(window), value)
                        })
                        .collect()
                };
                (0..WINDOWS).map(window).collect()
            })
            .collect();
        let fresh = Checkpoint {
            number: 0,
            owners: vec![Owner::default(); owners],
            state: None,
            acknowledged: TimestampMs::MIN,
        };
        let receivers = match random.bool() {
            true => &["default"][..],
            false => &["east", "west"],
        };
        Self {
            savepoints: Vec::new(),
            acknowledged: TimestampMs::MIN,
            keep: random.usize(1..=2),
            random,
            script,
            receivers: receivers
                .iter()
                .map(|name| (*name, Arc::default()))
                .collect(),
            // A disk would take most of the time.
            folder: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
            checkpoints: vec![fresh],
            next_checkpoint: 1,
        }
    }

    fn writer(&mut self, from: Option<&Checkpoint>, runtime: &Handle, is_last: bool) -> Writer {
        let rooms = Arc::new(Rooms::new(self.script.len()));
        let mut destinations = Vec::new();
        let state = from.and_then(|from| from.state.as_deref());
        let mut state = state.map_or_else(WriterSnapshot::default, |state| {
            WriterSnapshot::decode(state).unwrap()
        });
        let names: Vec<_> = self.receivers.keys().copied().collect();
        for (name, state) in names.iter().zip(state.take(&names)) {
            let is_down = !is_last && self.random.u8(..) < 40;
            destinations.push(self.destination(name, from, state, is_down, &rooms, runtime));
        }
        Writer::of(destinations, rooms)
    }

    fn destination(
        &mut self,
        name: &str,
        from: Option<&Checkpoint>,
        state: DestinationSnapshot,
        is_down: bool,
        rooms: &Arc<Rooms>,
        runtime: &Handle,
    ) -> (Destination, Intake) {
        let config = RemoteWriteConfig {
            min_shards: 1,
            max_shards: self.random.usize(1..=4),
            queue_bytes: if self.random.bool() { 800 } else { 1 << 20 },
            journal_sync: false,
            batch: BatchConfig {
                samples: self.random.usize(1..=6),
                deadline: crate::model::Duration::from_millis(self.random.u64(1..=50)),
                ..BatchConfig::default()
            },
            backoff: BackoffConfig {
                min: crate::model::Duration::from_millis(10),
                max: crate::model::Duration::from_millis(100),
            },
            ..serde_json::from_str(r#"{"url": "http://oracle"}"#).unwrap()
        };
        let context = Context {
            rooms: Arc::clone(rooms),
            ..Context::new(
                self.script.len(),
                &Registry::new("test"),
                self.random.u64(..),
            )
        };
        let past = Past {
            rejected: None,
            journal: Some(&self.folder.path().join(name)),
            checkpoint: from.map(|from| from.number),
            newest: self.checkpoints.last().map_or(0, |newest| newest.number),
            acknowledged: from.map_or(TimestampMs::MIN, |from| from.acknowledged),
            limits: Limits::small(if self.random.bool() { 300 } else { 1 << 20 }),
            state,
        };
        let transport = Faulty {
            oracle: Arc::clone(&self.receivers[name]),
            random: Mutex::new(self.random.fork()),
            is_down,
        };
        let (writer, marks) =
            RemoteWriter::over(transport, &config, &context, past, runtime.clone()).unwrap();
        let guard = Guard::new(None, Arc::clone(&context.metrics));
        let destination = Destination::RemoteWrite(writer);
        let admission = Admission::new(Relabelling::default(), guard, &context);
        let intake = destination.intake(name, admission, marks, &context);
        (destination, intake)
    }

    /// Hands over what one owner has.
    fn hand_over(&mut self, number: usize, owner: &mut Owner, handle: &WriterHandle) {
        if owner.outbox.is_empty() && !handle.holds(number) {
            let Some(window) = self.script[number].get(owner.windows) else {
                return;
            };
            owner.outbox.extend(window.iter().cloned());
            owner.windows += 1;
        }
        let all = handle.offer(number, &mut owner.outbox).unwrap();
        assert_eq!(all, owner.outbox.is_empty() && !handle.holds(number));
        if all && self.random.bool() {
            handle.flushed(number, end_of(owner.windows - 1));
        }
    }

    /// One step of a checkpoint.
    fn checkpoint(&mut self, begun: &mut Option<Begun>, owners: &[Owner], writer: &Writer) {
        let Some(now) = begun else {
            let number = self.next_checkpoint;
            self.next_checkpoint += 1;
            writer.begin_checkpoint(number).unwrap();
            *begun = Some(Begun {
                number,
                acknowledged: writer.handle().acknowledged().max(self.acknowledged),
                owners: vec![None; owners.len()],
            });
            return;
        };
        let missing: Vec<_> = (0..owners.len())
            .filter(|owner| now.owners[*owner].is_none())
            .collect();
        if let Some(owner) = self.random.choice(missing) {
            now.owners[owner] = Some(owners[owner].clone());
            return;
        }
        if self.random.u8(..) < 30 {
            // It could not be stored.
            *begun = None;
            return;
        }
        let complete = Checkpoint {
            number: now.number,
            owners: now.owners.iter().flatten().cloned().collect(),
            state: Some(writer.snapshot().unwrap().encode()),
            acknowledged: now.acknowledged,
        };
        *begun = None;
        if self.random.u8(..) < 60 {
            self.savepoints.push(complete.clone());
        }
        self.checkpoints.push(complete);
        let surplus = self.checkpoints.len().saturating_sub(self.keep);
        self.checkpoints.drain(..surplus);
        let all = self.checkpoints.iter().chain(&self.savepoints);
        let oldest = all.map(|kept| kept.acknowledged).min().unwrap();
        writer.completed(|| oldest);
    }

    /// Runs until a crash, or, in the last life, until everything is delivered.
    async fn live(&mut self, from: Option<&Checkpoint>, is_last: bool) {
        let writer = self.writer(from, &Handle::current(), is_last);
        let handle = writer.handle();
        self.acknowledged = from.map_or(TimestampMs::MIN, |from| from.acknowledged);
        let mut owners = match from {
            Some(from) => from.owners.clone(),
            None => vec![Owner::default(); self.script.len()],
        };
        let mut begun = None;
        let steps = self.random.usize(0..80);
        let mut step = 0;
        loop {
            if !is_last && step >= steps {
                return;
            }
            step += 1;
            match self.random.u8(0..10) {
                0..5 => {
                    let number = self.random.usize(0..owners.len());
                    self.hand_over(number, &mut owners[number], &handle);
                }
                5..8 => self.checkpoint(&mut begun, &owners, &writer),
                8 if self.random.bool() => run_shards(&handle, self.random.usize(1..=4)),
                _ => sleep(Duration::from_millis(self.random.u64(0..60))).await,
            }
            let all = |owner: &Owner| owner.windows == WINDOWS && owner.outbox.is_empty();
            if is_last && owners.iter().all(all) && handle.snapshot().unwrap().is_empty() {
                return;
            }
        }
    }

    /// The journals' files with how much of them is records, in bytes.
    fn files(&self) -> BTreeMap<PathBuf, u64> {
        let mut files = BTreeMap::new();
        for name in self.receivers.keys() {
            let folder = self.folder.path().join(name);
            for found in find(&folder).unwrap().into_iter().flatten() {
                let extent = file::read(&found.path, |_| {}).unwrap();
                files.insert(found.path, extent.records);
            }
        }
        files
    }

    /// What a crash can leave of the journals: a record that was not acted upon may be cut off
    /// anywhere, and there may be anything behind the last one.
    fn tear(&mut self, before: &BTreeMap<PathBuf, u64>) {
        let files = self.files();
        for path in files.keys() {
            let mut receivers = self.receivers.iter();
            let is_of = |(name, _): &(&&str, _)| path.starts_with(self.folder.path().join(name));
            let (_, oracle) = receivers.find(is_of).unwrap();
            let oracle = oracle.lock().unwrap();
            match self.random.u8(0..4) {
                0 => {
                    let mut bytes = fs::read(path).unwrap();
                    bytes.extend((0..self.random.u8(1..30)).map(|_| self.random.u8(..)));
                    fs::write(path, bytes).unwrap();
                }
                1 => {
                    // What is from an earlier life was read at the beginning of this one.
                    let keep = before.get(path).copied().unwrap_or_default();
                    tear_last(path, keep, &mut self.random, &oracle.this_life);
                }
                _ => {}
            }
        }
    }
}

/// Cuts the last record of a file, if the receiver has nothing of it.
fn tear_last(
    path: &Path,
    keep: u64,
    random: &mut Rng,
    taken: &BTreeSet<(SeriesName, TimestampMs)>,
) {
    let mut last = None;
    let end = file::read(path, |record| last = Some(record)).unwrap();
    let bytes = match last {
        None => return,
        Some(Record::Acknowledgement { number }) => file::acknowledgement(number).len(),
        Some(Record::Request { samples, .. }) => {
            let is_taken = samples.iter().any(|sample| {
                let labels = sample.series.labels().iter();
                let labels: String = labels.map(|(_, value)| format!("{value}/")).collect();
                let name = format!("{}/{labels}", sample.series.name());
                taken.contains(&(name, sample.timestamp_ms))
            });
            if is_taken {
                return;
            }
            // The checksum in front of it is enough to make it unreadable.
            16
        }
    };
    let cut = random.u64(1..=bytes as u64);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(end.records.saturating_sub(cut).max(keep))
        .unwrap();
}

/// Gives the partitions to so many shards, or to as many as there may be.
fn run_shards(handle: &WriterHandle, shards: usize) {
    for queues in handle.intakes.iter().filter_map(Intake::queues) {
        queues.partitions.assignment().run(shards);
    }
}

fn end_of(window: usize) -> TimestampMs {
    (window as TimestampMs + 1) * 10
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    let mut from = None;
    for life in 1..=LIVES {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let before = world.files();
        runtime.block_on(world.live(from.as_ref(), life == LIVES));
        // Nothing of this life runs any more after this.
        drop(runtime);
        world.tear(&before);
        for oracle in world.receivers.values() {
            oracle.lock().unwrap().this_life.clear();
        }
        if world.checkpoints.len() > 1 && world.random.u8(..) < 60 {
            // The newest one cannot be read.
            world.checkpoints.pop();
        }
        from = match world.random.u8(..) {
            0..60 => world.random.choice(world.savepoints.clone()),
            _ => None,
        };
        from = from.or_else(|| world.checkpoints.last().cloned());
    }
    let mut expected: BTreeMap<SeriesName, Vec<_>> = BTreeMap::new();
    for sample in world.script.iter().flatten().flatten() {
        let (_, series) = &sample.series.labels()[0];
        expected.entry(format!("up/{series}/")).or_default().push((
            sample.timestamp_ms,
            sample.value.number().unwrap().to_bits(),
        ));
    }
    for (name, oracle) in world.receivers {
        let oracle = oracle.lock().unwrap();
        assert_eq!(oracle.refused, Vec::<String>::new(), "seed {seed}, {name}");
        assert_eq!(oracle.samples, expected, "seed {seed}, {name}");
    }
}

#[test]
fn whatever_crashes_every_sample_arrives_once_and_in_order() {
    let seeds = std::env::var("WEIR_SEEDS").map_or(400, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        simulate(seed);
    }
}
