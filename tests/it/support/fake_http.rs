//! A server on the loopback address that answers as a test wants it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET /path?query`
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub(crate) body: String,
}

impl Request {
    /// A header; empty where it was not sent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// Starts a server, which ends with the tests' process; gives its address, `http://127.0.0.1:port`.
///
/// # Errors
/// There is no free port.
pub(crate) fn serve(
    answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static,
) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away early is its own affair.
            drop(exchange(stream, &answer));
        }
    });
    Ok(address)
}

fn exchange(mut stream: TcpStream, answer: &dyn Fn(&Request) -> (u16, String)) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let first = lines.first().context("no request")?;
    let line = first.rsplit_once(' ').context("no version")?.0.to_owned();
    let headers = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let mut request = Request {
        line,
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: String::new(),
    };
    let length = request.header("content-length").parse().unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    let (status, body) = answer(&request);
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\
         X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
