//! Kinesis through a proxy that refuses, fails and forgets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use fastrand::Rng;
use serde_json::json;

use super::changing;
use super::load::Load;
use super::session::{LIMIT, Saved, Session, settings};
use crate::support::fake_http::{Request, serve};
use crate::support::http::post;
use crate::support::kinesis::Kinesis;
use crate::support::proxy::Proxy;

/// A refusal as Kinesis words it.
pub(super) fn refusal(kind: &str) -> String {
    json!({ "__type": kind, "message": "as the test wants it" }).to_string()
}

/// What the server says to a request.
pub(super) fn forward(server: &str, request: &Request) -> (u16, String) {
    let names = [
        "x-amz-target",
        "content-type",
        "x-amz-date",
        "authorization",
    ];
    let headers = names.map(|name| (name, request.header(name)));
    match post(&format!("{server}/"), &headers, request.body.as_bytes()) {
        Ok(answer) => (answer.status, answer.body),
        Err(_) => (500, String::new()),
    }
}

#[test]
fn throttles_failures_and_expired_iterators_lose_nothing() -> Result<()> {
    let kinesis = Kinesis::start()?;
    let server = kinesis.endpoint();
    let random = Mutex::new(Rng::with_seed(7));
    let faults = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&faults);
    let proxy = serve(move |request| {
        let fault = random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .u8(0..100);
        let is_records = request.header("x-amz-target").ends_with("GetRecords");
        counted.fetch_add(usize::from(fault < 16), Ordering::Relaxed);
        match fault {
            0..4 => (400, refusal("ProvisionedThroughputExceededException")),
            4..7 => (500, refusal("InternalFailure")),
            7..14 if is_records => (400, refusal("ExpiredIteratorException")),
            // Half an answer.
            14..16 => {
                let (status, mut body) = forward(&server, request);
                body.truncate(body.len() / 2);
                (status, body)
            }
            _ => forward(&server, request),
        }
    })?;
    let settings = settings(&proxy, "faults", &json!({}));
    let session = changing(&kinesis, "faults", &settings, 3)?;
    assert!(faults.load(Ordering::Relaxed) > 0);
    session.crash()
}

#[test]
fn a_position_behind_the_retention_is_told_and_counted() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("trimmed", 1)?;
    let mut load = Load::new(&kinesis, "trimmed", 2);
    load.put(3)?;
    let server = kinesis.endpoint();
    let proxy = serve(move |request| {
        if request.body.contains("\"AFTER_SEQUENCE_NUMBER\"") {
            return (400, refusal("InvalidArgumentException"));
        }
        forward(&server, request)
    })?;
    let settings = settings(&proxy, "trimmed", &json!({}));
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(6)?;
    let saved = session.save();
    session.crash()?;
    load.put(1)?;
    let mut session = Session::start(&settings, &saved)?;
    session.take_until(6 + 8)?;
    session.take_metric("weir_source_positions_lost_total{pipeline=\"test\"} 1")?;
    for (key, seen) in &session.ledger.seen {
        assert_eq!(*seen, [0, 1, 2, 0, 1, 2, 3], "{key}: from what is kept");
    }
    session.crash()
}

#[test]
fn records_that_are_lost_without_a_word_are_told_and_what_comes_instead_counts() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("horizon", 1)?;
    let mut load = Load::new(&kinesis, "horizon", 2);
    load.put(3)?;
    // Kinesis gives iterators at the oldest record that it keeps.
    let cut = Arc::new(Mutex::new(None::<f64>));
    let (server, is_cut) = (kinesis.endpoint(), Arc::clone(&cut));
    let proxy = serve(move |request| {
        let mut request = request.clone();
        let cut = *is_cut.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds = ["\"AFTER_SEQUENCE_NUMBER\"", "\"TRIM_HORIZON\""];
        if let Some(cut) = cut
            && kinds.iter().any(|kind| request.body.contains(kind))
            && let Ok(mut body) = serde_json::from_str::<serde_json::Value>(&request.body)
            && let Some(fields) = body.as_object_mut()
        {
            fields.remove("StartingSequenceNumber");
            fields.insert("ShardIteratorType".to_owned(), json!("AT_TIMESTAMP"));
            fields.insert("Timestamp".to_owned(), json!(cut));
            request.body = body.to_string();
        }
        forward(&server, &request)
    })?;
    let settings = settings(&proxy, "horizon", &json!({}));
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(6)?;
    let earlier = session.save();
    load.put(1)?;
    session.take_until(8)?;
    // The place is that of an earlier position, as where there were too many to keep.
    let saved = session.save().with_places_of(&earlier);
    session.crash()?;

    let mut session = Session::start(&settings, &saved)?;
    session.take_idle()?;
    assert_eq!(session.ledger.count(), 8, "nothing counts again");
    load.put(2)?;
    session.take_until(12)?;
    let lost = session.metric("weir_source_positions_lost_total");
    assert_eq!(lost, 0.0, "all of it is kept");
    session.crash()?;

    std::thread::sleep(std::time::Duration::from_millis(20));
    let now = jiff::Timestamp::now().as_millisecond();
    *cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(now as f64 / 1e3);
    std::thread::sleep(std::time::Duration::from_millis(20));
    load.put(2)?;
    let mut session = Session::start(&settings, &saved)?;
    session.take_metric("weir_source_positions_lost_total{pipeline=\"test\"} 1")?;
    session.take_until(8 + 4)?;
    for (key, seen) in &session.ledger.seen {
        assert_eq!(*seen, [0, 1, 2, 3, 6, 7], "{key}");
    }
    session.crash()
}

#[test]
fn a_refusal_of_records_is_no_loss_of_the_position() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("invalid", 1)?;
    let mut load = Load::new(&kinesis, "invalid", 2);
    load.put(3)?;
    let (server, wrong) = (kinesis.endpoint(), Arc::new(AtomicBool::new(false)));
    let is_wrong = Arc::clone(&wrong);
    let proxy = serve(move |request| {
        let is_records = request.header("x-amz-target").ends_with("GetRecords");
        if is_records && is_wrong.load(Ordering::Acquire) {
            return (400, refusal("InvalidArgumentException"));
        }
        forward(&server, request)
    })?;
    let settings = settings(&proxy, "invalid", &json!({}));
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(6)?;
    wrong.store(true, Ordering::Release);
    session.take_metric("weir_source_connected{pipeline=\"test\"} 0")?;
    load.put(2)?;
    wrong.store(false, Ordering::Release);
    session.take_until(10)?;
    session.take_idle()?;
    load.check(&session.ledger)?;
    assert_eq!(session.metric("weir_source_positions_lost_total"), 0.0);
    session.crash()
}

/// A proxy that asks for so many cuts: before the first piece of an answer that has records, and before each
/// second one after it. Whoever is asked says when it is done; what asks for a cut is lost by it, and so there
/// is more to come until all cuts are made. Between two of them something gets through.
fn cut_off(kinesis: &Kinesis, cuts: usize) -> Result<(Proxy, Receiver<SyncSender<()>>)> {
    let (ask, asked) = sync_channel(0);
    let pieces = Arc::new(AtomicUsize::new(0));
    let proxy = Proxy::start(kinesis.port(), move || {
        let (ask, pieces) = (ask.clone(), Arc::clone(&pieces));
        Box::new(move |piece| {
            let name = b"\"PartitionKey\"";
            if !piece.windows(name.len()).any(|window| window == name) {
                return;
            }
            let number = pieces.fetch_add(1, Ordering::Relaxed);
            let (tell, told) = sync_channel(0);
            if number % 2 == 0 && number / 2 < cuts && ask.send(tell).is_ok() {
                // Where nobody cuts any more, the test has failed.
                told.recv().ok();
            }
        })
    })?;
    Ok((proxy, asked))
}

#[test]
fn connections_that_are_reset_under_load_lose_nothing() -> Result<()> {
    let kinesis = Kinesis::start()?;
    let fan_out = json!({ "mode": "enhanced_fan_out", "consumer": "weir" });
    for (stream, more, rounds, cuts) in [
        ("reset-polling", json!({}), 3, 5),
        // A subscription takes longer to begin with.
        ("reset-fan-out", fan_out, 1, 3),
    ] {
        let (proxy, asked) = cut_off(&kinesis, cuts)?;
        let settings = settings(&format!("http://{}", proxy.address()), stream, &more);
        let (session, made) = std::thread::scope(|scope| {
            let proxy = &proxy;
            let cutting = scope.spawn(move || {
                let mut made = 0;
                while made < cuts
                    && let Ok(done) = asked.recv_timeout(LIMIT)
                {
                    proxy.cut();
                    proxy.mend();
                    made += 1;
                    drop(done);
                }
                made
            });
            let session = changing(&kinesis, stream, &settings, rounds);
            (session, cutting.join())
        });
        let session = session?;
        assert_eq!(made.ok(), Some(cuts), "{stream}");
        session.crash()?;
    }
    Ok(())
}

#[test]
fn credentials_that_expire_are_told_and_survived() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("expired", 1)?;
    let mut load = Load::new(&kinesis, "expired", 2);
    load.put(3)?;
    let server = kinesis.endpoint();
    let expired = Arc::new(AtomicBool::new(false));
    let is_expired = Arc::clone(&expired);
    let proxy = serve(move |request| {
        if is_expired.load(Ordering::Acquire) {
            return (400, refusal("ExpiredTokenException"));
        }
        forward(&server, request)
    })?;
    let settings = settings(&proxy, "expired", &json!({}));
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(6)?;
    expired.store(true, Ordering::Release);
    session.take_metric("weir_source_connected{pipeline=\"test\"} 0")?;
    load.put(2)?;
    expired.store(false, Ordering::Release);
    session.take_until(10)?;
    session.take_metric("weir_source_connected{pipeline=\"test\"} 1")?;
    load.check(&session.ledger)?;
    session.crash()
}
