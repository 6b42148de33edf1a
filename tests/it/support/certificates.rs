//! Certificates for TLS on the loopback address, made anew for each test.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::files::write;

/// PEM files in a test's folder.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    /// The authority that signed the others.
    pub(crate) ca: PathBuf,
    /// The server's certificate, for `127.0.0.1` and `localhost`.
    pub(crate) server: PathBuf,
    /// The server's private key.
    pub(crate) server_key: PathBuf,
    /// A client's certificate.
    pub(crate) client: PathBuf,
    /// The client's private key.
    pub(crate) client_key: PathBuf,
    /// A client's certificate that has expired, and its private key.
    pub(crate) expired: (PathBuf, PathBuf),
}

impl Certificates {
    /// Makes an authority, and a server's and a client's certificate signed by it.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        Self::create_for(folder, &["localhost", "127.0.0.1"])
    }

    /// The same, where the server has these names and addresses.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn create_for(folder: &Path, names: &[&str]) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "weir test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let ca = write(
            folder,
            "ca.pem",
            &authority.self_signed(&authority_key)?.pem(),
        )?;
        let issuer = Issuer::new(authority, authority_key);
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();

        let (server, server_key) = issue(
            folder,
            "server",
            ExtendedKeyUsagePurpose::ServerAuth,
            &issuer,
            &names,
        )?;
        let (client, client_key) = issue(
            folder,
            "client",
            ExtendedKeyUsagePurpose::ClientAuth,
            &issuer,
            &names,
        )?;
        Ok(Self {
            ca,
            server,
            server_key,
            client,
            client_key,
            expired: issue_one(
                folder,
                "expired",
                ExtendedKeyUsagePurpose::ClientAuth,
                &issuer,
                &names,
                true,
            )?,
        })
    }
}

fn issue(
    folder: &Path,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
) -> Result<(PathBuf, PathBuf)> {
    issue_one(folder, name, purpose, issuer, names, false)
}

fn issue_one(
    folder: &Path,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    has_expired: bool,
) -> Result<(PathBuf, PathBuf)> {
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![purpose];
    if has_expired {
        parameters.not_after = date_time_ymd(2001, 1, 1);
    }
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, issuer)?;
    Ok((
        write(folder, &format!("{name}.pem"), &certificate.pem())?,
        write(folder, &format!("{name}.key"), &key.serialize_pem())?,
    ))
}
