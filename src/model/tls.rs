//! The cryptography of TLS, and certificates in PEM files.

use std::fs;
use std::io::ErrorKind;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Certificates as PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// Our certificate, with its chain, where the other side asks for one.
    #[serde(default)]
    pub cert_file: Option<String>,
    /// The key of our certificate.
    #[serde(default)]
    pub key_file: Option<String>,
}

/// Chooses the process's cryptography for TLS, unless that was done before.
pub fn install_tls() {
    // An error says that there is a choice already, which then counts.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The certificates of a file, which a setting names.
///
/// # Errors
/// It cannot be read, is not PEM, or has none.
pub fn read_certificates(
    setting: &str,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(setting, path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{setting} {path} is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{setting} {path} holds no certificate in PEM form"));
    }
    Ok(certificates)
}

/// The private key of a file, which a setting names.
///
/// # Errors
/// It cannot be read, or has none.
pub fn read_private_key(setting: &str, path: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(setting, path)?)
        .map_err(|error| format!("{setting} {path} holds no usable key: {error}"))
}

fn read(setting: &str, path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{setting} {path} does not exist"),
        _ => format!("{setting} {path} cannot be read: {error}"),
    })
}
