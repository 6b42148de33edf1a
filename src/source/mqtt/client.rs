//! rumqttc's clients for both versions of the protocol, as one.
//!
//! They are two modules of rumqttc with types of their own that do the same. Here they become the few
//! words that a session needs, and nothing behind this knows which version is spoken.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter as FilterOfFive, Packet as PacketOfFive, PubAckReason,
    Publish as PublishOfFive, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::{self, mqttbytes::QoS as QosOfFive};
use rumqttc::{NetworkOptions, Outgoing, QoS, mqttbytes};

use super::super::resend::Unsent;
use super::acks::Ack;
use super::failure::{Failure, explain};

/// How many acknowledgements may wait within rumqttc; more wait on our side.
const REQUESTS: usize = 4_096;

/// The settings of a connection.
pub(super) enum Options {
    Five(Box<v5::MqttOptions>),
    Three(Box<(rumqttc::MqttOptions, NetworkOptions)>),
}

/// What is asked of the broker.
pub(super) enum Requests {
    Five(v5::AsyncClient),
    Three(rumqttc::AsyncClient),
}

/// What comes from the broker.
pub(super) struct Events {
    version: EventsOf,
    /// Whether a ping is to be sent that is none of the keep-alive's.
    is_own_ping: bool,
}

enum EventsOf {
    Five(Box<v5::EventLoop>),
    Three(Box<rumqttc::EventLoop>),
}

/// What the broker says.
#[derive(Debug)]
pub(super) enum Incoming {
    /// It has accepted us; whether it still had our session.
    Connected { session_kept: bool },
    /// Its answers to the filters that were asked for, in order.
    Subscribed(Vec<Answer>),
    /// A message.
    Message(Message),
    /// Its answer to a message of ours: that it has it, or why it refuses it.
    Acknowledged(Result<(), Unsent>),
    /// The next of our acknowledgements was sent.
    AckSent,
    /// A ping was sent.
    PingSent,
    /// The oldest ping without an answer was answered.
    PingAnswered,
    /// Something else.
    Other,
}

/// The answer to a topic filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// As was asked for.
    Granted,
    /// Messages can be lost.
    GrantedQos0,
    /// It refuses, and why.
    Refused(String),
    /// It cannot now, and why.
    NotNow(String),
}

/// A message, as either version has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    pub(super) topic: Vec<u8>,
    pub(super) payload: Vec<u8>,
    /// By which the broker knows it until it is acknowledged; 0 where it is not to be.
    pub(super) packet_id: u16,
    /// Sent again.
    pub(super) dup: bool,
    /// The broker has kept it for those who subscribe.
    pub(super) retained: bool,
}

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) path: String,
    /// Whether retained messages are wanted, where the broker can be told.
    pub(super) wants_retained: bool,
}

impl Options {
    /// The same for a session of its own, which only publishes, whatever was received, and ends with its
    /// connection.
    pub(super) fn for_publishing(mut self) -> Self {
        match &mut self {
            Self::Five(options) => {
                options.set_clean_start(true);
                options.set_session_expiry_interval(Some(0));
            }
            Self::Three(options) => {
                let incoming = options.0.max_packet_size();
                options.0.set_max_packet_size(incoming, usize::MAX);
                options.0.set_clean_session(true);
            }
        }
        self
    }

    /// A client with these settings, which is not connected yet.
    pub(super) fn client(self) -> (Requests, Events) {
        match self {
            Self::Five(options) => {
                let (client, events) = v5::AsyncClient::new(*options, REQUESTS);
                let events = EventsOf::Five(Box::new(events));
                (Requests::Five(client), Events::new(events))
            }
            Self::Three(options) => {
                let (options, network) = *options;
                let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS);
                events.set_network_options(network);
                let events = EventsOf::Three(Box::new(events));
                (Requests::Three(client), Events::new(events))
            }
        }
    }
}

impl Requests {
    /// Acknowledges a message; says whether there was room.
    pub(super) fn acknowledge(&self, ack: Ack) -> bool {
        match self {
            Self::Five(client) => client
                .try_ack(&PublishOfFive {
                    qos: QosOfFive::AtLeastOnce,
                    pkid: ack.packet_id,
                    ..PublishOfFive::default()
                })
                .is_ok(),
            Self::Three(client) => {
                let mut publish = rumqttc::Publish::new("", QoS::AtLeastOnce, Vec::new());
                publish.pkid = ack.packet_id;
                client.try_ack(&publish).is_ok()
            }
        }
    }

    /// Subscribes.
    ///
    /// # Errors
    /// rumqttc takes no more requests; its words.
    pub(super) fn subscribe(&self, filters: &[Filter]) -> Result<(), String> {
        match self {
            Self::Five(client) => {
                let filters = filters.iter().map(|filter| FilterOfFive {
                    retain_forward_rule: if filter.wants_retained {
                        RetainForwardRule::OnNewSubscribe
                    } else {
                        RetainForwardRule::Never
                    },
                    ..FilterOfFive::new(&filter.path, QosOfFive::AtLeastOnce)
                });
                client
                    .try_subscribe_many(filters)
                    .map_err(|error| error.to_string())
            }
            Self::Three(client) => {
                let filters = filters.iter().map(|filter| {
                    rumqttc::SubscribeFilter::new(filter.path.clone(), QoS::AtLeastOnce)
                });
                client
                    .try_subscribe_many(filters)
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// Publishes a message with QoS 1.
    ///
    /// # Errors
    /// rumqttc takes no more requests; its words.
    pub(super) fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), String> {
        match self {
            Self::Five(client) => client
                .try_publish(topic, QosOfFive::AtLeastOnce, false, payload)
                .map_err(|error| error.to_string()),
            Self::Three(client) => client
                .try_publish(topic, QoS::AtLeastOnce, false, payload)
                .map_err(|error| error.to_string()),
        }
    }

    /// Tells the broker that we leave; says whether there was room.
    pub(super) fn leave(&self) -> bool {
        match self {
            Self::Five(client) => client.try_disconnect().is_ok(),
            Self::Three(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Events {
    fn new(version: EventsOf) -> Self {
        Self {
            version,
            is_own_ping: false,
        }
    }

    /// Sends a ping at the next poll.
    pub(super) fn ping(&mut self) {
        self.is_own_ping = true;
        match &mut self.version {
            EventsOf::Five(events) => events.pending.push_back(v5::Request::PingReq),
            EventsOf::Three(events) => {
                let ping = rumqttc::Request::PingReq(rumqttc::PingReq);
                events.pending.push_back(ping);
            }
        }
    }

    /// The next word of the broker. A poll that has begun must not be given up, because it may have
    /// read half a packet.
    ///
    /// # Errors
    /// There is no connection.
    pub(super) async fn poll(&mut self) -> Result<Incoming, Failure> {
        // The keep-alive gives the connection up where a ping stands without an answer when its time
        // has come. One of ours may have been sent the moment before.
        let incoming = match &mut self.version {
            EventsOf::Five(events) => match events.poll().await.map_err(Failure::of_five)? {
                v5::Event::Incoming(packet) => {
                    // Any packet shows that the broker lives. While we read slowly, the answer to
                    // our ping may stand behind megabytes of messages.
                    events.state.await_pingresp = false;
                    of_five(packet)
                }
                v5::Event::Outgoing(sent) => {
                    if sent == Outgoing::PingReq && std::mem::take(&mut self.is_own_ping) {
                        events.state.await_pingresp = false;
                    }
                    of_ours(&sent)
                }
            },
            EventsOf::Three(events) => match events.poll().await.map_err(Failure::of_three)? {
                rumqttc::Event::Incoming(packet) => {
                    events.state.await_pingresp = false;
                    of_three(packet)
                }
                rumqttc::Event::Outgoing(sent) => {
                    if sent == Outgoing::PingReq && std::mem::take(&mut self.is_own_ping) {
                        events.state.await_pingresp = false;
                    }
                    of_ours(&sent)
                }
            },
        };
        Ok(incoming)
    }

    /// Takes other settings for the next connection.
    pub(super) fn renew(&mut self, options: Options) {
        match (&mut self.version, options) {
            (EventsOf::Five(events), Options::Five(options)) => events.options = *options,
            (EventsOf::Three(events), Options::Three(options)) => {
                events.mqtt_options = options.0;
                events.network_options = options.1;
            }
            // The version is that of the pipeline, which does not change.
            _ => {}
        }
    }

    /// Closes the connection, and gives what rumqttc has read of it and would give out as part of
    /// the next one: of that, the messages that the broker does not send again.
    pub(super) fn close(&mut self) -> Vec<Message> {
        self.is_own_ping = false;
        let unread: Vec<_> = match &mut self.version {
            EventsOf::Five(events) => {
                events.clean();
                events
                    .pending
                    .retain(|request| *request != v5::Request::PingReq);
                let unread = events.state.events.drain(..);
                unread
                    .map(|event| match event {
                        v5::Event::Incoming(packet) => of_five(packet),
                        v5::Event::Outgoing(_) => Incoming::Other,
                    })
                    .collect()
            }
            EventsOf::Three(events) => {
                events.clean();
                let is_ping = |request: &_| matches!(request, rumqttc::Request::PingReq(_));
                events.pending.retain(|request| !is_ping(request));
                let unread = events.state.events.drain(..);
                unread
                    .map(|event| match event {
                        rumqttc::Event::Incoming(packet) => of_three(packet),
                        rumqttc::Event::Outgoing(_) => Incoming::Other,
                    })
                    .collect()
            }
        };
        unread
            .into_iter()
            .filter_map(|incoming| match incoming {
                Incoming::Message(message) if message.packet_id == 0 => Some(message),
                _ => None,
            })
            .collect()
    }
}

fn of_ours(sent: &Outgoing) -> Incoming {
    match sent {
        Outgoing::PubAck(_) => Incoming::AckSent,
        Outgoing::PingReq => Incoming::PingSent,
        _ => Incoming::Other,
    }
}

fn of_five(packet: PacketOfFive) -> Incoming {
    match packet {
        PacketOfFive::ConnAck(answer) => Incoming::Connected {
            session_kept: answer.session_present,
        },
        PacketOfFive::SubAck(answer) => {
            Incoming::Subscribed(answer.return_codes.iter().map(answer_of_five).collect())
        }
        PacketOfFive::Publish(message) => Incoming::Message(Message {
            topic: message.topic.to_vec(),
            payload: message.payload.to_vec(),
            packet_id: match message.qos {
                QosOfFive::AtMostOnce => 0,
                _ => message.pkid,
            },
            dup: message.dup,
            retained: message.retain,
        }),
        PacketOfFive::PubAck(ack) => Incoming::Acknowledged(match ack.reason {
            PubAckReason::Success => Ok(()),
            PubAckReason::NoMatchingSubscribers => Err(Unsent::Failed(
                "nobody is subscribed to its topic; start the pipeline first".to_owned(),
            )),
            reason => {
                let message = format!("the broker refuses it: {reason:?}");
                Err(match reason {
                    PubAckReason::NotAuthorized
                    | PubAckReason::TopicNameInvalid
                    | PubAckReason::PayloadFormatInvalid => Unsent::Refused(message),
                    _ => Unsent::Failed(message),
                })
            }
        }),
        PacketOfFive::PingResp(_) => Incoming::PingAnswered,
        _ => Incoming::Other,
    }
}

fn answer_of_five(code: &SubscribeReasonCode) -> Answer {
    match code {
        SubscribeReasonCode::Success(QosOfFive::AtMostOnce) => Answer::GrantedQos0,
        SubscribeReasonCode::Success(_) => Answer::Granted,
        SubscribeReasonCode::NotAuthorized => Answer::Refused("we are not authorized".to_owned()),
        SubscribeReasonCode::TopicFilterInvalid
        | SubscribeReasonCode::SharedSubscriptionsNotSupported
        | SubscribeReasonCode::WildcardSubscriptionsNotSupported => {
            Answer::Refused(format!("{code:?}"))
        }
        other => Answer::NotNow(format!("{other:?}")),
    }
}

fn of_three(packet: rumqttc::Packet) -> Incoming {
    use mqttbytes::v4::SubscribeReasonCode;
    match packet {
        rumqttc::Packet::ConnAck(answer) => Incoming::Connected {
            session_kept: answer.session_present,
        },
        rumqttc::Packet::SubAck(answer) => {
            let answers = answer.return_codes.iter().map(|code| match code {
                SubscribeReasonCode::Success(QoS::AtMostOnce) => Answer::GrantedQos0,
                SubscribeReasonCode::Success(_) => Answer::Granted,
                SubscribeReasonCode::Failure => Answer::Refused(
                    "MQTT 3.1.1 does not say why; it may be that we are not authorized".to_owned(),
                ),
            });
            Incoming::Subscribed(answers.collect())
        }
        rumqttc::Packet::Publish(message) => Incoming::Message(Message {
            topic: message.topic.into_bytes(),
            payload: message.payload.to_vec(),
            packet_id: match message.qos {
                QoS::AtMostOnce => 0,
                _ => message.pkid,
            },
            dup: message.dup,
            retained: message.retain,
        }),
        rumqttc::Packet::PubAck(_) => Incoming::Acknowledged(Ok(())),
        rumqttc::Packet::PingResp => Incoming::PingAnswered,
        _ => Incoming::Other,
    }
}

impl Failure {
    fn of_five(error: v5::ConnectionError) -> Self {
        use v5::{ConnectionError, StateError};
        match error {
            ConnectionError::ConnectionRefused(code) => Self::Refused {
                reason: format!("{code:?}"),
                stays: stays(code),
            },
            ConnectionError::MqttState(StateError::IncomingPacketTooLarge { pkt_size, .. }) => {
                Self::TooLarge(pkt_size)
            }
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code,
                reason_string,
            }) => {
                let text = reason_string.map(|text| format!(": {text}"));
                Self::Lost(format!(
                    "the broker has disconnected us: {reason_code:?}{}",
                    text.unwrap_or_default()
                ))
            }
            // It does not say what is behind it.
            ConnectionError::MqttState(StateError::Deserialization(error)) => {
                Self::Lost(explain(&error))
            }
            other => Self::Lost(explain(&other)),
        }
    }

    fn of_three(error: rumqttc::ConnectionError) -> Self {
        use mqttbytes::v4::ConnectReturnCode;
        use rumqttc::{ConnectionError, StateError};
        match error {
            ConnectionError::ConnectionRefused(code) => Self::Refused {
                reason: format!("{code:?}"),
                stays: !matches!(code, ConnectReturnCode::ServiceUnavailable),
            },
            ConnectionError::MqttState(StateError::Deserialization(
                mqttbytes::Error::PayloadSizeLimitExceeded(bytes),
            )) => Self::TooLarge(bytes),
            other => Self::Lost(explain(&other)),
        }
    }
}

/// Whether waiting would not change a refusal.
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

/// How long the broker may take to accept a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::PubAck;

    use super::*;

    #[test]
    fn a_message_is_refused_for_itself_or_none_is_taken() {
        let answer = |reason| {
            let mut ack = PubAck::new(1, None);
            ack.reason = reason;
            match of_five(PacketOfFive::PubAck(ack)) {
                Incoming::Acknowledged(answer) => answer,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(answer(PubAckReason::Success), Ok(()));
        for (reason, of_itself) in [
            (PubAckReason::NotAuthorized, true),
            (PubAckReason::TopicNameInvalid, true),
            (PubAckReason::PayloadFormatInvalid, true),
            (PubAckReason::NoMatchingSubscribers, false),
            (PubAckReason::QuotaExceeded, false),
        ] {
            let refused = matches!(answer(reason), Err(Unsent::Refused(_)));
            assert_eq!(refused, of_itself, "{reason:?}");
        }
    }
}
