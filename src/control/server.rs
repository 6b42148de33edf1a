//! The server: `/metrics`, `/-/healthy` and `/-/ready`, as Prometheus itself names them, and savepoints.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::health::Health;
use super::{process, savepoints};

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address is not to be had.
    #[error(
        "cannot listen on {address}: {reason}; give another one with --listen, or --listen none"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        reason: std::io::Error,
    },
}

/// A listening server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// It is not to be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, ControlError> {
        let failed = |reason| ControlError::Listen { address, reason };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens; port 0 has become a real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the task is dropped.
    pub async fn run(self, health: Health) {
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .route("/-/healthy", get(async || "weir is healthy.\n"))
            .route("/-/ready", get(ready))
            .with_state(health.clone())
            .merge(savepoints::routes(Arc::new(move |pipeline| {
                health.savepoints(pipeline)
            })));
        if let Err(error) = axum::serve(self.listener, routes).await {
            tracing::error!(%error, "the control server has ended");
        }
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let mut text = health.metrics();
    text.push_str(&process::metrics());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    match health.ready() {
        Ok(()) => (StatusCode::OK, "weir is ready.\n".to_owned()),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons),
    }
}
