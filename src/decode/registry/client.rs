//! Asks a registry over HTTP
//! (<https://docs.confluent.io/platform/current/schema-registry/develop/api.html>).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Certificate, Identity, RequestBuilder, Response, StatusCode, Url, redirect, retry};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::config::RegistryConfig;
use crate::decode::avro::{AvroSchema, SchemaParser};
use crate::model::{Secret, install_tls};
use crate::telemetry::with_causes;

const USER_AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// The greatest answer that is read, bytes.
const MAX_BODY_BYTES: usize = 4 << 20;

/// How much of an answer goes into a message, bytes.
const MAX_QUOTED_BYTES: usize = 200;

/// How many schemas one may refer to, those that these refer to included.
const MAX_REFERENCES: usize = 200;

/// Codes of errors that say that something does not exist: a subject, a version, a schema.
const NOT_FOUND: [u32; 3] = [40_401, 40_402, 40_403];

/// Why there is no schema.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is none that could be used.
    None(String),
    /// Later there may be an answer.
    Passing {
        message: String,
        retry_after: Option<Duration>,
    },
}

/// Asks one registry.
#[derive(Debug)]
pub(super) struct Client {
    client: reqwest::Client,
    /// Without a slash at its end.
    url: String,
    username: Option<String>,
    password: Option<Kept>,
    token: Option<Kept>,
}

/// A secret, or the file that has it, which is read again for every question: it may be replaced.
#[derive(Debug)]
enum Kept {
    Here(Secret),
    File(String),
}

/// A schema as the registry gives it.
#[derive(Deserialize)]
struct Registered {
    schema: String,
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

/// Another schema whose types it names.
#[derive(Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: u32,
    #[serde(default)]
    message: String,
}

impl Client {
    pub(super) fn build(config: &RegistryConfig) -> Result<Self, String> {
        install_tls();
        let url = Url::parse(&config.url).map_err(|error| format!("'url' is not one: {error}"))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .timeout(config.timeout.to_std())
            .redirect(redirect::Policy::none())
            // Questions are repeated and counted where they are asked.
            .retry(retry::never());
        if is_loopback(&url) {
            // A proxy from the environment cannot reach this machine's own loopback address.
            builder = builder.no_proxy();
        }
        let read = |key: &str, path: &String| {
            std::fs::read(path).map_err(|error| format!("{key} {path} cannot be read: {error}"))
        };
        let tls = config.tls.as_ref();
        if let Some(path) = tls.and_then(|tls| tls.ca_file.as_ref()) {
            let certificates = Certificate::from_pem_bundle(&read("ca_file", path)?)
                .map_err(|error| format!("ca_file {path}: {}", with_causes(&error)))?;
            if certificates.is_empty() {
                return Err(format!("ca_file {path} holds no certificate in PEM form"));
            }
            builder = builder.tls_certs_only(certificates);
        } else if url.scheme() == "http" {
            // Without TLS the machine's certificates are not needed; a bare container has none.
            builder = builder.tls_certs_only([]);
        }
        let identity = tls.and_then(|tls| tls.cert_file.as_ref().zip(tls.key_file.as_ref()));
        if let Some((certificate, key)) = identity {
            let mut pem = read("cert_file", certificate)?;
            pem.push(b'\n');
            pem.append(&mut read("key_file", key)?);
            let identity = Identity::from_pem(&pem)
                .map_err(|error| format!("cert_file {certificate}: {}", with_causes(&error)))?;
            builder = builder.identity(identity);
        }
        let kept = |here: &Option<Secret>, file: &Option<String>| match (here, file) {
            (Some(secret), _) => Some(Kept::Here(secret.clone())),
            (None, Some(path)) => Some(Kept::File(path.clone())),
            (None, None) => None,
        };
        Ok(Self {
            client: builder.build().map_err(|error| with_causes(&error))?,
            url: config.url.trim_end_matches('/').to_owned(),
            username: config.username.clone(),
            password: kept(&config.password, &config.password_file),
            token: kept(&config.token, &config.token_file),
        })
    }

    /// The schema of a number, with all that it refers to.
    pub(super) async fn schema(&self, id: u32) -> Result<AvroSchema, Failure> {
        let registered: Registered = self.get(&format!("/schemas/ids/{id}")).await?;
        check_type(&registered)?;
        let mut parser = SchemaParser::default();
        self.add_references(&registered, &mut parser).await?;
        let root = add(&mut parser, &registered.schema, "")?;
        Ok(parser.finish(root))
    }

    /// Reads what a schema refers to, and what that refers to before it.
    async fn add_references(
        &self,
        registered: &Registered,
        parser: &mut SchemaParser,
    ) -> Result<(), Failure> {
        let mut seen = BTreeSet::new();
        let mut due: Vec<(Reference, Option<String>)> = Vec::new();
        for reference in registered.references.iter().rev() {
            due.push((reference.clone(), None));
        }
        // What was read waits below what it refers to.
        while let Some((reference, read)) = due.pop() {
            let Reference { subject, version } = &reference;
            if let Some(schema) = read {
                add(parser, &schema, &format!("{subject}, version {version}: "))?;
                continue;
            }
            if !seen.insert(reference.clone()) {
                continue;
            }
            if seen.len() > MAX_REFERENCES {
                let message = format!("refers to more than {MAX_REFERENCES} schemas");
                return Err(Failure::None(message));
            }
            let name = utf8_percent_encode(subject, NON_ALPHANUMERIC);
            let path = format!("/subjects/{name}/versions/{version}");
            let found: Registered = self.get(&path).await?;
            check_type(&found)?;
            due.push((reference, Some(found.schema)));
            for inner in found.references.iter().rev() {
                due.push((inner.clone(), None));
            }
        }
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.client.get(format!("{}{path}", self.url));
        let request = request.header(
            ACCEPT,
            "application/vnd.schemaregistry.v1+json, application/json",
        );
        let response = self.authorized(request)?.send().await.map_err(network)?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = body_of(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| Failure::Passing {
                message: format!("{path}: no schema: {error}: {}", quoted(&body)),
                retry_after: None,
            });
        }
        let error = serde_json::from_slice::<ErrorAnswer>(&body).ok();
        match error {
            // Another 404 may be of a proxy, or of a wrong address.
            Some(error)
                if status == StatusCode::NOT_FOUND && NOT_FOUND.contains(&error.error_code) =>
            {
                let ErrorAnswer {
                    error_code,
                    message,
                } = error;
                Err(Failure::None(format!("{error_code} {message}")))
            }
            _ => Err(Failure::Passing {
                message: format!("{path}: status {}: {}", status.as_u16(), quoted(&body)),
                retry_after,
            }),
        }
    }

    fn authorized(&self, request: RequestBuilder) -> Result<RequestBuilder, Failure> {
        if let Some(token) = &self.token {
            return Ok(request.bearer_auth(token.read()?));
        }
        let Some(username) = &self.username else {
            return Ok(request);
        };
        let password = self.password.as_ref().map(Kept::read).transpose()?;
        Ok(request.basic_auth(username, password))
    }
}

impl Kept {
    fn read(&self) -> Result<String, Failure> {
        let secret = match self {
            Self::Here(secret) => Ok(secret.clone()),
            Self::File(path) => Secret::read("the file", path),
        };
        let secret = secret.map_err(|message| Failure::Passing {
            message,
            retry_after: None,
        })?;
        Ok(secret.reveal().to_owned())
    }
}

fn check_type(registered: &Registered) -> Result<(), Failure> {
    match registered.schema_type.as_deref() {
        None | Some("AVRO") => Ok(()),
        Some(other) => Err(Failure::None(format!(
            "a schema of type {other}, not of Avro"
        ))),
    }
}

fn add(parser: &mut SchemaParser, schema: &str, what: &str) -> Result<usize, Failure> {
    let added = parser.add(schema);
    added.map_err(|error| Failure::None(format!("no schema of Avro: {what}{error}")))
}

fn network(error: reqwest::Error) -> Failure {
    Failure::Passing {
        message: with_causes(&error),
        retry_after: None,
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// A whole answer, unless it is too long.
async fn body_of(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            let message = format!("the answer has more than {MAX_BODY_BYTES} bytes");
            return Err(Failure::Passing {
                message,
                retry_after: None,
            });
        }
    }
    Ok(body)
}

fn quoted(body: &[u8]) -> String {
    let shown = body.get(..body.len().min(MAX_QUOTED_BYTES));
    let text = String::from_utf8_lossy(shown.unwrap_or_default());
    text.escape_debug().to_string()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
