//! Remote-Write over real connections.

use serde_json::json;

use super::testing::{Response, Running, start_as};
use super::*;
use crate::model::protobuf::{put_bytes, put_varint};
use crate::source::SourceEvent;
use crate::testing::LIMIT;

const SNAPPY: &str = "Content-Encoding: snappy";
const V1: &str = "Content-Type: application/x-protobuf";
const V2: &str = "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn start(log: Option<&std::path::Path>, room: Option<usize>) -> Running {
    start_as(
        Protocol::RemoteWrite,
        json!({ "path": "/ingest/test" }),
        log,
        room,
    )
}

fn sample(time: u64) -> Vec<u8> {
    let mut sample = vec![1 << 3 | 1];
    sample.extend(1.5_f64.to_le_bytes());
    sample.push(2 << 3);
    put_varint(&mut sample, time);
    sample
}

/// A request of 1.0 with a sample of one series.
fn v1(name: &str, time: u64) -> Vec<u8> {
    let (mut label, mut series, mut request) = (Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut label, 1, b"__name__");
    put_bytes(&mut label, 2, name.as_bytes());
    put_bytes(&mut series, 1, &label);
    put_bytes(&mut series, 2, &sample(time));
    put_bytes(&mut request, 1, &series);
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

/// The same of 2.0, with a histogram.
fn v2(name: &str, time: u64) -> Vec<u8> {
    let (mut series, mut request) = (Vec::new(), Vec::new());
    for text in ["", "__name__", name] {
        put_bytes(&mut request, 4, text.as_bytes());
    }
    put_bytes(&mut series, 1, &[1, 2]);
    put_bytes(&mut series, 2, &sample(time));
    put_bytes(&mut series, 3, b"");
    put_bytes(&mut request, 5, &series);
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

fn plain(body: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(body).unwrap()
}

fn written(response: &Response, samples: u64) -> bool {
    let of = |kind, count| format!("x-prometheus-remote-write-{kind}-written: {count}\r\n");
    let head = format!("{}\r\n", response.head);
    head.contains(&of("samples", samples))
        && head.contains(&of("histograms", 0))
        && head.contains(&of("exemplars", 0))
}

fn record(source: &Running) -> Vec<u8> {
    loop {
        if let SourceEvent::Records(batch) = source.events.recv_timeout(LIMIT).unwrap() {
            assert_eq!(batch.len(), 1);
            return batch.get(0).unwrap().bytes.to_vec();
        }
    }
}

#[test]
fn both_versions_are_taken_and_2_0_hears_what_was_written() {
    let source = start(None, None);
    let response = source.post(&[V1, SNAPPY], &v1("up", 7));
    assert_eq!((response.status, response.body.as_str()), (204, ""));
    assert!(!written(&response, 1), "{}", response.head);
    assert_eq!(record(&source), plain(&v1("up", 7)));
    let response = source.post(&[V2, SNAPPY], &v2("up", 8));
    assert_eq!(response.status, 204);
    assert!(written(&response, 1), "{}", response.head);
    assert_eq!(record(&source), plain(&v1("up", 8)));
    // As older agents do it.
    assert_eq!(source.post(&[], &v1("up", 9)).status, 204);
    assert_eq!(record(&source), plain(&v1("up", 9)));
    for line in [
        "weir_http_requests_total{code=\"204\",pipeline=\"test\"} 3\n",
        "weir_http_skipped_total{kind=\"histogram\",pipeline=\"test\"} 1\n",
        "weir_http_skipped_total{kind=\"stale_marker\",pipeline=\"test\"} 0\n",
    ] {
        assert!(source.has_metric(line), "{line}");
    }
    source.stop();
}

#[test]
fn what_is_no_request_is_refused() {
    let source = start(None, None);
    let body = v1("up", 7);
    for (headers, body, status, words) in [
        (
            &[V1, "Content-Encoding: gzip"][..],
            &body[..],
            415,
            "not snappy",
        ),
        (
            &["Content-Type: application/json", SNAPPY],
            &body,
            415,
            "none of Remote-Write",
        ),
        (
            &["Content-Type: application/x-protobuf;proto=io.prometheus.write.v3.Request"],
            &body,
            415,
            "none of Remote-Write",
        ),
        (&[V1, SNAPPY], b"{}", 400, "no block of snappy"),
        (&[V2, SNAPPY], &v1("up", 7), 204, ""),
        (
            &[V1, SNAPPY],
            b"\xff\xff\xff\xff\x0f\x00",
            413,
            "4294967295 bytes",
        ),
        (
            &[V1, SNAPPY],
            &body[..body.len() - 1],
            400,
            "no block of snappy",
        ),
    ] {
        let response = source.post(headers, body);
        assert_eq!(response.status, status, "{headers:?}: {}", response.body);
        assert!(response.body.contains(words), "{}", response.body);
        assert!(status == 204 || written(&response, 0), "{}", response.head);
    }
    let get = "GET /ingest/test HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n";
    assert_eq!(source.request(get, b"").status, 405);
    source.stop();
}

#[test]
fn what_is_sent_again_is_in_the_log_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = v1("up", 7);
    let source = start(Some(folder.path()), None);
    for _ in 0..3 {
        assert_eq!(source.post(&[V1, SNAPPY], &first).status, 204);
    }
    assert_eq!(record(&source), plain(&first));
    source.stop();
    // Also after a restart, which reads the log from its beginning.
    let source = start(Some(folder.path()), None);
    assert_eq!(source.post(&[V1, SNAPPY], &first).status, 204);
    let second = v1("up", 8);
    assert_eq!(source.post(&[V1, SNAPPY], &second).status, 204);
    let mut found = Vec::new();
    while found.len() < 2 {
        if let SourceEvent::Records(batch) = source.events.recv_timeout(LIMIT).unwrap() {
            found.extend(batch.records().map(|record| record.bytes.to_vec()));
        }
    }
    assert_eq!(found, [plain(&first), plain(&second)]);
    source.stop();
}

#[test]
fn a_key_goes_before_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let source = start(Some(folder.path()), None);
    let body = v1("up", 7);
    let [first, second] = ["first", "second"].map(|key| format!("Idempotency-Key: {key}"));
    for headers in [
        vec![V1, SNAPPY],
        vec![V1, SNAPPY, &first],
        vec![V1, SNAPPY, &first],
        vec![V1, SNAPPY],
        vec![V1, SNAPPY, &second],
    ] {
        assert_eq!(source.post(&headers, &body).status, 204);
    }
    let other = source.post(&[V1, SNAPPY, &second], &v1("up", 8));
    assert_eq!(other.status, 422, "{other:?}");
    assert!(source.has_metric("weir_log_repeated_total{pipeline=\"test\"} 2\n"));
    assert!(source.has_metric("weir_log_appended_total{pipeline=\"test\"} 3\n"));
    let mut found = Vec::new();
    while found.len() < 3 {
        if let SourceEvent::Records(batch) = source.events.recv_timeout(LIMIT).unwrap() {
            found.extend(batch.records().map(|record| record.bytes.to_vec()));
        }
    }
    assert_eq!(found, vec![plain(&body); 3]);
    source.stop();
}

#[test]
fn while_there_is_no_room_an_agent_is_asked_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    // The log has room for ten thousand bytes, and nobody reads it.
    let source = start(Some(folder.path()), Some(0));
    let name = "n".repeat(900);
    let mut time = 0;
    let refused = loop {
        let response = source.post(&[V1, SNAPPY], &v1(&name, time));
        time += 1;
        assert!(time < 100, "it is never full");
        if response.status != 204 {
            break response;
        }
    };
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (503, "the log is full; send it again later\n")
    );
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    let Running {
        stop,
        events,
        thread,
        ..
    } = source;
    stop.stop();
    drop(events);
    thread.join().unwrap().unwrap();
}
