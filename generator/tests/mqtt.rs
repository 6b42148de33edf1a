//! Events to MQTT, against a broker of a few lines.
#![cfg(feature = "mqtt")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption of a test is its failure"
)]

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use weirgen::sink::Sink;
use weirgen::{Fleet, FleetConfig, Target};

/// Packet types, in the upper half of the first byte.
const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// What a publish said.
#[derive(Debug, PartialEq, Eq)]
struct Published {
    topic: String,
    qos: u8,
    payload: Vec<u8>,
}

fn read_packet(input: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    let head = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        input.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok((head, body))
}

/// Splits a publish with QoS 1 into its packet id and the rest; it has no properties.
fn parse_publish(head: u8, body: &[u8]) -> ([u8; 2], Published) {
    let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..topic_end].to_vec()).unwrap();
    let id = [body[topic_end], body[topic_end + 1]];
    assert_eq!(body[topic_end + 2], 0, "properties");
    let payload = body[topic_end + 3..].to_vec();
    (
        id,
        Published {
            topic,
            qos: (head >> 1) & 3,
            payload,
        },
    )
}

/// Serves one connection to its end; acknowledges with this reason. Drops the connection without a
/// word after `lose_after` publishes.
fn serve(mut stream: TcpStream, session: bool, reason: u8, lose_after: usize) -> Vec<Published> {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut published = Vec::new();
    while let Ok((head, body)) = read_packet(&mut input) {
        let answer = match head >> 4 {
            CONNECT => vec![0x20, 3, u8::from(session), 0, 0],
            PUBLISH => {
                let (id, publish) = parse_publish(head, &body);
                published.push(publish);
                if published.len() == lose_after {
                    break;
                }
                vec![0x40, 4, id[0], id[1], reason, 0]
            }
            PINGREQ => vec![0xd0, 0],
            DISCONNECT => break,
            other => panic!("packet of type {other}"),
        };
        if stream.write_all(&answer).is_err() {
            break;
        }
    }
    published
}

fn listen(topic: &str) -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("mqtt://{}/{topic}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    (listener, target)
}

/// Sends events; returns what the broker should have got.
fn send(sink: &mut Sink, count: usize) -> Vec<Published> {
    let mut fleet = Fleet::new(FleetConfig::new(10)).unwrap();
    let mut sent = Vec::new();
    for _ in 0..count {
        let event = fleet.next_event();
        let mut payload = Vec::new();
        event.write_json(&mut payload);
        let topic = format!("fleet/{}/{}", event.vehicle_id(), event.kind.name());
        sent.push(Published {
            topic,
            qos: 1,
            payload,
        });
        sink.send(&event).unwrap();
    }
    sent
}

#[test]
fn every_event_arrives_in_order_on_its_topic() {
    let (listener, target) = listen("fleet/{vehicle}/{kind}");
    let broker = thread::spawn(move || serve(listener.accept().unwrap().0, false, 0, usize::MAX));
    let mut sink = Sink::open(&target).unwrap();
    let sent = send(&mut sink, 3_000);
    sink.finish().unwrap();
    assert_eq!(broker.join().unwrap(), sent);
}

#[test]
fn a_lost_connection_loses_no_event() {
    let (listener, target) = listen("fleet/{vehicle}/{kind}");
    let broker = thread::spawn(move || {
        let mut published = serve(listener.accept().unwrap().0, false, 0, 50);
        published.extend(serve(listener.accept().unwrap().0, true, 0, usize::MAX));
        published
    });
    let mut sink = Sink::open(&target).unwrap();
    let sent = send(&mut sink, 200);
    sink.finish().unwrap();
    let received = broker.join().unwrap();
    for event in &sent {
        assert!(received.contains(event), "{event:?} is lost");
    }
}

#[test]
fn a_lost_session_is_an_error() {
    let (listener, target) = listen("fleet/{vehicle}/{kind}");
    let broker = thread::spawn(move || {
        serve(listener.accept().unwrap().0, false, 0, 50);
        serve(listener.accept().unwrap().0, false, 0, usize::MAX);
    });
    let mut sink = Sink::open(&target).unwrap();
    send(&mut sink, 100);
    let address = target_address(&target);
    assert_eq!(
        sink.finish().unwrap_err().to_string(),
        format!(
            "MQTT broker {address} takes no more events: \
             it came back without our session, events are lost"
        )
    );
    broker.join().unwrap();
}

#[test]
fn a_refused_event_is_an_error() {
    let (listener, target) = listen("fleet/{vehicle}/{kind}");
    let broker = thread::spawn(move || serve(listener.accept().unwrap().0, false, 0x87, 2));
    let mut sink = Sink::open(&target).unwrap();
    send(&mut sink, 1);
    let address = target_address(&target);
    assert_eq!(
        sink.finish().unwrap_err().to_string(),
        format!("MQTT broker {address} takes no more events: it refused an event: NotAuthorized")
    );
    broker.join().unwrap();
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let error = Sink::open(&"mqtt://127.0.0.1:1/fleet".parse().unwrap()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("MQTT broker 127.0.0.1:1 takes no more events: "),
        "{message}"
    );
}

fn target_address(target: &Target) -> String {
    match target {
        Target::Mqtt { host, port, .. } => format!("{host}:{port}"),
        other => panic!("{other:?}"),
    }
}
