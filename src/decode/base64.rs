//! Base64 (RFC 4648): the alphabet of texts and that of URLs, with and without padding.

use super::events::Refusal;
use super::metrics::Reason;

/// The bytes that a text stands for. Space around it is passed over.
///
/// # Errors
/// It is not Base64.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, Refusal> {
    let text = text.trim_ascii();
    let mut digits = text;
    while let Some(rest) = digits.strip_suffix(b"=") {
        digits = rest;
    }
    let invalid = |message: String| (Reason::Malformed, message);
    if digits.len() % 4 == 1 || text.len() - digits.len() > 2 {
        let length = text.len();
        return Err(invalid(format!("{length} characters are not Base64")));
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for group in digits.chunks(4) {
        let mut word = 0_u32;
        for digit in group {
            let value = value(*digit);
            word = word << 6
                | value.ok_or_else(|| {
                    invalid(format!("'{}' is not of Base64", digit.escape_ascii()))
                })?;
        }
        word <<= 6 * (4 - group.len());
        let [_, whole @ ..] = word.to_be_bytes();
        bytes.extend(whole.iter().take(group.len() - 1));
    }
    Ok(bytes)
}

fn value(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}
