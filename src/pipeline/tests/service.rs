//! A service over HTTP whose answers a test gives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// What the service does and has seen.
#[derive(Default)]
struct Script {
    /// Keys whose requests wait.
    held: BTreeSet<String>,
    /// What comes before the last word on a key: a status, and seconds for Retry-After.
    first: BTreeMap<String, VecDeque<(u16, Option<u32>)>>,
    /// The last word: a JSON text, or 404 where there is none.
    values: BTreeMap<String, String>,
    asked: Vec<String>,
    tokens: BTreeSet<String>,
    in_flight: usize,
    most_in_flight: usize,
}

#[derive(Default)]
struct Shared {
    script: Mutex<Script>,
    released: Notify,
}

/// A running service. It ends when this is dropped.
pub(super) struct Service {
    shared: Arc<Shared>,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Service {
    pub(super) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let shared = Arc::new(Shared::default());
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/{*key}", axum::routing::get(answer))
            .with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            shared,
            address,
            _runtime: runtime,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/{{key}}", self.address)
    }

    /// Knows keys.
    pub(super) fn knows(&self, values: &[(&str, &str)]) {
        let mut script = self.shared.script.lock().unwrap();
        for (key, value) in values {
            script.values.insert((*key).to_owned(), (*value).to_owned());
        }
    }

    /// Answers with a status before anything else is said of the key.
    pub(super) fn fails(&self, key: &str, status: u16, retry_after: Option<u32>) {
        let mut script = self.shared.script.lock().unwrap();
        let first = script.first.entry(key.to_owned()).or_default();
        first.push_back((status, retry_after));
    }

    /// Lets requests for a key wait.
    pub(super) fn hold(&self, key: &str) {
        let mut script = self.shared.script.lock().unwrap();
        script.held.insert(key.to_owned());
    }

    /// Answers what waits.
    pub(super) fn release(&self) {
        self.shared.script.lock().unwrap().held.clear();
        self.shared.released.notify_waiters();
    }

    /// The keys of all requests, sorted.
    pub(super) fn asked(&self) -> Vec<String> {
        let mut asked = self.shared.script.lock().unwrap().asked.clone();
        asked.sort();
        asked
    }

    pub(super) fn in_flight(&self) -> usize {
        self.shared.script.lock().unwrap().in_flight
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.shared.script.lock().unwrap().most_in_flight
    }

    /// The authorizations that were shown.
    pub(super) fn tokens(&self) -> Vec<String> {
        let script = self.shared.script.lock().unwrap();
        script.tokens.iter().cloned().collect()
    }
}

/// Counts a request until it is answered or given up.
struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.script.lock().unwrap().in_flight -= 1;
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, HeaderMap, String) {
    {
        let mut script = shared.script.lock().unwrap();
        script.asked.push(key.clone());
        if let Some(token) = headers.get("authorization") {
            script.tokens.insert(token.to_str().unwrap().to_owned());
        }
        script.in_flight += 1;
        script.most_in_flight = script.most_in_flight.max(script.in_flight);
    }
    let _in_flight = InFlight(shared.clone());
    loop {
        let released = shared.released.notified();
        tokio::pin!(released);
        released.as_mut().enable();
        if !shared.script.lock().unwrap().held.contains(&key) {
            break;
        }
        released.await;
    }
    let mut script = shared.script.lock().unwrap();
    let mut headers = HeaderMap::new();
    if let Some((status, retry_after)) = script.first.get_mut(&key).and_then(VecDeque::pop_front) {
        if let Some(seconds) = retry_after {
            headers.insert("retry-after", seconds.into());
        }
        let status = StatusCode::from_u16(status).unwrap();
        return (status, headers, "not now".to_owned());
    }
    match script.values.get(&key) {
        Some(value) => (StatusCode::OK, headers, value.clone()),
        None => (StatusCode::NOT_FOUND, headers, String::new()),
    }
}
