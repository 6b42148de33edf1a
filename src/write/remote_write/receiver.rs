//! A Remote-Write receiver in this process, with scripted faults, for tests.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::{IncomingStream, Listener};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::protocol::proto::WriteRequest;
use super::protocol::proto_v2::Request;

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// With this status, after nothing was taken.
    Status(u16),
    /// With 503 and `Retry-After: 0`.
    RetryAtOnce,
    /// With a redirect elsewhere.
    Redirect,
    /// The samples are taken, then the connection breaks.
    Reset,
    /// The samples are taken, and no answer comes until the client gives up.
    Silence,
}

/// What a receiver makes of requests of 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Understands {
    /// It reads them as requests of 1.0, which are empty, and does not look at their headers.
    Only1,
    /// It refuses them with this status.
    Only1Refusing(u16),
    /// It takes them, and counts so many samples less as written.
    Both { less: u64 },
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) headers: HeaderMap,
    pub(super) body_bytes: usize,
    /// As the receiver understands it, also a request of 2.0.
    pub(super) request: WriteRequest,
    /// A request of 2.0 that is understood, as it is.
    pub(super) v2: Option<Request>,
    pub(super) fault: Option<Fault>,
}

/// A running receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) url: String,
    shared: Arc<Shared>,
    /// One message for each request that came in.
    pub(super) arrivals: mpsc::UnboundedReceiver<()>,
}

#[derive(Debug)]
struct Shared {
    faults: Mutex<VecDeque<Option<Fault>>>,
    received: Mutex<Vec<Received>>,
    understands: Mutex<Understands>,
    /// A permit for each request that may be answered.
    gate: Semaphore,
    arrived: mpsc::UnboundedSender<()>,
}

impl Receiver {
    /// Starts on a free port. The next requests meet these faults, all others are taken.
    pub(super) async fn start(faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let receiver = Self::start_closed(faults).await;
        receiver.open();
        receiver
    }

    /// Starts on a free port, and answers nothing until it is opened.
    pub(super) async fn start_closed(faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            faults: Mutex::new(faults.into_iter().collect()),
            received: Mutex::default(),
            understands: Mutex::new(Understands::Only1),
            gate: Semaphore::new(0),
            arrived,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        let service = Router::new()
            .route("/api/v1/write", post(receive))
            .with_state(Arc::clone(&shared))
            .into_make_service_with_connect_info::<BreakSwitch>();
        tokio::spawn(async move { axum::serve(Breakable(listener), service).await });
        Self {
            url,
            shared,
            arrivals,
        }
    }

    /// Answers everything from now on.
    pub(super) fn open(&self) {
        self.shared.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// From now on it understands this.
    pub(super) fn understand(&self, what: Understands) {
        *self.shared.understands.lock().unwrap() = what;
    }

    /// What came in so far.
    pub(super) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<BreakSwitch>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let is_v2 = headers["x-prometheus-remote-write-version"] == "2.0.0";
    let understands = *shared.understands.lock().unwrap();
    let v2 = match understands {
        Understands::Both { .. } if is_v2 => Some(Request::decode(&*plain).unwrap()),
        _ => None,
    };
    let request = match &v2 {
        Some(request) => request.as_v1(),
        None => WriteRequest::decode(&*plain).unwrap(),
    };
    let fault = match understands {
        Understands::Only1Refusing(status) if is_v2 => Some(Fault::Status(status)),
        _ => shared.faults.lock().unwrap().pop_front().flatten(),
    };
    let series = &request.timeseries;
    let samples: usize = series.iter().map(|series| series.samples.len()).sum();
    let histograms: usize = series.iter().map(|series| series.histograms.len()).sum();
    let received = Received {
        headers,
        body_bytes: body.len(),
        request,
        v2: v2.clone(),
        fault,
    };
    shared.received.lock().unwrap().push(received);
    // The test may have heard enough.
    shared.arrived.send(()).ok();
    shared.gate.acquire().await.unwrap().forget();
    let mut response = answer(fault, &connection).await;
    if let (Some(_), Understands::Both { less }) = (v2, understands) {
        let headers = response.headers_mut();
        let taken = if fault.is_none() {
            samples as u64 - less
        } else {
            0
        };
        headers.insert("x-prometheus-remote-write-samples-written", taken.into());
        let taken = if fault.is_none() { histograms } else { 0 };
        headers.insert("x-prometheus-remote-write-histograms-written", taken.into());
        headers.insert("x-prometheus-remote-write-exemplars-written", 0.into());
    }
    response
}

async fn answer(fault: Option<Fault>, connection: &BreakSwitch) -> Response {
    match fault {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Fault::Status(status)) => {
            (StatusCode::from_u16(status).unwrap(), "for a reason").into_response()
        }
        Some(Fault::RetryAtOnce) => {
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response()
        }
        Some(Fault::Redirect) => {
            let location = "http://127.0.0.1:1/elsewhere";
            (StatusCode::TEMPORARY_REDIRECT, [("location", location)]).into_response()
        }
        Some(Fault::Reset) => {
            connection.0.store(true, Ordering::Release);
            StatusCode::NO_CONTENT.into_response()
        }
        Some(Fault::Silence) => std::future::pending().await,
    }
}

/// Set when nothing may be written to the connection any more.
#[derive(Debug, Clone)]
struct BreakSwitch(Arc<AtomicBool>);

impl Connected<IncomingStream<'_, Breakable>> for BreakSwitch {
    fn connect_info(stream: IncomingStream<'_, Breakable>) -> Self {
        stream.io().switch.clone()
    }
}

/// Accepts connections that can be broken.
struct Breakable(TcpListener);

impl Listener for Breakable {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let switch = BreakSwitch(Arc::new(AtomicBool::new(false)));
        (Connection { stream, switch }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

struct Connection {
    stream: TcpStream,
    switch: BreakSwitch,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.switch.0.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
