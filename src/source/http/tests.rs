//! Requests over real connections, with a pipeline that takes what the test asks for.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration as StdDuration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::testing::{Running, answer, head, start, start_with};
use super::*;
use crate::model::RecordBatch;
use crate::source::SourceEvent;
use crate::testing::{LIMIT, wait_until};

const NDJSON: &str = "Content-Type: application/x-ndjson";
const JSON: &str = "Content-Type: application/json";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lines_arrays_and_whole_bodies_are_records() {
    let source = start(json!({}), None, None);
    let response = source.post(&[NDJSON], b"{\"a\":1}\n\n{\"a\":2}\n");
    assert_eq!(
        (response.status, response.body.as_str()),
        (202, "{\"records\":2}\n")
    );
    assert_eq!(source.post(&[JSON], b"[{\"a\":3},{\"a\":[4]}]").status, 202);
    assert_eq!(
        source
            .post(&[JSON, "Content-Encoding: gzip"], &gzip(b"[5]"))
            .status,
        202
    );
    let zstd = zstd::encode_all(b"6\n7".as_slice(), 3).unwrap();
    assert_eq!(
        source
            .post(&[NDJSON, "Content-Encoding: zstd"], &zstd)
            .status,
        202
    );
    assert_eq!(
        source
            .post(&["Content-Type: application/octet-stream"], b"8\n9")
            .status,
        202
    );
    assert_eq!(source.post(&[NDJSON], b"").body, "{\"records\":0}\n");
    let expected = [
        "{\"a\":1}@0",
        "{\"a\":2}@1",
        "{\"a\":3}@2",
        "{\"a\":[4]}@3",
        "5@4",
        "6@5",
        "7@6",
        "8\n9@7",
    ];
    assert_eq!(source.records(8), expected);
    assert!(source.has_metric("weir_http_requests_total{code=\"202\",pipeline=\"test\"} 6\n"));
    assert!(source.has_metric("weir_http_requests_total{code=\"429\",pipeline=\"test\"} 0\n"));
    source.stop();
}

#[test]
fn silence_is_told_once_until_there_is_more() {
    let source = start(json!({}), None, None);
    let next = || source.events.recv_timeout(LIMIT).unwrap();
    assert!(matches!(next(), SourceEvent::Assigned(_)));
    assert!(matches!(next(), SourceEvent::Idle(SplitId(0))));
    assert_eq!(source.post(&[JSON], b"[1]").status, 202);
    assert!(matches!(next(), SourceEvent::Records(_)));
    assert!(matches!(next(), SourceEvent::Idle(SplitId(0))));
    source.stop();
}

#[test]
fn what_is_refused_is_told_why() {
    let source = start(json!({ "max_body_bytes": 1024 }), None, None);
    let bomb = gzip(&vec![b'1'; 10_000_000]);
    let bomb = bomb.get(..1_000).unwrap_or(&bomb);
    let cut = gzip(&[b'1'; 500]);
    let cut = &cut[..cut.len() - 4];
    let long_key = format!("Idempotency-Key: {}", "k".repeat(256));
    for (headers, body, status, expected) in [
        (
            vec![JSON],
            b"[1,".as_slice(),
            400,
            "the JSON array has no end; it begins at byte 0",
        ),
        (vec![JSON], b"[1]2", 400, "send one array a request"),
        (
            vec![NDJSON, &long_key],
            b"1",
            400,
            "the Idempotency-Key has 256 bytes; from 1 to 255",
        ),
        (
            vec![NDJSON, "Content-Encoding: gzip"],
            cut,
            400,
            "the body is no complete gzip",
        ),
        (
            vec![NDJSON, "Content-Encoding: zstd"],
            b"123",
            400,
            "the body is no complete zstd",
        ),
        (
            vec![NDJSON, "Content-Encoding: gzip"],
            bomb,
            413,
            "larger than 1024 bytes once it is",
        ),
        (
            vec![NDJSON],
            &[b'1'; 1_025],
            413,
            "the body has more than 1024 bytes",
        ),
        (
            vec![],
            b"1",
            415,
            "there is no Content-Type; send application/x-ndjson",
        ),
        (
            vec!["Content-Type: text/html"],
            b"1",
            415,
            "the Content-Type is 'text/html'; send",
        ),
        (
            vec![JSON, "Content-Encoding: br"],
            b"1",
            415,
            "the Content-Encoding is 'br'; send gzip",
        ),
    ] {
        let response = source.post(&headers, body);
        assert_eq!(response.status, status, "{headers:?} {response:?}");
        assert!(response.body.contains(expected), "{headers:?} {response:?}");
    }
    let chunked = "POST /ingest/test HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("800\r\n{}\r\n0\r\n\r\n", "1".repeat(2_048));
    assert_eq!(source.request(chunked, chunk.as_bytes()).status, 413);
    let get = "GET /ingest/test HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n";
    let response = source.request(get, b"");
    assert_eq!(response.status, 405);
    assert!(response.head.contains("\r\nallow: post"), "{response:?}");
    let elsewhere = head(&[JSON], 1).replace("/ingest/test", "/ingest/other");
    let response = source.request(&elsewhere, b"1");
    assert_eq!(response.status, 404);
    assert!(response.body.contains("records are taken at /ingest/test"));
    source.stop();
}

#[test]
fn who_has_no_token_or_a_wrong_one_is_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "secret\n").unwrap();
    for keys in [json!({ "token": "secret" }), json!({ "token_file": path })] {
        let source = start(keys, None, None);
        let response = source.post(&[JSON], b"[1]");
        assert_eq!(response.status, 401);
        assert!(
            response.head.contains("\r\nwww-authenticate: bearer"),
            "{response:?}"
        );
        for wrong in ["secre", "secret1", "Secret", ""] {
            let header = format!("Authorization: Bearer {wrong}x");
            assert_eq!(source.post(&[JSON, &header], b"[1]").status, 403, "{wrong}");
        }
        assert_eq!(
            source
                .post(&[JSON, "Authorization: Basic c2VjcmV0"], b"[1]")
                .status,
            401
        );
        assert_eq!(
            source
                .post(&[JSON, "Authorization: Bearer secret"], b"[2]")
                .status,
            202
        );
        assert_eq!(source.records(1), ["2@0"]);
        source.stop();
    }
}

#[test]
fn half_a_body_and_a_slow_one_are_nothing() {
    let source = start(json!({ "request_timeout": "1s" }), None, None);
    let stream = source.begin(&head(&[NDJSON], 100), b"{\"a\":1}\n");
    stream.shutdown(Shutdown::Write).unwrap();
    // Whether it is answered at all is hyper's choice: nobody may be there.
    assert!([0, 400].contains(&answer(stream).status));
    let slow = source.begin(&head(&[NDJSON], 100), b"{\"a\":1}\n");
    let response = answer(slow);
    assert_eq!(response.status, 408);
    assert!(
        response.body.contains("was not there within 1s"),
        "{response:?}"
    );
    // The head of a request is not waited for for ever either.
    let mut without_head = source.begin("POST /ingest/test HT", b"");
    let mut rest = Vec::new();
    without_head.read_to_end(&mut rest).unwrap();
    assert_eq!(source.post(&[JSON], b"[7]").status, 202);
    assert_eq!(source.records(1), ["7@0"]);
    source.stop();
}

#[test]
fn one_connection_too_many_waits() {
    let source = start(
        json!({ "max_connections": 1, "request_timeout": "1s" }),
        None,
        None,
    );
    // They are accepted in the order in which they came.
    let mut idle = source.connect();
    assert_eq!(source.post(&[JSON], b"[1]").status, 202);
    // It was answered only once the other one had been closed for its silence.
    idle.set_nonblocking(true).unwrap();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    assert_eq!(source.records(1), ["1@0"]);
    source.stop();
}

#[test]
fn a_busy_pipeline_has_clients_come_back() {
    // There is room for the split alone.
    let source = start(json!({}), None, Some(1));
    let body = [&[b'1'; 999][..], b"\n"].concat().repeat(4_000);
    let waiting: Vec<_> = (0..5)
        .map(|_| source.begin(&head(&[NDJSON], body.len()), &body))
        .collect();
    let mut refused = None;
    let deadline = std::time::Instant::now() + LIMIT;
    while refused.is_none() && std::time::Instant::now() < deadline {
        let probe = source.begin(&head(&[NDJSON], 2), b"1\n");
        probe
            .set_read_timeout(Some(StdDuration::from_millis(50)))
            .unwrap();
        refused = Some(answer(probe)).filter(|response| response.status == 429);
    }
    let refused = refused.unwrap();
    assert!(refused.head.contains("\r\nretry-after: 1"), "{refused:?}");
    assert_eq!(
        refused.body,
        "the pipeline is behind; send it again later\n"
    );
    let events = source.events.clone();
    let counted = thread::spawn(move || {
        let batches = events.iter().filter_map(|event| match event {
            SourceEvent::Records(batch) => Some(batch),
            _ => None,
        });
        let lines = |batch: RecordBatch| batch.records().filter(|r| r.bytes.len() == 999).count();
        batches.map(lines).sum::<usize>()
    });
    let answers = waiting.into_iter().map(|stream| answer(stream).status);
    let taken = answers.filter(|status| *status == 202).count();
    assert!(taken > 0);
    source.stop.stop();
    source.thread.join().unwrap().unwrap();
    // What was refused has left nothing.
    assert_eq!(counted.join().unwrap(), taken * 4_000);
}

#[test]
fn what_is_in_the_log_is_answered_though_the_pipeline_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = start(json!({}), Some(folder.path()), Some(0));
    assert_eq!(source.post(&[JSON], b"[1,2]").status, 202);
    assert_eq!(source.post(&[NDJSON], b"3\n").status, 202);
    let Running {
        events,
        thread,
        stop,
        ..
    } = source;
    stop.stop();
    drop(events);
    thread.join().unwrap().unwrap();
    let source = start(json!({}), Some(folder.path()), None);
    assert_eq!(source.records(3), ["1@0", "2@1", "3@2"]);
    source.stop();
}

#[test]
fn a_request_with_a_key_is_in_the_log_once() {
    let folder = tempfile::tempdir().unwrap();
    let key = "Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324";
    let source = start(json!({}), Some(folder.path()), None);
    assert_eq!(source.post(&[JSON, key], b"[1,2,3]").status, 202);
    let again = source.post(&[JSON, key], b" [1, 2, 3]");
    assert_eq!(
        (again.status, again.body.as_str()),
        (202, "{\"records\":3}\n")
    );
    for other in ["[1]", "[1,2,4]", "[1,2,3,4]"] {
        let response = source.post(&[JSON, key], other.as_bytes());
        assert_eq!(response.status, 422, "{other}");
        assert!(response.body.contains("another body"), "{response:?}");
    }
    assert_eq!(source.post(&[JSON], b"[1]").status, 202);
    assert_eq!(source.records(4), ["1@0", "2@1", "3@2", "1@3"]);
    assert!(source.has_metric("weir_log_repeated_total{pipeline=\"test\"} 3\n"));
    source.stop();
    let source = start(json!({}), Some(folder.path()), None);
    assert_eq!(source.post(&[JSON, key], b"[1,2,3]").status, 202);
    assert_eq!(source.post(&[JSON, key], b"[3]").status, 422);
    let another = "Idempotency-Key: another";
    assert_eq!(source.post(&[JSON, another], b"[1]").status, 202);
    // The log is read from its first record, because no state says otherwise.
    assert_eq!(source.records(5), ["1@0", "2@1", "3@2", "1@3", "1@4"]);
    source.stop();
}

#[test]
fn what_a_crash_has_torn_of_a_request_is_appended_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let key = "Idempotency-Key: k";
    let source = start(json!({}), Some(folder.path()), None);
    assert_eq!(source.post(&[JSON, key], b"[11,12,13]").status, 202);
    source.records(3);
    source.stop();
    let files = fs::read_dir(folder.path()).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let segment = files.max_by_key(|path| path.metadata().unwrap().len());
    let segment = fs::File::options().write(true).open(segment.unwrap());
    let segment = segment.unwrap();
    let length = segment.metadata().unwrap().len();
    segment.set_len(length - 1).unwrap();
    let source = start(json!({}), Some(folder.path()), None);
    assert_eq!(source.post(&[JSON, key], b"[11,12,13]").status, 202);
    assert_eq!(source.post(&[JSON, key], b"[11,12,13]").status, 202);
    assert_eq!(source.records(3), ["11@0", "12@1", "13@2"]);
    assert!(source.has_metric("weir_log_repeated_total{pipeline=\"test\"} 5\n"));
    source.stop();
}

#[test]
fn a_key_is_for_so_many_records_as_its_log_can_number() {
    let source = start(json!({}), None, None);
    let body = b"1\n".repeat(intake::MAX_KEYED_RECORDS + 1);
    let response = source.post(&[NDJSON, "Idempotency-Key: k"], &body);
    assert_eq!(response.status, 413);
    assert!(
        response
            .body
            .contains("may have 65536 records; it has 65537"),
        "{response:?}"
    );
    source.stop();
}

#[test]
fn a_full_log_takes_all_of_a_request_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = start(json!({}), Some(folder.path()), Some(0));
    let body = [&[b'1'; 999][..], b"\n"].concat().repeat(7);
    let mut taken = 0;
    let refused = loop {
        let response = source.post(&[NDJSON], &body);
        if response.status != 202 {
            break response;
        }
        taken += 7;
        assert!(taken <= 14, "there is room for fourteen");
    };
    assert_eq!((refused.status, taken), (429, 14));
    assert_eq!(refused.body, "the log is full; send it again later\n");
    assert!(refused.head.contains("\r\nretry-after: 1"), "{refused:?}");
    assert!(source.has_metric("weir_log_full_total{pipeline=\"test\"} 1\n"));
    assert_eq!(source.records(taken).len(), taken);
    source.stop();
}

#[test]
fn too_large_records_are_counted_and_left_out() {
    let dropped = "weir_source_dropped_total{reason=\"too_large\",pipeline=\"test\"} 1\n";
    let source = start(json!({}), None, None);
    let large = [b'1'; 1_001];
    let response = source.post(&[NDJSON], &[&large, &b"\n2\n"[..]].concat());
    assert_eq!(
        (response.status, response.body.as_str()),
        (202, "{\"records\":1,\"too_large\":1}\n")
    );
    assert_eq!(source.records(1), ["2@0"]);
    assert!(source.has_metric(dropped));
    // A request of which nothing is left is not taken.
    let response = source.post(&[NDJSON], &large);
    assert_eq!(response.status, 413);
    assert_eq!(
        response.body,
        "a record has 1001 bytes; max_record_bytes of the pipeline is 1000\n"
    );
    assert!(source.has_metric(dropped));
    source.stop();
}

#[test]
fn a_pipeline_that_takes_nothing_is_not_waited_for_for_long() {
    let patience = Some(StdDuration::from_millis(50));
    let source = start_with(Protocol::Records, json!({}), None, Some(0), patience);
    let refused = source.post(&[JSON], b"[1]");
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (429, "the pipeline is behind; send it again later\n")
    );
    assert!(refused.head.contains("\r\nretry-after: 1"), "{refused:?}");
    // It is not taken later either.
    let assigned = source.events.recv_timeout(LIMIT).unwrap();
    assert!(matches!(assigned, SourceEvent::Assigned(_)));
    wait_until("the pipeline takes again", || {
        source.post(&[JSON], b"[2]").status == 202
    });
    assert_eq!(source.records(1), ["2@0"]);
    source.stop();
}

#[test]
fn a_head_without_end_is_not_read() {
    let source = start(json!({}), None, None);
    let long = format!("X-Long: {}", "x".repeat(70_000));
    assert_eq!(source.post(&[JSON, &long], b"[1]").status, 431);
    let long = format!("X-Long: {}", "x".repeat(30_000));
    assert_eq!(source.post(&[JSON, &long], b"[1]").status, 202);
    // What is told of a request is short, whatever it has.
    let long = format!("Content-Type: {}", "x".repeat(30_000));
    let response = source.post(&[&long], b"[1]");
    assert_eq!(response.status, 415);
    assert!(response.body.len() < 600, "{}", response.body.len());
    assert_eq!(source.records(1), ["1@0"]);
    source.stop();
}

#[test]
fn what_has_begun_is_answered_when_we_stop() {
    let source = start(json!({}), None, Some(0));
    // The pipeline has not taken the split yet, so the request waits.
    let first = source.begin(&head(&[JSON], 3), b"[1]");
    source.await_metric("weir_http_connections{pipeline=\"test\"} 1\n");
    source.await_metric("weir_http_received_bytes_total{pipeline=\"test\"} 3\n");
    source.stop.stop();
    let mut refused = None;
    wait_until("requests are turned away", || {
        let response = source.post(&[JSON, "Content-Encoding: gzip"], b"no gzip");
        refused = Some(response).filter(|response| response.status != 400);
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("\r\nretry-after: 1"), "{refused:?}");
    assert_eq!(source.records(1), ["1@0"]);
    assert_eq!(answer(first).status, 202);
    source.stop();
}

#[test]
fn who_hangs_is_cut_off_when_we_stop() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Some(StdDuration::from_millis(50));
    let keys = json!({ "request_timeout": "10m" });
    let source = start_with(Protocol::Records, keys, Some(folder.path()), None, patience);
    let hanging = [
        source.begin(&head(&[NDJSON], 100), b"1\n"),
        source.begin("POST /ingest/test HT", b""),
        source.connect(),
    ];
    source.await_metric("weir_http_received_bytes_total{pipeline=\"test\"} 2\n");
    source.await_metric("weir_http_connections{pipeline=\"test\"} 3\n");
    // It would take ten minutes otherwise; nothing of half a request is left.
    source.stop();
    for mut stream in hanging {
        let mut rest = Vec::new();
        // It may be reset, as what it has sent was not read.
        drop(stream.read_to_end(&mut rest));
        assert!(!rest.starts_with(b"HTTP/1.1 202"), "{rest:?}");
    }
}

#[test]
fn a_pipeline_that_has_gone_takes_nothing() {
    let source = start(json!({}), None, None);
    let Running {
        address,
        events,
        thread,
        ..
    } = source;
    drop(events);
    thread.join().unwrap().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn what_cannot_be_set_up_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = listen(&address.to_string()).unwrap_err();
    let expected = "each pipeline needs an address of its own";
    assert!(error.contains(expected), "{error}");
    let config = |keys| -> HttpConfig { serde_json::from_value(keys).unwrap() };
    let missing = json!({ "listen": "127.0.0.1:0", "token_file": "/nonexistent/token" });
    let error = token(&config(missing)).unwrap_err();
    assert!(
        error.starts_with("token_file /nonexistent/token cannot be read"),
        "{error}"
    );
    let missing = json!({ "cert_file": "/nonexistent/cert", "key_file": "k" });
    let error = tls::acceptor(&serde_json::from_value(missing).unwrap())
        .err()
        .unwrap();
    assert!(
        error.starts_with("cert_file /nonexistent/cert does not exist"),
        "{error}"
    );
}
