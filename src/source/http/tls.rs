//! Our certificate, and those that we ask clients for.

use std::fs;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::config::ServerTlsConfig;

/// Reads the certificates.
///
/// # Errors
/// A file cannot be read or does not fit; the message names it.
pub(super) fn acceptor(config: &ServerTlsConfig) -> Result<TlsAcceptor, String> {
    let (cert_file, key_file) = (&config.cert_file, &config.key_file);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca_file", path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("client_ca_file {path}: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| format!("client_ca_file {path}: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates("cert_file", cert_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read("key_file", key_file)?)
        .map_err(|error| format!("key_file {key_file} holds no usable key: {error}"))?;
    let mut tls = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("cert_file {cert_file} and key_file {key_file}: {error}"))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
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
    fs::read(path).map_err(|error| format!("{setting} {path} cannot be read: {error}"))
}
