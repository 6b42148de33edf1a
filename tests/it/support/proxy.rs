//! A TCP proxy that sees what a server says, and that can cut the line.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
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
    /// Both ends of every connection since the last cut. Not held: a connection must close when the
    /// thread that serves it is done.
    open: Mutex<Vec<Weak<TcpStream>>>,
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
        let listeners: Listeners = Arc::new(listeners);
        // A server that is away shows as a connection that closes at once.
        Self::accept(move |client, line| drop(connect(client, server, line, listeners())))
    }

    /// Listens on a free port; each client is served on a thread of its own.
    ///
    /// # Errors
    /// There is no free port.
    pub(crate) fn serve(serve: impl Fn(&TcpStream) + Send + Sync + 'static) -> Result<Self> {
        let serve = Arc::new(serve);
        Self::accept(move |client, line| {
            let (client, serve) = (Arc::new(client), Arc::clone(&serve));
            if line.admits(&[&client]) {
                thread::spawn(move || serve(&client));
            }
        })
    }

    fn accept(each: impl Fn(TcpStream, &Line) + Send + 'static) -> Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let line = Arc::new(Line::default());
        let shared = Arc::clone(&line);
        thread::spawn(move || {
            for client in socket.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    each(client, &shared);
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
            if let Some(stream) = stream.upgrade() {
                // One that is closed already needs no closing.
                stream.shutdown(Shutdown::Both).ok();
            }
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
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<TcpStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the ends of a connection for a cut, unless the line is cut.
    fn admits(&self, streams: &[&Arc<TcpStream>]) -> bool {
        let mut open = self.lock();
        // Under the lock: a cut closes either this one or all that came before it.
        if self.cut.load(Ordering::SeqCst) {
            return false;
        }
        open.retain(|stream| stream.strong_count() > 0);
        open.extend(streams.iter().map(|stream| Arc::downgrade(stream)));
        true
    }
}

fn connect(client: TcpStream, server: u16, line: &Line, listener: Listener) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client, server) = (Arc::new(client), Arc::new(server));
    if !line.admits(&[&client, &server]) {
        return Ok(());
    }
    let (from_client, to_server) = (Arc::clone(&client), Arc::clone(&server));
    thread::spawn(move || pass(&from_client, &to_server, Box::new(|_| {})));
    thread::spawn(move || pass(&server, &client, listener));
    Ok(())
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, mut listener: Listener) {
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

#[test]
fn a_client_that_is_served_is_cut_off_with_the_others() {
    let proxy = Proxy::serve(|mut client| {
        client.write_all(b"hello").unwrap();
        // Until the other end, or a cut, ends it.
        client.read_to_end(&mut Vec::new()).ok();
    })
    .unwrap();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let mut word = [0; 5];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
    proxy.cut();
    assert_eq!(stream.read(&mut word).unwrap_or_default(), 0);
}
