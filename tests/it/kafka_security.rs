//! Brokers that want to know who connects, and prove who they are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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

/// Does not talk to a broker while its certificate is wrong, given which authorities are trusted, and does
/// once it presents a good one.
fn is_not_talked_to_until_it_is_mended(
    secured: &mut SecuredKafka,
    authorities: &Path,
    good: &Certificates,
) -> Result<()> {
    secured.kafka.create_topic("events", 1)?;
    secured.kafka.produce("events", 0, &["1"])?;
    let sasl = json!({
        "mechanism": "scram-sha-512", "username": USER, "password": SCRAM_PASSWORD,
    });
    let fleet = Fleet::new()?;
    let mut command = fleet.weir(CONNECTED_CARS, &[]);
    for (key, value) in [
        ("brokers", json!(secured.sasl_tls())),
        ("topics", json!(["events"])),
        ("tls", json!({ "ca_file": authorities })),
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
    assert!(service.metric("weir_kafka_errors_total", &[("error", "tls")])? > 0.0);
    secured.present(good)?;
    service.await_metric("weir_source_records_total", &[], 1.0)?;
    service.stop()
}

#[test]
fn a_broker_with_a_certificate_of_another_authority_is_not_talked_to_until_it_is_mended()
-> Result<()> {
    let mut secured = SecuredKafka::start()?;
    let folder = temporary_folder()?;
    let other = Certificates::create(folder.path())?;
    is_not_talked_to_until_it_is_mended(&mut secured, &other.ca, &other)
}

#[test]
fn a_broker_with_a_certificate_of_another_host_is_not_talked_to_until_it_is_mended() -> Result<()> {
    let mut secured = SecuredKafka::start()?;
    let (folder, good_folder) = (temporary_folder()?, temporary_folder()?);
    let other = Certificates::create_for(folder.path(), &["elsewhere.example.org"])?;
    let good = Certificates::create(good_folder.path())?;
    // Both authorities are trusted: the name alone is wrong.
    let read = |path: &Path| std::fs::read_to_string(path);
    let authorities = read(&other.ca)? + &read(&good.ca)?;
    let authorities = write(folder.path(), "authorities.pem", &authorities)?;
    secured.present(&other)?;
    is_not_talked_to_until_it_is_mended(&mut secured, &authorities, &good)
}

/// What weir has logged so far.
fn service_log(fleet: &Fleet) -> String {
    std::fs::read_to_string(fleet.path("weir.err")).unwrap_or_default()
}

/// A token without a signature, of somebody, for an hour.
pub(crate) fn unsigned_token(subject: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    token_between(subject, now, now + 3_600)
}

/// The same for a span of time, in seconds since the epoch.
fn token_between(subject: &str, from: u64, until: u64) -> String {
    let part = |value: Value| base64url(value.to_string().as_bytes());
    let claims = json!({ "sub": subject, "iat": from, "exp": until });
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

#[test]
fn a_token_that_has_expired_under_way_is_told_and_survived() -> Result<()> {
    let secured = SecuredKafka::start()?;
    secured.kafka.create_topic("events", 1)?;
    secured.kafka.produce("events", 0, &["1"])?;
    let has_expired = Arc::new(AtomicBool::new(false));
    let expired = Arc::clone(&has_expired);
    // The tokens are good for some seconds; for a while it gives some that were.
    let server = serve(move |_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let token = match expired.load(Ordering::Relaxed) {
            false => token_between("fleet", now - 1, now + 5),
            true => token_between("fleet", now - 100, now - 50),
        };
        let answer = json!({ "access_token": token, "expires_in": 5 });
        (200, answer.to_string())
    })?;
    let oauth2 = json!({
        "client_id": "fleet", "client_secret": "hunter2", "token_url": format!("{server}/token"),
    });
    let sasl = json!({ "sasl": { "mechanism": "oauthbearer", "oauth2": oauth2 } });
    let config = source(&secured.sasl(), "events", &sasl)?;
    let running = RunningSource::start(&config, &[], None)?;
    assert_eq!(running.take(1)?, [(0, "1".to_owned())]);
    has_expired.store(true, Ordering::Relaxed);
    running.await_condition("refused tokens", || {
        let line = "weir_kafka_errors_total{error=\"authentication\",pipeline=\"test\"} ";
        let metrics = running.metrics();
        metrics.contains(line) && !metrics.contains(&format!("{line}0\n"))
    })?;
    has_expired.store(false, Ordering::Relaxed);
    secured.kafka.produce("events", 0, &["2"])?;
    assert_eq!(running.take(1)?, [(1, "2".to_owned())]);
    running.stop()
}

#[test]
fn a_topic_that_may_not_be_read_any_more_is_told_and_the_others_are_read() -> Result<()> {
    let secured = SecuredKafka::start()?;
    for topic in ["events", "others"] {
        secured.kafka.create_topic(topic, 1)?;
        secured.kafka.produce(topic, 0, &["1"])?;
    }
    let more = json!({
        "topics": ["events", "others"],
        "sasl": { "mechanism": "plain", "username": USER, "password": PLAIN_PASSWORD },
        "properties": { "topic.metadata.refresh.interval.ms": "200" },
    });
    let config = source(&secured.sasl(), "events", &more)?;
    let running = RunningSource::start(&config, &[], None)?;
    assert_eq!(running.take(2)?, [(0, "1".to_owned()), (0, "1".to_owned())]);
    secured.forbid("events")?;
    running.await_condition("a refusal", || {
        let line = "weir_kafka_errors_total{error=\"authorization\",pipeline=\"test\"} ";
        let metrics = running.metrics();
        metrics.contains(line) && !metrics.contains(&format!("{line}0\n"))
    })?;
    // What was read and not processed may come again.
    let await_record = |text: &str| -> Result<()> {
        while !running.take(1)?.contains(&(1, text.to_owned())) {}
        Ok(())
    };
    secured.kafka.produce("others", 0, &["of the others"])?;
    await_record("of the others")?;
    secured.kafka.produce("events", 0, &["allowed again"])?;
    secured.allow("events")?;
    await_record("allowed again")?;
    running.stop()
}

#[test]
fn a_topic_that_may_be_seen_and_not_read_is_told_and_the_others_begin_at_their_end() -> Result<()> {
    let secured = SecuredKafka::start()?;
    for topic in ["events", "others"] {
        secured.kafka.create_topic(topic, 1)?;
        secured.kafka.produce(topic, 0, &["1"])?;
    }
    secured.show("events")?;
    let more = json!({
        "topics": ["events", "others"],
        "start": "latest",
        "sasl": { "mechanism": "plain", "username": USER, "password": PLAIN_PASSWORD },
    });
    let config = source(&secured.sasl(), "events", &more)?;
    let running = RunningSource::start(&config, &[], None)?;
    running.await_metric("weir_kafka_assigned_partitions{pipeline=\"test\"} 2\n")?;
    secured.kafka.produce("others", 0, &["2"])?;
    assert_eq!(running.take(1)?, [(1, "2".to_owned())]);
    running.await_condition("a refusal", || {
        let line = "weir_kafka_errors_total{error=\"authorization\",pipeline=\"test\"} ";
        let metrics = running.metrics();
        metrics.contains(line) && !metrics.contains(&format!("{line}0\n"))
    })?;
    secured.kafka.produce("events", 0, &["2"])?;
    secured.show_all("events")?;
    assert_eq!(
        running.take(1)?,
        [(1, "2".to_owned())],
        "from where its end was"
    );
    running.stop()
}

#[test]
fn a_topic_that_may_only_be_seen_any_more_does_not_hold_up_what_goes_to_another_instance()
-> Result<()> {
    let secured = SecuredKafka::start()?;
    for topic in ["events", "others"] {
        secured.kafka.create_topic(topic, 1)?;
        secured.kafka.produce(topic, 0, &["1"])?;
    }
    let instance = |name: &str| -> Result<RunningSource> {
        let more = json!({
            "topics": ["events", "others"],
            "instance": name,
            "sasl": { "mechanism": "plain", "username": USER, "password": PLAIN_PASSWORD },
            "properties": { "heartbeat.interval.ms": "500" },
        });
        RunningSource::start(&source(&secured.sasl(), "events", &more)?, &[], None)
    };
    let first = instance("first")?;
    assert_eq!(first.take(2)?, [(0, "1".to_owned()), (0, "1".to_owned())]);
    secured.show("events")?;
    let positions = ["events/0", "others/0"].map(|split| (split.to_owned(), 1));
    first.checkpointed().set(positions);
    let second = instance("second")?;
    second.await_metric("weir_kafka_assigned_partitions{pipeline=\"test\"} 1\n")?;
    first.await_metric("weir_kafka_assigned_partitions{pipeline=\"test\"} 1\n")?;
    assert!(!first.checkpointed().is_forbidden(), "it goes on");
    let refused = "weir_kafka_errors_total{error=\"authorization\",pipeline=\"test\"} ";
    let metrics = first.metrics();
    assert!(!metrics.contains(&format!("{refused}0\n")), "{metrics}");
    second.stop()?;
    first.stop()
}
