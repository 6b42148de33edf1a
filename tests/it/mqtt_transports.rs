//! WebSockets, TLS that is not as it should be, and credentials that expire.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rumqttc::MqttOptions;
use serde_json::{Value, json};

use crate::mqtt_sessions::{numbered, publish, publish_with, start};
use crate::reference::service::Service;
use crate::support::certificates::Certificates;
use crate::support::files::{temporary_folder, weir, write};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::web_socket::WebSocketServer;

/// The longest wait for a line of the log.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn over_a_web_socket_with_and_without_tls() -> Result<()> {
    let (mosquitto, folder) = (Mosquitto::start()?, temporary_folder()?);
    let certificates = Certificates::create(folder.path())?;
    for protocol in ["5", "3.1.1"] {
        for tls in [false, true] {
            let server = WebSocketServer::start(mosquitto.port(), tls.then_some(&certificates))?;
            let scheme = if tls { "wss" } else { "ws" };
            let mut settings = json!({
                "url": format!("{scheme}://127.0.0.1:{}/mqtt?a=b", server.port()),
                "topics": ["fleet/#"], "protocol": protocol, "client_id": format!("{scheme}-{protocol}"),
            });
            if tls {
                settings["tls"] = json!({ "ca_file": certificates.ca });
            }
            let source = start(settings, None)?;
            source.await_idle()?;
            publish(mosquitto.port(), false, numbered(0..200))?;
            let texts = source.take(200)?.into_iter().map(|(_, text)| text);
            let expected = (0..200).map(|number| number.to_string());
            assert!(texts.eq(expected), "{protocol} {scheme}");
            source.stop()?;
            assert_eq!(server.asked(), ["/mqtt?a=b"]);
        }
    }
    Ok(())
}

/// A pipeline that reads from a broker and writes samples to a file.
fn service(
    folder: &tempfile::TempDir,
    mqtt: &Value,
    variables: &[(&str, &str)],
) -> Result<Service> {
    let text = format!(
        "pipeline: transports\nsource:\n  mqtt: {mqtt}\nevent:\n  time: {{ from: t }}\n  \
         fields: {{ x: number }}\nmetrics:\n  events:\n    window: {{ tumbling: 5s }}\n    \
         value: count(*)\nwrite:\n  file: {{ path: {} }}\n",
        folder.path().join("out.ndjson").display()
    );
    let pipeline = write(folder.path(), "transports.yaml", &text)?;
    let mut command = weir(["run", &pipeline.display().to_string()]);
    command.envs(variables.iter().copied());
    Service::start(&mut command, folder)
}

fn await_log(service: &Service, words: &str) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !service.log()?.contains(words) {
        ensure!(
            Instant::now() < deadline,
            "never '{words}': {}",
            service.log()?
        );
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn aws_signs_the_address_of_a_web_socket() -> Result<()> {
    let (mosquitto, folder) = (Mosquitto::start()?, temporary_folder()?);
    let certificates = Certificates::create(folder.path())?;
    let server = WebSocketServer::start(mosquitto.port(), Some(&certificates))?;
    let mqtt = json!({
        "url": format!("wss://127.0.0.1:{}/mqtt", server.port()),
        "topics": ["fleet/#"],
        "tls": { "ca_file": certificates.ca },
        "sigv4": { "region": "eu-west-1" },
    });
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "in a session"),
    ];
    let mut service = service(&folder, &mqtt, &variables)?;
    service.await_metric("weir_source_connected", &[], 1.0)?;
    service.stop()?;
    let asked = server.asked();
    let [address] = &asked[..] else {
        anyhow::bail!("asked for {asked:?}");
    };
    for part in [
        "/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&",
        "&X-Amz-Credential=AKID%2F",
        "%2Feu-west-1%2Fiotdevicegateway%2Faws4_request&",
        "&X-Amz-SignedHeaders=host&",
        "&X-Amz-Signature=",
        "&X-Amz-Security-Token=in",
    ] {
        assert!(address.contains(part), "{part} is not in {address}");
    }
    Ok(())
}

fn over_tls(broker: &Mosquitto, tls: &Value) -> Value {
    json!({ "url": broker.url(), "topics": ["fleet/#"], "tls": tls })
}

#[test]
fn a_broker_with_a_wrong_certificate_is_waited_for() -> Result<()> {
    let folder = temporary_folder()?;
    let broker = Mosquitto::start_with(&MosquittoOptions {
        tls: true,
        ..MosquittoOptions::default()
    })?;
    let right = broker.certificates().context("no certificates")?;
    let wrong = Certificates::create(folder.path())?;
    let trusted = folder.path().join("trusted.pem");
    fs::copy(&wrong.ca, &trusted)?;
    let tls = json!({ "ca_file": trusted });
    let mut service = service(&folder, &over_tls(&broker, &tls), &[])?;
    await_log(
        &service,
        "not connected: the certificate of the broker cannot be trusted: it is of an authority that \
         we do not know; is tls.ca_file the right one?",
    )?;
    // The file is read again for every connection.
    replace(&right.ca, &trusted)?;
    service.await_metric("weir_source_connected", &[], 1.0)?;
    service.stop()
}

#[test]
fn a_certificate_that_the_broker_does_not_take_can_be_renewed() -> Result<()> {
    let folder = temporary_folder()?;
    let broker = Mosquitto::start_with(&MosquittoOptions {
        tls: true,
        client_certificates: true,
        ..MosquittoOptions::default()
    })?;
    let right = broker.certificates().context("no certificates")?;
    let expired = &right.expired;
    let ours = ["our.pem", "our.key"].map(|name| folder.path().join(name));
    fs::copy(&expired.0, &ours[0])?;
    fs::copy(&expired.1, &ours[1])?;
    let tls = json!({ "ca_file": right.ca, "cert_file": ours[0], "key_file": ours[1] });
    let mut service = service(&folder, &over_tls(&broker, &tls), &[])?;
    await_log(
        &service,
        "not connected: the broker does not take our certificate: it has expired \
         (CertificateExpired)",
    )?;
    replace(&right.client_key, &ours[1])?;
    replace(&right.client, &ours[0])?;
    service.await_metric("weir_source_connected", &[], 1.0)?;
    service.stop()
}

/// Puts a file in the place of another one at once.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    fs::copy(from, &new)?;
    Ok(fs::rename(new, to)?)
}

#[test]
fn a_password_that_expires_is_read_again() -> Result<()> {
    let folder = temporary_folder()?;
    let mut broker = Mosquitto::start_with(&MosquittoOptions {
        credentials: Some(("weir".to_owned(), "first".to_owned())),
        ..MosquittoOptions::default()
    })?;
    let password_file = write(folder.path(), "password", "first\n")?;
    let settings = json!({
        "url": broker.url(), "topics": ["fleet/#"], "username": "weir",
        "password_file": password_file,
    });
    let source = start(settings, None)?;
    source.await_idle()?;
    broker.stop()?;
    broker.change_password("weir", "second")?;
    broker.restart()?;
    // Until the file has the new one, it is refused and waits.
    write(folder.path(), "password", "second\n")?;
    source.await_metric("weir_source_reconnects_total{pipeline=\"test\"} 1\n")?;
    let mut options = MqttOptions::new("car", "127.0.0.1", broker.port());
    options.set_credentials("weir", "second");
    publish_with(options, false, numbered(0..10))?;
    assert_eq!(source.take(10)?.len(), 10);
    source.stop()
}
