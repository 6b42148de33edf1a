//! OAuth 2.0 with client credentials: a token of an authorization server, kept until shortly before
//! it expires. See <https://www.rfc-editor.org/rfc/rfc6749#section-4.4>.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

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
/// How much of the server's own words is repeated, in characters.
const MAX_WORDS: usize = 300;

/// What stands for itself in a form.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

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

/// The answer's members that matter here.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<Secret>,
    token_type: Option<String>,
    /// In seconds; some servers write it as a text.
    expires_in: Option<Value>,
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
        token_in(&body)
    }
}

fn token_in(body: &[u8]) -> Result<Fetched<Secret>, TokenError> {
    // The error would repeat what it could not read, which may be the token.
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|_| TokenError::Answer("is not the JSON of a token"))?;
    let kind = answer.token_type.as_deref().unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Answer("holds no bearer token"));
    }
    let token = answer.access_token.filter(|token| {
        let is_visible = |byte: u8| (0x21..0x7f).contains(&byte);
        !token.reveal().is_empty() && token.reveal().bytes().all(is_visible)
    });
    let value = token.ok_or(TokenError::Answer("holds no access_token"))?;
    let seconds = match answer.expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    // A token that ends at once would be fetched for each request; the receiver will tell.
    let seconds = seconds.filter(|seconds: &f64| *seconds >= 1.0);
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(Fetched { value, lifetime })
}

/// The error in the server's own words, of the members that RFC 6749 names for that.
fn words(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let member = |name| answer.get(name).and_then(Value::as_str);
    let members = [member("error"), member("error_description")];
    let mut words = String::new();
    for member in members.into_iter().flatten() {
        words.push_str(": ");
        words.extend(member.chars().filter(|c| !c.is_control()).take(MAX_WORDS));
    }
    words
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

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

fn add(form: &mut String, name: &str, value: &str) {
    form.push_str(&format!("&{}={}", encoded(name), encoded(value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(body: &str) -> Result<(String, Option<u64>), String> {
        let fetched = token_in(body.as_bytes()).map_err(|error| error.to_string())?;
        let lifetime = fetched.lifetime.map(|lifetime| lifetime.as_secs());
        Ok((fetched.value.reveal().to_owned(), lifetime))
    }

    #[test]
    fn reads_what_servers_answer() {
        let a = || "a".to_owned();
        for (body, expected) in [
            (
                r#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#,
                Some(3600),
            ),
            (r#"{"access_token":"a","expires_in":"3599"}"#, Some(3599)),
            (r#"{"access_token":"a","expires_in":0}"#, None),
            (
                r#"{"access_token":"a","expires_in":null,"scope":"x"}"#,
                None,
            ),
        ] {
            assert_eq!(token(body), Ok((a(), expected)), "{body}");
        }
        for (body, expected) in [
            ("<html>", "is not the JSON of a token"),
            (
                r#"{"access_token":"hunter2","token_type":"mac"}"#,
                "holds no bearer token",
            ),
            (r#"{"access_token":""}"#, "holds no access_token"),
            (r#"{"access_token":"a b"}"#, "holds no access_token"),
            (r#"{"error":"x"}"#, "holds no access_token"),
        ] {
            let expected = format!("no token: the authorization server's answer {expected}");
            assert_eq!(token(body), Err(expected), "{body}");
        }
    }

    #[test]
    fn repeats_the_servers_words_and_nothing_else() {
        let body = br#"{"error":"invalid_client","error_description":"no such client","x":"y"}"#;
        assert_eq!(words(body), ": invalid_client: no such client");
        assert_eq!(words(b"<html>hunter2</html>"), "");
        assert_eq!(encoded("a b&c=d\u{e4}+~"), "a%20b%26c%3Dd%C3%A4%2B~");
    }
}
