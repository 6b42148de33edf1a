//! Refreshing tables: from files, from a real HTTP server, and from servers in trouble.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;

use super::config::LookupConfig;
use super::error::LoadError;
use super::metrics::LookupMetrics;
use super::refresh::Refresher;
use crate::telemetry::Registry;
use crate::testing::wait_until;

struct Fixture {
    registry: Registry,
    metrics: LookupMetrics,
}

impl Fixture {
    fn new() -> Self {
        let registry = Registry::new("test");
        let metrics = LookupMetrics::new(&registry);
        Self { registry, metrics }
    }

    fn load(&self, from: &str, folder: &Path) -> Result<Refresher, LoadError> {
        Refresher::load(config(from), folder, self.metrics.clone())
    }

    /// The value of a metric of the lookup, with its further labels.
    fn value(&self, name: &str, labels: &str) -> f64 {
        let text = Registry::text([&self.registry]);
        let start = format!("{name}{{lookup=\"v\"{labels},pipeline=\"test\"}} ");
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(&start));
        value
            .unwrap_or_else(|| panic!("no {start}in {text}"))
            .parse()
            .unwrap()
    }

    /// Refreshes that found a change, none, and failed.
    fn refreshes(&self) -> [f64; 3] {
        ["changed", "unchanged", "failed"].map(|result| {
            let label = format!(",result=\"{result}\"");
            self.value("weir_lookup_refreshes_total", &label)
        })
    }
}

fn config(from: &str) -> LookupConfig {
    super::testing::config(from, r#"["model"]"#)
}

#[test]
fn takes_a_changed_file_and_keeps_the_old_table_where_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.csv");
    std::fs::write(&path, "id,model\nV1,A\n").unwrap();
    let fixture = Fixture::new();
    let from = r#"{"csv": "v.csv", "key": "id"}"#;
    let mut refresher = fixture.load(from, folder.path()).unwrap();
    let shared = refresher.shared();
    assert_eq!(refresher.refresh(), Ok(false));
    assert_eq!(shared.version(), 1);
    let loaded = fixture.value("weir_lookup_loaded_timestamp_seconds", "");
    assert!(loaded > 1.7e9, "{loaded}");

    std::fs::write(&path, "id,model\nV1,A\nV2,B\n").unwrap();
    assert_eq!(refresher.refresh(), Ok(true));
    assert_eq!((shared.version(), shared.table().rows()), (2, 2));
    assert_eq!(fixture.value("weir_lookup_version", ""), 2.0);
    assert_eq!(fixture.value("weir_lookup_rows", ""), 2.0);
    let bytes = shared.table().byte_len() as f64;
    assert_eq!(fixture.value("weir_lookup_bytes", ""), bytes);
    assert!(fixture.value("weir_lookup_load_duration_seconds", "") > 0.0);

    // A file with another time and the same content changes nothing.
    let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(later).unwrap();
    assert_eq!(refresher.refresh(), Ok(false));
    assert_eq!(shared.version(), 2);

    std::fs::write(&path, "id,model\nV1,A\nV2\n").unwrap();
    for _ in 0..2 {
        let error = refresher.refresh().unwrap_err().to_string();
        assert!(
            error.ends_with("v.csv:3: expected 2 columns, found 1"),
            "{error}"
        );
    }
    assert_eq!((shared.version(), shared.table().rows()), (2, 2));

    std::fs::remove_file(&path).unwrap();
    assert!(matches!(refresher.refresh(), Err(LoadError::Read { .. })));
    assert_eq!(fixture.refreshes(), [1.0, 2.0, 3.0]);
}

#[test]
fn the_age_is_that_of_the_last_look_that_succeeded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.csv");
    std::fs::write(&path, "id,model\nV1,A\n").unwrap();
    let fixture = Fixture::new();
    let from = r#"{"csv": "v.csv", "key": "id"}"#;
    let began = Instant::now();
    let mut refresher = fixture.load(from, folder.path()).unwrap();
    // No refresh in between: the scrape itself sees the time pass.
    let age = || fixture.value("weir_lookup_age_seconds", "");
    let first = age();
    while age() <= first {}
    let before = age();
    assert!(before <= began.elapsed().as_secs_f64());
    std::fs::write(&path, "id\n").unwrap();
    assert!(refresher.refresh().is_err());
    assert!(age() > before);
    let began = Instant::now();
    std::fs::write(&path, "id,model\n").unwrap();
    assert_eq!(refresher.refresh(), Ok(true));
    assert!(age() <= began.elapsed().as_secs_f64());
}

#[test]
fn refuses_a_table_that_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("v.csv"), "id,model\nV1,A\n").unwrap();
    let load = |max: usize| {
        let from = format!(r#"{{"csv": "v.csv", "key": "id", "max_bytes": {max}}}"#);
        Fixture::new().load(&from, folder.path())
    };
    assert!(load(14).is_ok());
    let error = load(13).unwrap_err().to_string();
    assert!(
        error.ends_with("v.csv: it is larger than max_bytes, 13"),
        "{error}"
    );
}

/// One answer of the server.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: &'static str,
}

fn answer(status: u16, body: &'static str) -> Answer {
    Answer {
        status,
        headers: Vec::new(),
        body,
    }
}

impl Answer {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A server that gives answers in turn, and remembers what it was asked.
struct Server {
    url: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<Request>>>,
    _runtime: tokio::runtime::Runtime,
}

type Shared = (Arc<Mutex<VecDeque<Answer>>>, Arc<Mutex<Vec<Request>>>);

async fn handle(State((answers, requests)): State<Shared>, request: Request) -> Response<Body> {
    requests.lock().unwrap().push(request);
    let answer = answers.lock().unwrap().pop_front();
    let answer = answer.unwrap_or(Answer {
        status: 418,
        headers: Vec::new(),
        body: "nothing is left to answer",
    });
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap()
}

impl Server {
    fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared: Shared = (answers.clone(), requests.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!(
            "http://{}/v.csv?token=hunter2",
            listener.local_addr().unwrap()
        );
        let router = Router::new().fallback(handle).with_state(shared);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            answers,
            requests,
            _runtime: runtime,
        }
    }

    fn then(&self, answer: Answer) {
        self.answers.lock().unwrap().push_back(answer);
    }

    fn header(&self, request: usize, name: &str) -> Option<String> {
        let requests = self.requests.lock().unwrap();
        let value = requests[request].headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    fn from(&self, rest: &str) -> String {
        format!(r#"{{"csv": "{}", "key": "id"{rest}}}"#, self.url)
    }

    fn shown(&self) -> String {
        self.url.replace("?token=hunter2", "")
    }
}

const FIRST: &str = "id,model\nV1,A\n";
const SECOND: &str = "id,model\nV1,A\nV2,B\n";

fn nowhere() -> &'static Path {
    Path::new("/")
}

#[test]
fn asks_an_http_server_for_changes_only() {
    let server = Server::start([answer(200, FIRST).with("etag", "\"one\"")]);
    let fixture = Fixture::new();
    let from = server.from(r#", "headers": {"X-Key": "hunter2"}"#);
    let mut refresher = fixture.load(&from, nowhere()).unwrap();
    assert_eq!(server.header(0, "x-key").as_deref(), Some("hunter2"));
    assert_eq!(server.header(0, "if-none-match"), None);

    server.then(answer(304, ""));
    assert_eq!(refresher.refresh(), Ok(false));
    assert_eq!(
        server.header(1, "if-none-match").as_deref(),
        Some("\"one\"")
    );

    // Garbage is not put in use, nor is its tag.
    server.then(answer(200, "<html>").with("etag", "\"two\""));
    let error = refresher.refresh().unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}: there is no column 'id'; the columns are <html>",
            server.shown()
        )
    );
    server.then(answer(500, ""));
    let error = refresher.refresh().unwrap_err();
    assert_eq!(
        error,
        LoadError::Unavailable {
            path: server.shown(),
            reason: "the server answers 500 Internal Server Error".to_owned()
        }
    );
    assert_eq!(
        server.header(3, "if-none-match").as_deref(),
        Some("\"one\"")
    );
    assert_eq!(refresher.shared().version(), 1);

    server.then(answer(200, SECOND).with("last-modified", "Sun, 03 Nov 2024 08:15:49 GMT"));
    assert_eq!(refresher.refresh(), Ok(true));
    assert_eq!(refresher.shared().table().rows(), 2);
    // Without a tag it is the time that tells; and the same content is no change.
    server.then(answer(200, SECOND));
    assert_eq!(refresher.refresh(), Ok(false));
    assert_eq!(
        server.header(5, "if-modified-since").as_deref(),
        Some("Sun, 03 Nov 2024 08:15:49 GMT")
    );
    server.then(answer(200, FIRST));
    assert_eq!(refresher.refresh(), Ok(true));
    assert_eq!(server.header(6, "if-modified-since"), None);
    assert_eq!(refresher.shared().version(), 3);
    assert_eq!(fixture.refreshes(), [2.0, 2.0, 2.0]);
}

#[test]
fn waits_at_the_start_for_a_server_in_trouble() {
    let server = Server::start([answer(500, ""), answer(429, ""), answer(200, FIRST)]);
    let refresher = Fixture::new().load(&server.from(""), nowhere()).unwrap();
    assert_eq!(refresher.shared().table().rows(), 1);
    assert_eq!(server.requests.lock().unwrap().len(), 3);
}

#[test]
fn gives_up_at_the_start_with_the_last_error() {
    let server = Server::start((0..100).map(|_| answer(503, "")));
    let from = server.from(r#", "start_timeout": "500ms""#);
    let error = Fixture::new().load(&from, nowhere()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read {}: the server answers 503 Service Unavailable",
            server.shown()
        )
    );
    let attempts = server.requests.lock().unwrap().len();
    assert!((2..=3).contains(&attempts), "{attempts} attempts");
}

#[test]
fn does_not_repeat_what_would_fail_again() {
    for (first, message) in [
        (
            answer(404, ""),
            "cannot read {}: the server answers 404 Not Found",
        ),
        (
            answer(200, "id,model\nV1\n"),
            "{}:2: expected 2 columns, found 1",
        ),
        (
            answer(302, "").with("location", "http://localhost.example/v.csv"),
            "cannot read {}: redirected to another host, localhost.example; name that one",
        ),
    ] {
        let server = Server::start([first]);
        let error = Fixture::new()
            .load(&server.from(""), nowhere())
            .unwrap_err();
        assert_eq!(error.to_string(), message.replace("{}", &server.shown()));
        assert_eq!(server.requests.lock().unwrap().len(), 1);
    }
}

#[test]
fn follows_a_redirect_within_the_host() {
    let server = Server::start([
        answer(302, "").with("location", "/elsewhere.csv"),
        answer(200, FIRST),
    ]);
    let refresher = Fixture::new().load(&server.from(""), nowhere()).unwrap();
    assert_eq!(refresher.shared().table().rows(), 1);
    assert_eq!(server.requests.lock().unwrap()[1].uri(), "/elsewhere.csv");
}

#[test]
fn a_connection_that_breaks_off_is_told_from_a_broken_table() {
    // The answer promises more bytes than come.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let bodies = [
            "Content-Length: 1000\r\n\r\nid,model\nV1,",
            "Content-Length: 14\r\n\r\nid,model\nV1,A\n",
        ];
        for body in bodies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1000];
            assert!(stream.read(&mut asked).unwrap() > 0);
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{body}").unwrap();
        }
    });
    let from = format!(r#"{{"csv": "http://{address}/v.csv", "key": "id"}}"#);
    let refresher = Fixture::new().load(&from, nowhere()).unwrap();
    assert_eq!(refresher.shared().table().rows(), 1);
    server.join().unwrap();
}

#[test]
fn ends_at_once_while_a_server_keeps_it_waiting() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, was_asked) = crossbeam_channel::bounded(0);
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1000];
        assert!(stream.read(&mut request).unwrap() > 0);
        let body = "Connection: close\r\nContent-Length: 14\r\n\r\nid,model\nV1,A\n";
        write!(stream, "HTTP/1.1 200 OK\r\n{body}").unwrap();
        drop(stream);
        // The second request gets no answer: reading ends when the other side hangs up.
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut request).unwrap() > 0);
        asked.send(()).unwrap();
        while stream.read(&mut request).is_ok_and(|length| length > 0) {}
    });
    let from = format!(
        r#"{{"csv": "http://{address}/v.csv", "key": "id", "refresh": "1ms", "timeout": "1h"}}"#
    );
    let thread = Fixture::new()
        .load(&from, nowhere())
        .unwrap()
        .start()
        .unwrap();
    was_asked.recv().unwrap();
    drop(thread);
    server.join().unwrap();
}

#[test]
fn a_running_refresher_takes_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.csv");
    std::fs::write(&path, FIRST).unwrap();
    let from = r#"{"csv": "v.csv", "key": "id", "refresh": "1ms"}"#;
    let refresher = Fixture::new().load(from, folder.path()).unwrap();
    let shared = refresher.shared();
    let thread = refresher.start().unwrap();
    let new = folder.path().join("new.csv");
    std::fs::write(&new, SECOND).unwrap();
    std::fs::rename(new, path).unwrap();
    wait_until("the change is taken", || shared.version() >= 2);
    assert_eq!(shared.table().rows(), 2);
    drop(thread);
}
