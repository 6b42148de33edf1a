//! Why there is no connection, in words that help.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The broker refuses us, why, and whether waiting would not mend it.
    Refused { reason: String, stays: bool },
    /// It has sent a packet of so many bytes, which are more than we take.
    TooLarge(usize),
    /// It is lost, or was never there; what has happened.
    Lost(String),
}

/// The words for an error of a connection. What TLS has to say is found wherever it stands.
pub(super) fn explain(error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(words) = error.downcast_ref().and_then(of_tls) {
            return words;
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(words) = inner.and_then(|inner| inner.downcast_ref().and_then(of_tls)) {
            return words;
        }
        cause = error.source();
    }
    let words = error.to_string();
    // rumqttc's own words for that are one word.
    if words == "Timeout" || words == "Network timeout" {
        return "the broker does not answer".to_owned();
    }
    words
}

fn of_tls(error: &rustls::Error) -> Option<String> {
    let words = match error {
        rustls::Error::InvalidCertificate(reason) => {
            let help = match reason {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "it is of an authority that we do not know; is tls.ca_file the right one?"
                        .to_owned()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    "it is that of another name than the one in url".to_owned()
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "it has expired".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "it is not valid yet".to_owned()
                }
                other => other.to_string(),
            };
            format!("the certificate of the broker cannot be trusted: {help}")
        }
        rustls::Error::AlertReceived(alert) => {
            let help = match alert {
                AlertDescription::CertificateRequired => "it wants one; name it as tls.cert_file",
                AlertDescription::CertificateExpired => "it has expired",
                AlertDescription::CertificateRevoked => "it is revoked",
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateUnknown => "it is not a good one",
                AlertDescription::UnknownCA => {
                    "it is of an authority that the broker does not know"
                }
                AlertDescription::NoApplicationProtocol => {
                    return Some("the broker does not speak the protocol of tls.alpn".to_owned());
                }
                _ => return None,
            };
            format!("the broker does not take our certificate: {help} ({alert:?})")
        }
        _ => return None,
    };
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error around another one, as rumqttc has them.
    #[derive(Debug, thiserror::Error)]
    #[error("TLS: {0}")]
    struct Around(#[from] io::Error);

    #[test]
    fn what_tls_says_is_found_within() {
        for (error, expected) in [
            (
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "the certificate of the broker cannot be trusted: it is of an authority that we do \
                 not know; is tls.ca_file the right one?",
            ),
            (
                rustls::Error::InvalidCertificate(CertificateError::NotValidForName),
                "the certificate of the broker cannot be trusted: it is that of another name than \
                 the one in url",
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateExpired),
                "the broker does not take our certificate: it has expired (CertificateExpired)",
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                "the broker does not take our certificate: it wants one; name it as tls.cert_file \
                 (CertificateRequired)",
            ),
        ] {
            let around = Around(io::Error::new(io::ErrorKind::InvalidData, error.clone()));
            assert_eq!(explain(&around), expected);
            assert_eq!(explain(&error), expected);
        }
        let other = Around(io::Error::other("the line is cut"));
        assert_eq!(explain(&other), "TLS: the line is cut");
    }
}
