//! Records that are sent to our own address again.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Certificate, Client, Identity, StatusCode, Url, redirect};
use tokio::runtime::{Builder, Runtime};

use crate::model::{Secret, install_tls};
use crate::telemetry::with_causes;

use super::super::SourceError;
use super::super::resend::{HttpWay, Resent, ResentRecord, Unsent};
use super::Protocol;
use super::config::HttpConfig;
use super::remote_write::CONTENT_TYPE_V1;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a record is sent while the pipeline is busy, a second apart.
const ATTEMPTS: u32 = 60;

/// Sends records to an address over HTTP, a request each.
#[derive(Debug)]
pub(in crate::source) struct HttpResend {
    runtime: Runtime,
    client: Client,
    protocol: Protocol,
    url: Url,
    token: Option<Secret>,
}

impl HttpResend {
    /// The way to the address of a source, or to another one.
    ///
    /// # Errors
    /// A file cannot be read, or the address is none.
    pub(in crate::source) fn new(
        config: &HttpConfig,
        protocol: Protocol,
        pipeline: &str,
        way: &HttpWay<'_>,
    ) -> Result<Self, SourceError> {
        if way.url.is_some_and(|url| url.contains('@')) {
            // It is not repeated: a password may stand in it.
            let message = "--url carries credentials; the token of the pipeline file is sent";
            return Err(SourceError::new(protocol.name(), message));
        }
        let own = || url_of(config, protocol, pipeline);
        let text = way.url.map_or_else(own, str::to_owned);
        let failed =
            |message: String| SourceError::new(format!("{} {text}", protocol.name()), message);
        let parsed = text
            .parse::<Url>()
            .map_err(|error| failed(error.to_string()))?;
        install_tls();
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT);
        let unusable = |option: &str, path: &str, error: &dyn Error| {
            failed(format!("{option} {path}: {}", with_causes(error)))
        };
        let read = |option: &str, path: &str| {
            fs::read(path).map_err(|error| unusable(option, path, &error))
        };
        if let Some(path) = way.ca_file {
            let pem = read("--ca-file", path)?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|error| unusable("--ca-file", path, &error))?;
            builder = builder.tls_certs_only(certificates);
        }
        if let Some((certificate, key)) = way.identity {
            let mut pem = read("--cert-file", certificate)?;
            pem.push(b'\n');
            pem.append(&mut read("--key-file", key)?);
            let identity = Identity::from_pem(&pem)
                .map_err(|error| unusable("--cert-file", certificate, &error))?;
            builder = builder.identity(identity);
        }
        let client = builder
            .build()
            .map_err(|error| failed(with_causes(&error)))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            runtime: runtime.map_err(|error| failed(format!("cannot start: {error}")))?,
            client,
            protocol,
            url: parsed,
            token: super::token(config).map_err(failed)?,
        })
    }

    /// Sends records in their order, until none is taken any more.
    pub(in crate::source) fn send(&mut self, records: &[ResentRecord]) -> Resent {
        let mut resent = Resent::default();
        for (number, record) in records.iter().enumerate() {
            let sent = self.runtime.block_on(self.post(record));
            if !resent.note(number, sent) {
                break;
            }
        }
        let to = |message| format!("{} {}: {message}", self.protocol.name(), self.url);
        resent.error = resent.error.map(to);
        resent
    }

    async fn post(&self, record: &ResentRecord) -> Result<(), Unsent> {
        let mut attempt = 1;
        loop {
            let request = self.client.post(self.url.clone());
            let request = request.header("Idempotency-Key", &record.id);
            let mut request = match self.protocol {
                Protocol::Records => request
                    .header(CONTENT_TYPE, "application/octet-stream")
                    .body(record.bytes.clone()),
                Protocol::RemoteWrite => request
                    .header(CONTENT_TYPE, CONTENT_TYPE_V1)
                    .header(CONTENT_ENCODING, "snappy")
                    .body(snappy(&record.bytes)?),
            };
            if let Some(token) = &self.token {
                request = request.bearer_auth(token.reveal());
            }
            let response = request.send().await.map_err(|error| with_causes(&error))?;
            let status = response.status();
            if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
                return Ok(());
            }
            let is_busy = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::INSUFFICIENT_STORAGE
            );
            if !is_busy || attempt == ATTEMPTS {
                let text = response.text().await.unwrap_or_default();
                let message = format!("it answers {status}: {}", text.trim_end());
                return Err(match status {
                    StatusCode::BAD_REQUEST
                    | StatusCode::PAYLOAD_TOO_LARGE
                    | StatusCode::UNPROCESSABLE_ENTITY => Unsent::Refused(message),
                    _ => Unsent::Failed(message),
                });
            }
            attempt += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

fn snappy(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let compressed = snap::raw::Encoder::new().compress_vec(bytes);
    compressed.map_err(|error| error.to_string())
}

/// Where a source that listens everywhere can be reached from here.
fn url_of(config: &HttpConfig, protocol: Protocol, pipeline: &str) -> String {
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let address = match config.listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => {
            let here = match address.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            SocketAddr::new(here, address.port()).to_string()
        }
        _ => config.listen.clone(),
    };
    format!("{scheme}://{address}{}", protocol.path(config, pipeline))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::super::testing::start_as;
    use super::*;

    #[test]
    fn an_address_for_all_is_reached_here() {
        for (json, expected) in [
            (
                r#"{"listen": "0.0.0.0:8080"}"#,
                "http://127.0.0.1:8080/ingest/cars",
            ),
            (
                r#"{"listen": "[::]:8080", "path": "/in"}"#,
                "http://[::1]:8080/in",
            ),
            (
                r#"{"listen": "10.0.0.1:8443", "tls": {"cert_file": "a", "key_file": "b"}}"#,
                "https://10.0.0.1:8443/ingest/cars",
            ),
        ] {
            let config: HttpConfig = serde_json::from_str(json).unwrap();
            assert_eq!(url_of(&config, Protocol::Records, "cars"), expected);
        }
        let config: HttpConfig = serde_json::from_str(r#"{"listen": "[::1]:80"}"#).unwrap();
        let url = url_of(&config, Protocol::RemoteWrite, "cars");
        assert_eq!(url, "http://[::1]:80/api/v1/write");
    }

    /// To an address that is not that of the pipeline file.
    fn resend_to(url: &str) -> HttpResend {
        let config: HttpConfig = serde_json::from_str(r#"{"listen": "[::1]:80"}"#).unwrap();
        let way = HttpWay {
            url: Some(url),
            ..HttpWay::default()
        };
        HttpResend::new(&config, Protocol::Records, "cars", &way).unwrap()
    }

    fn sent(resend: &mut HttpResend, ids: &[&str]) -> Resent {
        let records: Vec<_> = ids.iter().map(|id| record(id)).collect();
        resend.send(&records)
    }

    fn record(id: &str) -> ResentRecord {
        ResentRecord {
            id: id.to_owned(),
            topic: Vec::new(),
            key: Vec::new(),
            headers: BTreeMap::new(),
            timestamp_ms: None,
            bytes: id.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_record_is_taken_once_for_each_name_that_it_is_sent_by() {
        let folder = tempfile::tempdir().unwrap();
        let keys = serde_json::json!({ "path": "/in" });
        let running = start_as(Protocol::Records, keys, Some(folder.path()), None);
        let url = format!("http://{}/in", running.address);
        let mut resend = resend_to(&url);
        let all = sent(&mut resend, &["a", "a", "a-1"]);
        assert_eq!((all.acknowledged, all.error), (vec![0, 1, 2], None));
        let taken = running.records(2);
        assert!(
            taken[0].starts_with("a@") && taken[1].starts_with("a-1@"),
            "{taken:?}"
        );
    }

    #[test]
    fn a_record_that_is_refused_holds_up_no_other() {
        let keys = serde_json::json!({ "path": "/in" });
        let running = start_as(Protocol::Records, keys, None, None);
        let url = format!("http://{}/in", running.address);
        let mut resend = resend_to(&url);
        let mut large = record("b");
        large.bytes = vec![b'x'; 1_001];
        let resent = resend.send(&[record("a"), large, record("c")]);
        assert_eq!((resent.acknowledged, resent.error), (vec![0, 2], None));
        let (number, why) = &resent.refused[0];
        assert_eq!(*number, 1);
        assert!(why.starts_with("it answers 413 "), "{why}");
        // What no request would change ends it.
        let url = format!("http://{}/other", running.address);
        let mut resend = resend_to(&url);
        let resent = sent(&mut resend, &["a", "b"]);
        assert_eq!((resent.acknowledged, resent.refused), (vec![], vec![]));
        let error = resent.error.unwrap();
        assert!(
            error.starts_with(&format!("http {url}: it answers 404 ")),
            "{error}"
        );
    }

    /// The head of the one request that a server gets.
    fn head_of(protocol: Protocol) -> String {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        let answering = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").unwrap();
            String::from_utf8(head).unwrap().to_lowercase()
        });
        let config: HttpConfig = serde_json::from_str(r#"{"listen": "[::1]:80"}"#).unwrap();
        let way = HttpWay {
            url: Some(&url),
            ..HttpWay::default()
        };
        let mut resend = HttpResend::new(&config, protocol, "cars", &way).unwrap();
        assert_eq!(sent(&mut resend, &["b-7"]).acknowledged, [0]);
        answering.join().unwrap()
    }

    #[test]
    fn every_request_says_which_record_it_is() {
        for protocol in [Protocol::Records, Protocol::RemoteWrite] {
            let head = head_of(protocol);
            assert!(head.contains("\r\nidempotency-key: b-7\r\n"), "{head}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_shown() {
        let config: HttpConfig = serde_json::from_str(r#"{"listen": "[::1]:80"}"#).unwrap();
        let way = HttpWay {
            url: Some("http://:hunter2@host/"),
            ..HttpWay::default()
        };
        let error = HttpResend::new(&config, Protocol::Records, "cars", &way).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("--url carries credentials"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
