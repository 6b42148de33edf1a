//! Brokers that want to know who connects, and prove who they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use weir::source::Config;

use crate::reference::fleet::{CONNECTED_CARS, Fleet};
use crate::reference::service::Service;
use crate::support::certificates::Certificates;
use crate::support::fake_http::serve;
use crate::support::files::{temporary_folder, write};
use crate::support::kafka::secured::{PLAIN_PASSWORD, SCRAM_PASSWORD, SecuredKafka, USER};
use crate::support::source::RunningSource;

/// The source of a topic's records, with these keys more.
fn source(brokers: &str, topic: &str, more: &Value) -> Result<Config> {
    let mut kafka = json!({ "brokers": brokers, "topics": [topic], "group": topic });
    let all = kafka.as_object_mut().context("an object")?;
    all.extend(more.as_object().cloned().unwrap_or_default());
    Ok(serde_json::from_value(json!({ "kafka": kafka }))?)
}

/// Reads a topic from its beginning, where a record `1` is.
fn read(brokers: &str, more: &Value) -> Result<()> {
    let running = RunningSource::start(&source(brokers, "events", more)?, &[], None)?;
    assert_eq!(running.take(1)?, [(0, "1".to_owned())], "{more}");
    running.stop()
}

/// What the source says when it gives up.
fn refusal(brokers: &str, more: &Value) -> Result<String> {
    RunningSource::start(&source(brokers, "events", more)?, &[], None)?.failure()
}

#[test]
fn passwords_and_certificates_are_taken_and_wrong_ones_are_told() -> Result<()> {
    let secured = SecuredKafka::start()?;
    secured.kafka.create_topic("events", 1)?;
    secured.kafka.produce("events", 0, &["1"])?;
    let folder = temporary_folder()?;
    let file = write(folder.path(), "password", &format!("{SCRAM_PASSWORD}\n"))?;
    let sasl = |mechanism: &str, password: &str| json!({ "sasl": { "mechanism": mechanism, "username": USER, "password": password } });

    read(&secured.sasl(), &sasl("plain", PLAIN_PASSWORD))?;
    read(&secured.sasl(), &sasl("scram-sha-256", SCRAM_PASSWORD))?;
    let from_file = json!({
        "sasl": { "mechanism": "scram-sha-512", "username": USER, "password_file": file },
    });
    read(&secured.sasl(), &from_file)?;
    for mechanism in ["plain", "scram-sha-256"] {
        let message = refusal(&secured.sasl(), &sasl(mechanism, "hunter2"))?;
        assert!(message.contains("SASL authentication error"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    let certificates = &secured.certificates;
    let tls = json!({
        "ca_file": certificates.ca,
        "cert_file": certificates.client,
        "key_file": certificates.client_key,
    });
    read(&secured.tls(), &json!({ "tls": tls }))?;
    let both = json!({ "tls": { "ca_file": certificates.ca }, "sasl": from_file["sasl"] });
    read(&secured.sasl_tls(), &both)
}

#[test]
fn a_broker_with_a_certificate_of_another_authority_is_not_talked_to_until_it_is_mended()
-> Result<()> {
    let mut secured = SecuredKafka::start()?;
    secured.kafka.create_topic("events", 1)?;
    secured.kafka.produce("events", 0, &["1"])?;
    let folder = temporary_folder()?;
    let other = Certificates::create(folder.path())?;
    let sasl = json!({
        "mechanism": "scram-sha-512", "username": USER, "password": SCRAM_PASSWORD,
    });
    let fleet = Fleet::new()?;
    let mut command = fleet.weir(CONNECTED_CARS, &[]);
    for (key, value) in [
        ("brokers", json!(secured.sasl_tls())),
        ("topics", json!(["events"])),
        ("tls", json!({ "ca_file": other.ca })),
        ("sasl", sasl),
    ] {
        command
            .arg("--set")
            .arg(format!("source.kafka.{key}={value}"));
    }
    command.arg("--output").arg(fleet.path("samples.ndjson"));
    let mut service = Service::start(&mut command, &fleet.folder)?;
    let mut log = String::new();
    service.await_condition("the reason", || {
        log = service_log(&fleet);
        log.contains("certificate verify failed")
    })?;
    assert!(!log.contains(SCRAM_PASSWORD), "{log}");
    assert_eq!(service.metric("weir_source_connected", &[])?, 0.0);
    assert_eq!(service.metric("weir_source_records_total", &[])?, 0.0);
    secured.present(&other)?;
    service.await_metric("weir_source_records_total", &[], 1.0)?;
    service.stop()
}

/// What weir has logged so far.
fn service_log(fleet: &Fleet) -> String {
    std::fs::read_to_string(fleet.path("weir.err")).unwrap_or_default()
}

/// A token without a signature, of somebody, for an hour.
pub(crate) fn unsigned_token(subject: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let part = |value: Value| base64url(value.to_string().as_bytes());
    let claims = json!({ "sub": subject, "iat": now, "exp": now + 3_600 });
    format!("{}.{}.", part(json!({ "alg": "none" })), part(claims))
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit_of = |value: usize| DIGITS.get(value).copied().map_or('=', char::from);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        text.extend((0..=chunk.len()).map(|digit| digit_of(bits >> (18 - 6 * digit) & 63)));
    }
    text
}

#[test]
fn a_token_is_asked_for_until_there_is_one() -> Result<()> {
    let secured = SecuredKafka::start()?;
    secured.kafka.create_topic("events", 1)?;
    secured.kafka.produce("events", 0, &["1"])?;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    // The first time it is out of order.
    let server = serve(move |request| {
        let form = "grant_type=client_credentials&scope=read%20events";
        if request.body != form || !request.header("authorization").starts_with("Basic ") {
            return (400, String::new());
        }
        match counted.fetch_add(1, Ordering::Relaxed) {
            0 => (503, String::new()),
            _ => {
                let token = unsigned_token("fleet");
                (
                    200,
                    json!({ "access_token": token, "expires_in": 3_600 }).to_string(),
                )
            }
        }
    })?;
    let oauth2 = json!({
        "client_id": "fleet",
        "client_secret": "hunter2",
        "token_url": format!("{server}/token"),
        "scopes": ["read", "events"],
    });
    let sasl = json!({ "sasl": { "mechanism": "oauthbearer", "oauth2": oauth2 } });
    read(&secured.sasl(), &sasl)?;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    Ok(())
}
