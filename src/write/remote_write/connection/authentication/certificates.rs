//! Certificates for tests, made anew for each.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that signs for servers and clients.
pub(super) struct Authority {
    pub(super) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn create() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(super) fn issue(
        &self,
        name: &str,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.sign(name);
        (vec![certificate.der().clone()], key.into())
    }

    /// Writes the authority, and a certificate with its key, as a configuration names them.
    pub(super) fn write(&self, folder: &Path, name: &str) -> [PathBuf; 3] {
        let (certificate, key) = self.sign(name);
        let paths = ["ca.pem", "client.pem", "client.key"].map(|name| folder.join(name));
        std::fs::write(&paths[0], self.certificate.pem()).unwrap();
        std::fs::write(&paths[1], certificate.pem()).unwrap();
        std::fs::write(&paths[2], key.serialize_pem()).unwrap();
        paths
    }
}
