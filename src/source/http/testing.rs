//! What tests of the HTTP source share: a source that runs, and a client that sees every byte.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration as StdDuration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde_json::{Value, json};

use super::*;
use crate::model::{Clock, Duration};
use crate::source::{
    Alignment, FileProgress, KeptPositions, LogConfig, LogSettings, Resume, SafePositions,
    SourceEvent, Stopped,
};
use crate::testing::{LIMIT, wait_until};

/// Hands over what is taken.
struct Output(Sender<SourceEvent>);

impl SourceOutput for Output {
    fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
        self.0.send(event).map_err(|_| Stopped)
    }

    fn end(&mut self) {}
}

/// A source that runs, and what it says.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) events: Receiver<SourceEvent>,
    pub(super) stop: StopSignal,
    pub(super) registry: Registry,
    pub(super) thread: JoinHandle<Result<(), SourceError>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

/// With these keys beside the address, and a log where there is a folder for it; the pipeline has room
/// for so many events.
pub(super) fn start(keys: Value, log: Option<&Path>, room: Option<usize>) -> Running {
    start_as(Protocol::Records, keys, log, room)
}

/// The same of a protocol.
pub(super) fn start_as(
    protocol: Protocol,
    keys: Value,
    log: Option<&Path>,
    room: Option<usize>,
) -> Running {
    start_with(protocol, keys, log, room, None)
}

/// The same where requests wait so long for the pipeline, and for their end when we stop.
pub(super) fn start_with(
    protocol: Protocol,
    keys: Value,
    log: Option<&Path>,
    room: Option<usize>,
    patience: Option<StdDuration>,
) -> Running {
    let mut config = json!({ "listen": "127.0.0.1:0" });
    let (Some(all), Some(keys)) = (config.as_object_mut(), keys.as_object()) else {
        panic!("{keys}")
    };
    all.extend(keys.clone());
    let config: HttpConfig = serde_json::from_value(config).unwrap();
    let context = Context {
        pipeline: "test".to_owned(),
        idle_after: Duration::from_millis(200),
        commit_every: Duration::from_secs(1),
        max_record_bytes: 1_000,
        needs_envelope: true,
        headers: Default::default(),
        checkpointed: Default::default(),
        clock: Clock::Fixed(42),
        safe: SafePositions::default(),
        resume: Resume::default(),
        kept: KeptPositions::default(),
        tokens: crate::source::PositionTokens::default(),
        log: log.map(|folder| LogSettings {
            folder: folder.to_owned(),
            config: LogConfig {
                max_bytes: 10_000,
                ..LogConfig::default()
            },
        }),
        alignment: Alignment::default(),
        progress: FileProgress::default(),
    };
    let registry = Registry::new("test");
    let mut source = HttpSource::new(&config, protocol, context, &registry).unwrap();
    // A machine may be busy; who tests that nobody waits for ever says how long.
    source.patience = patience.unwrap_or(LIMIT);
    source.drain = patience.unwrap_or(LIMIT);
    let address = source.listener.local_addr().unwrap();
    let stop = StopSignal::default();
    let (sender, events) = room.map_or_else(unbounded, bounded);
    let signal = stop.clone();
    let thread = thread::spawn(move || Box::new(source).run(&mut Output(sender), &signal));
    Running {
        address,
        events,
        stop,
        registry,
        thread,
    }
}

impl Running {
    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends a request's head and body, and does not wait for the answer.
    pub(super) fn begin(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        drop(stream.write_all(body)); // It may be refused before its end.
        stream
    }

    pub(super) fn request(&self, head: &str, body: &[u8]) -> Response {
        answer(self.begin(head, body))
    }

    pub(super) fn post(&self, headers: &[&str], body: &[u8]) -> Response {
        self.request(&head(headers, body.len()), body)
    }

    /// The next records, with their positions.
    pub(super) fn records(&self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        while found.len() < count {
            if let SourceEvent::Records(batch) = self.events.recv_timeout(LIMIT).unwrap() {
                found.extend(batch.records().map(|record| {
                    assert_eq!(record.topic, b"");
                    assert_eq!(record.timestamp, Some(42));
                    let text = String::from_utf8_lossy(record.bytes);
                    format!("{text}@{}", record.position)
                }));
            }
        }
        found
    }

    pub(super) fn has_metric(&self, line: &str) -> bool {
        Registry::text([&self.registry]).contains(line)
    }

    pub(super) fn await_metric(&self, line: &str) {
        wait_until(line, || self.has_metric(line));
    }

    pub(super) fn stop(self) {
        self.stop.stop();
        self.thread.join().unwrap().unwrap();
        let late = self.events.try_iter();
        let late: Vec<_> = late
            .filter(|event| matches!(event, SourceEvent::Records(_)))
            .collect();
        assert!(late.is_empty(), "{late:?}");
    }
}

/// The head of a request.
pub(super) fn head(headers: &[&str], length: usize) -> String {
    let mut head = format!(
        "POST /ingest/test HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Length: {length}\r\n"
    );
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// Reads an answer to its end.
pub(super) fn answer(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    // Where a request is refused before its end, the rest of it may reset the connection after that.
    drop(stream.read_to_end(&mut bytes));
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Response {
        status: head.split(' ').nth(1).unwrap_or("0").parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}
