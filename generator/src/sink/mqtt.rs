//! Events to an MQTT 5 broker with QoS 1, over one connection.

use std::fmt;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{Client, Connection, Event as ClientEvent, MqttOptions};

use crate::event::Event;
use crate::target::TopicTemplate;

/// How long the broker is waited for at the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a lost broker may stay away, and the end waits for the next acknowledgement.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two attempts to reach a lost broker.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How long the broker keeps our session while the connection is lost, in seconds.
const SESSION_EXPIRY_S: u32 = 300;
/// How many events wait for the connection.
const QUEUE: usize = 1_000;

/// Topics of a broker.
pub struct MqttSink {
    client: Client,
    topic: TopicTemplate,
    address: String,
    published: u64,
    link: Arc<Link>,
    driver: thread::JoinHandle<()>,
}

/// Why a broker takes no events.
#[derive(Debug, thiserror::Error)]
pub enum MqttSinkError {
    /// Nobody answers.
    #[error("no MQTT broker answers at {0} within ten seconds; check its address")]
    Unreachable(String),
    /// The thread of the connection cannot be started.
    #[error("cannot start the thread of the MQTT connection")]
    Thread(#[source] std::io::Error),
    /// The connection is over.
    #[error("MQTT broker {address} takes no more events: {reason}")]
    Failed {
        /// The broker.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The topic is not one that can be published to.
    #[error("'{0}' is not an MQTT topic to publish to")]
    Topic(String),
    /// Some events were not acknowledged.
    #[error("{unacknowledged} events to {address} are not acknowledged after 30 seconds")]
    Unacknowledged {
        /// How many.
        unacknowledged: u64,
        /// The broker.
        address: String,
    },
}

/// What the thread of the connection tells the sender.
#[derive(Debug, Default)]
struct Link {
    state: Mutex<LinkState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LinkState {
    connected: bool,
    acknowledged: u64,
    failure: Option<String>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut LinkState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits while the condition holds, but no longer than this.
    fn wait_while(
        &self,
        timeout: Duration,
        condition: impl FnMut(&mut LinkState) -> bool,
    ) -> MutexGuard<'_, LinkState> {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), timeout, condition);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl MqttSink {
    /// Connects to a broker.
    ///
    /// # Errors
    /// When it does not answer within ten seconds, or refuses.
    pub fn open(host: &str, port: u16, topic: TopicTemplate) -> Result<Self, MqttSinkError> {
        let address = format!("{host}:{port}");
        let mut options = MqttOptions::new(client_id(), host, port);
        options.set_keep_alive(Duration::from_secs(10));
        options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        // The client library resends what was not acknowledged only into the same session.
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(SESSION_EXPIRY_S));
        let (client, connection) = Client::new(options, QUEUE);
        let link = Arc::new(Link::default());
        let driver = thread::Builder::new()
            .name("mqtt".to_owned())
            .spawn({
                let link = Arc::clone(&link);
                move || drive(connection, &link)
            })
            .map_err(MqttSinkError::Thread)?;
        let sink = Self {
            client,
            topic,
            address,
            published: 0,
            link,
            driver,
        };
        let state = sink.link.wait_while(CONNECT_TIMEOUT, |state| {
            !state.connected && state.failure.is_none()
        });
        if let Some(reason) = &state.failure {
            return Err(MqttSinkError::Failed {
                address: sink.address.clone(),
                reason: reason.clone(),
            });
        }
        if !state.connected {
            return Err(MqttSinkError::Unreachable(sink.address.clone()));
        }
        drop(state);
        Ok(sink)
    }

    /// Queues an event; blocks while the queue is full.
    pub(super) fn send(&mut self, event: &Event) -> Result<(), MqttSinkError> {
        let mut payload = Vec::new();
        event.write_json(&mut payload);
        let topic = self.topic.of(event);
        if self
            .client
            .publish(topic.as_str(), QoS::AtLeastOnce, false, payload)
            .is_err()
        {
            return match self.failure() {
                Some(failure) => Err(failure),
                None => Err(MqttSinkError::Topic(topic)),
            };
        }
        self.published += 1;
        Ok(())
    }

    /// Waits until everything is acknowledged, as long as acknowledgements keep coming, and
    /// disconnects.
    pub(super) fn finish(self) -> Result<(), MqttSinkError> {
        let mut acknowledged = self.link.lock().acknowledged;
        while acknowledged < self.published {
            let state = self.link.wait_while(PATIENCE, |state| {
                state.acknowledged == acknowledged && state.failure.is_none()
            });
            let progressed = state.acknowledged > acknowledged;
            acknowledged = state.acknowledged;
            drop(state);
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if !progressed {
                return Err(MqttSinkError::Unacknowledged {
                    unacknowledged: self.published - acknowledged,
                    address: self.address,
                });
            }
        }
        // If the connection is already gone there is nothing to take leave of.
        if self.client.disconnect().is_ok() {
            drop(self.driver.join());
        }
        Ok(())
    }

    fn failure(&self) -> Option<MqttSinkError> {
        let reason = self.link.lock().failure.clone()?;
        Some(MqttSinkError::Failed {
            address: self.address.clone(),
            reason,
        })
    }
}

impl fmt::Debug for MqttSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttSink")
            .field("address", &self.address)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// An id that no other instance has: the broker would throw one of the two out.
fn client_id() -> String {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("weirgen-{}-{}", process::id(), since_epoch.as_micros())
}

/// Drives the connection until the sender disconnects or is gone, or the broker is lost.
fn drive(mut connection: Connection, link: &Link) {
    let mut lost_since: Option<Instant> = None;
    for event in connection.iter() {
        let failure = match event {
            Ok(ClientEvent::Outgoing(Outgoing::Disconnect)) => return,
            Ok(ClientEvent::Incoming(packet)) => {
                lost_since = None;
                on_packet(&packet, link)
            }
            Ok(ClientEvent::Outgoing(_)) => None,
            Err(error) => {
                let lost_for = lost_since.get_or_insert_with(Instant::now).elapsed();
                if link.lock().connected && lost_for < PATIENCE {
                    thread::sleep(RECONNECT_PAUSE);
                    continue;
                }
                Some(error.to_string())
            }
        };
        if failure.is_some() {
            link.update(|state| state.failure = failure);
            return;
        }
    }
}

/// Notes what the broker says; returns what is wrong with it.
fn on_packet(packet: &Packet, link: &Link) -> Option<String> {
    match packet {
        Packet::ConnAck(ack) => {
            if link.lock().connected && !ack.session_present {
                return Some("it came back without our session, events are lost".to_owned());
            }
            link.update(|state| state.connected = true);
            None
        }
        Packet::PubAck(ack) => {
            if !matches!(
                ack.reason,
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers
            ) {
                return Some(format!("it refused an event: {:?}", ack.reason));
            }
            link.update(|state| state.acknowledged += 1);
            None
        }
        Packet::Disconnect(disconnect) => {
            Some(format!("it disconnected us: {:?}", disconnect.reason_code))
        }
        _ => None,
    }
}
