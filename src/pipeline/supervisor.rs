//! A pipeline that is started again when it fails.

pub(in crate::pipeline) mod failure;
pub(in crate::pipeline) mod restart;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use prometheus::{Gauge, IntCounterVec, IntGaugeVec};

use super::error::PipelineError;
use super::running::{Finished, Running, Status};
use super::savepoints::Savepoints;
use crate::config::RestartConfig;
use crate::model::Clock;
use crate::source::StopSignal;
use crate::telemetry::Registry;
use crate::write::WriteSummary;
use failure::{Cause, Failure};
use restart::RestartPolicy;

/// How often a running pipeline is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a supervised pipeline is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It runs.
    Running,
    /// It has failed and is to start again.
    Restarting,
    /// It has failed and stays so.
    Failed,
    /// It has ended as it should.
    Ended,
}

impl Phase {
    /// The values of the label `state`. An ended pipeline is in none of them.
    const NAMED: [(Self, &'static str); 3] = [
        (Self::Running, "running"),
        (Self::Restarting, "restarting"),
        (Self::Failed, "failed"),
    ];
}

/// Runs a pipeline on a thread of its own, again and again.
#[derive(Debug)]
pub struct Supervisor {
    handle: PipelineHandle,
    thread: JoinHandle<Finished>,
}

impl Supervisor {
    /// Starts a pipeline by `start`, and again after each failure, as `restart` says; where it says
    /// nothing, the first failure is the end. Every end takes no longer than `drain`.
    ///
    /// The first start, and a source that fails before its first event, are not repeated: whoever
    /// has just started weir with a wrong address is to hear of it.
    ///
    /// # Errors
    /// The first start fails.
    pub fn start(
        name: &str,
        restart: Option<RestartConfig>,
        drain: Duration,
        mut start: impl FnMut() -> Result<Running, PipelineError> + Send + 'static,
    ) -> Result<Self, PipelineError> {
        let running = start()?;
        let handle = PipelineHandle::new(name, &running);
        let supervision = Supervision {
            handle: handle.clone(),
            metrics: RestartMetrics::new(&handle.shared.registry),
            policy: restart.map(RestartPolicy::new),
            drain,
            start,
        };
        let thread = thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervision.run(running))?;
        Ok(Self { handle, thread })
    }

    /// What others may see and do.
    pub fn handle(&self) -> &PipelineHandle {
        &self.handle
    }

    /// Whether the pipeline has ended for good.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end: what became of the last run.
    pub fn finish(self) -> Finished {
        self.thread.join().unwrap_or_else(|_| {
            let error = PipelineError::Panicked("supervisor".to_owned());
            nothing_written(self.handle.status(), error)
        })
    }
}

fn nothing_written(status: Status, error: PipelineError) -> Finished {
    Finished {
        status,
        written: WriteSummary {
            written: 0,
            dropped: 0,
            unsent: 0,
            error: None,
        },
        error: Some(error),
    }
}

/// A supervised pipeline, for those who ask about it or stop it.
#[derive(Debug, Clone)]
pub struct PipelineHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    stop: StopSignal,
    /// The metrics that survive restarts.
    registry: Registry,
    current: Mutex<Current>,
}

/// The run of the moment, or the last one.
#[derive(Debug)]
struct Current {
    phase: Phase,
    stop: StopSignal,
    registry: Registry,
    status: Status,
    savepoints: Option<Arc<dyn Savepoints>>,
    /// The last failure's words.
    failure: Option<String>,
}

impl PipelineHandle {
    fn new(name: &str, running: &Running) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                stop: StopSignal::default(),
                registry: Registry::new(name),
                current: Mutex::new(Current {
                    phase: Phase::Running,
                    stop: running.stop_signal(),
                    registry: running.registry().clone(),
                    status: running.status(),
                    savepoints: running.savepoints(),
                    failure: None,
                }),
            }),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        let current = self.shared.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Asks the pipeline to end, and not to start again.
    pub fn stop(&self) {
        self.shared.stop.stop();
        self.current().stop.stop();
    }

    /// Whether it was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.shared.stop.is_stopped()
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.current().phase
    }

    /// Why it has failed last.
    pub fn last_failure(&self) -> Option<String> {
        self.current().failure.clone()
    }

    /// How far its present run is, or its last one was.
    pub fn status(&self) -> Status {
        self.current().status
    }

    /// The savepoints of its present run, where it keeps state.
    pub fn savepoints(&self) -> Option<Arc<dyn Savepoints>> {
        self.current().savepoints.clone()
    }

    /// The metrics: those that survive restarts, and those of the present or last run.
    pub fn registries(&self) -> [Registry; 2] {
        [
            self.shared.registry.clone(),
            self.current().registry.clone(),
        ]
    }

    /// From now on `running` is meant.
    fn runs(&self, running: &Running) {
        let mut current = self.current();
        current.phase = Phase::Running;
        current.stop = running.stop_signal();
        current.registry = running.registry().clone();
        current.status = running.status();
        current.savepoints = running.savepoints();
        // Whoever asked in between has asked the run before.
        if self.is_stopped() {
            current.stop.stop();
        }
    }
}

/// The thread's work.
struct Supervision<S> {
    handle: PipelineHandle,
    metrics: RestartMetrics,
    policy: Option<RestartPolicy>,
    drain: Duration,
    start: S,
}

impl<S: FnMut() -> Result<Running, PipelineError>> Supervision<S> {
    fn run(mut self, first: Running) -> Finished {
        self.enter(Phase::Running);
        let mut finished = self.see_to_its_end(first);
        let mut is_first = true;
        loop {
            let Some(failure) = Failure::of(&finished) else {
                self.enter(Phase::Ended);
                return finished;
            };
            self.metrics.failed(failure.cause);
            self.handle.current().failure = Some(failure.message.clone());
            let is_unheard_of =
                is_first && failure.cause == Cause::Source && finished.status.events == 0;
            let delay = match self.policy.as_mut() {
                Some(policy) if !failure.is_permanent && !is_unheard_of => {
                    policy.failed(Instant::now())
                }
                _ => None,
            };
            let Some(delay) = delay.filter(|_| !self.handle.is_stopped()) else {
                self.enter(Phase::Failed);
                return finished;
            };
            is_first = false;
            self.enter(Phase::Restarting);
            tracing::error!(
                pipeline = self.handle.name(),
                cause = failure.cause.name(),
                error = failure.message,
                after_s = delay.as_secs_f64(),
                "the pipeline has failed and starts again"
            );
            if !self.wait(delay) {
                // It was asked to end, and that is what it does; the failure was told.
                self.enter(Phase::Failed);
                return finished;
            }
            self.metrics.restarts(failure.cause);
            finished = match (self.start)() {
                Ok(running) => {
                    self.handle.runs(&running);
                    self.enter(Phase::Running);
                    self.see_to_its_end(running)
                }
                Err(error) => nothing_written(self.handle.status(), error),
            };
        }
    }

    /// Waits until a run has ended, or is to end.
    fn see_to_its_end(&self, running: Running) -> Finished {
        let stop = running.stop_signal();
        while !running.is_finished() && !stop.is_stopped() {
            self.handle.current().status = running.status();
            thread::sleep(LOOK_EVERY);
        }
        if stop.is_stopped() && !self.handle.is_stopped() {
            // A run that stops itself has failed.
            self.enter(Phase::Restarting);
        }
        // It holds the store, which the next run opens.
        self.handle.current().savepoints = None;
        let finished = running.finish(self.drain);
        self.handle.current().status = finished.status;
        finished
    }

    /// Waits; whether nobody has asked the pipeline to end meanwhile.
    fn wait(&self, delay: Duration) -> bool {
        let end = Instant::now() + delay;
        while !self.handle.is_stopped() {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return true;
            }
            thread::sleep(rest.min(LOOK_EVERY));
        }
        false
    }

    fn enter(&self, phase: Phase) {
        self.handle.current().phase = phase;
        self.metrics.enter(phase);
    }
}

/// The metrics that survive restarts.
#[derive(Debug)]
struct RestartMetrics {
    restarts: IntCounterVec,
    state: IntGaugeVec,
    last_failure: IntGaugeVec,
    last_failure_time: Gauge,
}

impl RestartMetrics {
    fn new(registry: &Registry) -> Self {
        let restarts = registry.counters(
            "weir_restarts_total",
            "How often the pipeline was started again after a failure.",
            &["cause"],
        );
        let state = registry.int_gauges(
            "weir_pipeline_state",
            "1 for the state that the pipeline is in.",
            &["state"],
        );
        let last_failure = registry.int_gauges(
            "weir_last_failure",
            "1 for the cause of the last failure.",
            &["cause"],
        );
        let last_failure_time = registry.gauge(
            "weir_last_failure_timestamp_seconds",
            "When the pipeline has failed last; 0 before the first time.",
        );
        for cause in Cause::ALL {
            restarts.with_label_values(&[cause.name()]);
            last_failure.with_label_values(&[cause.name()]);
        }
        Self {
            restarts,
            state,
            last_failure,
            last_failure_time,
        }
    }

    fn enter(&self, phase: Phase) {
        for (named, name) in Phase::NAMED {
            self.state
                .with_label_values(&[name])
                .set(i64::from(named == phase));
        }
    }

    fn failed(&self, cause: Cause) {
        for other in Cause::ALL {
            self.last_failure
                .with_label_values(&[other.name()])
                .set(i64::from(other == cause));
        }
        let now_ms = Clock::System.now_ms();
        self.last_failure_time.set(now_ms as f64 / 1e3);
    }

    fn restarts(&self, cause: Cause) {
        self.restarts.with_label_values(&[cause.name()]).inc();
    }
}
