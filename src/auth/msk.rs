//! Tokens for Amazon MSK (`AWS_MSK_IAM` through OAUTHBEARER): a presigned request to connect, as
//! base64url. See <https://github.com/aws/aws-msk-iam-sasl-signer-python>.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::SessionTokenMode;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;

use super::signature::{Scope, SignatureError, presign, unsignable};

/// For how long the signature is good.
const LIFETIME: Duration = Duration::from_secs(900);

/// What brokers note of who connects.
const USER_AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// The token with which a broker of Amazon MSK in a region takes us for whom the credentials say,
/// for 15 minutes from now, which is in milliseconds since the epoch.
///
/// # Errors
/// It cannot be signed: the region is no host name.
pub fn msk_token(
    credentials: &Credentials,
    region: &str,
    now_ms: i64,
) -> Result<String, SignatureError> {
    let url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let mut url = Url::parse(&url).map_err(unsignable)?;
    let scope = Scope {
        region,
        service: "kafka-cluster",
        now_ms,
    };
    presign(
        &mut url,
        credentials,
        scope,
        LIFETIME,
        SessionTokenMode::Include,
    )?;
    // Of no part in the signature.
    url.query_pairs_mut().append_pair("User-Agent", USER_AGENT);
    Ok(BASE64_URL_SAFE_NO_PAD.encode(url.as_str()))
}

#[cfg(test)]
#[path = "msk_tests.rs"]
mod tests;
