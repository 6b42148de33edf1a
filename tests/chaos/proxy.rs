//! A TCP proxy that sees what a server says, and that can cut the line.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// Is given every piece that the server of one connection says, before it goes on.
pub(crate) type Listener = Box<dyn FnMut(&[u8]) + Send>;

/// Makes a listener for each connection.
type Listeners = Arc<dyn Fn() -> Listener + Send + Sync>;

/// A port in front of a server's. Dropping it cuts all connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
}

/// What the threads of a proxy share.
#[derive(Debug, Default)]
struct Line {
    cut: AtomicBool,
    ended: AtomicBool,
    /// Both ends of every connection since the last cut.
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on a free port for connections to `server` on 127.0.0.1.
    ///
    /// # Errors
    /// There is no free port.
    pub(crate) fn start(
        server: u16,
        listeners: impl Fn() -> Listener + Send + Sync + 'static,
    ) -> Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let line = Arc::new(Line::default());
        let shared = Arc::clone(&line);
        let listeners: Listeners = Arc::new(listeners);
        thread::spawn(move || {
            for client in socket.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A server that is away shows as a connection that closes at once.
                if let Ok(client) = client {
                    connect(client, server, &shared, listeners()).ok();
                }
            }
        });
        Ok(Self { address, line })
    }

    /// Where it listens: `127.0.0.1:port`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections, and every new one at once.
    pub(crate) fn cut(&self) {
        self.line.cut.store(true, Ordering::SeqCst);
        for stream in self.line.lock().drain(..) {
            // One that is closed already needs no closing.
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.line.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

impl Line {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(client: TcpStream, server: u16, line: &Line, listener: Listener) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    {
        let mut open = line.lock();
        // Under the lock: a cut closes either this one or all that came before it.
        if line.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        open.extend([client.try_clone()?, server.try_clone()?]);
    }
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass(from_client, to_server, Box::new(|_| {})));
    thread::spawn(move || pass(server, client, listener));
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut listener: Listener) {
    let mut piece = [0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let bytes = piece.get(..length).unwrap_or_default();
        listener(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

/// Finds a text of fixed length that begins with a mark, in pieces cut anywhere.
#[derive(Debug)]
pub(crate) struct Finder {
    mark: &'static [u8],
    /// How much belongs to it behind the mark, bytes.
    rest: usize,
    carried: Vec<u8>,
}

impl Finder {
    /// Of `rest` bytes behind each `mark`.
    pub(crate) fn new(mark: &'static [u8], rest: usize) -> Self {
        Self {
            mark,
            rest,
            carried: Vec::new(),
        }
    }

    /// What stands behind each mark of this piece, in order.
    pub(crate) fn find(&mut self, piece: &[u8]) -> Vec<String> {
        self.carried.extend_from_slice(piece);
        let whole = self.mark.len() + self.rest;
        let mut found = Vec::new();
        let mut done = 0;
        let mut at = 0;
        while let Some(window) = self.carried.get(at..at + whole) {
            if window.starts_with(self.mark) {
                let text = window.get(self.mark.len()..).unwrap_or_default();
                found.push(String::from_utf8_lossy(text).into_owned());
                at += whole;
            } else {
                at += 1;
            }
            done = at;
        }
        self.carried.drain(..done);
        found
    }
}

#[test]
fn marks_are_found_across_pieces() {
    let text = b"HTTP/1.1 204 x HTTP/1.1 HTTP/1.1 400";
    for cut in 0..text.len() {
        let (one, other) = text.split_at(cut);
        let mut finder = Finder::new(b"HTTP/1.1 ", 3);
        let mut found = finder.find(one);
        found.extend(finder.find(other));
        assert_eq!(found, ["204", "HTT"], "cut at {cut}");
    }
}

#[test]
fn a_line_that_was_cut_can_be_mended() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in server.incoming() {
            client.unwrap().write_all(b"hello").unwrap();
        }
    });
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    let proxy = Proxy::start(port, move || {
        let ears = Arc::clone(&ears);
        Box::new(move |bytes| ears.lock().unwrap().extend_from_slice(bytes))
    })
    .unwrap();
    let read = || {
        let mut text = String::new();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.read_to_string(&mut text).ok();
        text
    };
    assert_eq!(read(), "hello");
    proxy.cut();
    assert_eq!(read(), "");
    proxy.mend();
    assert_eq!(read(), "hello");
    assert_eq!(heard.lock().unwrap().as_slice(), b"hellohello");
}
