//! Connections: who may have one, for how long, and how they end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_rustls::TlsAcceptor;

use crate::telemetry::LogLimit;

use super::super::StopSignal;
use super::endpoint::Endpoint;
use super::impatient::Impatient;

/// How much is read of a connection at once, bytes. Heads of requests are taken up to this size; hyper reads
/// on once where one has not come to its end before, so that none has twice as much.
const READ_BYTES: usize = 32 * 1024;

/// How often the stop signal is looked for.
const TICK: Duration = Duration::from_millis(20);

/// How long nothing is accepted after the system had nothing to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Listens for requests.
pub(super) struct Server {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) max_connections: usize,
    /// How long requests that have begun may take once we are asked to stop.
    pub(super) drain: Duration,
}

impl Server {
    /// Answers until the signal is set or nobody takes what comes. Then requests that have begun are
    /// answered as before, and those that begin are told that we are stopping.
    pub(super) async fn run(self, stop: &StopSignal) {
        let (closing, watched) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut log = LogLimit::every(LOG_EVERY);
        let mut deadline = None;
        loop {
            let now = Instant::now();
            if deadline.is_none() && (stop.is_stopped() || self.endpoint.is_abandoned()) {
                self.endpoint.closing.store(true, Ordering::Release);
                closing.send_replace(true);
                deadline = Some(now + self.drain);
            }
            if deadline.is_some_and(|deadline| connections.is_empty() || now >= deadline) {
                break;
            }
            let has_room = connections.len() < self.max_connections;
            tokio::select! {
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, _)) => {
                        let speech = connection(
                            stream,
                            self.tls.clone(),
                            Arc::clone(&self.endpoint),
                            watched.clone(),
                        );
                        connections.spawn(speech);
                    }
                    Err(error) => {
                        if let Some(held_back) = log.admit() {
                            tracing::warn!(%error, held_back, "no connection can be accepted");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                _ = tick.tick() => {}
            }
            let open = i64::try_from(connections.len()).unwrap_or(i64::MAX);
            self.endpoint.metrics.connections.set(open);
        }
        // Those that are left go first: nothing of theirs that nobody has begun with is taken any more.
        connections.shutdown().await;
        self.endpoint.metrics.connections.set(0);
        self.endpoint.finish();
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    endpoint: Arc<Endpoint>,
    closing: watch::Receiver<bool>,
) {
    // An answer is one small packet, and somebody waits for it.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(acceptor) = tls else {
        return speak(stream, endpoint, closing).await;
    };
    match timeout(endpoint.request_timeout, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, endpoint, closing).await,
        Ok(Err(error)) => {
            endpoint.metrics.handshakes_failed.inc();
            tracing::debug!(%error, "a TLS handshake failed");
        }
        Err(_) => endpoint.metrics.handshakes_failed.inc(),
    }
}

/// Answers the requests of a connection. Which of them fail is for the client to say.
async fn speak<S>(stream: S, endpoint: Arc<Endpoint>, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .max_buf_size(READ_BYTES)
        .header_read_timeout(endpoint.request_timeout);
    let stream = Impatient::new(stream, endpoint.request_timeout);
    let service = service_fn(move |request| {
        let endpoint = Arc::clone(&endpoint);
        async move { Ok::<_, Infallible>(endpoint.answer(request).await) }
    });
    // One that begins now is answered once, with the word that we are stopping.
    let mut is_told = *closing.borrow();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            _ended = connection.as_mut() => return,
            _ = closing.wait_for(|closing| *closing), if !is_told => {
                is_told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
