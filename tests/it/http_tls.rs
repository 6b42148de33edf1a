//! Who may send records over HTTPS.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use reqwest::{Certificate, Client, Identity};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use weir::source::{Config, HttpConfig};

use crate::support::certificates::Certificates;
use crate::support::files::temporary_folder;
use crate::support::ports::on_free_ports;
use crate::support::source::RunningSource;

/// A source with these certificates and a log, and its port.
fn start(tls: &Value, log: &Path) -> Result<(RunningSource, u16)> {
    on_free_ports(|[port]| {
        let http: HttpConfig = serde_json::from_value(json!({
            "listen": format!("127.0.0.1:{port}"),
            "tls": tls,
        }))?;
        let config = Config {
            http: Some(http),
            ..Config::default()
        };
        Ok((RunningSource::start(&config, &[], Some(log))?, port))
    })
}

/// A client that trusts the authority, and has a certificate or none.
pub(crate) fn client(certificates: &Certificates, has_certificate: bool) -> Result<Client> {
    weir::model::install_tls();
    let ca = Certificate::from_pem(&fs::read(&certificates.ca)?)?;
    let mut builder = Client::builder().no_proxy().tls_certs_only([ca]);
    if has_certificate {
        let mut pem = fs::read(&certificates.client)?;
        pem.extend(fs::read(&certificates.client_key)?);
        builder = builder.identity(Identity::from_pem(&pem)?);
    }
    Ok(builder.build()?)
}

/// The status that a record is answered with.
fn post(runtime: &Runtime, client: &Client, url: &str) -> Result<u16> {
    let request = client
        .post(url)
        .header("Content-Type", "application/json")
        .body("{}");
    Ok(runtime.block_on(request.send())?.status().as_u16())
}

#[test]
fn a_client_needs_a_certificate_only_where_one_is_asked_for() -> Result<()> {
    let folder = temporary_folder()?;
    let certificates = Certificates::create(folder.path())?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (known, unknown) = (client(&certificates, true)?, client(&certificates, false)?);

    let ours = json!({ "cert_file": certificates.server, "key_file": certificates.server_key });
    let (source, port) = start(&ours, &folder.path().join("ours"))?;
    let url = format!("https://127.0.0.1:{port}/ingest/test");
    assert_eq!(post(&runtime, &unknown, &url)?, 202);
    let plain = format!("http://127.0.0.1:{port}/ingest/test");
    assert!(post(&runtime, &unknown, &plain).is_err());
    assert_eq!(source.take(1)?, [(0, "{}".to_owned())]);
    source.await_metric("weir_http_tls_failures_total{pipeline=\"test\"} 1\n")?;
    source.stop()?;

    let mut both = ours;
    let keys = both.as_object_mut().context("no mapping")?;
    keys.insert("client_ca_file".to_owned(), json!(certificates.ca));
    let (source, port) = start(&both, &folder.path().join("both"))?;
    let url = format!("https://127.0.0.1:{port}/ingest/test");
    assert!(post(&runtime, &unknown, &url).is_err());
    assert_eq!(post(&runtime, &known, &url)?, 202);
    assert_eq!(source.take(1)?, [(0, "{}".to_owned())]);
    source.await_metric("weir_http_requests_total{code=\"202\",pipeline=\"test\"} 1\n")?;
    source.stop()
}
