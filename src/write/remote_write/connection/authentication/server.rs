//! A small server in this process that tells what it heard, for tests: plain, with TLS, or a proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::certificates::Authority;

/// A request as it came in, with its headers' names in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) line: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
    /// The name that TLS was asked for.
    pub(super) server_name: Option<String>,
}

impl Heard {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What is answered: the status, further headers, and the body.
pub(super) type Answer = (u16, String, String);

type Respond = dyn Fn(&Heard) -> Answer + Send + Sync;

/// A running server.
pub(super) struct Server {
    pub(super) port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Server {
    /// Answers each request on a free port.
    pub(super) async fn start(respond: impl Fn(&Heard) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(None, respond).await
    }

    /// The same over TLS, with a certificate for `name`; clients need one of the authority.
    pub(super) async fn start_tls(authority: &Authority, name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let (chain, key) = authority.issue(name);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::with(Some(acceptor), |_| (200, String::new(), String::new())).await
    }

    async fn with(
        tls: Option<TlsAcceptor>,
        respond: impl Fn(&Heard) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let (all, respond) = (Arc::clone(&heard), Arc::new(respond));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, respond, tls) = (Arc::clone(&all), Arc::clone(&respond), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, None, &all, &*respond).await,
                        // A handshake that fails is seen by the client.
                        Some(tls) => match tls.accept(stream).await {
                            Err(_) => None,
                            Ok(stream) => {
                                let name = stream.get_ref().1.server_name().map(str::to_owned);
                                serve(stream, name, &all, &*respond).await
                            }
                        },
                    }
                });
            }
        });
        Self { port, heard }
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// `None` when the client has gone.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    server_name: Option<String>,
    all: &Mutex<Vec<Heard>>,
    respond: &Respond,
) -> Option<()> {
    loop {
        let mut heard = read(&mut stream).await?;
        heard.server_name.clone_from(&server_name);
        let (status, headers, body) = respond(&heard);
        let target = heard.line.strip_prefix("CONNECT ").map(|rest| {
            let place = rest.split(' ').next().unwrap_or_default();
            place.to_owned()
        });
        all.lock().unwrap().push(heard);
        if let (Some(target), 200) = (target, status) {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
            // What a proxy was asked for is looked for on this machine.
            let port = target.rsplit(':').next()?;
            let there = TcpStream::connect(format!("127.0.0.1:{port}")).await;
            copy_bidirectional(&mut stream, &mut there.ok()?)
                .await
                .ok()?;
            return Some(());
        }
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Heard> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut heard = Heard {
        line: lines.next().unwrap().to_owned(),
        ..Heard::default()
    };
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name = name.to_ascii_lowercase();
        heard.headers.insert(name, value.to_owned());
    }
    let length = heard.header("content-length").parse().unwrap_or(0);
    heard.body = vec![0; length];
    stream.read_exact(&mut heard.body).await.ok()?;
    Some(heard)
}
