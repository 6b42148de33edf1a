//! A service that is asked for keys: what all workers share of a partial lookup.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::super::config::LookupConfig;
use super::super::metrics::LookupMetrics;
use super::answer::{Answer, RequestError};
use super::cache::{Cache, Known};
use super::client::Client;
use super::config::{CacheConfig, DEFAULT_IN_FLIGHT, RetryConfig};
use super::metrics::LookupCounters;
use super::ticket::{Ticket, Waiter};
use crate::model::hash::StableHash;
use crate::model::{Backoff, BackoffLimits, Clock};
use crate::telemetry::LogLimit;

/// The longest wait between two attempts, whoever asks for it.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How often failed requests are logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The service of a partial lookup, with its cache. A key that several batches need is asked for
/// once, and no more than `max_in_flight` keys at a time.
#[derive(Debug)]
pub struct PartialService {
    lookup: String,
    client: Client,
    cache: CacheConfig,
    retry: RetryConfig,
    runtime: Handle,
    state: Mutex<State>,
    permits: Semaphore,
    closed: watch::Sender<bool>,
    /// The beginning of the lookup's time line.
    started: Instant,
    pub(super) counters: LookupCounters,
    failures: Mutex<LogLimit>,
}

#[derive(Debug)]
struct State {
    cache: Cache,
    /// Who waits for which key.
    waiters: HashMap<Box<str>, Vec<Waiter>, FixedState>,
}

/// What is known of some keys.
pub(super) struct Asked {
    pub(super) ticket: Arc<Ticket>,
    /// Whether each key was in the cache.
    pub(super) cached: Vec<bool>,
}

impl PartialService {
    /// The service of a lookup; nothing is asked yet. Requests run on `runtime`.
    ///
    /// # Errors
    /// The lookup names no service, or it cannot be set up: a wrong URL, no TLS, no region or
    /// credentials.
    pub fn build(
        config: &LookupConfig,
        runtime: Handle,
        clock: Clock,
        metrics: &LookupMetrics,
    ) -> Result<Arc<Self>, String> {
        let service = config
            .service()
            .ok_or_else(|| "needs http, postgres or dynamodb".to_owned())?;
        let client = Client::build(service, &config.add, clock)?;
        let cache = config.from.cache.unwrap_or_default();
        let in_flight = config.from.max_in_flight.unwrap_or(DEFAULT_IN_FLIGHT).get();
        let state = State {
            cache: Cache::new(cache.max_keys.get() as usize),
            waiters: HashMap::with_hasher(FixedState::with_seed(0)),
        };
        Ok(Arc::new(Self {
            lookup: config.lookup.clone(),
            client,
            cache,
            retry: config.from.retry.unwrap_or_default(),
            runtime,
            state: Mutex::new(state),
            permits: Semaphore::new(in_flight as usize),
            closed: watch::Sender::new(false),
            started: Instant::now(),
            counters: metrics.partial.of_lookup(&config.lookup),
            failures: Mutex::new(LogLimit::every(LOG_EVERY)),
        }))
    }

    /// Asks nothing more: keys that are not answered by now have failed.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Milliseconds on the lookup's own time line, which has nothing to do with event time.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How many keys the cache and each worker keep.
    pub(super) fn max_keys(&self) -> usize {
        self.cache.max_keys.get() as usize
    }

    /// Asks for keys that differ from each other. Requests start at once, for those that are neither
    /// in the cache nor asked for already.
    pub(super) fn ask(self: &Arc<Self>, keys: &[&str], wake: &Sender<()>) -> Asked {
        let now_ms = self.now_ms();
        let ticket = Arc::new(Ticket::new(keys.len(), wake.clone()));
        let mut cached = Vec::with_capacity(keys.len());
        let mut new = Vec::new();
        let mut state = self.lock();
        for (slot, key) in keys.iter().enumerate() {
            let known = state.cache.get(key, now_ms);
            cached.push(known.is_some());
            if let Some(known) = known {
                ticket.answer(slot, known);
                continue;
            }
            let waiter = Waiter {
                ticket: ticket.clone(),
                slot,
            };
            if let Some(waiters) = state.waiters.get_mut(*key) {
                waiters.push(waiter);
            } else {
                state.waiters.insert((*key).into(), vec![waiter]);
                new.push(Box::<str>::from(*key));
            }
        }
        drop(state);
        for key in new {
            // It tells those who wait; nobody waits for the task itself.
            drop(self.runtime.spawn(self.clone().request(key)));
        }
        Asked { ticket, cached }
    }

    async fn request(self: Arc<Self>, key: Box<str>) {
        let mut closed = self.closed.subscribe();
        let result = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => {
                Err(RequestError::fatal("the pipeline stops and waits no longer"))
            }
            result = self.attempts(&key) => result,
        };
        let (answer, counter, ttl) = match result {
            Ok(answer @ Answer::Found(_)) => (answer, &self.counters.found, self.cache.ttl),
            Ok(answer) => (answer, &self.counters.missing, self.cache.miss_ttl),
            Err(error) => {
                self.log(&key, &error);
                (
                    Answer::Failed,
                    &self.counters.failed,
                    self.cache.failure_ttl,
                )
            }
        };
        counter.inc();
        let known = Known {
            answer,
            until_ms: self.now_ms().saturating_add(ttl.as_millis()),
        };
        let mut state = self.lock();
        let waiters = state.waiters.remove(&key).unwrap_or_default();
        state.cache.insert(key, known.clone());
        let keys = i64::try_from(state.cache.len()).unwrap_or(i64::MAX);
        self.counters.keys.set(keys);
        drop(state);
        for waiter in waiters {
            waiter.ticket.answer(waiter.slot, known.clone());
        }
    }

    /// Asks until there is an answer, or there have been enough attempts.
    async fn attempts(&self, key: &str) -> Result<Answer, RequestError> {
        let seed = StableHash::default().text(&self.lookup).text(key).finish();
        let limits = BackoffLimits {
            min: self.retry.backoff.to_std(),
            max: MAX_WAIT,
            max_retry_after: MAX_WAIT,
        };
        let mut backoff = Backoff::new(limits, seed);
        let mut failures = 0;
        loop {
            let error = match self.attempt(key).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            if !error.is_repeatable || failures >= self.retry.attempts.get() {
                return Err(error);
            }
            self.counters.retries.inc();
            tokio::time::sleep(backoff.wait(failures, error.retry_after)).await;
        }
    }

    /// Waits for its turn and asks once. Between attempts others have their turn.
    async fn attempt(&self, key: &str) -> Result<Answer, RequestError> {
        let _permit = self.permits.acquire().await;
        let _in_flight = Counted::new(&self.counters.in_flight);
        let begun = Instant::now();
        let result = self.client.ask(key).await;
        let seconds = begun.elapsed().as_secs_f64();
        self.counters.seconds.observe(seconds);
        result
    }

    fn log(&self, key: &str, error: &RequestError) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = failures.admit() {
            let lookup = &self.lookup;
            tracing::warn!(lookup, key, %error, held_back, "a key could not be looked up");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is counted by a gauge as long as it exists.
#[derive(Debug)]
pub(super) struct Counted(prometheus::IntGauge);

impl Counted {
    pub(super) fn new(gauge: &prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
