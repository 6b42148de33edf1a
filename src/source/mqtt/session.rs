//! The thread that speaks to the broker.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior};

use crate::telemetry::LogLimit;

use super::super::handover::Producer;
use super::super::idle::IdleTracker;
use super::super::{SourceError, SourceEvent, StopSignal};
use super::acks::Acks;
use super::backoff::Backoff;
use super::broker::Broker;
use super::client::{Answer, CONNECT_TIMEOUT, Events, Filter, Incoming, Message, Requests};
use super::confirming::Confirming;
use super::delivery::Handed;
use super::failure::Failure;

/// How often the stop signal and idleness are looked for.
const TICK: Duration = Duration::from_millis(20);

/// How long the broker may take to read that we leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A wait for the pipeline that is long enough that what arrived meanwhile must be read before we
/// are idle.
const LONG_WAIT: Duration = Duration::from_millis(100);

/// How long the broker may send no message before it answers what we subscribe to.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// How many times `max_packet_bytes` a packet may have that the broker cannot be told to leave out.
const MOST_OVER: usize = 4;

/// How many filters one request to subscribe has: AWS IoT Core takes no more.
const FILTERS_AT_ONCE: usize = 8;

/// A conversation with the broker over one or more connections.
pub(super) struct Session<'a> {
    broker: &'a Broker,
    filters: Vec<Filter>,
    requests: Requests,
    producer: Producer<Handed>,
    acks: &'a Acks,
    /// The acknowledgements of what is in the log; without one, nothing is known of repeats.
    confirming: Confirming,
    stop: &'a StopSignal,
    idle: IdleTracker,
    /// The number of the connection; it grows when one is lost.
    connection: u64,
    connected: bool,
    was_connected: bool,
    /// To how many of the filters the broker has agreed since it was connected.
    agreed: usize,
    /// Since when it has sent no message, while it is to agree to some.
    unanswered: Option<Instant>,
    /// Whether it has once agreed to all of them.
    was_subscribed: bool,
    /// Whether it is to have a session of ours: of this run, or of an earlier one.
    had_session: bool,
    /// The size of a packet that was too large, bytes, where the broker will send it again.
    too_large: usize,
    /// Whether a packet came that is not taken at all: the broker sends it over every connection.
    is_stuck: bool,
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
    /// All is acknowledged, and it is to be known that the broker has it: what comes with the same bytes
    /// after a restart is another message then.
    Confirming(Instant),
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
        broker: &'a Broker,
        requests: Requests,
        producer: Producer<Handed>,
        acks: &'a Acks,
        stop: &'a StopSignal,
    ) -> Self {
        let mut idle = IdleTracker::new(broker.context.idle_after.to_std());
        let now = Instant::now();
        idle.assigned(broker.split.id, now);
        // A broker sends all it has, so a connected session is always read to its end.
        idle.caught_up(broker.split.id, true, now);
        Self {
            broker,
            filters: broker.connecting.filters(),
            requests,
            producer,
            acks,
            confirming: Confirming::default(),
            stop,
            idle,
            connection: 0,
            connected: false,
            was_connected: false,
            agreed: 0,
            unanswered: None,
            was_subscribed: false,
            had_session: broker.had_session,
            too_large: 0,
            is_stuck: false,
            phase: Phase::Receiving,
            backoff: Backoff::default(),
            log: LogLimit::every(LOG_EVERY),
        }
    }

    /// Receives until the signal is set or the pipeline takes no more.
    ///
    /// # Errors
    /// The broker refuses us or a subscription, and waiting would not mend it.
    pub(super) async fn run(mut self, mut events: Events) -> Result<(), SourceError> {
        let result = self.receive(&mut events).await;
        self.broker.metrics.disconnected();
        result
    }

    async fn receive(&mut self, events: &mut Events) -> Result<(), SourceError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Some(reason) = self.connect_and_receive(events, &mut tick).await? else {
                return Ok(());
            };
            self.disconnected(events, &reason);
            if self.back_off(&mut tick).await.is_break() {
                return Ok(());
            }
        }
    }

    /// Receives over one connection; gives why it was lost, or nothing at the end.
    async fn connect_and_receive(
        &mut self,
        events: &mut Events,
        tick: &mut Interval,
    ) -> Result<Option<String>, SourceError> {
        match self.renew(events, tick).await {
            None => return Ok(None),
            Some(Err(reason)) => return Ok(Some(reason)),
            Some(Ok(())) => {}
        }
        loop {
            self.wait_for_room();
            if !matches!(self.phase, Phase::Leaving(_)) && self.confirming.takes_ping() {
                events.ping();
            }
            let Some(polled) = self.poll(events, tick).await else {
                return Ok(None);
            };
            let next = match polled {
                Ok(incoming) => self.heed(incoming)?,
                Err(_) if matches!(self.phase, Phase::Leaving(_)) => return Ok(None),
                Err(failure) => Next::Reconnect(self.describe(failure)?),
            };
            if let Next::Reconnect(reason) = next {
                return Ok(Some(reason));
            }
        }
    }

    /// Reads passwords and certificates anew, and signs anew: they may have expired. Nothing at the
    /// end.
    async fn renew(
        &mut self,
        events: &mut Events,
        tick: &mut Interval,
    ) -> Option<Result<(), String>> {
        let broker = self.broker;
        let options = broker.connecting.fresh(std::mem::take(&mut self.too_large));
        let mut options = pin!(tokio::time::timeout(CONNECT_TIMEOUT, options));
        loop {
            if self.work().is_break() {
                return None;
            }
            tokio::select! {
                options = &mut options => {
                    let options = match options {
                        Ok(Ok(options)) => options,
                        Ok(Err(reason)) => return Some(Err(reason)),
                        Err(_) => return Some(Err("there are no credentials in time".to_owned())),
                    };
                    events.renew(options);
                    return Some(Ok(()));
                }
                _ = tick.tick() => {}
            }
        }
    }

    /// The next event, or none at the end. A poll that has begun is never given up before the end,
    /// because it may have read half a packet.
    async fn poll(
        &mut self,
        events: &mut Events,
        tick: &mut Interval,
    ) -> Option<Result<Incoming, Failure>> {
        let mut poll = pin!(events.poll());
        loop {
            if self.work().is_break() {
                return None;
            }
            tokio::select! {
                polled = &mut poll => {
                    // Messages of a session that was kept may stand before the answer.
                    if let (Some(since), Ok(Incoming::Message(_))) = (&mut self.unanswered, &polled) {
                        *since = Instant::now();
                    }
                    return Some(polled);
                }
                () = self.acks.changed() => {}
                _ = tick.tick() => {}
            }
            let is_silent = |since: Instant| since.elapsed() > ANSWER_TIMEOUT;
            if self.unanswered.is_some_and(is_silent) {
                let reason =
                    format!("the broker has not answered a subscription for {ANSWER_TIMEOUT:?}");
                return Some(Err(Failure::Lost(reason)));
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
        let is_logged = self.broker.context.log.is_some();
        self.acks.send(self.connection, |ack| {
            let is_taken = self.requests.acknowledge(ack);
            if is_taken && is_logged {
                self.confirming.ask(ack);
            }
            is_taken
        });
        let waiting = i64::try_from(self.producer.held()).unwrap_or(i64::MAX);
        self.broker.metrics.waiting_bytes.set(waiting);
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
            Phase::Draining | Phase::Confirming(_) if !self.connected => {
                return ControlFlow::Break(());
            }
            Phase::Draining => self.leave(Instant::now()),
            Phase::Confirming(since) => self.leave(since),
            Phase::Leaving(since) => {
                if !self.connected || since.elapsed() > LEAVE_TIMEOUT {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Leaves once the broker has all acknowledgements, or has had the time for it.
    fn leave(&mut self, since: Instant) {
        let is_over = self.confirming.is_done() || since.elapsed() > LEAVE_TIMEOUT;
        self.phase = if is_over && self.requests.leave() {
            Phase::Leaving(Instant::now())
        } else {
            Phase::Confirming(since)
        };
    }

    /// Waits until the pipeline takes more. The thread is blocked on purpose: what is not read
    /// stays with the broker. Should the broker lose patience, it keeps the session.
    fn wait_for_room(&mut self) {
        if self.phase != Phase::Receiving || self.producer.has_room(Duration::ZERO) {
            return;
        }
        self.broker.source_metrics.buffer_full.inc();
        let start = Instant::now();
        while !self.producer.has_room(TICK) && !self.stop.is_stopped() {}
        if let Some(since) = &mut self.unanswered {
            *since = Instant::now();
        }
        if start.elapsed() >= LONG_WAIT {
            self.idle.blocked(Instant::now());
        }
    }

    fn heed(&mut self, incoming: Incoming) -> Result<Next, SourceError> {
        match incoming {
            Incoming::Connected { session_kept } => Ok(self.connected(session_kept)),
            Incoming::Subscribed(answers) => self.subscribed(answers),
            Incoming::Message(message) => {
                self.message(message);
                Ok(Next::Poll)
            }
            Incoming::AckSent => {
                self.confirming.ack_sent();
                Ok(Next::Poll)
            }
            Incoming::PingSent => {
                self.confirming.ping_sent();
                Ok(Next::Poll)
            }
            Incoming::PingAnswered => {
                self.acks.confirm(self.confirming.ping_answered());
                Ok(Next::Poll)
            }
            Incoming::Acknowledged(_) | Incoming::Other => Ok(Next::Poll),
        }
    }

    /// Subscribes at every connection: the broker may have lost the session, or the pipeline may
    /// have other topics than before.
    fn connected(&mut self, session_kept: bool) -> Next {
        let broker = self.broker;
        tracing::info!(source = %broker.name, session_kept, "connected");
        self.hand_over(Handed::Connected { session_kept }, 0);
        if self.had_session && !session_kept {
            self.had_session = false;
            broker.metrics.sessions_lost.inc();
            tracing::warn!(
                source = %broker.name,
                "the broker no longer has our session: what it kept for us while we were not connected \
                 is gone"
            );
        }
        broker.metrics.connected(self.was_connected);
        self.connected = true;
        self.was_connected = true;
        self.agreed = 0;
        if session_kept && self.was_subscribed && broker.connecting.keeps_subscriptions() {
            self.agreed = self.filters.len();
        }
        self.subscribe()
    }

    /// Asks for some of the filters that the broker has not agreed to yet.
    fn subscribe(&mut self) -> Next {
        let rest = self.filters.get(self.agreed..).unwrap_or_default();
        let Some(filters) = rest.chunks(FILTERS_AT_ONCE).next() else {
            self.was_subscribed = true;
            self.had_session = true;
            self.acks.subscribed();
            // Before, silence says nothing.
            self.idle.connected(true, Instant::now());
            if !self.is_stuck {
                self.backoff.reset();
            }
            return Next::Poll;
        };
        match self.requests.subscribe(filters) {
            Ok(()) => {
                self.unanswered = Some(Instant::now());
                Next::Poll
            }
            Err(error) => Next::Reconnect(format!("cannot subscribe: {error}")),
        }
    }

    fn subscribed(&mut self, answers: Vec<Answer>) -> Result<Next, SourceError> {
        self.unanswered = None;
        if answers.is_empty() {
            return Ok(Next::Reconnect(
                "the broker does not say what it subscribes us to".to_owned(),
            ));
        }
        for answer in answers {
            let Some(Filter { path, .. }) = self.filters.get(self.agreed) else {
                break;
            };
            match answer {
                Answer::Granted => {}
                Answer::GrantedQos0 => tracing::warn!(
                    filter = %path,
                    "the broker grants QoS 0 only: messages can be lost"
                ),
                // Where it has agreed before, it may do so again: its rules are perhaps not read yet.
                Answer::Refused(reason) if !self.was_subscribed => {
                    let message = format!("the broker refuses topic filter '{path}': {reason}");
                    return Err(self.broker.error(message));
                }
                Answer::Refused(reason) | Answer::NotNow(reason) => {
                    let reason = format!("the broker did not take topic filter '{path}': {reason}");
                    return Ok(Next::Reconnect(reason));
                }
            }
            self.agreed += 1;
        }
        Ok(self.subscribe())
    }

    /// A message that comes after the end is not taken, and so not acknowledged: it comes again.
    fn message(&mut self, message: Message) {
        if self.phase != Phase::Receiving {
            return;
        }
        self.idle.active(self.broker.split.id, Instant::now());
        let bytes = message.topic.len() + message.payload.len() + size_of::<Handed>();
        self.hand_over(Handed::Message(message, self.connection), bytes);
    }

    fn hand_over(&mut self, handed: Handed, bytes: usize) {
        if self.producer.push(handed, bytes).is_err() {
            self.phase = Phase::Draining;
        }
    }

    fn disconnected(&mut self, events: &mut Events, reason: &str) {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(source = %self.broker.name, held_back, "not connected: {reason}");
        }
        for message in events.close() {
            self.message(message);
        }
        self.confirming.lost();
        self.unanswered = None;
        self.connection += 1;
        self.connected = false;
        self.broker.metrics.disconnected();
        self.idle.connected(false, Instant::now());
    }

    /// The words for a lost connection.
    ///
    /// # Errors
    /// It was refused at the first attempt for a reason that stays. Once connected we wait
    /// nevertheless: a broker that restarts may refuse everybody for a moment, and a password that
    /// has expired may be renewed.
    fn describe(&mut self, failure: Failure) -> Result<String, SourceError> {
        match failure {
            Failure::Refused { reason, stays } => {
                let message = format!("the broker refuses the connection: {reason}");
                if stays && !self.was_connected {
                    return Err(self.broker.error(message));
                }
                Ok(message)
            }
            Failure::TooLarge(bytes) => {
                let connecting = &self.broker.connecting;
                let most = connecting.max_packet_bytes();
                let reason = format!("a packet of {bytes} bytes came; max_packet_bytes is {most}");
                if connecting.tells_max_packet_bytes() {
                    return Ok(reason);
                }
                // It comes again until it is acknowledged. So it is received once, to be dropped.
                self.is_stuck = bytes > MOST_OVER.saturating_mul(most as usize);
                if self.is_stuck {
                    return Ok(format!(
                        "{reason}, and one of more than {MOST_OVER} times that is not received; who \
                         publishes it must make it smaller, and the broker sends it until its session \
                         ends or max_packet_bytes is raised"
                    ));
                }
                self.too_large = bytes;
                Ok(reason)
            }
            Failure::Lost(reason) => Ok(reason),
        }
    }
}
