//! Messages through a broker that is killed as well: what a device's broker has acknowledged counts
//! once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Settings;
use crate::driver::{Driver, plan};
use crate::expected::expect_same;
use crate::proxy::{Finder, Listener, Proxy};
use crate::publishers::{DIGITS, MARK, Publishers, START_MS, publish_nothing, time_ms};
use crate::receiver::Receiver;
use crate::report::Report;
use crate::support::files::temporary_folder;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::samples::Sample;
use crate::weir::Weir;

/// How long it runs without kills, in turns of a second at most.
const QUIET_TURNS: usize = 6;

/// The longest wait for weir's subscription.
const LIMIT: Duration = Duration::from_secs(30);

/// One sample a window each: how many ids there were, and how many messages.
const IDS: &str = "chaos_ids";
const MESSAGES: &str = "chaos_messages";

const WINDOW_MS: i64 = 2_000;

/// How often each message went out to weir.
type Delivered = Arc<Mutex<BTreeMap<u64, u32>>>;

/// Kinds of kills.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// At any moment.
    Random,
    /// Just after a checkpoint has begun.
    Checkpoint,
    /// While weir comes back.
    Restore,
    /// Just after the broker was killed.
    Broker,
    /// While the broker is away.
    Outage,
}

const KINDS: [Kind; 5] = [
    Kind::Random,
    Kind::Checkpoint,
    Kind::Restore,
    Kind::Broker,
    Kind::Outage,
];

fn pipeline(broker: &Proxy, receiver: &Receiver, state: &str) -> String {
    format!(
        "pipeline: chaos-mqtt\n\
         source:\n  \
           mqtt: {{ url: \"mqtt://{}\", client_id: chaos, topics: [\"fleet/#\"] }}\n  \
           decode: json\n\
         event:\n  \
           time: {{ from: timestamp, unit: ms }}\n  \
           fields: {{ id: text }}\n\
         # What the broker delivers again after a crash is not late.\n\
         time: {{ out_of_order: 10s, idle_after: 1h }}\n\
         metrics:\n  \
           {IDS}:\n    \
             where: id <> 'flush'\n    \
             window: {{ tumbling: 2s }}\n    \
             value: count(DISTINCT id)\n  \
           {MESSAGES}:\n    \
             where: id <> 'flush'\n    \
             window: {{ tumbling: 2s }}\n    \
             value: count(*)\n\
         write:\n  \
           remote_write:\n    \
             url: {}\n    \
             batch: {{ deadline: 50ms }}\n    \
             backoff: {{ max: 200ms }}\n\
         state: {{ dir: {state}, checkpoint: {{ every: 500ms }} }}\n",
        broker.address(),
        receiver.url(),
    )
}

/// Notes every message that the broker delivers.
fn note(delivered: Delivered) -> Listener {
    let mut finder = Finder::new(MARK, DIGITS);
    Box::new(move |bytes| {
        for id in finder.find(bytes) {
            if let Ok(number) = id.parse() {
                *lock(&delivered).entry(number).or_default() += 1;
            }
        }
    })
}

fn lock(delivered: &Delivered) -> std::sync::MutexGuard<'_, BTreeMap<u64, u32>> {
    delivered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Before weir has subscribed, the broker keeps nothing for it.
fn await_subscription(driver: &Driver, mosquitto: &Mosquitto) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while driver.weir.metric("weir_source_records_total")? < 1.0 {
        ensure!(Instant::now() < deadline, "no subscription");
        publish_nothing(mosquitto.port())?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn kill(
    driver: &mut Driver,
    kind: Kind,
    mosquitto: &mut Mosquitto,
    publishers: &Publishers,
) -> Result<()> {
    match kind {
        Kind::Random => driver.kill("random"),
        Kind::Checkpoint => driver.kill_in_checkpoint(),
        Kind::Restore => driver.kill_in_restore(),
        Kind::Broker => {
            kill_broker(mosquitto, publishers)?;
            mosquitto.restart()?;
            driver.pause(0..500);
            driver.kill("broker")
        }
        Kind::Outage => {
            let mosquitto = std::cell::RefCell::new(mosquitto);
            driver.kill_in_outage(
                "outage",
                || kill_broker(&mut mosquitto.borrow_mut(), publishers),
                || mosquitto.borrow_mut().restart(),
            )
        }
    }
}

/// Mosquitto acknowledges a little before it saves, and what it loses in between nobody else can
/// have: so no message is under way to it while it saves and is killed. What it has not delivered,
/// and what weir has not acknowledged, it has saved.
fn kill_broker(mosquitto: &mut Mosquitto, publishers: &Publishers) -> Result<()> {
    let held = publishers.hold();
    mosquitto.kill()?;
    drop(held);
    Ok(())
}

/// Sums by window.
fn by_window(messages: &BTreeMap<u64, u32>, value: impl Fn(u32) -> u32) -> BTreeMap<i64, u32> {
    let mut windows = BTreeMap::new();
    for (number, times) in messages {
        let end_ms = (time_ms(*number).div_euclid(WINDOW_MS) + 1) * WINDOW_MS;
        *windows.entry(end_ms).or_default() += value(*times);
    }
    windows
}

fn samples(name: &str, windows: &BTreeMap<i64, u32>) -> Vec<Sample> {
    let sample = |(end_ms, count): (&i64, &u32)| Sample::new(name, &[], *end_ms, f64::from(*count));
    windows.iter().map(sample).collect()
}

/// A message may come several times from the broker, and each time counts as a message: at least
/// once, and never more often than it was delivered.
fn expect_messages(
    found: &[Sample],
    ids: &BTreeMap<i64, u32>,
    delivered: &BTreeMap<i64, u32>,
) -> Result<()> {
    ensure!(
        found.len() == ids.len(),
        "{} windows of messages for {}",
        found.len(),
        ids.len()
    );
    for (sample, (end_ms, ids)) in found.iter().zip(ids) {
        let delivered = delivered.get(end_ms).copied().unwrap_or_default();
        ensure!(
            sample.timestamp_ms == *end_ms
                && f64::from(*ids) <= sample.value
                && sample.value <= f64::from(delivered),
            "{sample:?} at {end_ms}: {ids} ids, {delivered} deliveries"
        );
    }
    Ok(())
}

fn run(kills: usize, seed: u64) -> Result<()> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let plan = plan(&KINDS, kills, &mut chance);
    let report = Report::new("chaos-mqtt", seed, plan.len());

    let mut mosquitto = Mosquitto::start_with(&MosquittoOptions {
        save_every_change: true,
        ..MosquittoOptions::default()
    })?;
    let receiver = Receiver::start()?;
    let delivered = Delivered::default();
    let noted = Arc::clone(&delivered);
    let proxy = Proxy::start(mosquitto.port(), move || note(Arc::clone(&noted)))?;
    let folder = temporary_folder()?;
    let state = folder.path().join("state");
    let text = pipeline(&proxy, &receiver, &state.display().to_string());
    let weir = Weir::new(&text, state, &[], &[])?;
    let mut driver = Driver::start(weir, report, chance)?;
    await_subscription(&driver, &mosquitto)?;

    let publishers = Publishers::start(mosquitto.port());
    for kind in plan {
        driver.work();
        let killed = kill(&mut driver, kind, &mut mosquitto, &publishers);
        killed.with_context(|| driver.story())?;
    }
    if kills == 0 {
        (0..QUIET_TURNS).for_each(|_| driver.work());
    }
    let (acknowledged, flush_ms) = publishers.finish()?;
    let ids = by_window(&acknowledged, |_| 1);
    let expected = samples(IDS, &ids);
    let range = (START_MS, flush_ms);
    receiver.await_samples(&[IDS, MESSAGES], range, 2 * expected.len())?;
    driver.weir.stop()?;

    let context = || driver.story();
    expect_same(&receiver.samples(&[IDS], range)?, &expected).with_context(context)?;
    let found = receiver.samples(&[MESSAGES], range)?;
    let deliveries = lock(&delivered).clone();
    expect_messages(&found, &ids, &by_window(&deliveries, |times| times)).with_context(context)?;
    let answers = receiver.expect_nothing_refused().with_context(context)?;
    let counted: f64 = found.iter().map(|sample| sample.value).sum();
    driver.report.say(&format!(
        "{} messages acknowledged, {} of them published again; delivered {}, counted {counted}",
        acknowledged.len(),
        acknowledged.values().filter(|times| **times > 1).count(),
        deliveries.values().sum::<u32>(),
    ));
    driver
        .report
        .say(&format!("the receiver's answers: {answers}"));
    driver.report.print();
    Ok(())
}

#[test]
fn every_acknowledged_message_counts_once() -> Result<()> {
    let settings = Settings::read()?;
    run(settings.kills / 4, settings.seed)
}
