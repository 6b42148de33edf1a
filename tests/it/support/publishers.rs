//! Clients that publish with QoS 1 while their broker is killed.
//!
//! Who guarantees what: with its acknowledgement the broker has taken over a message, but Mosquitto acknowledges
//! before it saves. What it acknowledged after its last save is lost with its process, before anybody else has
//! it, so a client that may lose nothing has to publish it again, with all that was not acknowledged. These do
//! ([`Mosquitto::kill_at_once`] knows what was saved). Everything that is left after that the broker has kept,
//! or handed over to its subscribers: it is theirs to lose. For some of it that is twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use super::mosquitto::Mosquitto;

/// The longest wait for acknowledgements, and of a client for what becomes of its broker.
const LIMIT: Duration = Duration::from_secs(120);

/// How many messages of a client are under way.
const INFLIGHT: u16 = 50;

/// A topic and a text.
pub(crate) type Message = (String, String);

/// Clients with a connection and a thread each.
#[derive(Debug)]
pub(crate) struct Publishers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<usize>>>,
}

#[derive(Debug)]
struct Shared {
    port: u16,
    acknowledged: AtomicUsize,
    broker: Mutex<Broker>,
    changed: Condvar,
}

/// What the clients are told of their broker.
#[derive(Debug, Default)]
struct Broker {
    /// Of each of its lives that were ended: when it had saved all that it had acknowledged.
    saved: Vec<SystemTime>,
    /// It will be killed no more.
    is_safe: bool,
}

impl Publishers {
    /// Begins to publish; each of the lists has a client, which keeps its order.
    pub(crate) fn start(port: u16, lists: Vec<Vec<Message>>) -> Self {
        let shared = Arc::new(Shared {
            port,
            acknowledged: AtomicUsize::new(0),
            broker: Mutex::default(),
            changed: Condvar::new(),
        });
        let threads = lists.into_iter().enumerate().map(|(number, messages)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || publish_all(&shared, &format!("publisher-{number}"), &messages))
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Waits for so many acknowledgements, kills the broker in the midst of its work and starts it again.
    ///
    /// # Errors
    /// They do not come, or the broker does not.
    pub(crate) fn kill_broker_after(&self, count: usize, mosquitto: &mut Mosquitto) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let acknowledged = self.shared.acknowledged.load(Ordering::SeqCst);
            if acknowledged >= count {
                break;
            }
            ensure!(Instant::now() < deadline, "{acknowledged} of {count}");
            thread::sleep(Duration::from_millis(1));
        }
        let saved = mosquitto.kill_at_once()?;
        mosquitto.restart()?;
        self.shared.lock().saved.push(saved);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Waits until everything is acknowledged by a broker that is killed no more, and says how often a client
    /// was interrupted with messages under way.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn finish(self) -> Result<usize> {
        self.shared.lock().is_safe = true;
        self.shared.changed.notify_all();
        let mut interrupted = 0;
        for thread in self.threads {
            interrupted += thread.join().ok().context("a publisher panicked")??;
        }
        Ok(interrupted)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what becomes of the broker's life of this number: up to when it was saved, where it was ended.
    fn await_end(&self, life: usize) -> Result<Option<SystemTime>> {
        let is_open = |broker: &mut Broker| broker.saved.len() <= life && !broker.is_safe;
        let waited = self.changed.wait_timeout_while(self.lock(), LIMIT, is_open);
        let (broker, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.timed_out(), "the broker is not killed any more");
        Ok(broker.saved.get(life).copied())
    }
}

fn publish_all(shared: &Shared, name: &str, messages: &[Message]) -> Result<usize> {
    let (mut left, mut interrupted) = (messages, 0);
    for life in 0.. {
        let acknowledged = publish(shared, name, left);
        let is_through = acknowledged.len() == left.len();
        let Some(saved) = shared.await_end(life)? else {
            ensure!(
                is_through,
                "{name}: {} of {}",
                acknowledged.len(),
                left.len()
            );
            break;
        };
        interrupted += usize::from(!is_through);
        let kept = acknowledged.partition_point(|at| *at < saved);
        left = left.get(kept..).unwrap_or_default();
    }
    Ok(interrupted)
}

/// Publishes until everything is acknowledged or the connection ends, and says when what was: acknowledgements
/// come in the order of the messages.
fn publish(shared: &Shared, name: &str, messages: &[Message]) -> Vec<SystemTime> {
    let mut options = MqttOptions::new(name, "127.0.0.1", shared.port);
    options.set_inflight(INFLIGHT);
    let (client, mut connection) = Client::new(options, 10);
    let mut acknowledged = Vec::new();
    thread::scope(|scope| {
        // The connection goes when its client does.
        let sender = scope.spawn(move || {
            for (topic, text) in messages {
                let sent = client.publish(topic, QoS::AtLeastOnce, false, text.as_str());
                if sent.is_err() {
                    break;
                }
            }
            client
        });
        while acknowledged.len() < messages.len() {
            match connection.recv() {
                Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => {
                    acknowledged.push(SystemTime::now());
                    shared.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Ok(_)) => {}
                _ => break,
            }
        }
        // Whoever still sends sees that nobody takes it.
        drop(connection);
        drop(sender.join());
    });
    acknowledged
}
