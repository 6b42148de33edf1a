//! Dead letters in a topic whose brokers want to know who connects, and letters that are too long for one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::kafka_security::unsigned_token;
use crate::replayed_letters::weir_in;
use crate::support::fake_http::serve;
use crate::support::files::{temporary_folder, write};
use crate::support::kafka::Kafka;
use crate::support::kafka::secured::{SCRAM_PASSWORD, SecuredKafka, USER};

fn pipeline(letters: &Value) -> String {
    format!(
        "pipeline: cars
source: {{ file: {{ path: events.ndjson }} }}
event: {{ time: {{ from: t }}, fields: {{ speed: number }} }}
metrics:
  speed: {{ window: {{ tumbling: 5s }}, value: sum(speed) }}
write: {{ remote_write: {{ url: 'http://127.0.0.1:9/api/v1/write' }} }}
dead_letters: {{ kafka: {letters} }}
"
    )
}

/// What the list says of each letter.
fn listed(folder: &Path) -> Result<Vec<Value>> {
    let list = ["dead-letters", "list", "cars.yaml", "--format", "json"];
    let listed = weir_in(folder, &list)?;
    ensure!(listed.status.success(), "{}", listed.stderr);
    let lines = listed.stdout.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

/// Runs a pipeline over records that are none; gives what it logs.
fn run(folder: &Path, letters: &Value, records: &[u8]) -> Result<String> {
    write(folder, "cars.yaml", &pipeline(letters))?;
    fs::write(folder.join("events.ndjson"), records)?;
    let run = ["run", "cars.yaml", "--listen", "none", "--drain", "10s"];
    let run = weir_in(folder, &run)?;
    ensure!(run.status.success(), "{}", run.stderr);
    Ok(run.stderr)
}

/// Two records go to the topic, and are read from it.
fn there_and_back(letters: &Value) -> Result<()> {
    let folder = temporary_folder()?;
    let log = run(folder.path(), letters, b"{\n[]\n")?;
    ensure!(!log.contains(SCRAM_PASSWORD), "{log}");
    let listed = listed(folder.path())?;
    let records: Vec<_> = listed.iter().map(|letter| &letter["record"]).collect();
    assert_eq!(records, ["{", "[]"], "{listed:?}");
    Ok(())
}

/// Letters wait for brokers that refuse who connects, and the log says why.
fn are_not_taken(letters: &Value) -> Result<()> {
    let folder = temporary_folder()?;
    let log = run(folder.path(), letters, b"[]\n")?;
    for part in ["dead letters wait", "Authentication failed", "lost=1"] {
        ensure!(log.contains(part), "{part}: {log}");
    }
    ensure!(!log.contains("hunter2"), "{log}");
    Ok(())
}

#[test]
fn letters_go_to_brokers_that_ask_who_connects() -> Result<()> {
    let secured = SecuredKafka::start()?;
    for topic in ["with-password", "with-certificate", "with-token"] {
        secured.kafka.create_topic(topic, 1)?;
    }
    let folder = temporary_folder()?;
    let password: PathBuf = write(folder.path(), "password", &format!("{SCRAM_PASSWORD}\n"))?;
    let certificates = &secured.certificates;
    there_and_back(&json!({
        "brokers": secured.sasl_tls(),
        "topic": "with-password",
        "tls": { "ca_file": certificates.ca },
        "sasl": { "mechanism": "scram-sha-512", "username": USER, "password_file": password },
    }))?;
    there_and_back(&json!({
        "brokers": secured.tls(),
        "topic": "with-certificate",
        "tls": {
            "ca_file": certificates.ca,
            "cert_file": certificates.client,
            "key_file": certificates.client_key,
        },
    }))?;
    let wrong = json!({ "mechanism": "plain", "username": USER, "password": "hunter2" });
    are_not_taken(&json!({ "brokers": secured.sasl(), "topic": "with-token", "sasl": wrong }))?;
    let server = serve(|_| {
        let token = unsigned_token("fleet");
        (
            200,
            json!({ "access_token": token, "expires_in": 3_600 }).to_string(),
        )
    })?;
    there_and_back(&json!({
        "brokers": secured.sasl(),
        "topic": "with-token",
        "sasl": { "mechanism": "oauthbearer", "oauth2": {
            "client_id": "fleet", "client_secret": "hunter2", "token_url": server,
        } },
    }))
}

#[test]
fn a_letter_is_as_long_as_the_broker_takes_it_and_what_is_longer_is_told() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("long-letters", 1)?;
    let folder = temporary_folder()?;
    let letters = json!({ "brokers": kafka.address(), "topic": "long-letters" });
    // In Base64 the first is longer than librdkafka sends by itself, and the other one than the broker takes.
    let mut records = vec![0xff; 765_000];
    records.push(b'\n');
    records.extend(vec![0xfe; 900_000]);
    records.push(b'\n');
    let log = run(folder.path(), &letters, &records)?;
    for part in ["raise max.message.bytes of the topic", "lost=1"] {
        ensure!(log.contains(part), "{part}: {log}");
    }
    let listed = listed(folder.path())?;
    let bytes: Vec<_> = listed.iter().map(|letter| &letter["bytes"]).collect();
    assert_eq!(bytes, [765_000], "{listed:?}");
    Ok(())
}
