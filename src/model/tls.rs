//! The cryptography of TLS.

/// Chooses the process's cryptography for TLS, unless that was done before.
pub fn install_tls() {
    // An error says that there is a choice already, which then counts.
    drop(rustls::crypto::ring::default_provider().install_default());
}
