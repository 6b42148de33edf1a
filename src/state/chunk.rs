//! Bytes as they are stored: cut, compressed, with a checksum.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;

use super::manifest::Content;

/// How many bytes of a part are compressed, compared and stored together.
pub(super) const CHUNK_BYTES: usize = 4 << 20;

const SEED: u64 = 0x7765_6972;

/// What tells bytes from others.
pub(super) fn content(bytes: &[u8]) -> Content {
    Content {
        bytes: bytes.len() as u64,
        crc: crc32fast::hash(bytes),
        hash: FixedState::with_seed(SEED).hash_one(bytes),
    }
}

/// The bytes compressed, where that makes them fewer.
pub(super) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let compressed = snap::raw::Encoder::new().compress_vec(bytes).ok()?;
    (compressed.len() < bytes.len()).then_some(compressed)
}

/// Adds the bytes of a chunk to `out`, which has room for `expected` more.
pub(super) fn restore(
    stored: &[u8],
    snappy: bool,
    expected: Content,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let from = out.len();
    if snappy {
        let bytes = snap::raw::decompress_len(stored).map_err(|error| error.to_string())?;
        if bytes as u64 != expected.bytes {
            return Err(format!(
                "unpacks to {bytes} bytes in place of {}",
                expected.bytes
            ));
        }
        out.resize(from + bytes, 0);
        let room = out.get_mut(from..).unwrap_or_default();
        snap::raw::Decoder::new()
            .decompress(stored, room)
            .map_err(|error| error.to_string())?;
    } else {
        out.extend_from_slice(stored);
    }
    let bytes = out.get(from..).unwrap_or_default();
    if bytes.len() as u64 != expected.bytes || crc32fast::hash(bytes) != expected.crc {
        return Err("unpacks to other bytes than were put".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(bytes: &[u8]) -> bool {
        let compressed = compress(bytes);
        let mut out = b"before".to_vec();
        let stored = compressed.as_deref().unwrap_or(bytes);
        restore(stored, compressed.is_some(), content(bytes), &mut out).unwrap();
        assert_eq!(&out[6..], bytes);
        compressed.is_some()
    }

    #[test]
    fn only_what_gets_smaller_is_compressed() {
        assert!(round(&[7; 10_000]));
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..10_000).map(|_| random.u8(..)).collect();
        assert!(!round(&noise));
        assert!(!round(b""));
    }

    #[test]
    fn a_length_is_not_believed() {
        let stored = compress(&[7; 10_000]).unwrap();
        let mut expected = content(&[7; 10_000]);
        expected.bytes = 5;
        let error = restore(&stored, true, expected, &mut Vec::new()).unwrap_err();
        assert_eq!(error, "unpacks to 10000 bytes in place of 5");
        expected.bytes = 10_000;
        expected.crc ^= 1;
        assert!(restore(&stored, true, expected, &mut Vec::new()).is_err());
    }
}
