//! AWS Signature Version 4: a request is signed with a key that is never sent. See
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    self, SessionTokenMode, SignableBody, SignableRequest, SignatureLocation, SigningError,
    SigningInstructions, SigningSettings,
};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use reqwest::{Request, Url};

/// Where a request goes, and when.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The region of the service.
    pub region: &'a str,
    /// The service's name for signatures, such as `aps`.
    pub service: &'a str,
    /// Now, in milliseconds since the epoch.
    pub now_ms: i64,
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The body is not in memory.
    #[error("only a body in memory can be signed")]
    Stream,
    /// A header that is to be signed is no text.
    #[error("the header {0} is no text, so it cannot be signed")]
    Header(String),
    /// The signer cannot take it.
    #[error("the request cannot be signed")]
    Unsignable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Signs a request as it is: its method, path, query, body, `Host` and the headers that begin with
/// `x-amz-`. All other headers may be changed on the way. Of an earlier signature nothing remains,
/// so a request may be signed again.
///
/// # Errors
/// The request cannot be signed.
pub fn sign(
    request: &mut Request,
    credentials: &Credentials,
    scope: Scope<'_>,
) -> Result<(), SignatureError> {
    for name in ["authorization", "x-amz-date", "x-amz-security-token"] {
        request.headers_mut().remove(name);
    }
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(&host_of(request.url())).map_err(unsignable)?;
        request.headers_mut().insert(HOST, host);
    }
    let headers = signature(request, credentials, scope)?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(unsignable)?;
        let mut value = HeaderValue::from_str(&value).map_err(unsignable)?;
        value.set_sensitive(name == AUTHORIZATION || name == "x-amz-security-token");
        request.headers_mut().insert(name, value);
    }
    Ok(())
}

fn signature(
    request: &Request,
    credentials: &Credentials,
    scope: Scope<'_>,
) -> Result<Vec<(String, String)>, SignatureError> {
    let mut headers = Vec::new();
    for (name, value) in request.headers() {
        let name = name.as_str();
        if name == "host" || name.starts_with("x-amz-") {
            let value = value.to_str();
            let value = value.map_err(|_| SignatureError::Header(name.to_owned()))?;
            headers.push((name, value));
        }
    }
    let body = match request.body() {
        Some(body) => body.as_bytes().ok_or(SignatureError::Stream)?,
        None => &[],
    };
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.url().as_str(),
        headers.into_iter(),
        SignableBody::Bytes(body),
    );
    let instructions = instructions(signable, credentials, scope, SigningSettings::default())?;
    let headers = instructions.headers();
    Ok(headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Signs a request to get something, in its query: good for `lifetime` from now. `session` says whether the
/// token of a session is signed as well, or put behind the signature.
///
/// # Errors
/// It cannot be signed.
pub(super) fn presign(
    url: &mut Url,
    credentials: &Credentials,
    scope: Scope<'_>,
    lifetime: Duration,
    session: SessionTokenMode,
) -> Result<(), SignatureError> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(lifetime);
    settings.session_token_mode = session;
    let host = host_of(url);
    let headers = [("host", host.as_str())].into_iter();
    let request = SignableRequest::new("GET", url.as_str(), headers, SignableBody::Bytes(&[]));
    let instructions = instructions(request, credentials, scope, settings)?;
    for (name, value) in instructions.params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    Ok(())
}

/// What signing adds to a request.
fn instructions(
    request: Result<SignableRequest<'_>, SigningError>,
    credentials: &Credentials,
    scope: Scope<'_>,
    settings: SigningSettings,
) -> Result<SigningInstructions, SignatureError> {
    let since = Duration::from_millis(u64::try_from(scope.now_ms).unwrap_or_default());
    let identity = credentials.clone().into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(UNIX_EPOCH + since)
        .settings(settings)
        .build()
        .map_err(unsignable)?
        .into();
    let signed = http_request::sign(request.map_err(unsignable)?, &parameters);
    Ok(signed.map_err(unsignable)?.into_parts().0)
}

pub(super) fn unsignable(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SignatureError {
    SignatureError::Unsignable(error.into())
}

/// The URL with single slashes in its path: what is signed has them so, and what is sent must be
/// the same.
#[must_use]
pub fn clean_path(mut url: Url) -> Url {
    let mut path = String::with_capacity(url.path().len());
    for c in url.path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
    url.set_path(&path);
    url
}

/// The `Host` header: with the port, where it is not the scheme's own.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
