//! OAuth 2.0 with client credentials: a token of an authorization server, kept until shortly before
//! it expires. See <https://www.rfc-editor.org/rfc/rfc6749#section-4.4>.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Response, StatusCode};

use crate::auth::token::{add, encoded, token_in, words};
use crate::auth::{Fetched, Renewed};
use crate::model::Secret;
use crate::telemetry::with_causes;
use crate::write::WriteError;

use super::config::OAuth2Config;
use super::secret_source::SecretSource;
use crate::write::remote_write::config::RemoteWriteConfig;
use crate::write::remote_write::connection::Connection;
use crate::write::remote_write::delivery::failure::Failure;

/// No answer with a token is longer than this, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct OAuth2 {
    connection: Connection,
    client_id: String,
    secret: SecretSource,
    /// The form, all but who asks.
    form: Secret,
    token: Renewed<Secret>,
    /// Set once the server has taken who asks from the form rather than from the header.
    identified_in_form: AtomicBool,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("no token: {0}")]
    Secret(Failure),
    #[error("no token: the authorization server did not answer: {0}")]
    Network(String),
    #[error("no token: the authorization server refused with {status}{words}")]
    Refused { status: u16, words: String },
    #[error("no token: the authorization server's answer {0}")]
    Answer(&'static str),
}

impl OAuth2 {
    pub(super) fn new(
        config: &OAuth2Config,
        receiver: &RemoteWriteConfig,
    ) -> Result<Self, WriteError> {
        let connection = Connection::for_tokens(config, receiver)?;
        let mut form = "grant_type=client_credentials".to_owned();
        if !config.scopes.is_empty() {
            add(&mut form, "scope", &config.scopes.join(" "));
        }
        for (name, value) in &config.endpoint_params {
            add(&mut form, name, value.reveal());
        }
        let secret = SecretSource::new(&config.client_secret, &config.client_secret_file);
        Ok(Self {
            connection,
            client_id: config.client_id.clone(),
            secret: secret.unwrap_or(SecretSource::Value(Secret::new(""))),
            form: Secret::new(form),
            token: Renewed::default(),
            identified_in_form: AtomicBool::new(false),
        })
    }

    pub(super) fn secret(&self) -> &SecretSource {
        &self.secret
    }

    /// The token of now.
    pub(super) async fn token(&self) -> Result<Arc<Secret>, Failure> {
        let token = self.token.get(|| self.fetch()).await;
        token.map_err(|error| Failure::NoCredentials(with_causes(&error)))
    }

    pub(super) fn refused(&self, token: &Arc<Secret>) -> bool {
        self.token.refused(token)
    }

    /// Says who asks in the header, as the standard wants it, and in the form where the server does
    /// not take that.
    async fn fetch(&self) -> Result<Fetched<Secret>, TokenError> {
        let in_form = self.identified_in_form.load(Ordering::Relaxed);
        let first = self.ask(in_form).await;
        match first {
            Err(TokenError::Refused { status, .. })
                if !in_form && (status == 400 || status == 401) =>
            {
                let Ok(fetched) = self.ask(true).await else {
                    return first;
                };
                self.identified_in_form.store(true, Ordering::Relaxed);
                Ok(fetched)
            }
            other => other,
        }
    }

    async fn ask(&self, in_form: bool) -> Result<Fetched<Secret>, TokenError> {
        let secret = self.secret.read().await.map_err(TokenError::Secret)?;
        let mut form = self.form.reveal().to_owned();
        let request = self.connection.post().await;
        let request = if in_form {
            add(&mut form, "client_id", &self.client_id);
            add(&mut form, "client_secret", secret.reveal());
            request
        } else {
            // RFC 6749, section 2.3.1: both are encoded as in a form first.
            let (id, secret) = (encoded(&self.client_id), encoded(secret.reveal()));
            request.basic_auth(id, Some(secret))
        };
        let response = request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form)
            .send()
            .await
            .map_err(network)?;
        let status = response.status();
        let body = body_of(response).await?;
        if status != StatusCode::OK {
            let (status, words) = (status.as_u16(), words(&body));
            return Err(TokenError::Refused { status, words });
        }
        let fetched = token_in(&body).map_err(TokenError::Answer)?;
        Ok(Fetched {
            value: Secret::new(fetched.value),
            lifetime: fetched.lifetime,
        })
    }
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, TokenError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(TokenError::Answer("is longer than a token"));
        }
    }
    Ok(body)
}

fn network(error: reqwest::Error) -> TokenError {
    TokenError::Network(with_causes(&error.without_url()))
}
