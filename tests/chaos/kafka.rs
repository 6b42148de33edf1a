//! A topic of the fleet's events, with the state in a folder and in an object store.

use anyhow::{Context as _, Result};

use crate::Settings;
use crate::disk::Disk;
use crate::driver::{Driver, plan};
use crate::expected::expect_same;
use crate::fleet::{Fleet, PARTITIONS, START_MS};
use crate::member::{ASSIGNMENT, Member};
use crate::producer::Producer;
use crate::receiver::Receiver;
use crate::reference::{METRICS, NAMES, samples};
use crate::report::{Report, tell};
use crate::store::Store;
use crate::support::files::temporary_folder;
use crate::support::kafka::Kafka;
use crate::weir::Weir;

/// How long it runs without kills, in turns of a second at most.
const QUIET_TURNS: usize = 10;

/// Kinds of kills.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// At any moment.
    Random,
    /// Just after a checkpoint has begun.
    Checkpoint,
    /// Just after the object store has answered a request.
    Upload,
    /// While weir comes back.
    Restore,
    /// While partitions are taken away and given back.
    Rebalance,
    /// While the receiver is away.
    Receiver,
    /// While the disk is full.
    Disk,
    /// While the object store is away.
    Store,
}

/// Everything around weir.
struct Scene {
    name: &'static str,
    kafka: &'static Kafka,
    receiver: Receiver,
    disk: Option<Disk>,
    store: Option<Store>,
}

impl Scene {
    /// Whether there is a disk that can be filled and an object store that can fail.
    fn new(name: &'static str, with_store: bool) -> Result<Self> {
        let kafka = Kafka::shared()?;
        kafka.create_topic(name, i32::from(PARTITIONS))?;
        kafka.create_topic(&elsewhere(name), 1)?;
        let store = if with_store {
            Some(Store::start()?)
        } else {
            None
        };
        let disk = match Disk::mount() {
            Ok(disk) => Some(disk),
            Err(error) => {
                tell(&format!(
                    "{name}: the disk is never full, because none can be mounted: {error:#}"
                ));
                None
            }
        };
        Ok(Self {
            name,
            kafka,
            receiver: Receiver::start()?,
            disk,
            store,
        })
    }

    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Random];
        if self.store.is_some() {
            kinds.extend([Kind::Upload, Kind::Store]);
        } else {
            kinds.extend([Kind::Checkpoint, Kind::Restore]);
            kinds.extend([Kind::Rebalance, Kind::Receiver]);
            kinds.extend(self.disk.iter().map(|_| Kind::Disk));
        }
        kinds
    }

    fn pipeline(&self, state: &str, kills: usize) -> String {
        let name = self.name;
        let mut keys = format!("dir: {state}, checkpoint: {{ every: 500ms }}");
        if kills > 0 {
            // What fails is mended soon here, and fails often.
            keys.push_str(
                ", restart: { initial_delay: 100ms, max_delay: 500ms, max_failures: 1000 }",
            );
        }
        match &self.store {
            Some(store) => {
                keys.push_str(&format!(", checkpoints: \"{}\"", store.location()));
            }
            // Almost all groups are on disk.
            None => keys.push_str(", backend: rocksdb, groups_in_memory: 4"),
        }
        format!(
            "pipeline: {name}\n\
             source:\n  \
               kafka:\n    \
                 brokers: {brokers}\n    \
                 topics: [{name}]\n    \
                 group: {name}\n    \
                 properties:\n      \
                   # A member with a name of its own gets its partitions back at once.\n      \
                   group.instance.id: {name}\n      \
                   partition.assignment.strategy: {ASSIGNMENT}\n      \
                   # With the answer to one it learns that others come and go.\n      \
                   heartbeat.interval.ms: 100\n  \
               decode: json\n\
             event:\n  \
               time: {{ from: timestamp, unit: ms }}\n  \
               fields: {{ vehicle: text, region: text, kind: text, value: number }}\n\
             # A restart takes longer than a partition may usually be silent.\n\
             time: {{ out_of_order: 2s, idle_after: 1h }}\n\
             write:\n  \
               remote_write:\n    \
                 url: {url}\n    \
                 batch: {{ deadline: 50ms }}\n    \
                 backoff: {{ max: 200ms }}\n\
             state: {{ {keys} }}\n\
             {METRICS}",
            brokers = self.kafka.address(),
            url = self.receiver.url(),
        )
    }

    fn kill(&mut self, driver: &mut Driver, kind: Kind) -> Result<()> {
        match kind {
            Kind::Random => driver.kill("random"),
            Kind::Checkpoint => driver.kill_in_checkpoint(),
            Kind::Upload => {
                let store = self.store.as_ref().context("no object store")?;
                let before = store.answers();
                driver.kill_once("upload", |_| store.answers() > before)
            }
            Kind::Restore => driver.kill_in_restore(),
            Kind::Rebalance => self.kill_in_rebalance(driver),
            Kind::Receiver => {
                let crash = driver.chance.bool();
                driver
                    .report
                    .note(if crash { "SIGKILL" } else { "SIGTERM" });
                let receiver = std::cell::RefCell::new(&mut self.receiver);
                driver.kill_in_outage(
                    "receiver",
                    || receiver.borrow_mut().go_away(crash),
                    || receiver.borrow_mut().come_back(),
                )
            }
            Kind::Disk => {
                let disk = self.disk.as_ref().context("no disk")?;
                driver.kill_in_outage("disk", || disk.fill(), || disk.free())
            }
            Kind::Store => {
                let proxy = &self.store.as_ref().context("no object store")?.proxy;
                let cut = || {
                    proxy.cut();
                    Ok(())
                };
                let mend = || {
                    proxy.mend();
                    Ok(())
                };
                driver.kill_in_outage("store", cut, mend)
            }
        }
    }

    /// Partitions are taken from weir when a stranger joins its group, and when it leaves.
    fn kill_in_rebalance(&self, driver: &mut Driver) -> Result<()> {
        let revoked = |weir: &Weir| weir.logged("kafka partition revoked");
        let assigned = |weir: &Weir| weir.logged("kafka partition assigned");
        // Were it to join first, nothing would be taken from weir.
        driver.await_if_it_comes("assignment", |weir| assigned(weir) > 0);
        let (taken, given) = (revoked(&driver.weir), assigned(&driver.weir));
        let member = Member::join(&self.kafka.address(), self.name, &elsewhere(self.name))?;
        if driver.chance.bool() {
            driver.report.note("joining");
            driver.await_if_it_comes("rebalance", |weir| revoked(weir) > taken);
            driver.kill("rebalance")?;
            drop(member);
            return Ok(());
        }
        driver.report.note("leaving");
        driver.await_if_it_comes("assignment", |weir| assigned(weir) > given);
        let taken = revoked(&driver.weir);
        drop(member);
        driver.await_if_it_comes("rebalance", |weir| revoked(weir) > taken);
        driver.kill("rebalance")
    }
}

/// The topic that the stranger in the group wants.
fn elsewhere(name: &str) -> String {
    format!("{name}-elsewhere")
}

fn run(name: &'static str, with_store: bool, kills: usize, seed: u64) -> Result<()> {
    let mut scene = Scene::new(name, with_store)?;
    let mut chance = fastrand::Rng::with_seed(seed);
    let plan = plan(&scene.kinds(), kills, &mut chance);
    let report = Report::new(name, seed, plan.len());

    let folder = temporary_folder()?;
    let (path, seen, prefix) = match &scene.disk {
        Some(disk) => (disk.path(), disk.seen(), disk.prefix()),
        None => (folder.path().to_owned(), folder.path().to_owned(), vec![]),
    };
    let state = path.join("state").display().to_string();
    let pipeline = scene.pipeline(&state, kills);
    let environment = scene.store.as_ref().map(Store::environment);
    let environment = environment.unwrap_or_default();
    let weir = Weir::new(&pipeline, seen.join("state"), &prefix, &environment)?;

    let producer = Producer::start(&scene.kafka.address(), name, Fleet::new(seed))?;
    let mut driver = Driver::start(weir, report, chance)?;
    for kind in plan {
        driver.work();
        let killed = scene.kill(&mut driver, kind);
        killed.with_context(|| driver.story())?;
    }
    if kills == 0 {
        (0..QUIET_TURNS).for_each(|_| driver.work());
    }
    let sent = producer.finish()?;
    let expected = samples(&sent.events);
    driver.report.say(&format!(
        "{} events sent, {} samples expected",
        sent.events.len(),
        expected.len()
    ));
    let range = (START_MS, sent.flush_ms);
    scene
        .receiver
        .await_samples(&NAMES, range, expected.len())?;
    driver.weir.stop()?;
    let found = scene.receiver.samples(&NAMES, range)?;
    expect_same(&found, &expected).with_context(|| driver.story())?;
    let refused = scene.receiver.expect_nothing_refused();
    let answers = refused.with_context(|| driver.story())?;
    driver
        .report
        .say(&format!("the receiver's answers: {answers}"));
    driver.report.print();
    Ok(())
}

#[test]
fn every_sample_is_there_once_with_the_state_in_a_folder() -> Result<()> {
    let settings = Settings::read()?;
    let kills = settings.kills - 2 * (settings.kills / 4);
    run("chaos-folder", false, kills, settings.seed)
}

/// Without kills it would be the same as with a folder.
#[test]
fn every_sample_is_there_once_with_the_state_in_an_object_store() -> Result<()> {
    let settings = Settings::read()?;
    match settings.kills / 4 {
        0 => Ok(()),
        kills => run("chaos-store", true, kills, settings.seed),
    }
}
