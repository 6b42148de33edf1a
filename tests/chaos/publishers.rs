//! Devices that publish with QoS 1 and repeat each message until it is acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS};

/// How many devices publish side by side.
const DEVICES: u16 = 3;

/// What a device waits between two messages, and before it connects again.
const PAUSE: Duration = Duration::from_millis(4);
const AGAIN: Duration = Duration::from_millis(50);

/// Where event time begins: long ago, and a beginning of all windows.
pub(crate) const START_MS: i64 = 1_730_621_760_000;

/// Event time from one message to the next.
const MESSAGE_MS: i64 = 10;

/// How far beyond the last message the one lies that closes all windows.
const FLUSH_MS: i64 = 60_000;

/// The digits of an id, so that ids have one length.
pub(crate) const DIGITS: usize = 8;

/// What stands in front of the digits of an id.
pub(crate) const MARK: &[u8] = b"\"id\":\"m";

/// What the devices share.
#[derive(Debug)]
struct Shared {
    port: u16,
    next: AtomicU64,
    done: AtomicBool,
    /// A device reads it from the making of a message until its acknowledgement.
    hold: RwLock<()>,
    /// How often each acknowledged message was published.
    acknowledged: Mutex<BTreeMap<u64, u32>>,
}

/// Threads that publish.
#[derive(Debug)]
pub(crate) struct Publishers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Publishers {
    /// Begins.
    pub(crate) fn start(port: u16) -> Self {
        let shared = Arc::new(Shared {
            port,
            next: AtomicU64::new(0),
            done: AtomicBool::new(false),
            hold: RwLock::new(()),
            acknowledged: Mutex::default(),
        });
        let mut threads = Vec::new();
        for device in 0..DEVICES {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || publish_all(device, &shared)));
        }
        Self { shared, threads }
    }

    /// Holds them back: from now on, until this is dropped, every message is acknowledged.
    pub(crate) fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared
            .hold
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends them, closes all windows, and says how often each message was published. All of them
    /// are acknowledged.
    ///
    /// # Errors
    /// The last message cannot be published.
    pub(crate) fn finish(self) -> Result<(BTreeMap<u64, u32>, i64)> {
        self.shared.done.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| anyhow!("a device has panicked"))?;
        }
        let count = i64::try_from(self.shared.next.load(Ordering::SeqCst))?;
        let flush_ms = START_MS + count * MESSAGE_MS + FLUSH_MS;
        publish_flush(self.shared.port, flush_ms)?;
        let acknowledged = self.shared.acknowledged.lock();
        let acknowledged = acknowledged.unwrap_or_else(PoisonError::into_inner).clone();
        Ok((acknowledged, flush_ms))
    }
}

/// When a message was made, in event time, ms since the epoch.
pub(crate) fn time_ms(number: u64) -> i64 {
    START_MS + number.cast_signed() * MESSAGE_MS
}

/// Publishes an event of 1970, which counts for nothing: weir gets it once it has subscribed.
///
/// # Errors
/// It is not acknowledged.
pub(crate) fn publish_nothing(port: u16) -> Result<()> {
    publish_once(port, "nothing", "{\"timestamp\":0,\"id\":\"nothing\"}")
}

fn publish_flush(port: u16, time_ms: i64) -> Result<()> {
    let payload = format!("{{\"timestamp\":{time_ms},\"id\":\"flush\"}}");
    publish_once(port, "flush", &payload)
}

fn publish_once(port: u16, name: &str, payload: &str) -> Result<()> {
    let (client, mut connection) = connect(port, name);
    publish(&client, &mut connection, payload)
}

fn publish_all(device: u16, shared: &Shared) {
    let name = format!("device-{device}");
    let (mut client, mut connection) = connect(shared.port, &name);
    while !shared.done.load(Ordering::SeqCst) {
        let held = shared.hold.read().unwrap_or_else(PoisonError::into_inner);
        let number = shared.next.fetch_add(1, Ordering::SeqCst);
        let payload = format!(
            "{{\"timestamp\":{},\"id\":\"m{number:0DIGITS$}\"}}",
            time_ms(number)
        );
        let mut times = 1;
        while publish(&client, &mut connection, &payload).is_err() {
            // The broker is away. It may have the message, and gets it again.
            times += 1;
            thread::sleep(AGAIN);
            (client, connection) = connect(shared.port, &name);
        }
        shared
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, times);
        drop(held);
        thread::sleep(PAUSE);
    }
}

fn connect(port: u16, name: &str) -> (Client, Connection) {
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(5));
    Client::new(options, 10)
}

/// Publishes a message and waits for its acknowledgement.
fn publish(client: &Client, connection: &mut Connection, payload: &str) -> Result<()> {
    client.publish("fleet/ids", QoS::AtLeastOnce, false, payload)?;
    for event in connection.iter() {
        if matches!(event?, Event::Incoming(Packet::PubAck(_))) {
            return Ok(());
        }
    }
    bail!("the connection has ended without an acknowledgement")
}
