//! Base64 (RFC 4648): the alphabet of texts and that of URLs, with and without padding.

use super::events::Refusal;
use super::metrics::Reason;

/// Appends the bytes that a text stands for. Space around it is passed over.
///
/// # Errors
/// It is not Base64; some bytes may have been appended.
pub(super) fn decode(text: &[u8], bytes: &mut Vec<u8>) -> Result<(), Refusal> {
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
    bytes.reserve(digits.len() / 4 * 3 + 3);
    for group in digits.chunks(4) {
        let mut word = 0_u32;
        for digit in group {
            let value = VALUES.get(usize::from(*digit)).copied();
            let value = value
                .filter(|value| *value != NO_DIGIT)
                .ok_or_else(|| invalid(format!("'{}' is not of Base64", digit.escape_ascii())))?;
            word = word << 6 | u32::from(value);
        }
        word <<= 6 * (4 - group.len());
        let [_, whole @ ..] = word.to_be_bytes();
        bytes.extend_from_slice(whole.get(..group.len() - 1).unwrap_or_default());
    }
    Ok(())
}

const NO_DIGIT: u8 = u8::MAX;

/// The value of each character.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler itself evaluates it and refuses an index beyond the end"
)]
static VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => NO_DIGIT,
        };
        values[byte as usize] = value;
        byte += 1;
    }
    values
};
