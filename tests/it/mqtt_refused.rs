//! What brokers refuse, told by a broker that says what a test wants.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::json;

use crate::mqtt_sessions::start;
use crate::support::proxy::Proxy;

/// The first byte of packets.
const CONNECT: u8 = 0x10;
const SUBSCRIBE: u8 = 0x82;

/// What a broker answers to the first packet of a kind in each connection, by the number of the
/// connection.
type Answers = fn(u8, usize) -> Vec<u8>;

/// A broker that answers so, and how many filters each request had.
fn broker(answers: Answers) -> Result<(Proxy, Arc<Mutex<Vec<usize>>>)> {
    let connections = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&asked);
    let proxy = Proxy::serve(move |mut client| {
        let connection = connections.fetch_add(1, Ordering::SeqCst);
        let mut buffer = [0; 4_096];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            let packet = buffer.get(..length).unwrap_or_default();
            let kind = packet.first().copied().unwrap_or_default();
            let mut answer = answers(kind, connection);
            if kind == SUBSCRIBE {
                let filters = packet.iter().filter(|byte| **byte == b'!').count();
                let mut asked = shared.lock().unwrap_or_else(PoisonError::into_inner);
                asked.push(filters);
                answer = answer_to_all(packet, &answer, filters);
            }
            if answer.is_empty() || client.write_all(&answer).is_err() {
                return;
            }
        }
    })?;
    Ok((proxy, asked))
}

/// An answer to a request to subscribe: as it is for one filter, but with the request's packet id and for
/// each of its filters.
fn answer_to_all(request: &[u8], answer: &[u8], filters: usize) -> Vec<u8> {
    // The packet id follows the length, which is of one or two bytes.
    let head = if request.get(1) < Some(&128) { 2 } else { 3 };
    let packet_id = request.get(head..head + 2).unwrap_or_default();
    let [kind, length, _, _, middle @ .., code] = answer else {
        return Vec::new();
    };
    let more = u8::try_from(filters - 1).unwrap_or_default();
    let mut all = vec![*kind, length + more];
    all.extend(packet_id.iter().chain(middle));
    all.extend(vec![*code; filters]);
    all
}

const ACCEPTED_5: [u8; 5] = [0x20, 3, 0, 0, 0];
const ACCEPTED_3: [u8; 4] = [0x20, 2, 0, 0];

fn failure(protocol: &str, answers: Answers) -> Result<String> {
    let (proxy, _) = broker(answers)?;
    let url = format!("mqtt://{}", proxy.address());
    let settings = json!({ "url": url, "topics": ["fleet/!"], "protocol": protocol });
    let failure = start(settings, None)?.failure()?;
    let name = format!("source mqtt {}: ", proxy.address());
    Ok(failure.trim_start_matches(&name).to_owned())
}

#[test]
fn a_broker_that_refuses_at_first_is_an_error() -> Result<()> {
    let not_authorized: Answers = |kind, _| match kind {
        CONNECT => ACCEPTED_5.to_vec(),
        SUBSCRIBE => vec![0x90, 4, 0, 0, 0, 0x87],
        _ => Vec::new(),
    };
    assert_eq!(
        failure("5", not_authorized)?,
        "the broker refuses topic filter 'fleet/!': we are not authorized"
    );
    let refused: Answers = |kind, _| match kind {
        CONNECT => ACCEPTED_3.to_vec(),
        SUBSCRIBE => vec![0x90, 3, 0, 0, 0x80],
        _ => Vec::new(),
    };
    assert_eq!(
        failure("3.1.1", refused)?,
        "the broker refuses topic filter 'fleet/!': MQTT 3.1.1 does not say why; it may be that we \
         are not authorized"
    );
    assert_eq!(
        failure("5", |_, _| vec![0x20, 3, 0, 0x86, 0])?,
        "the broker refuses the connection: BadUserNamePassword"
    );
    assert_eq!(
        failure("3.1.1", |_, _| vec![0x20, 2, 0, 5])?,
        "the broker refuses the connection: NotAuthorized"
    );
    Ok(())
}

#[test]
fn what_may_pass_is_waited_for_and_filters_come_a_few_at_a_time() -> Result<()> {
    // Unavailable, then out of quota, then without rights though it had agreed, then well.
    let answers: Answers = |kind, connection| match (kind, connection) {
        (CONNECT, 0) => vec![0x20, 3, 0, 0x88, 0],
        (CONNECT, _) => ACCEPTED_5.to_vec(),
        (SUBSCRIBE, 1) => vec![0x90, 4, 0, 0, 0, 0x97],
        (SUBSCRIBE, _) => vec![0x90, 4, 0, 0, 0, 1],
        _ => Vec::new(),
    };
    let (proxy, asked) = broker(answers)?;
    let topics: Vec<_> = (0..20).map(|number| format!("fleet/{number}/!")).collect();
    let url = format!("mqtt://{}", proxy.address());
    let source = start(json!({ "url": url, "topics": topics }), None)?;
    source.await_idle()?;
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(asked, [8, 8, 8, 4]);
    source.stop()
}
