//! The settings that rumqttc is run with.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, RetainForwardRule};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::super::config::{MqttConfig, TlsConfig};
use super::super::endpoint::Endpoint;

/// How long the broker may take to accept a connection, seconds.
const CONNECT_TIMEOUT_SECS: u64 = 10;

/// How many messages the broker may send before the first of them is acknowledged. It bounds what
/// is sent again after a lost connection; not every broker keeps to it.
const RECEIVE_MAXIMUM: u16 = 1_000;

/// rumqttc's settings for a source.
///
/// # Errors
/// A password, certificate or key cannot be read, or does not fit; the message names the file.
pub(super) fn options(
    config: &MqttConfig,
    endpoint: &Endpoint,
    client_id: &str,
) -> Result<MqttOptions, String> {
    let mut options = MqttOptions::new(client_id, &endpoint.host, endpoint.port);
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(expiry_secs(config)));
    options.set_keep_alive(config.keep_alive.to_std());
    options.set_connection_timeout(CONNECT_TIMEOUT_SECS);
    options.set_max_packet_size(Some(config.max_packet_bytes));
    options.set_receive_maximum(Some(RECEIVE_MAXIMUM));
    options.set_manual_acks(true);
    // Nothing is published, and rumqttc sets memory aside for each message that could be.
    options.set_outgoing_inflight_upper_limit(1);
    // Acknowledgements are small packets: held back to be sent together, each would wait for the
    // broker's delayed answer to the one before.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(username) = &config.username {
        options.set_credentials(username, password(config)?);
    }
    if endpoint.tls {
        let tls = tls(&config.tls.clone().unwrap_or_default())?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(
            Arc::new(tls),
        )));
    }
    Ok(options)
}

/// What is subscribed to. Retained messages come with a new subscription only: we subscribe again
/// at every reconnect.
pub(super) fn filters(config: &MqttConfig) -> Vec<Filter> {
    let filter = |topic: &String| Filter {
        retain_forward_rule: RetainForwardRule::OnNewSubscribe,
        ..Filter::new(topic, QoS::AtLeastOnce)
    };
    config.topics.iter().map(filter).collect()
}

/// Whole seconds, as the protocol counts, rounded up.
fn expiry_secs(config: &MqttConfig) -> u32 {
    u32::try_from(config.session_expiry.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

fn password(config: &MqttConfig) -> Result<String, String> {
    let Some(path) = &config.password_file else {
        let password = config.password.as_ref();
        return Ok(password.map_or_else(String::new, |password| password.reveal().to_owned()));
    };
    let text = fs::read_to_string(path)
        .map_err(|error| format!("password_file {path} cannot be read: {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn tls(config: &TlsConfig) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots(config)?);
    let (Some(cert_file), Some(key_file)) = (&config.cert_file, &config.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("cert_file", cert_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read("key_file", key_file)?)
        .map_err(|error| format!("key_file {key_file} holds no usable key: {error}"))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("cert_file {cert_file} and key_file {key_file}: {error}"))
}

fn roots(config: &TlsConfig) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(ca_file) = &config.ca_file else {
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            return Err(
                "the system has no certificate authorities; name some as ca_file".to_owned(),
            );
        }
        return Ok(roots);
    };
    for certificate in certificates("ca_file", ca_file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("ca_file {ca_file}: {error}"))?;
    }
    Ok(roots)
}

fn certificates(setting: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(setting, path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{setting} {path} is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{setting} {path} holds no certificate in PEM form"));
    }
    Ok(certificates)
}

fn read(setting: &str, path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{setting} {path} does not exist"),
        _ => format!("{setting} {path} cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> MqttConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_session_is_kept_and_acknowledged_by_hand() {
        let config = config(
            r#"{ "url": "mqtt://broker", "topics": ["a/#"], "session_expiry": "1500ms",
                 "username": "me", "password": "x" }"#,
        );
        let options = options(&config, &config.url.parse().unwrap(), "weir-cars").unwrap();
        assert_eq!(options.broker_address(), ("broker".to_owned(), 1883));
        assert_eq!(options.client_id(), "weir-cars");
        assert!(!options.clean_start() && options.manual_acks());
        assert_eq!(options.session_expiry_interval(), Some(2));
        assert_eq!(options.max_packet_size(), Some(1_114_112));
        let login = options.credentials().unwrap();
        assert_eq!(
            (login.username.as_str(), login.password.as_str()),
            ("me", "x")
        );
        let filters = filters(&config);
        assert_eq!((filters.len(), filters[0].path.as_str()), (1, "a/#"));
        assert_eq!(
            filters[0].retain_forward_rule,
            RetainForwardRule::OnNewSubscribe
        );
    }

    #[test]
    fn a_password_file_may_end_in_a_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (content, expected) in [
            ("x y", "x y"),
            ("x y\n", "x y"),
            ("x\r\n", "x"),
            ("x\n\n", "x\n"),
        ] {
            fs::write(&path, content).unwrap();
            let mut config = config(r#"{ "url": "mqtt://b", "topics": ["a"], "username": "me" }"#);
            config.password_file = Some(path.display().to_string());
            assert_eq!(password(&config).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_unusable_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem").display().to_string();
        fs::write(&empty, "").unwrap();
        let refused = |tls: TlsConfig| super::tls(&tls).unwrap_err();
        assert_eq!(
            refused(TlsConfig {
                ca_file: Some("missing.pem".to_owned()),
                ..TlsConfig::default()
            }),
            "ca_file missing.pem does not exist"
        );
        assert_eq!(
            refused(TlsConfig {
                ca_file: Some(empty.clone()),
                ..TlsConfig::default()
            }),
            format!("ca_file {empty} holds no certificate in PEM form")
        );
    }
}
