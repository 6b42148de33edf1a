//! Dead letters that are sent again to addresses of weir itself: with a token, over HTTPS, with a client's
//! certificate, and as Remote-Write.

use anyhow::{Result, ensure};
use prost::Message as _;
use serde_json::json;
use tokio::runtime::Builder;

use crate::http_tls::client;
use crate::reference::fleet::START_MS;
use crate::reference::service::Service;
use crate::reference::stateful::Stateful;
use crate::replayed_letters::{record, replay, weir_in};
use crate::support::certificates::Certificates;
use crate::support::files::{temporary_folder, write};
use crate::support::http;
use crate::support::ports::on_free_ports;
use crate::support::remote_write::{TimeSeries, WriteRequest};

const TOKEN: &str = "a long random text";

/// A pipeline whose field `vehicle` is taken from a key that no record has.
fn pipeline(source: &serde_json::Value, time: &str) -> String {
    format!(
        "pipeline: cars
source: {source}
event:
  time: {{ from: {time} }}
  fields: {{ vehicle: {{ type: text, from: car, required: true }} }}
time: {{ idle_after: 1h }}
metrics:
  events: {{ window: {{ tumbling: 5s }}, by: [vehicle], value: count(*) }}
write: {{ file: {{ path: samples.ndjson }} }}
state: {{ dir: state, log: {{ fsync: 5ms }} }}
dead_letters: {{ file: letters.ndjson }}
"
    )
}

/// Stops weir, and starts it with the mended file.
fn mend(stateful: &Stateful, service: Service, text: &str) -> Result<Service> {
    service.stop()?;
    write(stateful.at(), "cars.yaml", &text.replace("from: car, ", ""))?;
    stateful.start(&[])
}

#[test]
fn over_https_with_a_token_and_a_certificate_and_once_more_where_it_is_asked_for() -> Result<()> {
    let folder = temporary_folder()?;
    let certificates = Certificates::create(folder.path())?;
    let token = write(folder.path(), "token", &format!("{TOKEN}\n"))?;
    let (stateful, text, port, mut service) = on_free_ports(|[port]| {
        let source = json!({ "http": {
            "listen": format!("127.0.0.1:{port}"),
            "token_file": token,
            "tls": {
                "cert_file": certificates.server,
                "key_file": certificates.server_key,
                "client_ca_file": certificates.ca,
            },
        } });
        let text = pipeline(&source, "t");
        let stateful = Stateful::new(&text)?;
        let service = stateful.start(&[])?;
        Ok((stateful, text, port, service))
    })?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let sent = client(&certificates, true)?
        .post(format!("https://127.0.0.1:{port}/ingest/cars"))
        .bearer_auth(TOKEN)
        .header("Content-Type", "application/json")
        .body(record("V1", 0, 3));
    assert_eq!(runtime.block_on(sent.send())?.status().as_u16(), 202);
    service.await_metric("weir_dead_letters_total", &[], 1.0)?;
    service = mend(&stateful, service, &text)?;

    let path = |path: &std::path::Path| path.display().to_string();
    let trusting = ["--ca-file".to_owned(), path(&certificates.ca)];
    let known = [
        "--cert-file".to_owned(),
        path(&certificates.client),
        "--key-file".to_owned(),
        path(&certificates.client_key),
    ];
    let trusting: Vec<_> = trusting.iter().map(String::as_str).collect();
    let known: Vec<_> = trusting
        .iter()
        .copied()
        .chain(known.iter().map(String::as_str))
        .collect();
    // Without a certificate nothing is taken, and nothing is noted.
    let arguments = [&["dead-letters", "replay", "cars.yaml"], &*trusting].concat();
    let refused = weir_in(stateful.at(), &arguments)?;
    assert_eq!(refused.status.code(), Some(1));
    ensure!(!refused.stderr.contains(TOKEN), "{}", refused.stderr);

    let (code, told) = replay(stateful.at(), &known)?;
    assert_eq!(
        (code, &*told),
        (Some(0), "1 records are sent again, to http\n")
    );
    service.await_metric("weir_events_total", &[], 1.0)?;
    // The address knows the record already; it is to count once more all the same.
    for count in [2.0, 3.0] {
        let (code, told) = replay(stateful.at(), &[&*known, &["--again"]].concat())?;
        assert_eq!(
            (code, &*told),
            (Some(0), "1 records are sent again, to http\n")
        );
        service.await_metric("weir_events_total", &[], count)?;
    }
    service.stop()
}

#[test]
fn samples_of_remote_write_come_back_to_the_pipelines_own_address() -> Result<()> {
    let (stateful, text, port, mut service) = on_free_ports(|[port]| {
        let listen = format!("127.0.0.1:{port}");
        let source = json!({ "remote_write": { "listen": listen, "token": TOKEN } });
        let text = pipeline(&source, "timestamp");
        let stateful = Stateful::new(&text)?;
        let service = stateful.start(&[])?;
        Ok((stateful, text, port, service))
    })?;
    let points = [(START_MS, 1.0), (START_MS + 1_000, 1.0)];
    let series = |vehicle| TimeSeries::new(&[("__name__", "speed"), ("vehicle", vehicle)], &points);
    let request = WriteRequest {
        timeseries: vec![series("V1"), series("V2")],
    };
    let mut message = request.encode_to_vec();
    // Metadata without anything, which are no samples: what is sent again is not the same request.
    message.extend([3 << 3 | 2, 0]);
    let url = format!("http://127.0.0.1:{port}/api/v1/write");
    let body = snap::raw::Encoder::new().compress_vec(&message)?;
    let authorization = format!("Bearer {TOKEN}");
    let headers = [
        ("Content-Encoding", "snappy"),
        ("Content-Type", "application/x-protobuf"),
        ("Authorization", &*authorization),
    ];
    assert_eq!(http::post(&url, &headers, &body)?.status, 204);
    // The samples of a request are one record.
    service.await_metric("weir_dead_letters_total", &[], 1.0)?;
    service = mend(&stateful, service, &text)?;
    let (code, told) = replay(stateful.at(), &["--dry-run"])?;
    assert_eq!(code, Some(0));
    assert_eq!(told, "1 records would be sent again, with 4 events\n");
    // What is known already counts once more where that is asked for.
    for (options, count) in [(&[][..], 4.0), (&["--again"][..], 8.0)] {
        let (code, told) = replay(stateful.at(), options)?;
        assert_eq!(
            (code, &*told),
            (Some(0), "1 records are sent again, to remote_write\n")
        );
        service.await_metric("weir_events_total", &[], count)?;
    }
    service.stop()
}
