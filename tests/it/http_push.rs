//! Records that are sent over HTTP while weir is killed, or its disk is full: what was answered is counted, and
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Context as _, Result};

use crate::reference::fleet::START_MS;
use crate::reference::service::Service;
use crate::reference::stateful::{Stateful, text_of};
use crate::support::http;
use crate::support::small_disk::{can_mount, make_room, on_small_disk};

const CHARGERS: &str = "pipeline: chargers
source: { http: { listen: '127.0.0.1:0' } }
event: { time: { from: t }, fields: { region: text, number: number } }
time: { out_of_order: 2s, idle_after: 1h }
metrics:
  events: { window: { tumbling: 5s }, by: [region], value: count(*) }
  numbers: { window: { tumbling: 5s }, by: [region], value: sum(number) }
write: { file: { path: samples.ndjson } }
state:
  dir: state
  log: { fsync: 5ms }
  checkpoint: { every: 100ms }
";

const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

/// Events of a request.
const EVENTS: i64 = 20;

/// How often weir is killed.
const KILLS: i64 = 4;

/// Requests that are answered between two kills.
const ANSWERED: i64 = 6;

fn time(number: i64) -> i64 {
    START_MS + number * 100
}

/// The events of a request.
fn body(request: i64) -> String {
    let numbers = request * EVENTS..(request + 1) * EVENTS;
    let events: Vec<_> = numbers
        .map(|number| {
            let time = time(number);
            format!(r#"{{"t":{time},"region":"UK","number":{number}}}"#)
        })
        .collect();
    text_of(&events)
}

fn key(request: i64) -> String {
    format!("request-{request}")
}

/// Where a running weir takes records.
pub(crate) fn address(service: &Service) -> Result<String> {
    let log = service.log()?;
    let (_, rest) = log
        .split_once("records are taken over HTTP address=")
        .with_context(|| format!("no address in {log}"))?;
    let address = rest.split_whitespace().next();
    Ok(address.context("no address")?.to_owned())
}

fn send(service: &Service, request: i64) -> Result<()> {
    let url = format!("http://{}/ingest/chargers", address(service)?);
    let headers = [NDJSON, ("Idempotency-Key", &key(request))];
    let response = http::post(&url, &headers, body(request).as_bytes())?;
    assert_eq!(
        (response.status, response.body),
        (202, format!("{{\"records\":{EVENTS}}}\n"))
    );
    Ok(())
}

/// Sends a request and does not wait for its answer.
fn begin(service: &Service, request: i64) -> Result<TcpStream> {
    let (body, key) = (body(request), key(request));
    let mut stream = TcpStream::connect(address(service)?)?;
    let text = format!(
        "POST /ingest/chargers HTTP/1.1\r\nHost: weir\r\nContent-Type: application/x-ndjson\r\n\
         Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes())?;
    Ok(stream)
}

/// The values of each metric and window, by the window's end.
fn expected(events: i64) -> BTreeMap<(String, i64), f64> {
    let mut values = BTreeMap::new();
    for number in 0..events {
        let end = (time(number).div_euclid(5_000) + 1) * 5_000;
        *values.entry(("events".to_owned(), end)).or_default() += 1.0;
        *values.entry(("numbers".to_owned(), end)).or_default() += number as f64;
    }
    values
}

#[test]
fn what_was_answered_is_counted_once_however_often_weir_is_killed() -> Result<()> {
    let stateful = Stateful::new(CHARGERS)?;
    let mut next = 0;
    for round in 0..KILLS {
        let mut service = stateful.start(&[])?;
        // The one whose answer the last kill has taken away comes again, with its key.
        for request in next..next + ANSWERED {
            send(&service, request)?;
        }
        next += ANSWERED;
        // One goes on from a checkpoint and reads the rest of the log, the other all of it.
        if round % 2 == 0 {
            service.await_metric("weir_checkpoints_total", &[], 1.0)?;
        }
        let _unanswered = begin(&service, next)?;
        service.kill()?;
    }
    let mut service = stateful.start(&[])?;
    send(&service, next)?;
    next += 1;
    let events = next * EVENTS;
    let url = format!("http://{}/ingest/chargers", address(&service)?);
    let later = format!(
        r#"{{"t":{},"region":"UK","number":0}}"#,
        time(events) + 3_600_000
    );
    assert_eq!(http::post(&url, &[NDJSON], later.as_bytes())?.status, 202);
    let expected = expected(events);
    service.await_condition("samples of all windows", || {
        let samples = stateful.samples("samples.ndjson").unwrap_or_default();
        let ends: BTreeSet<_> = samples.iter().map(|sample| sample.timestamp_ms).collect();
        2 * ends.len() >= expected.len()
    })?;
    service.stop_with(0)?;
    // A run that was killed before its first checkpoint has its samples in the file twice, which must
    // be the same.
    let mut found = BTreeMap::new();
    for sample in stateful.samples("samples.ndjson")? {
        let key = (sample.name, sample.timestamp_ms);
        let earlier = found.insert(key, sample.value);
        assert!(earlier.is_none_or(|earlier| earlier == sample.value));
    }
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn while_the_disk_is_full_a_request_is_taken_whole_or_not_at_all() -> Result<()> {
    if !can_mount() {
        println!("skipped: nothing can be mounted here");
        return Ok(());
    }
    let stateful = Stateful::new(&CHARGERS.replace("every: 100ms", "every: 1h"))?;
    let weir = stateful.command(&["run", "cars.yaml"]);
    let mut service = stateful.serve(&mut on_small_disk(&weir)?)?;
    let url = format!("http://{}/ingest/chargers", address(&service)?);
    // Some 420 KB each, so that it is written in more than one piece.
    let request = body(0).repeat(400);
    let send = || http::post(&url, &[NDJSON], request.as_bytes());
    let mut taken = 0_i64;
    let refused = loop {
        let response = send()?;
        if response.status != 202 {
            break response;
        }
        taken += 1;
        assert!(taken < 100, "the disk is never full");
    };
    assert_eq!(refused.status, 507, "{}", refused.body);
    assert!(taken > 0);
    assert_eq!(send()?.status, 507);
    // There is room again.
    make_room(service.pid(), &stateful.path("state"))?;
    assert_eq!(send()?.status, 202);
    taken += 1;
    let records = (taken * 400 * EVENTS) as f64;
    service.await_metric("weir_source_records_total", &[], records)?;
    // What was refused has left nothing.
    assert_eq!(service.metric("weir_log_appended_total", &[])?, records);
    assert_eq!(service.metric("weir_log_full_total", &[])?, 1.0);
    service.stop_with(0)?;
    Ok(())
}
