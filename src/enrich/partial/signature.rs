//! AWS Signature Version 4: a request is signed with a key that is never sent. See
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use ring::{digest, hmac};

use crate::model::{Secret, TimestampMs};

/// What a request is signed with.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    pub(super) session_token: Option<Secret>,
}

/// What is signed of a request whose path is `/` and which has no query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// The headers in the order of their names, which are in lower case; `host` and `x-amz-date` are
    /// among them.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// Where a request goes, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// The value of `x-amz-date`.
    pub(super) time: &'a str,
}

/// A time as `x-amz-date` wants it: `20150830T123600Z`.
pub(super) fn amz_date(now_ms: TimestampMs) -> String {
    let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The `authorization` header of a request.
pub(super) fn authorization(
    request: Request<'_>,
    scope: Scope<'_>,
    credentials: &Credentials,
) -> String {
    let names: Vec<_> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n/\n\n", request.method);
    for (name, value) in request.headers {
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    let body = hex(digest::digest(&digest::SHA256, request.body).as_ref());
    canonical.push_str(&format!("\n{names}\n{body}"));

    let Scope {
        region,
        service,
        time,
    } = scope;
    let day = time.get(..8).unwrap_or(time);
    let place = format!("{day}/{region}/{service}/aws4_request");
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{hash}");

    let secret = format!("AWS4{}", credentials.secret_access_key.reveal());
    let mut key = mac(secret.as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex(mac(key.as_ref(), &text).as_ref());
    let id = &credentials.access_key_id;
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/{place}, SignedHeaders={names}, Signature={signature}"
    )
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla` and `post-vanilla` of the AWS Signature Version 4 test suite.
    #[test]
    fn signs_as_the_test_suite_of_aws() {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let time = amz_date(1_440_938_160_000);
        assert_eq!(time, "20150830T123600Z");
        let scope = Scope {
            region: "us-east-1",
            service: "service",
            time: &time,
        };
        for (method, signature) in [
            (
                "GET",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
        ] {
            let request = Request {
                method,
                headers: &[("host", "example.amazonaws.com"), ("x-amz-date", &time)],
                body: b"",
            };
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={signature}"
            );
            assert_eq!(authorization(request, scope, &credentials), expected);
        }
    }
}
