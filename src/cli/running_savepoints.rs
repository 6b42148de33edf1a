//! The savepoints of a pipeline that runs in another process, over HTTP.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::model::install_tls;
use crate::pipeline::{Contents, SavepointError, SavepointErrorKind, SavepointInfo, Savepoints};

/// How long a connection may take. How long the work takes, only the other side knows.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the weir that runs a pipeline.
#[derive(Debug)]
pub(super) struct RunningSavepoints {
    runtime: Runtime,
    client: Client,
    pipeline: String,
    address: String,
}

impl RunningSavepoints {
    /// Those of a pipeline that runs in the weir that listens at an address.
    pub(super) fn new(pipeline: &str, address: &str) -> Result<Self> {
        install_tls();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // The address is asked as it is given: no proxy stands before a machine's own weir.
            .no_proxy()
            .tls_certs_only([])
            .build();
        Ok(Self {
            runtime: Runtime::new().context("cannot start the runtime")?,
            client: client.context("cannot set up the http client")?,
            pipeline: pipeline.to_owned(),
            address: address.to_owned(),
        })
    }

    /// Asks, and gives the answer's body where it is a success.
    fn ask(&self, method: Method, path: &str, body: &[u8]) -> Result<Vec<u8>, SavepointError> {
        let Self {
            address, pipeline, ..
        } = self;
        let url = format!("http://{address}/pipelines/{pipeline}/{path}");
        let request = self.client.request(method, url).body(body.to_vec());
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(|error| self.unheard(&error))?;
            let status = answer.status();
            let body = answer.bytes().await.map_err(|error| self.unheard(&error))?;
            if status.is_success() {
                return Ok(body.to_vec());
            }
            let words = String::from_utf8_lossy(&body).trim().to_owned();
            Err(refused(status, words, address))
        })
    }

    fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<T, SavepointError> {
        let answer = self.ask(method, path, body)?;
        serde_json::from_slice(&answer).map_err(|error| {
            let message = format!(
                "the weir at {} answers what this one does not understand: {error}",
                self.address
            );
            SavepointError::new(SavepointErrorKind::Failed, message)
        })
    }

    fn unheard(&self, error: &reqwest::Error) -> SavepointError {
        let message = if error.is_connect() {
            format!(
                "no weir answers at {}; is pipeline {} running? give its address with --address",
                self.address, self.pipeline
            )
        } else {
            format!("the weir at {} gave no answer: {error}", self.address)
        };
        SavepointError::new(SavepointErrorKind::Failed, message)
    }
}

/// What the other side has refused, in its own words.
fn refused(status: StatusCode, words: String, address: &str) -> SavepointError {
    let kind = match status {
        StatusCode::BAD_REQUEST => SavepointErrorKind::Invalid,
        StatusCode::NOT_FOUND => SavepointErrorKind::NotFound,
        StatusCode::CONFLICT => SavepointErrorKind::Exists,
        _ => SavepointErrorKind::Failed,
    };
    if words.is_empty() || words.starts_with('<') {
        let message = format!("what answers at {address} is no weir: {status}");
        return SavepointError::new(SavepointErrorKind::Failed, message);
    }
    SavepointError::new(kind, words)
}

impl Savepoints for RunningSavepoints {
    fn create(&self, name: &str) -> Result<SavepointInfo, SavepointError> {
        self.json(Method::POST, &format!("savepoints?name={name}"), &[])
    }

    fn list(&self) -> Result<Vec<SavepointInfo>, SavepointError> {
        self.json(Method::GET, "savepoints", &[])
    }

    fn show(&self, name: Option<&str>) -> Result<Contents, SavepointError> {
        match name {
            Some(name) => self.json(Method::GET, &format!("savepoints/{name}"), &[]),
            None => self.json(Method::GET, "state", &[]),
        }
    }

    fn delete(&self, name: &str) -> Result<(), SavepointError> {
        let deleted = self.ask(Method::DELETE, &format!("savepoints/{name}"), &[]);
        deleted.map(|_| ())
    }

    fn export(&self, name: &str) -> Result<Vec<u8>, SavepointError> {
        self.ask(Method::GET, &format!("savepoints/{name}/file"), &[])
    }

    fn import(&self, name: &str, file: &[u8]) -> Result<SavepointInfo, SavepointError> {
        self.json(Method::PUT, &format!("savepoints/{name}/file"), file)
    }
}
