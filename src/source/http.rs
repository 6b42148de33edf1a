//! Records that clients send with POST.
//!
//! One thread answers requests and a second one hands over. Without a log a request is answered when
//! the second thread begins with its records. With a log there is a thread between the two: it appends the records
//! to the log and has the request answered as soon as they are durable, and the second thread reads the
//! log.

mod bodies;
mod budget;
mod config;
mod encoding;
mod endpoint;
mod impatient;
mod intake;
mod key;
mod layouts;
mod metrics;
mod records;
mod refusal;
mod remote_write;
mod repeats;
mod resend;
mod server;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_remote_write;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio_rustls::TlsAcceptor;

use crate::model::{Secret, Split, SplitId};
use crate::telemetry::{LogLimit, Registry};

use super::log::{self, Logged};
use super::metrics::{DropReason, SourceMetrics};
use super::{Context, Source, SourceError, SourceOutput, StopSignal, handover};
use budget::Budget;
use endpoint::{Endpoint, Limits};
use handover::{Consumer, Producer};
use intake::{Delivery, KEPT_RECORDS, Logging, Push};
use metrics::HttpMetrics;
use server::Server;

pub use bodies::{body_records, remote_write_records};
pub use config::{HttpConfig, ServerTlsConfig};
pub use layouts::{Bodies, BodyFormat};
pub use remote_write::LEAST_RECORD_BYTES;
pub(super) use resend::HttpResend;

/// How many bytes of records may wait for the pipeline or the log before requests are refused.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// How many bytes all requests may hold together, at least; greater bodies make it more.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;

/// How often requests are told of that were refused for good.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// How many threads expand bodies: so many are opened at once, and others wait for that.
const BODY_THREADS: usize = 2;

/// How long a request may wait for a pipeline that takes nothing, where there is no log.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long requests that have begun may take once we are asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// What requests are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Records of the pipeline's format.
    Records,
    /// Prometheus Remote-Write.
    RemoteWrite,
}

impl Protocol {
    /// The source's name in messages, which is its key in a pipeline file.
    fn name(self) -> &'static str {
        match self {
            Self::Records => "http",
            Self::RemoteWrite => "remote_write",
        }
    }

    /// The split's name where a log is read. It is the same for every address: what of the log is
    /// processed does not depend on where new records come from.
    fn log_split(self) -> &'static str {
        match self {
            Self::Records => "log/http",
            Self::RemoteWrite => "log/remote_write",
        }
    }

    /// Where requests are taken.
    fn path(self, config: &HttpConfig, pipeline: &str) -> String {
        let default_path = || match self {
            Self::Records => format!("/ingest/{pipeline}"),
            Self::RemoteWrite => "/api/v1/write".to_owned(),
        };
        config.path.clone().unwrap_or_else(default_path)
    }
}

/// Takes the records of requests.
pub(super) struct HttpSource {
    name: String,
    protocol: Protocol,
    split: Split,
    listener: TcpListener,
    path: String,
    token: Option<Secret>,
    tls: Option<TlsAcceptor>,
    config: HttpConfig,
    context: Context,
    metrics: SourceMetrics,
    http_metrics: HttpMetrics,
    patience: Duration,
    drain: Duration,
    logged: Option<(Logging, log::Follower)>,
}

impl HttpSource {
    /// Takes the address, reads the token and the certificates, and opens the log where there is to be
    /// one. Requests wait until it runs.
    ///
    /// # Errors
    /// The address is not to be had, a file cannot be read, or the log cannot be opened.
    pub(super) fn new(
        config: &HttpConfig,
        protocol: Protocol,
        mut context: Context,
        registry: &Registry,
    ) -> Result<Self, SourceError> {
        let name = format!("{} {}", protocol.name(), config.listen);
        let failed = |message: String| SourceError::new(&name, message);
        let (listener, address) = listen(&config.listen).map_err(failed)?;
        let path = protocol.path(config, &context.pipeline);
        let name = format!("{} {address}{path}", protocol.name());
        let failed = |message: String| SourceError::new(&name, message);
        let token = token(config).map_err(failed)?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose();
        let tls = tls.map_err(failed)?;
        // The log has the keys of requests where MQTT has topics; they are not for the pipeline.
        context.needs_envelope = false;
        let metrics = SourceMetrics::new(registry);
        let mut split = Split {
            id: SplitId(0),
            name: name.as_str().into(),
        };
        let mut logged = None;
        if let Some(settings) = &context.log {
            split.name = protocol.log_split().into();
            let failed = |error| SourceError::new(&name, format!("its log: {error}"));
            let opened = Logged::open(settings, &split, KEPT_RECORDS, &context, &metrics, registry);
            let Logged { appender, follower } = opened.map_err(failed)?;
            let logging = Logging::new(appender, &split, &context).map_err(failed)?;
            logged = Some((logging, follower));
        }
        tracing::info!(%address, path, tls = tls.is_some(), "records are taken over HTTP");
        Ok(Self {
            name,
            protocol,
            split,
            listener,
            path,
            token,
            tls,
            config: config.clone(),
            context,
            metrics,
            http_metrics: HttpMetrics::new(registry),
            patience: PATIENCE,
            drain: DRAIN,
            logged,
        })
    }

    fn server(&self, producer: Producer<Push>) -> Result<(Runtime, Server), String> {
        let failed = |error: std::io::Error| format!("cannot start: {error}");
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BODY_THREADS)
            .build()
            .map_err(failed)?;
        let listener = {
            let _entered = runtime.enter();
            let listener = self.listener.try_clone().map_err(failed)?;
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let max_body_bytes = usize::try_from(self.config.max_body_bytes).unwrap_or(usize::MAX);
        let endpoint = Endpoint {
            path: self.path.clone(),
            protocol: self.protocol,
            token: self.token.clone(),
            bodies: self.config.bodies,
            limits: Limits {
                body: max_body_bytes,
                record: self.context.max_record_bytes,
            },
            request_timeout: self.config.request_timeout.to_std(),
            patience: self.context.log.is_none().then_some(self.patience),
            budget: Budget::new(BUDGET_BYTES.max(max_body_bytes.saturating_mul(8))),
            producer,
            clock: self.context.clock.clone(),
            metrics: self.http_metrics.clone(),
            too_large: self.metrics.dropped(DropReason::TooLarge),
            closing: AtomicBool::new(false),
            log: Mutex::new(LogLimit::every(LOG_EVERY)),
        };
        let server = Server {
            listener,
            tls: self.tls.clone(),
            endpoint: Arc::new(endpoint),
            max_connections: usize::from(self.config.max_connections),
            drain: self.drain,
        };
        Ok((runtime, server))
    }

    fn error(&self, message: String) -> SourceError {
        SourceError::new(&self.name, message)
    }
}

impl Source for HttpSource {
    fn is_replayable(&self) -> bool {
        self.context.log.is_some()
    }

    fn run(
        mut self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let logged = self.logged.take();
        let (producer, handed) = handover::queue(BUFFER_BYTES);
        let (runtime, server) = self.server(producer).map_err(|error| self.error(error))?;
        self.metrics.connected.set(1);
        let result = thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("http".to_owned())
                // However it ends, its connections end with it, and nobody waits for what they send.
                .spawn_scoped(scope, move || runtime.block_on(server.run(stop)))
                .map_err(|error| self.error(format!("cannot start its thread: {error}")))?;
            let taken = self.take(logged, handed, output, stop);
            let served = thread.join();
            taken.and(served.map_err(|_| self.error("its thread died".to_owned())))
        });
        self.metrics.connected.set(0);
        result
    }
}

impl HttpSource {
    /// Takes what comes to its end.
    fn take(
        &self,
        logged: Option<(Logging, log::Follower)>,
        handed: Consumer<Push>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let Some((logging, follower)) = logged else {
            let delivery = Delivery::new(self.split.clone(), &self.context, &self.metrics);
            // That the pipeline takes no more is no failure of ours.
            return delivery.run(&handed, output).or(Ok(()));
        };
        log::follow(follower, || logging.run(handed, stop), output, stop)
            .map_err(|error| self.error(error.to_string()))
    }
}

fn listen(text: &str) -> Result<(TcpListener, SocketAddr), String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|error| format!("listen '{text}': {error}"))?;
    let failed = |error: std::io::Error| {
        format!("cannot listen on {address}: {error}; each pipeline needs an address of its own")
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn token(config: &HttpConfig) -> Result<Option<Secret>, String> {
    let Some(path) = &config.token_file else {
        return Ok(config.token.clone());
    };
    let token = Secret::read("token_file", path)?;
    if token.reveal().trim().is_empty() {
        return Err(format!("token_file {path} is empty"));
    }
    Ok(Some(token))
}
