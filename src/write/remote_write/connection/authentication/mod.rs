//! Who we are to the receiver: what is added to each request so that it is taken.

#[cfg(test)]
mod certificates;
pub(in crate::write::remote_write) mod config;
mod oauth2;
mod secret_source;
#[cfg(test)]
mod server;
mod sigv4;
#[cfg(test)]
mod verified;

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::{Request, RequestBuilder, StatusCode};

use crate::auth::AwsKeySet;
use crate::model::Secret;
use crate::write::WriteError;

use crate::write::remote_write::config::RemoteWriteConfig;
use crate::write::remote_write::delivery::failure::Failure;
use oauth2::OAuth2;
use secret_source::SecretSource;
use sigv4::SigV4;

/// Amazon's words where it knows who we are: other keys of the same would be allowed no more.
const NOT_ALLOWED: &str = "is not authorized to perform";

/// Adds an `Authorization` header, or none.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Authenticator(Kind);

#[derive(Debug)]
enum Kind {
    None,
    Basic {
        username: String,
        password: SecretSource,
    },
    Bearer(SecretSource),
    OAuth2(Box<OAuth2>),
    SigV4(Box<SigV4>),
}

/// What a request was authenticated with, to be named when it is refused.
#[derive(Debug)]
pub(in crate::write::remote_write) enum Used {
    /// What is the same the next time, or read again anyway.
    Constant,
    Token(Arc<Secret>),
    Keys(Arc<AwsKeySet>),
}

impl Authenticator {
    /// By the configuration, which is expected to be valid. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// The client for tokens cannot be set up.
    pub(in crate::write::remote_write) fn new(
        config: &RemoteWriteConfig,
    ) -> Result<Self, WriteError> {
        if let Some(basic) = &config.basic_auth
            && let Some(password) = SecretSource::new(&basic.password, &basic.password_file)
        {
            let username = basic.username.clone();
            return Ok(Self(Kind::Basic { username, password }));
        }
        if let Some(oauth2) = &config.oauth2 {
            let oauth2 = OAuth2::new(oauth2, config)?;
            return Ok(Self(Kind::OAuth2(Box::new(oauth2))));
        }
        if let Some(sigv4) = &config.sigv4 {
            let sigv4 = SigV4::new(sigv4, &config.url);
            return Ok(Self(Kind::SigV4(Box::new(sigv4))));
        }
        let bearer = SecretSource::new(&config.bearer_token, &config.bearer_token_file);
        Ok(Self(bearer.map_or(Kind::None, Kind::Bearer)))
    }

    /// The file that holds the secret, if there is one.
    pub(in crate::write::remote_write) fn file(&self) -> Option<PathBuf> {
        let source = match &self.0 {
            Kind::Basic { password, .. } => password,
            Kind::Bearer(token) => token,
            Kind::OAuth2(oauth2) => oauth2.secret(),
            Kind::None | Kind::SigV4(_) => return None,
        };
        source.file().cloned()
    }

    /// The finished request, at `now_ms` (since the epoch). Each attempt needs this anew: tokens are
    /// replaced, and a signature is good for minutes.
    ///
    /// # Errors
    /// There are no credentials now.
    pub(in crate::write::remote_write) async fn authenticate(
        &self,
        request: RequestBuilder,
        now_ms: i64,
    ) -> Result<(Request, Used), Failure> {
        let (request, used) = match &self.0 {
            Kind::None => (request, Used::Constant),
            Kind::Basic { username, password } => {
                let password = password.read().await?;
                let request = request.basic_auth(username, Some(password.reveal()));
                (request, Used::Constant)
            }
            Kind::Bearer(token) => {
                let token = token.read().await?;
                (request.bearer_auth(token.reveal()), Used::Constant)
            }
            Kind::OAuth2(oauth2) => {
                let token = oauth2.token().await?;
                (request.bearer_auth(token.reveal()), Used::Token(token))
            }
            Kind::SigV4(sigv4) => {
                let mut request = request.build().map_err(unbuildable)?;
                let keys = sigv4.sign(&mut request, now_ms).await?;
                return Ok((request, Used::Keys(keys)));
            }
        };
        Ok((request.build().map_err(unbuildable)?, used))
    }

    /// Whether the receiver refused credentials in place of which the next attempt will have others.
    /// `body` is what it answered.
    pub(in crate::write::remote_write) fn refused(
        &self,
        used: &Used,
        status: StatusCode,
        body: &str,
    ) -> bool {
        match (&self.0, used, status) {
            (Kind::OAuth2(oauth2), Used::Token(token), StatusCode::UNAUTHORIZED) => {
                oauth2.refused(token)
            }
            (
                Kind::SigV4(sigv4),
                Used::Keys(keys),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
            ) => !body.contains(NOT_ALLOWED) && sigv4.refused(keys),
            _ => false,
        }
    }
}

fn unbuildable(error: reqwest::Error) -> Failure {
    Failure::NoCredentials(error.without_url().to_string())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
