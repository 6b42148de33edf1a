//! A proxy between a sender and a receiver that spoils requests: by a script, or by chance.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::http::{self, Response};
use super::proxy::Proxy;
use super::remote_write::decode;
use super::samples::Sample;

/// How long a delayed request waits.
const DELAY: Duration = Duration::from_millis(50);

/// The pause behind each byte of a slow answer.
const PAUSE: Duration = Duration::from_millis(2);

/// What a slow answer says.
const SLOW_WORDS: &str = "one byte after the other";

/// What begins the names of the headers that say how much was written.
const WRITTEN: &str = "x-prometheus-remote-write-";

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It waits, then it is passed on.
    Delay,
    /// The connection is reset when the request begins.
    ResetBefore,
    /// The connection is reset when the request is there; the receiver never sees it.
    ResetAfter,
    /// The receiver takes it, then the connection is reset.
    LostAnswer,
    /// The receiver takes it, then the connection closes within the answer.
    HalfAnswer,
    /// No answer: our end of the connection closes, the other one stays open.
    HalfClosed,
    /// The receiver takes it, and no answer comes until the client gives up.
    Silence,
    /// The receiver takes it, and the answer's body comes slowly.
    SlowBody,
    /// 429, and what it says in `Retry-After`.
    Throttled(RetryAfter),
    /// A status, such as 500; the receiver never sees the request.
    Status(u16),
    /// 413 where the request has more samples than this, else it passes.
    AtMost(usize),
    /// A redirect to elsewhere.
    Redirect,
    /// Bytes that are no HTTP.
    Garbage,
    /// The receiver takes it, and the answer lacks the headers that say how much was written.
    NoWritten,
}

/// What a `Retry-After` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    /// There is none.
    None,
    /// A number of seconds.
    Seconds(u64),
    /// The date in so many seconds.
    Date(u64),
}

/// A request as it went through.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// When it came.
    pub(crate) at: Instant,
    /// What happened to it.
    pub(crate) fault: Option<Fault>,
    /// Its samples, in their order; none where it was not read.
    pub(crate) samples: Vec<Sample>,
    /// What the receiver answered, where it was asked.
    pub(crate) answer: Option<Response>,
}

/// A port in front of a receiver. Dropping it cuts all connections.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    proxy: Proxy,
    path: String,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

type Faults = Box<dyn Iterator<Item = Option<Fault>> + Send>;

struct Shared {
    receiver: String,
    faults: Mutex<Faults>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

/// A request without its last byte, which is still to be read: a connection that closes before is
/// reset.
struct Request {
    /// Whether the client leaves the connection open for another one.
    goes_on: bool,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl FaultProxy {
    /// Listens in front of a receiver, given by its URL. The next requests meet these faults in
    /// turn; when there are no more, all pass.
    ///
    /// # Errors
    /// There is no free port.
    pub(crate) fn start<I>(receiver: &str, faults: I) -> Result<Self>
    where
        I: IntoIterator<Item = Option<Fault>>,
        I::IntoIter: Send + 'static,
    {
        let exchanges = Arc::default();
        let shared = Shared {
            receiver: receiver.to_owned(),
            faults: Mutex::new(Box::new(faults.into_iter())),
            exchanges: Arc::clone(&exchanges),
        };
        let rest = receiver.trim_start_matches("http://");
        let path = rest.split_once('/').map_or("", |(_, path)| path).to_owned();
        let proxy = Proxy::serve(move |client| {
            client.set_nodelay(true).ok();
            // An error is the client's end, or the receiver's.
            while let Ok(true) = exchange(client, &shared) {}
        })?;
        Ok(Self {
            proxy,
            path,
            exchanges,
        })
    }

    /// Where the sender is to send to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/{}", self.proxy.address(), self.path)
    }

    /// All requests so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.exchanges).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request on a connection. Whether the connection goes on.
fn exchange(mut client: &TcpStream, shared: &Shared) -> Result<bool> {
    if client.peek(&mut [0])? == 0 {
        return Ok(false);
    }
    let fault = lock(&shared.faults).next().flatten();
    let mut noted = Exchange {
        at: Instant::now(),
        fault,
        samples: Vec::new(),
        answer: None,
    };
    if fault == Some(Fault::ResetBefore) {
        lock(&shared.exchanges).push(noted);
        return Ok(false);
    }
    let request = Request::read(client)?;
    let content_type = request.headers.get("content-type");
    noted.samples = decode(content_type.map_or("", String::as_str), &request.body)?;
    if fault == Some(Fault::Delay) {
        thread::sleep(DELAY);
    }
    if reaches_receiver(fault, noted.samples.len()) {
        // Noted before the answer, so that a sender that has it finds the note as well.
        noted.answer = Some(pass_on(&request, &shared.receiver)?);
    }
    lock(&shared.exchanges).push(noted.clone());
    if matches!(fault, Some(Fault::ResetAfter | Fault::LostAnswer)) {
        return Ok(false);
    }
    client.read_exact(&mut [0])?;

    let text = match (fault, noted.answer) {
        (Some(Fault::HalfAnswer), _) => {
            client.write_all(b"HTTP/1.1 20")?;
            return Ok(false);
        }
        (Some(Fault::HalfClosed), _) => {
            client.shutdown(Shutdown::Write)?;
            wait_for_end(client);
            return Ok(false);
        }
        (Some(Fault::Silence), _) => {
            wait_for_end(client);
            return Ok(false);
        }
        (Some(Fault::Garbage), _) => {
            client.write_all(b"\x16\x03\x01\x02\x00 not what you expected\r\n\r\n")?;
            return Ok(false);
        }
        (Some(Fault::SlowBody), Some(answer)) if answer.status < 300 => {
            write!(
                client,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                SLOW_WORDS.len()
            )?;
            for byte in SLOW_WORDS.bytes() {
                thread::sleep(PAUSE);
                client.write_all(&[byte])?;
            }
            return Ok(request.goes_on);
        }
        (_, Some(answer)) => told(&answer, fault == Some(Fault::NoWritten)),
        (Some(Fault::Throttled(retry_after)), None) => {
            let header = retry_after.header();
            format!("HTTP/1.1 429 Too Many Requests\r\n{header}content-length: 0\r\n\r\n")
        }
        (Some(Fault::Redirect), None) => "HTTP/1.1 307 Temporary Redirect\r\n\
             location: http://127.0.0.1:9/elsewhere\r\ncontent-length: 0\r\n\r\n"
            .to_owned(),
        (Some(Fault::Status(status)), None) => {
            format!("HTTP/1.1 {status} No\r\ncontent-length: 4\r\n\r\nno!\n")
        }
        (Some(Fault::AtMost(_)), None) => {
            "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n".to_owned()
        }
        (_, None) => return Ok(false),
    };
    client.write_all(text.as_bytes())?;
    Ok(request.goes_on)
}

fn reaches_receiver(fault: Option<Fault>, samples: usize) -> bool {
    match fault {
        Some(Fault::AtMost(limit)) => samples <= limit,
        None => true,
        Some(
            Fault::Delay
            | Fault::LostAnswer
            | Fault::HalfAnswer
            | Fault::Silence
            | Fault::SlowBody
            | Fault::NoWritten,
        ) => true,
        Some(
            Fault::ResetBefore
            | Fault::ResetAfter
            | Fault::HalfClosed
            | Fault::Throttled(_)
            | Fault::Status(_)
            | Fault::Redirect
            | Fault::Garbage,
        ) => false,
    }
}

impl RetryAfter {
    fn header(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Seconds(seconds) => format!("retry-after: {seconds}\r\n"),
            Self::Date(seconds) => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                let at = i64::try_from(now.as_secs() + seconds).unwrap_or(i64::MAX);
                let at = jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::MAX);
                format!(
                    "retry-after: {}\r\n",
                    at.strftime("%a, %d %b %Y %H:%M:%S GMT")
                )
            }
        }
    }
}

impl Request {
    fn read(mut client: &TcpStream) -> Result<Self> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head);
        let mut headers = BTreeMap::new();
        for line in head.lines() {
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
        }
        let length = headers.get("content-length").context("no length")?;
        let length: usize = length.parse()?;
        let mut body = vec![0; length.checked_sub(1).context("no body")?];
        client.read_exact(&mut body)?;
        if client.peek(&mut byte)? == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        body.extend(byte);
        let goes_on = head
            .lines()
            .next()
            .is_some_and(|line| line.ends_with("HTTP/1.1"));
        Ok(Self {
            goes_on,
            headers,
            body,
        })
    }
}

fn pass_on(request: &Request, receiver: &str) -> Result<Response> {
    let mut headers = Vec::new();
    for (name, value) in &request.headers {
        if !["host", "connection", "content-length"].contains(&name.as_str()) {
            headers.push((name.as_str(), value.as_str()));
        }
    }
    http::post(receiver, &headers, &request.body)
}

/// The receiver's answer as the sender gets it.
fn told(answer: &Response, without_written: bool) -> String {
    let mut text = format!("HTTP/1.1 {} As Told\r\n", answer.status);
    for (name, value) in &answer.headers {
        let hop = ["connection", "content-length", "transfer-encoding"].contains(&name.as_str());
        let hidden = without_written && name.starts_with(WRITTEN);
        if !hop && !hidden {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    // A 204 has no body, and must not speak of its length.
    if answer.status != 204 {
        text.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    text.push_str("\r\n");
    text.push_str(&answer.body);
    text
}

fn wait_for_end(mut client: &TcpStream) {
    let mut piece = [0; 1_024];
    while matches!(client.read(&mut piece), Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use super::super::remote_write::{TimeSeries, send};
    use super::*;

    /// Takes everything.
    fn receiver() -> Proxy {
        Proxy::serve(|client| {
            let mut client = client;
            if Request::read(client).is_ok() {
                client.read_exact(&mut [0]).unwrap();
                let text = "HTTP/1.0 204 No Content\r\n\
                    X-Prometheus-Remote-Write-Samples-Written: 1\r\n\r\n";
                client.write_all(text.as_bytes()).unwrap();
            }
        })
        .unwrap()
    }

    fn series() -> Vec<TimeSeries> {
        vec![TimeSeries::new(&[("__name__", "a")], &[(7, 1.5)])]
    }

    #[test]
    fn each_fault_shows_as_what_it_is() {
        use Fault::{
            AtMost, Delay, Garbage, HalfAnswer, LostAnswer, NoWritten, Redirect, ResetAfter,
            ResetBefore, SlowBody, Status, Throttled,
        };
        let receiver = receiver();
        let url = format!("http://{}/write", receiver.address());
        let cases: [(Option<Fault>, Result<u16, &str>, bool); 14] = [
            (None, Ok(204), true),
            (Some(Delay), Ok(204), true),
            (Some(NoWritten), Ok(204), true),
            (Some(SlowBody), Ok(200), true),
            (Some(Throttled(RetryAfter::Seconds(3))), Ok(429), false),
            (Some(Status(503)), Ok(503), false),
            (Some(Redirect), Ok(307), false),
            (Some(AtMost(0)), Ok(413), false),
            (Some(AtMost(1)), Ok(204), true),
            (Some(ResetBefore), Err("reset"), false),
            (Some(ResetAfter), Err("reset"), false),
            (Some(LostAnswer), Err("reset"), true),
            (
                Some(HalfAnswer),
                Err("no complete header in 11 bytes"),
                true,
            ),
            (Some(Garbage), Err("no status code"), false),
        ];
        for (fault, expected, taken) in cases {
            let proxy = FaultProxy::start(&url, [fault]).unwrap();
            match (send_through(&proxy), expected) {
                (Ok(response), Ok(status)) => {
                    assert_eq!(response.status, status, "{fault:?}");
                    let told = response
                        .headers
                        .keys()
                        .any(|name| name.starts_with(WRITTEN));
                    assert_eq!(
                        told,
                        matches!(fault, None | Some(Delay | AtMost(1))),
                        "{fault:?}"
                    );
                }
                (Err(error), Err(words)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(words), "{fault:?}: {error}");
                }
                (found, _) => panic!("{fault:?}: {found:?}"),
            }
            let exchanges = proxy.exchanges();
            assert_eq!(exchanges.len(), 1, "{fault:?}");
            let noted = exchanges.first().unwrap();
            assert_eq!(noted.answer.is_some(), taken, "{fault:?}");
            let read = if fault == Some(ResetBefore) { 0 } else { 1 };
            assert_eq!(noted.samples.len(), read, "{fault:?}");
            // After the script everything passes.
            assert_eq!(send_through(&proxy).unwrap().status, 204, "{fault:?}");
        }
    }

    /// The path comes from the receiver's URL.
    fn send_through(proxy: &FaultProxy) -> Result<Response> {
        assert!(proxy.url().ends_with("/write"));
        send(&proxy.url(), series())
    }

    #[test]
    fn a_retry_after_is_written_as_http_has_it() {
        assert_eq!(RetryAfter::None.header(), "");
        assert_eq!(RetryAfter::Seconds(2).header(), "retry-after: 2\r\n");
        let date = RetryAfter::Date(3_600).header();
        let text = date.trim_start_matches("retry-after: ").trim_end();
        let parsed = weir::model::parse_retry_after(text, 0).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(
            parsed > now && parsed <= now + Duration::from_secs(3_600),
            "{date}"
        );
    }
}
