//! The thread that speaks to the broker.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Packet, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, StateError};
use tokio::time::{Interval, MissedTickBehavior};

use crate::telemetry::LogLimit;

use super::super::handover::Producer;
use super::super::idle::IdleTracker;
use super::super::{SourceError, SourceEvent, StopSignal};
use super::MqttSource;
use super::acks::Acks;
use super::backoff::Backoff;
use super::delivery::Handed;

/// How often the stop signal and idleness are looked for.
const TICK: Duration = Duration::from_millis(20);

/// How long the broker may take to read that we leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A wait for the pipeline that is long enough that what arrived meanwhile must be read before we
/// are idle.
const LONG_WAIT: Duration = Duration::from_millis(100);

/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A conversation with the broker over one or more connections.
pub(super) struct Session<'a> {
    source: &'a MqttSource,
    client: AsyncClient,
    producer: Producer<Handed>,
    acks: &'a Acks,
    stop: &'a StopSignal,
    idle: IdleTracker,
    /// The number of the connection; it grows when one is lost.
    connection: u64,
    connected: bool,
    was_connected: bool,
    phase: Phase,
    backoff: Backoff,
    log: LogLimit,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Messages are received.
    Receiving,
    /// What was received is handed over and acknowledged.
    Draining,
    /// The broker was told that we leave, and is to close the connection. If we did while it still
    /// sends, the system would reset the connection, and acknowledgements that the broker has not
    /// read yet would be lost.
    Leaving(Instant),
}

/// What to do after a packet.
enum Next {
    Poll,
    Reconnect(String),
}

impl<'a> Session<'a> {
    pub(super) fn new(
        source: &'a MqttSource,
        client: AsyncClient,
        producer: Producer<Handed>,
        acks: &'a Acks,
        stop: &'a StopSignal,
    ) -> Self {
        let mut idle = IdleTracker::new(source.context.idle_after.to_std());
        let now = Instant::now();
        idle.assigned(source.split.id, now);
        // A broker sends all it has, so a connected session is always read to its end.
        idle.caught_up(source.split.id, true, now);
        Self {
            source,
            client,
            producer,
            acks,
            stop,
            idle,
            connection: 0,
            connected: false,
            was_connected: false,
            phase: Phase::Receiving,
            backoff: Backoff::default(),
            log: LogLimit::every(LOG_EVERY),
        }
    }

    /// Receives until the signal is set or the pipeline takes no more.
    ///
    /// # Errors
    /// The broker refuses us or a subscription, and waiting would not mend it.
    pub(super) async fn run(mut self, mut events: EventLoop) -> Result<(), SourceError> {
        let result = self.receive(&mut events).await;
        self.source.metrics.connected.set(0);
        result
    }

    async fn receive(&mut self, events: &mut EventLoop) -> Result<(), SourceError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.hand_over(
            Handed::Event(SourceEvent::Assigned(self.source.split.clone())),
            0,
        );
        loop {
            self.wait_for_room();
            let Some(polled) = self.poll(events, &mut tick).await else {
                return Ok(());
            };
            let next = match polled {
                Ok(Event::Incoming(packet)) => {
                    // Any packet shows that the broker lives. While we read slowly, the answer to
                    // our ping may stand behind megabytes of messages.
                    events.state.await_pingresp = false;
                    self.heed(packet)?
                }
                Ok(Event::Outgoing(_)) => Next::Poll,
                Err(_) if matches!(self.phase, Phase::Leaving(_)) => return Ok(()),
                Err(error) => Next::Reconnect(self.describe(error)?),
            };
            let Next::Reconnect(reason) = next else {
                continue;
            };
            self.disconnected(events, &reason);
            if self.back_off(&mut tick).await.is_break() {
                return Ok(());
            }
        }
    }

    /// The next event, or none at the end. A poll that has begun is never given up before the end,
    /// because it may have read half a packet.
    async fn poll(
        &mut self,
        events: &mut EventLoop,
        tick: &mut Interval,
    ) -> Option<Result<Event, ConnectionError>> {
        let mut poll = pin!(events.poll());
        loop {
            if self.work().is_break() {
                return None;
            }
            tokio::select! {
                polled = &mut poll => return Some(polled),
                () = self.acks.changed() => {}
                _ = tick.tick() => {}
            }
        }
    }

    async fn back_off(&mut self, tick: &mut Interval) -> ControlFlow<()> {
        let mut wait = pin!(tokio::time::sleep(self.backoff.next()));
        loop {
            self.work()?;
            tokio::select! {
                () = &mut wait => return ControlFlow::Continue(()),
                _ = tick.tick() => {}
            }
        }
    }

    /// What is to be done besides receiving; says when all is done.
    fn work(&mut self) -> ControlFlow<()> {
        self.acks.send(self.connection, |ack| {
            self.client.try_ack(&ack.publish()).is_ok()
        });
        match self.phase {
            Phase::Receiving if self.stop.is_stopped() || self.producer.is_abandoned() => {
                self.producer.finish();
                self.phase = Phase::Draining;
            }
            Phase::Receiving => {
                for split in self.idle.take_woken() {
                    self.hand_over(Handed::Event(SourceEvent::Active(split)), 0);
                }
                for split in self.idle.due(Instant::now()) {
                    self.hand_over(Handed::Event(SourceEvent::Idle(split)), 0);
                }
            }
            Phase::Draining if !self.acks.are_done() => {}
            Phase::Draining if !self.connected => return ControlFlow::Break(()),
            Phase::Draining => {
                if self.client.try_disconnect().is_ok() {
                    self.phase = Phase::Leaving(Instant::now());
                }
            }
            Phase::Leaving(since) => {
                if !self.connected || since.elapsed() > LEAVE_TIMEOUT {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Waits until the pipeline takes more. The thread is blocked on purpose: what is not read
    /// stays with the broker. Should the broker lose patience, it keeps the session.
    fn wait_for_room(&mut self) {
        if self.phase != Phase::Receiving || self.producer.has_room(Duration::ZERO) {
            return;
        }
        self.source.metrics.buffer_full.inc();
        let start = Instant::now();
        while !self.producer.has_room(TICK) && !self.stop.is_stopped() {}
        if start.elapsed() >= LONG_WAIT {
            self.idle.blocked(Instant::now());
        }
    }

    fn heed(&mut self, packet: Packet) -> Result<Next, SourceError> {
        match packet {
            Packet::ConnAck(answer) => Ok(self.connected(&answer)),
            Packet::SubAck(answer) => self.subscribed(&answer),
            Packet::Publish(message) => {
                self.message(message);
                Ok(Next::Poll)
            }
            _ => Ok(Next::Poll),
        }
    }

    /// Subscribes at every connection: the broker may have lost the session, or the pipeline may
    /// have other topics than before.
    fn connected(&mut self, answer: &ConnAck) -> Next {
        let session_kept = answer.session_present;
        tracing::info!(source = %self.source.name, session_kept, "connected");
        if self.was_connected {
            self.source.metrics.reconnects.inc();
        }
        self.connected = true;
        self.was_connected = true;
        self.source.metrics.connected.set(1);
        self.idle.connected(true, Instant::now());
        match self.client.try_subscribe_many(self.source.filters.clone()) {
            Ok(()) => Next::Poll,
            Err(error) => Next::Reconnect(format!("cannot subscribe: {error}")),
        }
    }

    fn subscribed(&mut self, answer: &SubAck) -> Result<Next, SourceError> {
        for (filter, code) in self.source.filters.iter().zip(&answer.return_codes) {
            let path = &filter.path;
            match code {
                SubscribeReasonCode::Success(QoS::AtMostOnce) => {
                    tracing::warn!(
                        filter = %path,
                        "the broker grants QoS 0 only: messages can be lost"
                    );
                }
                SubscribeReasonCode::Success(_) => {}
                SubscribeReasonCode::NotAuthorized
                | SubscribeReasonCode::TopicFilterInvalid
                | SubscribeReasonCode::SharedSubscriptionsNotSupported
                | SubscribeReasonCode::WildcardSubscriptionsNotSupported => {
                    let message = format!("the broker refuses topic filter '{path}': {code:?}");
                    return Err(SourceError::new(&self.source.name, message));
                }
                _ => {
                    let reason = format!("the broker did not take topic filter '{path}': {code:?}");
                    return Ok(Next::Reconnect(reason));
                }
            }
        }
        self.backoff.reset();
        Ok(Next::Poll)
    }

    /// A message that comes after the end is not taken, and so not acknowledged: it comes again.
    fn message(&mut self, mut message: Publish) {
        if self.phase != Phase::Receiving {
            return;
        }
        self.idle.active(self.source.split.id, Instant::now());
        message.properties = None;
        let bytes = message.topic.len() + message.payload.len() + size_of::<Handed>();
        self.hand_over(Handed::Message(message, self.connection), bytes);
    }

    fn hand_over(&mut self, handed: Handed, bytes: usize) {
        if self.producer.push(handed, bytes).is_err() {
            self.phase = Phase::Draining;
        }
    }

    fn disconnected(&mut self, events: &mut EventLoop, reason: &str) {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(source = %self.source.name, held_back, "not connected: {reason}");
        }
        events.clean();
        self.take_unacknowledgeable(&mut events.state.events);
        self.connection += 1;
        self.connected = false;
        self.source.metrics.connected.set(0);
        self.idle.connected(false, Instant::now());
    }

    /// Empties what rumqttc has read of the lost connection and would give out as part of the next
    /// one. The broker sends it again, except for messages of QoS 0.
    fn take_unacknowledgeable(&mut self, events: &mut VecDeque<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Incoming(Packet::Publish(message)) if message.qos == QoS::AtMostOnce => {
                    self.message(message);
                }
                _ => {}
            }
        }
    }

    /// The words for a lost connection.
    ///
    /// # Errors
    /// It was refused at the first attempt for a reason that stays.
    fn describe(&self, error: ConnectionError) -> Result<String, SourceError> {
        match error {
            ConnectionError::ConnectionRefused(code) if !self.was_connected && stays(code) => {
                let message = format!("the broker refuses the connection: {code:?}");
                Err(SourceError::new(&self.source.name, message))
            }
            ConnectionError::MqttState(StateError::IncomingPacketTooLarge { pkt_size, max }) => Ok(
                format!("a packet of {pkt_size} bytes came; max_packet_bytes is {max}"),
            ),
            other => Ok(other.to_string()),
        }
    }
}

/// Whether waiting would not change a refusal. Once connected we wait nevertheless: a broker that
/// restarts may refuse everybody for a moment.
fn stays(code: ConnectReturnCode) -> bool {
    matches!(
        code,
        ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::ClientIdentifierNotValid
            | ConnectReturnCode::Banned
            | ConnectReturnCode::BadAuthenticationMethod
            | ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion
    )
}
