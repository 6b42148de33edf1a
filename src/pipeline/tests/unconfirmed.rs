//! Checkpoints of an instance of a group, without the group: the test says what that has taken. Each run has
//! a folder of its own, as on another machine, and the store in common.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::bench::{options, pipeline_of};
use crate::model::Texts;
use crate::pipeline::checkpoint::{
    CheckpointMetrics, Checkpointer, FrozenOwner, FrozenState, HasCheckpoint, OpenState,
    OwnerState, Parts, Request, Restored, Saving, WorkerPort, WorkerState,
};
use crate::pipeline::inbox::InputEnd;
use crate::pipeline::savepoints::SavepointError;
use crate::pipeline::worker::split_state::SplitState;
use crate::pipeline::{Options, Restore};
use crate::source::{Checkpointed, KeptPositions, PositionTokens, StopSignal};
use crate::state::testing::Volatile;
use crate::state::{MemoryStore, Savepoint, Store};
use crate::telemetry::Registry;
use crate::write::Writer;

/// From the beginning of a checkpoint to the beginning of the next.
const EVERY: Duration = Duration::from_secs(10);

/// The thread of the checkpoints from a start to a crash, with a worker whose part the test plays.
struct Run {
    checkpointer: Checkpointer,
    requests: Sender<Request>,
    port: WorkerPort,
    checkpointed: Checkpointed,
    has_checkpoint: HasCheckpoint,
    /// The checkpoint that it goes on from.
    from: Option<u64>,
    now: Duration,
    _writer: Writer,
    _runtime: Runtime,
    _folder: TempDir,
}

type Answer = Receiver<Result<Savepoint, SavepointError>>;

impl Run {
    fn start(store: &Arc<dyn Store>, restore: Restore) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = pipeline_of(&format!(
            "pipeline: test
source: {{ kafka: {{ brokers: none, topics: [none], group: none, instance: one }} }}
event: {{ time: {{ from: t }}, fields: {{ region: text }} }}
metrics: {{ m: {{ window: {{ tumbling: 1s }}, by: [region], value: count(*) }} }}
write: {{ file: {{ path: /dev/null }} }}
state: {{ dir: '{}', checkpoint: {{ every: 10s, keep: 1 }} }}
",
            folder.path().display()
        ));
        let options = Options {
            restore,
            ..options()
        };
        let settings = pipeline.state.clone().unwrap();
        let mut state =
            OpenState::open_with(settings, &pipeline, &options, |_| Ok(Arc::clone(store))).unwrap();
        let registry = Registry::new("test");
        let runtime = Runtime::new().unwrap();
        let resume = state.resume();
        let handle = runtime.handle().clone();
        let writer = Writer::start(&pipeline.write, 1, &registry, handle, resume).unwrap();
        let restored = state.restored.take();
        let checkpointed = state.checkpointed();
        checkpointed.set(restored.iter().flat_map(Restored::positions));
        let has_checkpoint = HasCheckpoint::of(&checkpointed);
        let tokens = PositionTokens::default();
        let parts = Parts {
            saving: Saving::new(&pipeline, Vec::new(), restored.as_ref(), tokens),
            state,
            writer: writer.handle(),
            dead_letters: None,
            kept: KeptPositions::default(),
            durable: KeptPositions::default(),
            checkpointed: checkpointed.clone(),
            clock: options.clock,
            metrics: CheckpointMetrics::new(&registry),
            input: InputEnd::default(),
            stop: StopSignal::default(),
            fenced: StopSignal::default(),
            has_checkpoint: has_checkpoint.clone(),
        };
        let (checkpointer, requests, mut ports) = Checkpointer::new(parts, 1);
        Self {
            checkpointer,
            requests,
            port: ports.remove(0),
            checkpointed,
            has_checkpoint,
            from: restored.as_ref().map(Restored::number),
            now: Duration::ZERO,
            _writer: writer,
            _runtime: runtime,
            _folder: folder,
        }
    }

    /// The next cause of work, or none; whether a checkpoint is under way behind it.
    fn turn(&mut self) -> bool {
        let cause = self.checkpointer.next_cause(Duration::ZERO);
        self.checkpointer.turn(cause, self.now).unwrap();
        self.checkpointer.is_underway()
    }

    /// Asks for a savepoint; whether a checkpoint is under way.
    fn savepoint(&mut self, name: &str) -> (Answer, bool) {
        let (answer, answered) = unbounded();
        let name = name.to_owned();
        let request = Request::Savepoint { name, answer };
        self.requests.send(request).unwrap();
        (answered, self.turn())
    }

    /// The worker has come to the barrier; gives the number of the checkpoint, which is durable then.
    fn freeze(&mut self) -> u64 {
        let number = self.port.barriers().try_recv().unwrap().number;
        let split = SplitState {
            name: "none/0".into(),
            revoked: false,
            processed_before: None,
            origin: Some(0),
            next: Some(number * 100),
            highest: None,
            written: None,
            unwritten: Vec::new(),
        };
        let worker = WorkerState {
            splits: vec![split],
            clocks: Vec::new(),
            decoders: Vec::new(),
            panes: Vec::new(),
            texts: Texts::default(),
        };
        let frozen = FrozenOwner {
            flushed: 0,
            reached: 0,
            metrics: Vec::new(),
        };
        let owner = OwnerState {
            frozen,
            unsent: Vec::new(),
            texts: Texts::default(),
        };
        for state in [FrozenState::Worker(worker), FrozenState::Owner(owner)] {
            self.port.froze(number, 0, state, Duration::ZERO);
            self.turn();
        }
        assert_eq!(
            self.checkpointed.position("none/0"),
            Some(number * 100),
            "it is durable"
        );
        number
    }

    /// The next checkpoint, which the group does not hear of.
    fn checkpoint(&mut self) -> u64 {
        self.now += EVERY;
        assert!(self.turn());
        self.freeze()
    }

    /// The group takes the positions of the latest checkpoint.
    fn confirm(&self) {
        let generation = self.checkpointed.generation();
        self.checkpointed.confirm(generation).unwrap();
        assert!(!self.checkpointed.is_unconfirmed());
    }

    fn confirmed_checkpoint(&mut self) -> u64 {
        let number = self.checkpoint();
        self.confirm();
        number
    }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[test]
fn none_begins_while_the_group_has_not_taken_the_one_before() {
    let store = memory();
    let mut run = Run::start(&store, Restore::Latest);
    run.now = EVERY;
    assert!(run.turn());
    // While the first one is under way, one is asked for, and the time for another one comes.
    let (answered, _) = run.savepoint("one");
    run.now += 2 * EVERY;
    assert_eq!(run.freeze(), 1);
    assert!(run.checkpointed.is_unconfirmed());
    assert!(!run.checkpointer.is_underway());
    assert!(!run.turn());
    assert!(answered.try_recv().is_err());
    run.confirm();
    assert!(run.turn());
    assert_eq!(run.freeze(), 2);
    assert_eq!(answered.try_recv().unwrap().unwrap().number, 2);
}

#[test]
fn another_machine_goes_on_from_what_the_group_has_taken() {
    let store = memory();
    let mut run = Run::start(&store, Restore::Latest);
    assert_eq!(run.confirmed_checkpoint(), 1);
    assert!(run.has_checkpoint.get());
    assert_eq!(run.checkpoint(), 2);
    // The last one of a stop does not wait.
    run.requests.send(Request::Last).unwrap();
    assert!(run.turn());
    assert_eq!(run.freeze(), 3);
    drop(run);
    // One is to be kept, and it is not one of those that are withdrawn.
    let mut run = Run::start(&store, Restore::Latest);
    assert_eq!(run.from, Some(1));
    let number = run.confirmed_checkpoint();
    drop(run);
    assert_eq!(Run::start(&store, Restore::Latest).from, Some(number));
}

#[test]
fn a_start_from_nothing_or_from_a_savepoint_holds_until_a_checkpoint_is_taken() {
    for restore in [Restore::Fresh, Restore::Savepoint("good".to_owned())] {
        let store = memory();
        let mut run = Run::start(&store, Restore::Latest);
        let (answered, is_underway) = run.savepoint("good");
        assert!(is_underway);
        let good = run.freeze();
        assert_eq!(answered.try_recv().unwrap().unwrap().number, good);
        run.confirm();
        let bad = run.confirmed_checkpoint();
        drop(run);
        let expected = match restore {
            Restore::Fresh => None,
            _ => Some(good),
        };

        let mut run = Run::start(&store, restore.clone());
        assert_eq!(run.from, expected);
        run.checkpoint();
        assert!(
            !run.has_checkpoint.get(),
            "a restart in the process: {restore:?}"
        );
        drop(run);
        // Other starts, which ask for nothing: one that makes none, one whose is not taken, one whose is.
        for _ in 0..2 {
            let mut run = Run::start(&store, Restore::Latest);
            assert_eq!(run.from, expected);
            drop(run);
            run = Run::start(&store, Restore::Latest);
            assert_eq!(run.from, expected);
            run.checkpoint();
        }
        let mut run = Run::start(&store, Restore::Latest);
        assert_eq!(run.from, expected);
        let taken = run.confirmed_checkpoint();
        assert!(run.has_checkpoint.get());
        assert!(taken > bad);
        run.checkpoint();
        assert!(run.has_checkpoint.get());
        drop(run);
        let run = Run::start(&store, Restore::Latest);
        assert_eq!(run.from, Some(taken), "what it started from is of the past");
    }
}

#[test]
fn what_was_asked_for_last_holds() {
    let store = memory();
    let mut run = Run::start(&store, Restore::Latest);
    run.savepoint("good");
    let good = run.freeze();
    run.confirm();
    drop(run);
    for (restore, expected) in [
        (Restore::Fresh, None),
        (Restore::Savepoint("good".to_owned()), Some(good)),
        (Restore::Latest, Some(good)),
        (Restore::Fresh, None),
        (Restore::Latest, None),
    ] {
        let mut run = Run::start(&store, restore.clone());
        assert_eq!(run.from, expected, "{restore:?}");
        run.checkpoint();
    }
}

#[test]
fn what_is_taken_or_withdrawn_stays_so_without_power() {
    let volatile = Arc::new(Volatile::default());
    let store: Arc<dyn Store> = Arc::<Volatile>::clone(&volatile);
    let mut run = Run::start(&store, Restore::Latest);
    assert_eq!(run.confirmed_checkpoint(), 1);
    drop(run);
    volatile.lose_power();
    let mut run = Run::start(&store, Restore::Latest);
    assert_eq!(run.from, Some(1));
    assert_eq!(run.checkpoint(), 2);
    drop(run);
    volatile.lose_power();
    for _ in 0..2 {
        assert_eq!(Run::start(&store, Restore::Latest).from, Some(1));
        volatile.lose_power();
    }
}
