//! A Remote-Write receiver that takes everything and keeps nothing, in this process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// It answers until the program ends.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    /// When requests came.
    requests: Arc<Mutex<Vec<Instant>>>,
}

impl Receiver {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let requests = Arc::<Mutex<Vec<Instant>>>::default();
        let noted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let noted = Arc::clone(&noted);
                // A connection that breaks is closed, and the client says so.
                thread::spawn(move || answer(&stream, &noted).ok());
            }
        });
        Ok(Self { address, requests })
    }

    /// How many requests have come since the last time, and how long it was from the first to the last.
    pub(crate) fn take(&self) -> (usize, Duration) {
        let requests =
            std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        let took = match requests.as_slice() {
            [first, .., last] => last.duration_since(*first),
            _ => Duration::ZERO,
        };
        (requests.len(), took)
    }
}

fn answer(stream: &TcpStream, requests: &Mutex<Vec<Instant>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        let mut line = String::new();
        while input.read_line(&mut line)? > 0 && line != "\r\n" {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        body.resize(length, 0);
        input.read_exact(&mut body)?;
        requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Instant::now());
        (&*stream).write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}
