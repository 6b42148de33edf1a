//! HTTP push and the Remote-Write receiver, beside a server of axum that counts, and for Remote-Write parses
//! with snap and prost. A few clients send requests on connections that they keep.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use prost::Message as _;
use serde_json::json;
use tokio::sync::Notify;

use super::Contest;
use super::count::{Count, Measured, cars, read_all};
use super::support::write_request::{Label, Point, TimeSeries, WriteRequest};

const CLIENTS: usize = 4;

/// How many records a request has.
const AT_ONCE: usize = 1_000;

/// What is sent.
#[derive(Clone, Copy)]
struct Kind {
    path: &'static str,
    headers: &'static str,
    /// How many records a body has.
    count: fn(&[u8]) -> Result<u64>,
}

const RECORDS: Kind = Kind {
    path: "/ingest/bench",
    headers: "Content-Type: application/x-ndjson\r\n",
    count: |body| Ok(body.split(|byte| *byte == b'\n').count() as u64 - 1),
};

const REMOTE_WRITE: Kind = Kind {
    path: "/api/v1/write",
    headers: "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
        X-Prometheus-Remote-Write-Version: 0.1.0\r\n",
    count: |body| {
        let plain = snap::raw::Decoder::new().decompress_vec(body)?;
        let request = WriteRequest::decode(plain.as_slice())?;
        let samples = request.timeseries.iter().map(|series| series.samples.len());
        Ok(samples.sum::<usize>() as u64)
    },
};

struct Push {
    kind: Kind,
    records: u64,
    bodies: Arc<Vec<Vec<u8>>>,
}

/// Writes bodies of lines.
pub(crate) fn set_up_records(records: u64) -> Result<Box<dyn Contest>> {
    let cars: Vec<_> = cars(records)?.collect();
    let bodies = cars.chunks(AT_ONCE).map(|cars| {
        let mut body = Vec::new();
        for car in cars {
            body.extend_from_slice(car);
            body.push(b'\n');
        }
        body
    });
    Ok(Box::new(Push {
        kind: RECORDS,
        records,
        bodies: Arc::new(bodies.collect()),
    }))
}

/// Writes requests of Remote-Write 1.0: series with a sample each.
pub(crate) fn set_up_remote_write(records: u64) -> Result<Box<dyn Contest>> {
    let numbers: Vec<u64> = (0..records).collect();
    let bodies = numbers.chunks(AT_ONCE).map(|numbers| {
        let timeseries = numbers.iter().map(|number| {
            let vehicle = format!("V{:07}", number % 10_000);
            let labels = [
                ("__name__", "SPEED"),
                ("region", "UK"),
                ("vehicleId", &vehicle),
            ];
            TimeSeries {
                labels: labels
                    .map(|(name, value)| Label {
                        name: name.to_owned(),
                        value: value.to_owned(),
                    })
                    .to_vec(),
                samples: vec![Point {
                    value: *number as f64,
                    timestamp: 1_730_621_700_000 + *number as i64,
                }],
            }
        });
        let request = WriteRequest {
            timeseries: timeseries.collect(),
        };
        Ok(snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?)
    });
    Ok(Box::new(Push {
        kind: REMOTE_WRITE,
        records,
        bodies: Arc::new(bodies.collect::<Result<_>>()?),
    }))
}

impl Push {
    /// Starts clients that send all bodies. At the end the server goes before the last of them has its answer.
    fn send(&self, address: SocketAddr) {
        for client in 0..CLIENTS {
            let (kind, bodies) = (self.kind, Arc::clone(&self.bodies));
            thread::spawn(move || {
                let bodies = bodies.iter().skip(client).step_by(CLIENTS);
                if let Err(error) = send(address, kind, bodies) {
                    eprintln!("a client has ended: {error:#}");
                }
            });
        }
    }
}

fn send<'a>(
    address: SocketAddr,
    kind: Kind,
    bodies: impl Iterator<Item = &'a Vec<u8>>,
) -> Result<()> {
    let mut connection = BufReader::new(TcpStream::connect(address)?);
    for body in bodies {
        if !request(&mut connection, kind, body)? {
            break;
        }
    }
    Ok(())
}

/// Sends a body and takes the answer; gives nothing where the server is gone.
fn request(connection: &mut BufReader<TcpStream>, kind: Kind, body: &[u8]) -> Result<bool> {
    let Kind { path, headers, .. } = kind;
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: bench\r\n{headers}Content-Length: {length}\r\n\r\n");
    let mut message = head.into_bytes();
    message.extend_from_slice(body);
    if connection.get_mut().write_all(&message).is_err() {
        return Ok(false);
    }
    let mut line = String::new();
    if !matches!(connection.read_line(&mut line), Ok(1..)) {
        return Ok(false);
    }
    let status = line.clone();
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        connection.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer)?;
    if !status.starts_with("HTTP/1.1 20") {
        bail!("{status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(true)
}

/// A server that counts.
#[derive(Clone)]
struct Server {
    kind: Kind,
    records: u64,
    count: Arc<Mutex<Count>>,
    all: Arc<Notify>,
}

async fn take(State(server): State<Server>, body: Bytes) -> StatusCode {
    let Ok(records) = (server.kind.count)(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut count = server.count.lock().unwrap_or_else(PoisonError::into_inner);
    count.add(records, body.len());
    if count.records() == server.records {
        server.all.notify_one();
    }
    StatusCode::NO_CONTENT
}

impl Contest for Push {
    fn bare_name(&self) -> &'static str {
        match self.kind.path {
            "/api/v1/write" => "axum, snap and prost, which count samples",
            _ => "axum, which counts lines",
        }
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn bare(&mut self) -> Result<Measured> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let server = Server {
            kind: self.kind,
            records: self.records,
            count: Arc::new(Mutex::new(Count::begin())),
            all: Arc::default(),
        };
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            self.send(listener.local_addr()?);
            let router = Router::new()
                .route(self.kind.path, post(take))
                .layer(DefaultBodyLimit::disable())
                .with_state(server.clone());
            tokio::select! {
                served = axum::serve(listener, router) => served?,
                () = server.all.notified() => {}
            }
            anyhow::Ok(())
        })?;
        let count = server.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.finish()
    }

    fn source(&mut self) -> Result<Measured> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = free.local_addr().context("an address")?;
        drop(free);
        let is_records = self.kind.path == RECORDS.path;
        let name = if is_records { "http" } else { "remote_write" };
        // A record of Remote-Write has many samples.
        let mut made = self.records;
        if !is_records {
            let bodies = self.bodies.iter();
            let records = bodies.map(|body| {
                let type_name = "application/x-protobuf";
                let made = weir::source::remote_write_records(type_name, body, usize::MAX);
                Ok(made.map_err(anyhow::Error::msg)?.len() as u64)
            });
            made = records.sum::<Result<_>>()?;
        }
        let config = json!({ name: { "listen": address.to_string() } });
        let (mut counted, took) = read_all(config, None, made, || {
            self.send(address);
            Count::begin()
        })?;
        counted.records = self.records;
        Ok((counted, took))
    }
}
