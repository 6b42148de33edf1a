//! Kinesis through a proxy that refuses, fails and forgets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use fastrand::Rng;
use serde_json::json;

use super::changing;
use super::load::Load;
use super::session::{Saved, Session, settings};
use crate::support::fake_http::{Request, serve};
use crate::support::http::post;
use crate::support::kinesis::Kinesis;

/// A refusal as Kinesis words it.
fn refusal(kind: &str) -> String {
    json!({ "__type": kind, "message": "as the test wants it" }).to_string()
}

/// What the server says to a request.
fn forward(server: &str, request: &Request) -> (u16, String) {
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
