//! What outlives a crash, and what happens from the first start to the last sample.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use super::events::{Events, name_of};
use super::life::{Answer, Life, Plan};
use super::markers::add_markers;
use super::setting::Setting;
use crate::config::CheckpointSettings;
use crate::model::{self, TimestampMs};
use crate::pipeline::checkpoint::{OpenState, Restored};
use crate::pipeline::ending::Ending;
use crate::pipeline::owner::keyed::KeyedState;
use crate::pipeline::tests::bench::options;
use crate::pipeline::{Options, Restore};
use crate::state::testing::{Fault, Faulty};
use crate::state::{Checkpoints, Identity, MemoryStore, Store};
use crate::write::remote_write::oracle::{Oracle, SeriesName};
use crate::write::remote_write::scripted::Script;

/// A life that takes more steps than this will never end.
const MAX_STEPS: usize = 300_000;

/// The samples of each series.
pub(super) type Received = BTreeMap<SeriesName, Vec<(TimestampMs, u64)>>;

/// How often what has happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen(BTreeMap<&'static str, u64>);

/// Everything that is counted.
const KINDS: &[&str] = &[
    "crashes with a checkpoint under way",
    "crashes with samples that have no room",
    "crashes with too much waiting for the writer",
    "crashes with samples that are not acknowledged",
    "crashes with groups that are not in memory",
    "crashes behind the end",
    "stops with a last checkpoint",
    "starts from a checkpoint",
    "starts with another number of workers",
    "starts from a savepoint",
    "starts from a savepoint that is older than all checkpoints",
    "starts from the checkpoint before",
    "starts that fail",
    "faults of the store",
    "series that end",
    "series that end with the input",
    "texts that are let go of",
    "texts that are let go of with a checkpoint under way",
    "steps",
];

impl Seen {
    fn count(&mut self, kind: &'static str, times: u64) {
        assert!(KINDS.contains(&kind), "{kind}");
        *self.0.entry(kind).or_default() += times;
    }

    fn note(&mut self, kind: &'static str, is_so: bool) {
        self.count(kind, u64::from(is_so));
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, times) in &other.0 {
            self.count(kind, *times);
        }
    }

    /// What was never seen.
    pub(super) fn never(&self) -> Vec<&'static str> {
        let never = |kind: &&str| self.0.get(*kind).is_none_or(|times| *times == 0);
        KINDS.iter().copied().filter(never).collect()
    }
}

/// What outlives a crash.
pub(super) struct World<'s> {
    setting: &'s Setting,
    /// Whether series end.
    series_end: bool,
    random: Rng,
    events: Arc<Events>,
    oracle: Arc<Mutex<Oracle>>,
    store: Arc<dyn Store>,
    faulty: Arc<Faulty>,
    /// From where the source can still read.
    kept: BTreeMap<String, u64>,
    /// Savepoints that were taken, with the numbers of their checkpoints.
    savepoints: Vec<(String, u64)>,
    asked: u32,
    workers: usize,
    seen: Seen,
}

impl<'s> World<'s> {
    pub(super) fn new(setting: &'s mut Setting, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let millis = |millis: u64| model::Duration::from_millis(millis);
        setting.begin(CheckpointSettings {
            every: millis(random.u64(5..400)),
            timeout: millis(random.u64(50..2_000)),
            min_pause: millis(random.u64(0..50)),
            keep: random.u32(1..=3),
        });
        let events = Arc::new(Events::random(&mut random));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        Self {
            setting,
            series_end: seed % 2 == 1,
            events,
            oracle: Arc::default(),
            faulty: Arc::new(Faulty::new(Arc::clone(&store))),
            store,
            kept: BTreeMap::new(),
            savepoints: Vec::new(),
            asked: 0,
            workers: 0,
            random,
            seen: Seen::default(),
        }
    }

    /// Leads some lives, and holds what the receiver has then against an undisturbed run.
    pub(super) fn run(mut self) -> Seen {
        let lives = self.random.u32(1..=6);
        for life in 1..=lives {
            let is_last = life == lives;
            let runtime = runtime();
            runtime.block_on(self.live(is_last));
            // Nothing of this life runs any more after this.
            drop(runtime);
            let refused = &self.oracle.lock().unwrap().refused;
            assert!(refused.is_empty(), "refused in life {life}: {refused:?}");
        }
        let mut expected = undisturbed(self.setting, &self.events);
        if self.series_end {
            let markers = add_markers(&mut expected, self.events.last_time());
            self.seen.count("series that end", markers.at_a_window);
            self.seen
                .count("series that end with the input", markers.with_the_input);
        }
        compare(&self.oracle.lock().unwrap().samples, &expected);
        self.seen
    }

    /// Runs until a crash, or, in the last life, until everything is delivered.
    async fn live(&mut self, is_last: bool) {
        self.faulty.heal();
        if !is_last {
            self.arm();
        }
        let Some(state) = self.open(is_last) else {
            return;
        };
        let workers = if self.workers == 0 || self.random.bool() {
            self.random.usize(1..=4)
        } else {
            self.workers
        };
        if let Some(restored) = &state.restored {
            self.seen.count("starts from a checkpoint", 1);
            let kind = "starts with another number of workers";
            self.seen.note(kind, workers != self.workers);
            // What a savepoint needs is not kept for it; here the source has it all the same.
            if self.numbers().contains(&restored.number()) {
                self.can_read(restored);
            } else {
                self.go_back(restored);
            }
        }
        self.workers = workers;
        let from = state.restored.as_ref().map(Restored::number);
        self.tell(format!("starts from {from:?} with {workers} workers"));
        let plan = self.plan(workers, is_last);
        let mut random = self.random.fork();
        let (events, oracle) = (&self.events, &self.oracle);
        let mut life = Life::start(self.setting, events, oracle, plan, Some(state), &mut random);
        let steps = match self.random.u8(0..8) {
            _ if is_last => MAX_STEPS,
            0 => self.random.usize(0..50),
            1 => 20_000,
            _ => self.random.usize(0..2_500),
        };
        let stops_at = match self.random.u8(0..4) {
            0 => self.random.usize(0..2_000),
            _ => usize::MAX,
        };
        let ended = self.steps(&mut life, steps, stops_at, is_last).await;
        assert!(ended || !is_last, "it does not end: {}", life.told());
        for split in 0..self.events.splits() {
            if let Some(position) = life.kept.position(&name_of(split)) {
                self.kept.insert(name_of(split), position);
            }
        }
        if self.faulty.has_failed() {
            self.seen.count("faults of the store", 1);
        }
        self.seen.count("texts that are let go of", life.let_go);
        let kind = "texts that are let go of with a checkpoint under way";
        self.seen.count(kind, life.let_go_forming);
    }

    /// Steps of a life until it has ended, or is cut off; says whether it has ended.
    async fn steps(
        &mut self,
        life: &mut Life,
        steps: usize,
        stops_at: usize,
        is_last: bool,
    ) -> bool {
        let mut answers: Vec<Answer> = Vec::new();
        let mut is_stopping = false;
        for step in 0..steps {
            if step >= stops_at && !is_last && !is_stopping {
                is_stopping = life.close(Ending::Interrupted);
            }
            match self.random.u8(0..64) {
                0..14 => life.read(&mut self.random),
                14..50 => life.work(&mut self.random).unwrap(),
                50..62 => {
                    let has_ended = life.check().unwrap();
                    if is_stopping && has_ended && life.has_worked() {
                        self.seen.count("stops with a last checkpoint", 1);
                        return true;
                    }
                }
                62 => {
                    if self.random.u8(..) < 20 {
                        self.asked += 1;
                        answers.push(life.savepoint(&format!("savepoint-{}", self.asked)));
                    }
                    for answer in &answers {
                        if let Ok(Ok(savepoint)) = answer.try_recv() {
                            self.savepoints.push((savepoint.name, savepoint.number));
                        }
                    }
                }
                _ => {
                    if self.faulty.has_failed() {
                        self.seen.count("faults of the store", 1);
                        self.faulty.heal();
                    } else if !is_last && self.random.u8(..) < 40 {
                        self.arm();
                    }
                }
            }
            self.seen.count("steps", 1);
            if life.is_complete() {
                self.seen.note("crashes behind the end", !is_last);
                return true;
            }
            // Whatever the writer does at one instant is done before the next step: the clock moves
            // only when nothing else can.
            if self.random.u8(..) < 60 {
                sleep(Duration::from_millis(self.random.u64(1..20))).await;
            }
        }
        let seen = &mut self.seen;
        seen.note("crashes with a checkpoint under way", life.is_forming());
        seen.note("crashes with samples that have no room", life.is_blocked());
        let kind = "crashes with too much waiting for the writer";
        seen.note(kind, life.is_crowded());
        let kind = "crashes with samples that are not acknowledged";
        seen.note(kind, life.has_unacknowledged());
        let kind = "crashes with groups that are not in memory";
        seen.note(kind, life.has_stored());
        false
    }

    /// Opens the state as a start does; nothing where that fails, as it may while the store does.
    fn open(&mut self, is_last: bool) -> Option<OpenState> {
        let numbers = self.numbers();
        let mut restore = Restore::Latest;
        if numbers.len() > 1 && self.random.u8(..) < 40 {
            self.damage(numbers[numbers.len() - 1]);
            self.seen.count("starts from the checkpoint before", 1);
        } else if self.random.u8(..) < 128 {
            let savepoint = self.random.choice(&self.savepoints);
            if let Some((name, number)) = savepoint {
                restore = Restore::Savepoint(name.clone());
                self.seen.count("starts from a savepoint", 1);
                let kind = "starts from a savepoint that is older than all checkpoints";
                self.seen
                    .note(kind, numbers.first().is_some_and(|oldest| number < oldest));
            }
        }
        self.tell(format!(
            "{restore:?}; whole: {numbers:?}, savepoints: {:?}, source kept: {:?}",
            self.savepoints, self.kept
        ));
        let options = Options {
            restore,
            ..options()
        };
        let pipeline = self.setting.pipeline(self.series_end);
        let settings = pipeline.state.clone().unwrap();
        let store: Arc<dyn Store> = Arc::<Faulty>::clone(&self.faulty);
        let opened = OpenState::open_with(settings, pipeline, &options, |_| Ok(store));
        if let Err(error) = &opened {
            assert!(self.faulty.has_failed() && !is_last, "{error}");
            self.seen.count("starts that fail", 1);
        }
        opened.ok()
    }

    fn tell(&self, what: String) {
        self.setting.history.borrow_mut().push(what);
    }

    /// The whole checkpoints that there are.
    fn numbers(&self) -> Vec<u64> {
        let identity = Identity {
            pipeline: self.setting.pipeline(self.series_end).name.clone(),
            writer: "the world".to_owned(),
            epoch: 0,
        };
        Checkpoints::open(Arc::clone(&self.store), identity)
            .unwrap()
            .numbers()
    }

    /// Tears the manifest of a checkpoint.
    fn damage(&self, number: u64) {
        let names = self.store.list("").unwrap();
        let is_it = |name: &&String| name.contains(&format!("/checkpoint/{number:020}"));
        let name = names.iter().rfind(is_it).unwrap();
        let bytes = self.store.get(name).unwrap().unwrap();
        self.store.put(name, &bytes[..bytes.len() / 2]).unwrap();
    }

    /// Lets one of the next calls of the store fail, or all from then on.
    fn arm(&mut self) {
        let mut faults = vec![Fault::Refused, Fault::AnswerLost];
        // No pipeline goes on where all that there is, is torn.
        if !self.numbers().is_empty() {
            faults.push(Fault::Torn);
        }
        let fault = faults[self.random.usize(0..faults.len())];
        let succeed = self.random.u64(0..60);
        self.faulty.fail_at(succeed, fault, self.random.u8(..) < 60);
    }

    /// Everything that a checkpoint needs can still be read.
    fn can_read(&self, restored: &Restored) {
        let positions: BTreeMap<_, _> = restored.positions().collect();
        for (split, kept) in &self.kept {
            let position = positions.get(split).copied().unwrap_or_default();
            assert!(
                position >= *kept,
                "{split} is read from {position}, and kept from {kept}"
            );
        }
    }

    /// The source can be read from where a savepoint needs it, and what is made from now on may need that.
    fn go_back(&mut self, restored: &Restored) {
        let positions: BTreeMap<_, _> = restored.positions().collect();
        for (split, kept) in &mut self.kept {
            let position = positions.get(split).copied().unwrap_or_default();
            *kept = position.min(*kept);
        }
    }

    fn plan(&mut self, workers: usize, is_last: bool) -> Plan {
        let random = &mut self.random;
        let slow = |random: &mut Rng| match random.u8(0..3) {
            0 => random.u8(128..=254),
            _ => 0,
        };
        let slow = (0..workers).map(|_| (0..workers).map(|_| slow(random)).collect());
        let slow = slow.collect();
        let mut share = |of: u8| if random.bool() { random.u8(..of) } else { 0 };
        let (unavailable, lost, answer_lost) = (share(100), share(60), share(100));
        let away = match random.u8(0..4) {
            0 => Duration::from_millis(random.u64(0..2_000)),
            1 if !is_last => Duration::from_secs(1_000_000),
            _ => Duration::ZERO,
        };
        let receiver = Script {
            seed: random.u64(..),
            shards: random.usize(1..=4),
            queue_bytes: if random.bool() { 300 } else { 1 << 20 },
            batch_samples: random.usize(1..=40),
            journal_bytes: if random.bool() { 1_000 } else { 1 << 20 },
            latency: random.u64(0..=60),
            unavailable,
            lost,
            answer_lost,
            away,
        };
        let limit = random.usize(2..20);
        let in_store = || KeyedState::new(Arc::new(MemoryStore::new()), limit);
        let keyed = random.bool().then(in_store);
        let compacts = Some([0, 3, 40][random.usize(0..3)]);
        Plan {
            workers,
            series_end: self.series_end,
            receiver,
            slow,
            keyed,
            crowd: random.usize(0..30),
            compacts,
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// What one worker without checkpoints and a receiver without faults give, where no series ends.
fn undisturbed(setting: &Setting, events: &Arc<Events>) -> Received {
    let oracle: Arc<Mutex<Oracle>> = Arc::default();
    let runtime = runtime();
    runtime.block_on(async {
        let mut random = Rng::with_seed(0);
        let plan = Plan {
            workers: 1,
            series_end: false,
            receiver: Script::plain(),
            slow: vec![vec![0]],
            keyed: None,
            crowd: usize::MAX,
            compacts: None,
        };
        let mut life = Life::start(setting, events, &oracle, plan, None, &mut random);
        let began = Instant::now();
        while !life.is_complete() {
            life.read(&mut random);
            life.work(&mut random).unwrap();
            sleep(Duration::from_millis(1)).await;
            assert!(
                began.elapsed() < Duration::from_secs(100),
                "it does not end"
            );
        }
    });
    drop(runtime);
    let oracle = &mut *oracle.lock().unwrap();
    assert_eq!(oracle.refused, Vec::<String>::new());
    std::mem::take(&mut oracle.samples)
}

/// Names what differs.
fn compare(received: &Received, expected: &Received) {
    for (series, expected) in expected {
        let received = received.get(series).map_or(&[][..], Vec::as_slice);
        let differ = |(at, sample): &(usize, &_)| received.get(*at) != Some(*sample);
        if let Some((at, sample)) = expected.iter().enumerate().find(differ) {
            let found = received.get(at);
            panic!("{series}: sample {at} is to be {sample:?}, and is {found:?}");
        }
        assert_eq!(received.len(), expected.len(), "{series} has more samples");
    }
    let extra = received
        .keys()
        .find(|series| !expected.contains_key(*series));
    assert_eq!(extra, None, "a series too many");
}
