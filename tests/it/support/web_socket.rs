//! A server of WebSockets in front of a broker that speaks MQTT over TCP only.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Error, Message, WebSocket};

use super::certificates::Certificates;

/// How long one side is listened to before the other one.
const TURN: Duration = Duration::from_millis(2);

/// A port for WebSockets. It serves until the test ends.
#[derive(Debug)]
pub(crate) struct WebSocketServer {
    port: u16,
    /// What was asked for: path and query of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl WebSocketServer {
    /// Listens on a free port, with TLS where there are certificates, for a broker on 127.0.0.1.
    ///
    /// # Errors
    /// There is no free port, or the certificates cannot be used.
    pub(crate) fn start(broker: u16, certificates: Option<&Certificates>) -> Result<Self> {
        let tls = certificates.map(tls).transpose()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (tls, asked) = (tls.clone(), Arc::clone(&shared));
                // A client that goes away ends its thread.
                thread::spawn(move || drop(serve(client, tls, broker, &asked)));
            }
        });
        Ok(Self { port, asked })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Path and query of each request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn tls(certificates: &Certificates) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(&certificates.server)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&certificates.server_key)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn serve(
    client: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    broker: u16,
    asked: &Mutex<Vec<String>>,
) -> Result<()> {
    client.set_nodelay(true)?;
    let socket = client.try_clone()?;
    match tls {
        None => pass(client, &socket, broker, asked),
        Some(tls) => {
            let stream = StreamOwned::new(ServerConnection::new(tls)?, client);
            pass(stream, &socket, broker, asked)
        }
    }
}

#[expect(clippy::result_large_err, reason = "the callback is of that type")]
fn pass(
    client: impl Read + Write,
    socket: &TcpStream,
    broker: u16,
    asked: &Mutex<Vec<String>>,
) -> Result<()> {
    let mut web = tungstenite::accept_hdr(client, |request: &Request, mut response: Response| {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(request.uri().to_string());
        let protocol = request.headers().get("Sec-WebSocket-Protocol").cloned();
        if let Some(protocol) = protocol {
            response
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", protocol);
        }
        Ok(response)
    })
    .map_err(|error| anyhow::anyhow!("no handshake: {error}"))?;
    let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, broker))?;
    broker.set_nodelay(true)?;
    broker.set_read_timeout(Some(TURN))?;
    socket.set_read_timeout(Some(TURN))?;
    loop {
        if let Some(bytes) = from_client(&mut web)? {
            broker.write_all(&bytes)?;
        }
        let mut bytes = vec![0; 16_384];
        match broker.read(&mut bytes) {
            Ok(0) => return Ok(web.close(None)?),
            Ok(length) => {
                bytes.truncate(length);
                web.send(Message::binary(bytes))?;
            }
            Err(error) if is_nothing(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn from_client<S: Read + Write>(web: &mut WebSocket<S>) -> Result<Option<Vec<u8>>> {
    match web.read() {
        Ok(Message::Binary(bytes)) => Ok(Some(bytes.to_vec())),
        Ok(_) => Ok(None),
        Err(Error::Io(error)) if is_nothing(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
