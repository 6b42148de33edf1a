//! Tokens for OAUTHBEARER, which librdkafka asks for before it connects and before they expire.
//!
//! It asks within a poll, so the polling thread waits for the answer, for no longer than
//! [`TIMEOUT`]: that is far from the time after which a group throws out who does not poll.

use std::time::Duration;

use rdkafka::client::OAuthToken;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, StatusCode, redirect};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::auth::token::{add, encoded, token_in, words};
use crate::auth::{AwsCredentials, AwsIdentity, AwsRole, Fetched, msk_token};
use crate::model::{
    BrokerToken, BrokerTokens, Clock, SaslConfig, Secret, SignerConfig, TimestampMs, TokenConfig,
    install_tls,
};
use crate::telemetry::with_causes;

/// How long whoever gives a token may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// No answer with a token is longer than this, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// How long a token is taken to be good whose server does not say it.
const UNTOLD_LIFETIME: Duration = Duration::from_secs(300);

/// When a signature for Amazon is replaced, though it is good for longer: credentials that are
/// replaced or withdrawn are to count soon.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(540);

/// Where tokens come from.
#[derive(Debug)]
pub(in crate::source) struct Tokens {
    kind: Kind,
    clock: Clock,
    runtime: Runtime,
}

#[derive(Debug)]
enum Kind {
    Server { config: TokenConfig, client: Client },
    Amazon(Signer),
}

#[derive(Debug)]
struct Signer {
    credentials: AwsCredentials,
    region: String,
}

impl Tokens {
    /// None where no token is needed. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// There can be no runtime or no client for HTTP.
    pub(in crate::source) fn new(
        sasl: Option<&SaslConfig>,
        clock: &Clock,
    ) -> Result<Option<Self>, String> {
        let Some(sasl) = sasl else { return Ok(None) };
        let kind = match (&sasl.oauth2, &sasl.sigv4) {
            (Some(config), _) => Kind::Server {
                config: config.clone(),
                client: client(&config.token_url).map_err(|error| with_causes(&error))?,
            },
            (None, Some(config)) => Kind::Amazon(Signer::new(config)),
            (None, None) => return Ok(None),
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Some(Self {
            kind,
            clock: clock.clone(),
            runtime: runtime.map_err(|error| format!("cannot fetch tokens: {error}"))?,
        }))
    }

    /// The token of now.
    ///
    /// # Errors
    /// There is none; the message says why and never holds a secret.
    pub(super) fn token(&self) -> Result<OAuthToken, String> {
        let now_ms = self.clock.now_ms();
        let fetch = async {
            match &self.kind {
                Kind::Server { config, client } => ask(config, client).await,
                Kind::Amazon(signer) => signer.sign(now_ms).await,
            }
        };
        let fetched = self
            .runtime
            .block_on(async { timeout(TIMEOUT, fetch).await })
            .unwrap_or_else(|_| Err(format!("there was no answer within {TIMEOUT:?}")))?;
        Ok(OAuthToken {
            token: fetched.value,
            principal_name: self.principal().to_owned(),
            lifetime_ms: end_ms(now_ms, fetched.lifetime.unwrap_or(UNTOLD_LIFETIME)),
        })
    }

    /// The broker knows from the token who we are; librdkafka wants a name all the same.
    fn principal(&self) -> &str {
        match &self.kind {
            Kind::Server { config, .. } => &config.client_id,
            Kind::Amazon(_) => "weir",
        }
    }
}

impl BrokerTokens for Tokens {
    fn token(&self) -> Result<BrokerToken, String> {
        let token = Self::token(self)?;
        Ok(BrokerToken {
            value: token.token,
            principal: token.principal_name,
            end_ms: token.lifetime_ms,
        })
    }
}

fn end_ms(now_ms: TimestampMs, lifetime: Duration) -> TimestampMs {
    now_ms.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX))
}

impl Signer {
    fn new(config: &SignerConfig) -> Self {
        let role = config.role_arn.clone().map(|arn| AwsRole {
            arn,
            external_id: config.external_id.as_ref().map(|id| id.reveal().to_owned()),
            session_name: None,
        });
        Self {
            credentials: AwsCredentials::new(AwsIdentity {
                region: Some(config.region.clone()),
                profile: config.profile.clone(),
                keys: None,
                role,
            }),
            region: config.region.clone(),
        }
    }

    async fn sign(&self, now_ms: TimestampMs) -> Result<Fetched<String>, String> {
        let credentials = self.credentials.get(now_ms).await;
        let credentials = credentials.map_err(|error| with_causes(&error))?;
        let token = msk_token(&credentials, &self.region, now_ms);
        Ok(Fetched {
            value: token.map_err(|error| with_causes(&error))?,
            lifetime: Some(SIGNATURE_LIFETIME),
        })
    }
}

fn client(url: &str) -> reqwest::Result<Client> {
    install_tls();
    let mut builder = Client::builder()
        .http1_only()
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none());
    if url.starts_with("http://") {
        // Without TLS no certificates are needed, which a bare container has none of.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Says who asks in the header, as the standard wants it, and in the form where the server does not
/// take that.
async fn ask(config: &TokenConfig, client: &Client) -> Result<Fetched<String>, String> {
    match ask_with(config, client, false).await {
        Ok(fetched) => Ok(fetched),
        Err(Failure::Refused(StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, first)) => {
            let second = ask_with(config, client, true).await;
            second.map_err(|_| first)
        }
        Err(Failure::Refused(_, message) | Failure::Other(message)) => Err(message),
    }
}

enum Failure {
    Refused(StatusCode, String),
    Other(String),
}

async fn ask_with(
    config: &TokenConfig,
    client: &Client,
    in_form: bool,
) -> Result<Fetched<String>, Failure> {
    let secret = secret(config).map_err(Failure::Other)?;
    let mut form = "grant_type=client_credentials".to_owned();
    if !config.scopes.is_empty() {
        add(&mut form, "scope", &config.scopes.join(" "));
    }
    let mut request = client.post(&config.token_url);
    if in_form {
        add(&mut form, "client_id", &config.client_id);
        add(&mut form, "client_secret", &secret);
    } else {
        // RFC 6749, section 2.3.1: both are encoded as in a form first.
        request = request.basic_auth(encoded(&config.client_id), Some(encoded(&secret)));
    }
    let answer = request
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(form)
        .send();
    let mut answer = answer.await.map_err(unanswered)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unanswered)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(wrong_answer("is longer than a token"));
        }
    }
    if status != StatusCode::OK {
        let message = format!(
            "the authorization server refused with {}{}",
            status.as_u16(),
            words(&body)
        );
        return Err(Failure::Refused(status, message));
    }
    token_in(&body).map_err(wrong_answer)
}

fn unanswered(error: reqwest::Error) -> Failure {
    let error = with_causes(&error.without_url());
    Failure::Other(format!("the authorization server did not answer: {error}"))
}

fn wrong_answer(what: &'static str) -> Failure {
    Failure::Other(format!("the authorization server's answer {what}"))
}

fn secret(config: &TokenConfig) -> Result<String, String> {
    let secret = match &config.client_secret_file {
        Some(path) => Some(Secret::read("client_secret_file", path)?),
        None => config.client_secret.clone(),
    };
    Ok(secret.map_or_else(String::new, |secret| secret.reveal().to_owned()))
}
