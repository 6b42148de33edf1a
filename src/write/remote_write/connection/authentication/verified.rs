//! Signatures verified by an implementation that is not the one that made them.

use std::error::Error;
use std::future::ready;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use axum::http::{Request as Received, header::HOST};
use prost::bytes::Bytes;
use reqwest::{Request, Url};
use scratchstack_aws_signature::{
    GetSigningKeyRequest, GetSigningKeyResponse, KSecretKey, NO_ADDITIONAL_SIGNED_HEADERS,
    SignatureError, SignatureOptions, service_for_signing_key_fn, sigv4_validate_request,
};
use serde_json::json;

use super::server::{Heard, Server};
use crate::auth::{Scope, clean_path, sign};
use crate::model::Clock;
use crate::write::remote_write::config::RemoteWriteConfig;
use crate::write::remote_write::connection::client::HttpTransport;
use crate::write::remote_write::protocol::Protocol;
use crate::write::remote_write::protocol::encode::Body;
use crate::write::remote_write::shard::Transport as _;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FwoGZXIvYXdzEBYaDkhunter2==";
const MISMATCH: &str = "signature we calculated does not match";
const MINUTE_MS: i64 = 60_000;

fn key(
    asked: &GetSigningKeyRequest,
    token: Option<&str>,
) -> Result<GetSigningKeyResponse, Box<dyn Error + Send + Sync>> {
    if asked.access_key() != "AKID" || asked.session_token() != token {
        return Err(SignatureError::InvalidClientTokenId("unknown".to_owned()).into());
    }
    let secret: KSecretKey = SECRET.parse()?;
    let key = secret.to_ksigning(asked.request_date(), "us-east-1", "aps");
    Ok(GetSigningKeyResponse::builder().signing_key(key).build()?)
}

/// What the verifier says at a time, ms since the epoch. It knows one key, with or without a token.
async fn verify(
    request: Received<Vec<u8>>,
    token: Option<&'static str>,
    now_ms: i64,
) -> Result<(), String> {
    let answer = move |asked: GetSigningKeyRequest| ready(key(&asked, token));
    let mut keys = service_for_signing_key_fn(answer);
    let now = UNIX_EPOCH + Duration::from_millis(now_ms.try_into().unwrap());
    let verified = sigv4_validate_request(
        request,
        "us-east-1",
        "aps",
        &mut keys,
        now.into(),
        &NO_ADDITIONAL_SIGNED_HEADERS,
        SignatureOptions::default(),
    );
    verified
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// A request as the server heard it.
fn received(heard: &Heard) -> Received<Vec<u8>> {
    let mut line = heard.line.split(' ');
    let (method, target) = (line.next().unwrap(), line.next().unwrap());
    let mut request = Received::builder().method(method).uri(target);
    for (name, value) in &heard.headers {
        request = request.header(name, value);
    }
    request.body(heard.body.clone()).unwrap()
}

/// What our client sends to a path, with a compressed body.
async fn sent(path: &str, samples: &[u8]) -> Heard {
    let receiver = Server::start(|_| (200, String::new(), String::new())).await;
    let config: RemoteWriteConfig = serde_json::from_value(json!({
        "url": receiver.url(path),
        "sigv4": { "region": "us-east-1", "access_key": "AKID", "secret_key": SECRET },
        "tenant": "fleet-7",
    }))
    .unwrap();
    let transport = HttpTransport::new(&config).unwrap();
    let body = Body {
        bytes: Bytes::from(snap::raw::Encoder::new().compress_vec(samples).unwrap()),
        protocol: Protocol::V1,
        samples: 1,
        histograms: 0,
    };
    assert!(Box::pin(transport.post(body, 0)).await.result.is_ok());
    receiver.heard().remove(0)
}

/// No path has percent signs: this verifier takes them as S3 does, which encodes a path once where all
/// other services do it twice.
#[tokio::test]
async fn what_the_client_sends_is_verified() {
    let samples = b"samples samples samples samples samples samples";
    let paths = [
        "/",
        "/api/v1/remote_write",
        "//workspaces//ws-1///api/v1/remote_write",
        "/workspaces/./x/../api?b=2&a=x%20y&a=%2F",
        "/~a_b-c.d",
    ];
    for path in paths {
        let heard = sent(path, samples).await;
        let now_ms = Clock::System.now_ms();
        assert_eq!(heard.header("content-encoding"), "snappy");
        assert_ne!(heard.body, samples);
        assert!(!heard.line.contains("//"), "{}", heard.line);
        assert_eq!(
            verify(received(&heard), None, now_ms).await,
            Ok(()),
            "{path}"
        );

        // The hash is of what goes over the wire.
        let mut plain = heard.clone();
        plain.body = samples.to_vec();
        let mut flipped = heard.clone();
        *flipped.body.last_mut().unwrap() ^= 1;
        let mut elsewhere = heard.clone();
        elsewhere.line = heard.line.replacen("POST /", "POST /x", 1);
        let mut portless = heard.clone();
        portless
            .headers
            .insert("host".to_owned(), "127.0.0.1".to_owned());
        for (what, changed) in [
            ("plain", plain),
            ("flipped", flipped),
            ("elsewhere", elsewhere),
            ("portless", portless),
        ] {
            let refused = verify(received(&changed), None, now_ms).await.unwrap_err();
            assert!(refused.contains(MISMATCH), "{path} {what}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_signature_holds_for_a_quarter_of_an_hour() {
    let heard = sent("/", b"samples").await;
    let now_ms = Clock::System.now_ms();
    for minutes in [-14, 14] {
        let at = now_ms + minutes * MINUTE_MS;
        assert_eq!(
            verify(received(&heard), None, at).await,
            Ok(()),
            "{minutes}"
        );
    }
    for (minutes, expected) in [
        (16, "Signature expired: "),
        (-16, "Signature not yet current: "),
    ] {
        let at = now_ms + minutes * MINUTE_MS;
        let refused = verify(received(&heard), None, at).await.unwrap_err();
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[tokio::test]
async fn the_token_of_a_session_is_signed() {
    let now_ms = Clock::System.now_ms();
    let url = Url::parse("https://db.example.org:8443//write").unwrap();
    let mut request = Request::new("POST".parse().unwrap(), clean_path(url));
    *request.body_mut() = Some("samples".into());
    let credentials = Credentials::new("AKID", SECRET, Some(TOKEN.to_owned()), None, "test");
    let scope = Scope {
        region: "us-east-1",
        service: "aps",
        now_ms,
    };
    sign(&mut request, &credentials, scope).unwrap();
    let received = || {
        let mut received = Received::builder().method("POST").uri("/write");
        for (name, value) in request.headers() {
            received = received.header(name, value);
        }
        received.body(b"samples".to_vec()).unwrap()
    };
    assert_eq!(received().headers()[HOST], "db.example.org:8443");
    assert_eq!(verify(received(), Some(TOKEN), now_ms).await, Ok(()));
    assert_eq!(
        verify(received(), None, now_ms).await,
        Err("unknown".to_owned())
    );
    let mut stripped = received();
    stripped.headers_mut().remove("x-amz-security-token");
    let refused = verify(stripped, None, now_ms).await.unwrap_err();
    assert!(refused.contains(MISMATCH), "{refused}");
}
