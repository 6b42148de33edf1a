//! The part of a checkpoint that says what positions stand for, of a source for which they are more than
//! numbers.

use std::collections::BTreeMap;

use crate::model::{Corrupt, Decoder, Encoder};
use crate::source::PositionToken;

/// The version of the format.
const VERSION: u8 = 1;

/// How many bytes an entry takes at least: two texts with their lengths, and a position.
const ENTRY_BYTES: usize = 3 * size_of::<u64>();

/// The tokens of splits by name, as bytes.
pub(super) fn encode_tokens(tokens: &BTreeMap<String, PositionToken>) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u8(VERSION);
    out.count(tokens.len());
    for (split, token) in tokens {
        out.text(split);
        out.u64(token.position);
        out.text(&token.text);
    }
    out.into_bytes()
}

/// Reads what [`encode_tokens`] has written.
///
/// # Errors
/// The bytes end before, are too many, or are of another version.
pub(super) fn decode_tokens(bytes: &[u8]) -> Result<BTreeMap<String, PositionToken>, Corrupt> {
    let mut from = Decoder::new(bytes);
    let version = from.u8()?;
    if version != VERSION {
        let reason = format!("tokens of format {version}; this version reads {VERSION}");
        return Err(from.corrupt(reason));
    }
    let mut tokens = BTreeMap::new();
    for _ in 0..from.count(ENTRY_BYTES)? {
        let split = from.text()?.to_owned();
        let token = PositionToken {
            position: from.u64()?,
            text: from.text()?.into(),
        };
        if tokens.insert(split.clone(), token).is_some() {
            return Err(from.corrupt(format!("split {split} is there twice")));
        }
    }
    from.end()?;
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written_and_no_cut_is_taken_for_one() {
        let token = |position, text: &str| PositionToken {
            position,
            text: text.into(),
        };
        let tokens = BTreeMap::from([
            (
                "a".to_owned(),
                token(
                    7,
                    "after 49590338271490256608559692538361571095921575989136588898:3",
                ),
            ),
            ("b".to_owned(), token(0, "")),
        ]);
        let bytes = encode_tokens(&tokens);
        assert_eq!(decode_tokens(&bytes), Ok(tokens));
        for end in 0..bytes.len() {
            assert!(decode_tokens(&bytes[..end]).is_err(), "{end}");
        }
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(
            decode_tokens(&newer).unwrap_err().to_string(),
            "byte 1: tokens of format 2; this version reads 1"
        );
    }
}
