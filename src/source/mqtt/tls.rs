//! TLS to a broker: whom we trust, who we are, and which protocol we speak.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::super::config::MqttTlsConfig;
use crate::model::{read_certificates, read_private_key};

/// The settings of TLS. Files are read anew, so a certificate that was replaced counts.
///
/// # Errors
/// A certificate or key cannot be read, or does not fit; the message names the file.
pub(super) fn tls(config: &MqttTlsConfig) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots(config)?);
    let mut tls = match (&config.cert_file, &config.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let chain = read_certificates("cert_file", cert_file)?;
            let key = read_private_key("key_file", key_file)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                format!("cert_file {cert_file} and key_file {key_file}: {error}")
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = config.alpn.iter().map(|name| name.clone().into()).collect();
    Ok(tls)
}

fn roots(config: &MqttTlsConfig) -> Result<RootCertStore, String> {
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
    for certificate in read_certificates("ca_file", ca_file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("ca_file {ca_file}: {error}"))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_protocol_is_named_in_the_handshake() {
        let folder = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(vec!["broker".to_owned()]).unwrap();
        let ca_file = folder.path().join("ca.pem").display().to_string();
        fs::write(&ca_file, issued.cert.pem()).unwrap();
        let mut config = MqttTlsConfig {
            ca_file: Some(ca_file),
            ..MqttTlsConfig::default()
        };
        assert!(tls(&config).unwrap().alpn_protocols.is_empty());
        config.alpn = Some("x-amzn-mqtt-ca".to_owned());
        assert_eq!(tls(&config).unwrap().alpn_protocols, [b"x-amzn-mqtt-ca"]);
    }

    #[test]
    fn an_unusable_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem").display().to_string();
        fs::write(&empty, "").unwrap();
        let refused = |tls: MqttTlsConfig| super::tls(&tls).unwrap_err();
        assert_eq!(
            refused(MqttTlsConfig {
                ca_file: Some("missing.pem".to_owned()),
                ..MqttTlsConfig::default()
            }),
            "ca_file missing.pem does not exist"
        );
        assert_eq!(
            refused(MqttTlsConfig {
                ca_file: Some(empty.clone()),
                ..MqttTlsConfig::default()
            }),
            format!("ca_file {empty} holds no certificate in PEM form")
        );
    }
}
