//! Base64 (RFC 4648): the alphabet of texts or that of URLs, with and without padding.

use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};

use super::events::Refusal;
use super::metrics::Reason;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const TEXT: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Appends the bytes that a text stands for. Space around it is passed over.
///
/// # Errors
/// It is not Base64; some bytes may have been appended.
pub(super) fn decode(text: &[u8], bytes: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = text.trim_ascii();
    let engine = match text.iter().any(|digit| matches!(digit, b'-' | b'_')) {
        true => &URL,
        false => &TEXT,
    };
    engine.decode_vec(text, bytes).map_err(|error| {
        let message = match error {
            DecodeError::InvalidByte(_, byte) => {
                format!("'{}' is not of Base64", byte.escape_ascii())
            }
            _ => format!("{} characters are not Base64", text.len()),
        };
        (Reason::Malformed, message)
    })
}
