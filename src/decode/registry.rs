//! A registry of schemas, as Confluent's: it is asked once for each number that a record names.
//!
//! A schema never changes, so it is kept. That there is none is kept for a while: it may be registered
//! yet. While the registry cannot be reached, or says nothing that could be understood, it is asked again
//! and again, and records wait: nothing is dropped for that.

mod client;
mod config;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use prometheus::{IntCounter, IntGauge};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::avro::{AvroSchema, SchemaAnswer, SchemaQuestion, SchemaSource};
use super::recent::Recent;
use crate::model::hash::StableHash;
use crate::model::{Backoff, BackoffLimits};
use crate::telemetry::{LogLimit, Registry};
use client::{Client, Failure};

pub use config::RegistryConfig;

/// How many requests are under way at once.
const MAX_IN_FLIGHT: usize = 8;

/// How long to wait before the registry is asked again.
const WAITS: BackoffLimits = BackoffLimits {
    min: Duration::from_millis(200),
    max: Duration::from_secs(10),
    max_retry_after: Duration::from_secs(60),
};

/// How often failed requests are logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How many schemas are remembered; what is forgotten is asked for again.
const MAX_SCHEMAS: usize = 10_000;

/// How many numbers without a schema are remembered.
const MAX_MISSING: usize = 10_000;

/// A registry with what it has answered so far; clones share it.
#[derive(Clone)]
pub struct SchemaRegistry(Arc<Shared>);

struct Shared {
    client: Client,
    /// For how long it is kept that there is no schema.
    missing_ttl: Duration,
    runtime: Handle,
    state: Mutex<State>,
    permits: Semaphore,
    closed: watch::Sender<bool>,
    metrics: Metrics,
    failures: Mutex<LogLimit>,
}

struct State {
    schemas: Recent<Arc<AvroSchema>>,
    /// Why there is no schema, and until when that holds.
    missing: Recent<(Arc<str>, Instant)>,
    waiting: HashMap<u32, Waiting, FixedState>,
}

/// A schema that is waited for.
struct Waiting {
    question: Arc<SchemaQuestion>,
    /// Who waits for it.
    wakes: Vec<Sender<()>>,
    /// The first record that waits.
    place: String,
    since: Instant,
}

/// What is counted of a registry.
struct Metrics {
    found: IntCounter,
    missing: IntCounter,
    failed: IntCounter,
    schemas: IntGauge,
    waiting: IntGauge,
}

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SchemaRegistry")
    }
}

impl SchemaRegistry {
    /// A registry that was not asked yet. Requests run on `runtime`.
    ///
    /// # Errors
    /// The client cannot be set up: certificates that cannot be read.
    pub fn build(
        config: &RegistryConfig,
        runtime: Handle,
        registry: &Registry,
    ) -> Result<Self, String> {
        Ok(Self(Arc::new(Shared {
            client: Client::build(config)?,
            missing_ttl: config.missing_ttl.to_std(),
            runtime,
            state: Mutex::new(State {
                schemas: Recent::new(MAX_SCHEMAS),
                missing: Recent::new(MAX_MISSING),
                waiting: HashMap::default(),
            }),
            permits: Semaphore::new(MAX_IN_FLIGHT),
            closed: watch::Sender::new(false),
            metrics: Metrics::new(registry),
            failures: Mutex::new(LogLimit::every(LOG_EVERY)),
        })))
    }

    /// Asks nothing more. What waits for a schema waits on.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }
}

impl SchemaSource for SchemaRegistry {
    fn ask(&self, id: u32, place: &str, wake: &Sender<()>) -> Arc<SchemaQuestion> {
        let mut state = self.0.lock();
        if let Some(schema) = state.schemas.get(id) {
            return SchemaQuestion::answered(Ok(schema.clone()));
        }
        if let Some((reason, until)) = state.missing.get(id)
            && Instant::now() < *until
        {
            return SchemaQuestion::answered(Err(reason.clone()));
        }
        if let Some(waiting) = state.waiting.get_mut(&id) {
            if !waiting.wakes.iter().any(|known| known.same_channel(wake)) {
                waiting.wakes.push(wake.clone());
            }
            return waiting.question.clone();
        }
        let waiting = Waiting {
            question: Arc::default(),
            wakes: vec![wake.clone()],
            place: place.to_owned(),
            since: Instant::now(),
        };
        let question = waiting.question.clone();
        state.waiting.insert(id, waiting);
        self.0.metrics.waiting.inc();
        drop(state);
        // It tells those who wait; nobody waits for the task itself.
        drop(self.0.runtime.spawn(self.0.clone().request(id)));
        question
    }
}

impl Shared {
    async fn request(self: Arc<Self>, id: u32) {
        let mut closed = self.closed.subscribe();
        let answer = tokio::select! {
            biased;
            // An error says that nobody can close it any more, which is an end as well.
            _ = closed.wait_for(|closed| *closed) => return,
            answer = self.answer(id) => answer,
        };
        let answer: SchemaAnswer = answer.map(Arc::new).map_err(Arc::from);
        let mut state = self.lock();
        match &answer {
            Ok(schema) => {
                state.missing.remove(id);
                state.schemas.insert(id, schema.clone());
            }
            Err(reason) => {
                let until = Instant::now() + self.missing_ttl;
                state.missing.insert(id, (reason.clone(), until));
            }
        }
        let schemas = i64::try_from(state.schemas.len()).unwrap_or(i64::MAX);
        self.metrics.schemas.set(schemas);
        let waiting = state.waiting.remove(&id);
        drop(state);
        self.metrics.waiting.dec();
        let Some(waiting) = waiting else { return };
        waiting.question.set(answer);
        for wake in waiting.wakes {
            // One that is full is filled already, and one that nobody holds needs no waking.
            if wake.try_send(()).is_err() {
                tracing::trace!(id, "nobody had to be woken");
            }
        }
    }

    /// The schema, or why there is none; until the registry says one or the other.
    async fn answer(&self, id: u32) -> Result<AvroSchema, String> {
        let seed = StableHash::default().text(&id.to_string()).finish();
        let mut backoff = Backoff::new(WAITS, seed);
        let mut failures = 0;
        loop {
            let permit = self.permits.acquire().await;
            let asked = self.client.schema(id).await;
            drop(permit);
            match asked {
                Ok(schema) => {
                    self.metrics.found.inc();
                    tracing::info!(id, "a schema was read from the registry");
                    return Ok(schema);
                }
                Err(Failure::None(reason)) => {
                    self.metrics.missing.inc();
                    return Err(reason);
                }
                Err(Failure::Passing {
                    message,
                    retry_after,
                }) => {
                    self.metrics.failed.inc();
                    failures += 1;
                    self.log(id, &message);
                    tokio::time::sleep(backoff.wait(failures, retry_after)).await;
                }
            }
        }
    }

    fn log(&self, id: u32, error: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = failures.admit() {
            let state = self.lock();
            let waiting = state.waiting.get(&id);
            tracing::warn!(
                id,
                error,
                record = waiting.map(|waiting| waiting.place.as_str()),
                waiting_s = waiting.map(|waiting| waiting.since.elapsed().as_secs()),
                held_back,
                "the schema registry cannot be asked; records wait for it"
            );
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        let requests = registry.counters(
            "weir_schema_registry_requests_total",
            "Questions to the schema registry by what came of them.",
            &["result"],
        );
        Self {
            found: requests.with_label_values(&["found"]),
            missing: requests.with_label_values(&["missing"]),
            failed: requests.with_label_values(&["failed"]),
            schemas: registry.int_gauge(
                "weir_schema_registry_schemas",
                "Schemas that are known of the registry.",
            ),
            waiting: registry.int_gauge(
                "weir_schema_registry_waiting",
                "Schemas that records wait for.",
            ),
        }
    }
}
