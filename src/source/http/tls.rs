//! Our certificate, and those that we ask clients for.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::config::ServerTlsConfig;
use crate::model::{read_certificates, read_private_key};

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
            for certificate in read_certificates("client_ca_file", path)? {
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
    let chain = read_certificates("cert_file", cert_file)?;
    let key = read_private_key("key_file", key_file)?;
    let mut tls = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("cert_file {cert_file} and key_file {key_file}: {error}"))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}
