//! The HTTP client of one address: TLS, proxy, and certificates that may be replaced.

pub(in crate::write::remote_write) mod authentication;
pub(in crate::write::remote_write) mod client;
mod clock_skew;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HOST, HeaderMap, HeaderValue};
use reqwest::{
    Certificate, Client, ClientBuilder, Identity, Proxy, Request, RequestBuilder, Response, Url,
    redirect, retry,
};
use tokio::time::Instant;

use crate::auth::clean_path;
use crate::model::{Secret, install_tls};
use crate::telemetry::with_causes;
use crate::write::WriteError;

use super::config::RemoteWriteConfig;
use authentication::config::{BasicAuth, OAuth2Config, TlsSettings};

const USER_AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// How often the files of certificates are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Posts to one address.
#[derive(Debug)]
pub(super) struct Connection {
    settings: Arc<Settings>,
    url: Url,
    /// The `Host` header, where it is not that of `url`.
    host: Option<HeaderValue>,
    current: Mutex<Current>,
}

/// What a client is made by.
#[derive(Debug)]
struct Settings {
    /// The keys before those of TLS and of the proxy, for messages.
    path: &'static str,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    tls: TlsSettings,
    proxy: Option<(String, Option<BasicAuth>)>,
}

#[derive(Debug)]
struct Current {
    client: Client,
    files: Files,
    looked: Instant,
}

/// What the files held when the client was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Files {
    authorities: Option<Vec<u8>>,
    /// The certificate and its key.
    identity: Option<Vec<u8>>,
}

impl Connection {
    /// To the receiver, with headers for every request.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or TLS or the proxy cannot be set up.
    pub(super) fn to_receiver(
        config: &RemoteWriteConfig,
        headers: HeaderMap,
    ) -> Result<Self, WriteError> {
        Self::new(Settings {
            path: "remote_write",
            url: parse("remote_write.url", &config.url)?,
            headers,
            timeout: config.timeout.to_std(),
            tls: config.tls_config.clone().unwrap_or_default(),
            proxy: proxy_of(config),
        })
    }

    /// To the server that gives tokens for the receiver.
    ///
    /// # Errors
    /// See [`Connection::to_receiver`].
    pub(super) fn for_tokens(
        config: &OAuth2Config,
        receiver: &RemoteWriteConfig,
    ) -> Result<Self, WriteError> {
        Self::new(Settings {
            path: "remote_write.oauth2",
            url: parse("remote_write.oauth2.token_url", &config.token_url)?,
            headers: HeaderMap::new(),
            timeout: receiver.timeout.to_std(),
            tls: config.tls_config.clone().unwrap_or_default(),
            proxy: proxy_of(receiver),
        })
    }

    fn new(settings: Settings) -> Result<Self, WriteError> {
        let mut url = clean_path(settings.url.clone());
        let mut host = None;
        if let Some(name) = &settings.tls.server_name {
            // The name is both asked for and verified when the URL has it; its own host is where the
            // name is looked up, and what the server hears.
            host = HeaderValue::from_str(&authority(&url)).ok();
            url.set_host(Some(name))
                .map_err(|error| settings.invalid("tls_config.server_name", &error))?;
        }
        if settings.tls.insecure_skip_verify {
            let section = settings.path;
            tracing::warn!(
                section,
                "insecure_skip_verify is on: whoever answers at this address gets the samples and \
                 the credentials"
            );
        }
        let files = settings
            .read_files()
            .map_err(|(path, error)| WriteError::Credentials { path, error })?;
        let client = settings.build(&files)?;
        Ok(Self {
            settings: Arc::new(settings),
            url,
            host,
            current: Mutex::new(Current {
                client,
                files,
                looked: Instant::now(),
            }),
        })
    }

    /// A request without a body, by the certificates of now.
    pub(super) async fn post(&self) -> RequestBuilder {
        self.renew().await;
        let request = self.current().client.post(self.url.clone());
        match &self.host {
            Some(host) => request.header(HOST, host.clone()),
            None => request,
        }
    }

    /// Sends a request that [`Connection::post`] began.
    ///
    /// # Errors
    /// There is no complete answer.
    pub(super) async fn execute(&self, request: Request) -> reqwest::Result<Response> {
        let client = self.current().client.clone();
        client.execute(request).await
    }

    /// Makes another client where the files have changed. Where they cannot be used, the old one is
    /// good until they can.
    async fn renew(&self) {
        let known = {
            let mut current = self.current();
            if !self.settings.has_files() || current.looked.elapsed() < LOOK_INTERVAL {
                return;
            }
            current.looked = Instant::now();
            current.files.clone()
        };
        let settings = Arc::clone(&self.settings);
        let made = tokio::task::spawn_blocking(move || {
            let files = settings
                .read_files()
                .map_err(|(path, error)| WriteError::Credentials { path, error })?;
            if files == known {
                return Ok(None);
            }
            let client = settings.build(&files)?;
            Ok::<_, WriteError>(Some((client, files)))
        });
        match made.await {
            Ok(Ok(Some((client, files)))) => {
                let mut current = self.current();
                current.client = client;
                current.files = files;
                tracing::info!("the certificates for remote_write were replaced");
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                let error = with_causes(&error);
                tracing::warn!(error, "new certificates cannot be used; the old ones stay");
            }
            Err(error) => {
                tracing::warn!(%error, "new certificates cannot be used; the old ones stay")
            }
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    fn has_files(&self) -> bool {
        self.tls.ca_file.is_some() || self.tls.cert_file.is_some()
    }

    fn read_files(&self) -> Result<Files, (PathBuf, io::Error)> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| (path.to_owned(), error));
        let mut files = Files::default();
        if let Some(path) = &self.tls.ca_file {
            files.authorities = Some(read(path)?);
        }
        if let (Some(certificate), Some(key)) = (&self.tls.cert_file, &self.tls.key_file) {
            let mut pem = read(certificate)?;
            pem.push(b'\n');
            pem.append(&mut read(key)?);
            files.identity = Some(pem);
        }
        Ok(files)
    }

    fn build(&self, files: &Files) -> Result<Client, WriteError> {
        install_tls();
        let mut builder = Client::builder()
            .http1_only()
            .user_agent(USER_AGENT)
            .default_headers(self.headers.clone())
            .timeout(self.timeout)
            .redirect(redirect::Policy::none())
            // The shard repeats requests itself; a hidden second attempt would not be counted.
            .retry(retry::never())
            .tcp_nodelay(true)
            .tls_danger_accept_invalid_certs(self.tls.insecure_skip_verify);
        builder = self.with_proxy(builder)?;
        let needs_tls = |url: &str| url.starts_with("https:");
        let proxy_has_tls = self.proxy.as_ref().is_some_and(|(url, _)| needs_tls(url));
        if let Some(pem) = &files.authorities {
            let certificates = Certificate::from_pem_bundle(pem);
            let certificates =
                certificates.map_err(|error| self.invalid("tls_config.ca_file", &error))?;
            if certificates.is_empty() {
                let nothing = io::Error::other("there is no certificate in it");
                return Err(self.invalid("tls_config.ca_file", &nothing));
            }
            builder = builder.tls_certs_only(certificates);
        } else if !needs_tls(self.url.as_str()) && !proxy_has_tls {
            // Without TLS the machine's certificates are not needed; a bare container has none,
            // and loading them would fail.
            builder = builder.tls_certs_only([]);
        }
        if let Some(pem) = &files.identity {
            let identity = Identity::from_pem(pem);
            let identity =
                identity.map_err(|error| self.invalid("tls_config.cert_file", &error))?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(WriteError::Client)
    }

    fn with_proxy(&self, builder: ClientBuilder) -> Result<ClientBuilder, WriteError> {
        if let Some(host) = &self.tls.server_name {
            let at = Place {
                name: host.to_ascii_lowercase(),
                host: bare_host(&self.url),
            };
            // A proxy would look up the name itself.
            return Ok(builder.no_proxy().dns_resolver(at));
        }
        let Some((url, login)) = &self.proxy else {
            // A proxy from the environment cannot reach this machine's own loopback address.
            let local = is_loopback(&self.url);
            return Ok(if local { builder.no_proxy() } else { builder });
        };
        let mut proxy = Proxy::all(url).map_err(|error| WriteError::Invalid {
            path: "remote_write.proxy_url".to_owned(),
            message: format!("cannot be used: {}", with_causes(&error.without_url())),
        })?;
        if let Some(login) = login {
            let password = match (&login.password, &login.password_file) {
                (Some(password), _) => password.clone(),
                (None, Some(path)) => std::fs::read_to_string(path)
                    .map(|text| Secret::of_file(&text))
                    .map_err(|error| WriteError::Credentials {
                        path: path.clone(),
                        error,
                    })?,
                (None, None) => Secret::new(""),
            };
            proxy = proxy.basic_auth(&login.username, password.reveal());
        }
        Ok(builder.proxy(proxy))
    }

    fn invalid(&self, key: &str, error: &dyn std::error::Error) -> WriteError {
        WriteError::Invalid {
            path: format!("{}.{key}", self.path),
            message: format!("cannot be used: {}", with_causes(error)),
        }
    }
}

/// Finds the server that is verified by another name.
#[derive(Debug)]
struct Place {
    name: String,
    host: String,
}

impl Resolve for Place {
    fn resolve(&self, asked: Name) -> Resolving {
        let host = match asked.as_str() == self.name {
            true => self.host.clone(),
            false => asked.as_str().to_owned(),
        };
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn proxy_of(config: &RemoteWriteConfig) -> Option<(String, Option<BasicAuth>)> {
    let url = config.proxy_url.clone()?;
    Some((url, config.proxy_auth.clone()))
}

fn parse(path: &str, url: &str) -> Result<Url, WriteError> {
    Url::parse(url).map_err(|error| WriteError::Invalid {
        path: path.to_owned(),
        message: format!("is not a URL: {error}"),
    })
}

/// The host without the brackets of an IPv6 address.
fn bare_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    host.trim_matches(['[', ']']).to_owned()
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = bare_host(url);
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_machine() {
        for (url, expected) in [
            ("http://127.0.0.1:9090/", true),
            ("http://127.9.9.9/", true),
            ("http://localhost/", true),
            ("http://[::1]:9090/", true),
            ("http://10.0.0.1/", false),
            ("http://localhost.example.org/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
