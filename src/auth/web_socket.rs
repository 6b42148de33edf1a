//! A signed address of a WebSocket, for AWS IoT Core. See
//! <https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html#mqtt-ws>.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::SessionTokenMode;
use reqwest::Url;

use super::signature::{Scope, SignatureError, presign, unsignable};

/// For how long a connection can be begun with the signature.
const LIFETIME: Duration = Duration::from_secs(300);

/// The address of a WebSocket (`wss://host/mqtt`) with a signature in its query. The token of a
/// session is not signed: the gateway of AWS IoT Core wants it behind the signature.
///
/// # Errors
/// It cannot be signed: it is no address.
pub fn presigned_web_socket(
    address: &str,
    credentials: &Credentials,
    scope: Scope<'_>,
) -> Result<String, SignatureError> {
    let mut url = Url::parse(address).map_err(unsignable)?;
    presign(
        &mut url,
        credentials,
        scope,
        LIFETIME,
        SessionTokenMode::Exclude,
    )?;
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const SESSION: &str = "FwoGZXIvYXdzEBYaDk+/hunter2==";
    const ADDRESS: &str = "wss://abc-ats.iot.eu-west-1.amazonaws.com:443/mqtt";

    fn signed(session: Option<&str>) -> String {
        let session = session.map(str::to_owned);
        let credentials = Credentials::new("AKID", SECRET, session, None, "test");
        let scope = Scope {
            region: "eu-west-1",
            service: "iotdevicegateway",
            // 2015-08-30T12:36:00Z.
            now_ms: 1_440_938_160_000,
        };
        presigned_web_socket(ADDRESS, &credentials, scope).unwrap()
    }

    /// The signature is that of botocore 1.43.11 (`SigV4QueryAuth`) for the same credentials and time.
    #[test]
    fn the_token_of_a_session_is_of_no_part_in_the_signature() {
        let plain = signed(None);
        let (address, query) = plain.split_once('?').unwrap();
        assert_eq!(address, "wss://abc-ats.iot.eu-west-1.amazonaws.com/mqtt");
        let signature = query
            .split('&')
            .find(|part| part.starts_with("X-Amz-Signature="));
        assert_eq!(
            signature,
            Some(
                "X-Amz-Signature=d187b635efbaa6eb2ecee63c86802e10690c4f70a713f4ae95739aa605e268cb"
            )
        );
        assert!(query.contains("X-Amz-Credential=AKID%2F20150830%2Feu-west-1%2Fiotdevicegateway"));
        let in_session = signed(Some(SESSION));
        assert!(in_session.contains(signature.unwrap()), "{in_session}");
        let tokens: Vec<_> = in_session.matches("X-Amz-Security-Token=").collect();
        assert_eq!(tokens.len(), 1, "{in_session}");
        assert!(in_session.contains("FwoGZXIvYXdzEBYaDk%2B%2Fhunter2%3D%3D"));
    }
}
