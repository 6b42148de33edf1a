//! What a body was made smaller with, and how large it may become again.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::budget::{Exhausted, Held};

/// The greatest window of a zstd body, as a power of two: 8 MiB, as RFC 9659 has it for HTTP.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How much is expanded at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The body as it is.
    Identity,
    /// RFC 1952, one member or several.
    Gzip,
    /// RFC 8878, one frame or several.
    Zstd,
}

/// Why a body cannot be expanded.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("the body is larger than {0} bytes once it is expanded; send smaller ones")]
    TooLarge(usize),
    #[error("the body is no complete {0}: {1}")]
    Damaged(&'static str, io::Error),
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

impl Encoding {
    /// The one of a `Content-Encoding` header.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Expands a body to at most `limit` bytes; what is beyond that is never held, nor what `held` has no
    /// room for.
    ///
    /// # Errors
    /// It becomes larger, or is not complete, or is no such body.
    pub(super) fn expand(
        self,
        body: Vec<u8>,
        limit: usize,
        held: &mut Held,
    ) -> Result<Vec<u8>, ExpandError> {
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => read("gzip", MultiGzDecoder::new(body.as_slice()), limit, held),
            Self::Zstd => {
                let damaged = |error| ExpandError::Damaged("zstd", error);
                let mut reader =
                    zstd::stream::read::Decoder::with_buffer(body.as_slice()).map_err(damaged)?;
                reader.window_log_max(ZSTD_WINDOW_LOG).map_err(damaged)?;
                read("zstd", reader, limit, held)
            }
        }
    }
}

fn read(
    name: &'static str,
    mut reader: impl Read,
    limit: usize,
    held: &mut Held,
) -> Result<Vec<u8>, ExpandError> {
    let mut expanded = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = reader
            .read(&mut piece)
            .map_err(|error| ExpandError::Damaged(name, error))?;
        if count == 0 {
            return Ok(expanded);
        }
        if expanded.len() + count > limit {
            return Err(ExpandError::TooLarge(limit));
        }
        held.extend(&mut expanded, piece.get(..count).unwrap_or_default())?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::budget::Budget;
    use super::*;

    impl Encoding {
        fn expanded(self, body: Vec<u8>, limit: usize) -> Result<Vec<u8>, ExpandError> {
            self.expand(body, limit, &mut Budget::new(usize::MAX).hold())
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    #[test]
    fn names_are_those_of_the_registry() {
        assert_eq!(Encoding::named("GZIP"), Some(Encoding::Gzip));
        assert_eq!(Encoding::named(" zstd "), Some(Encoding::Zstd));
        assert_eq!(Encoding::named("identity"), Some(Encoding::Identity));
        assert_eq!(Encoding::named("br"), None);
        assert_eq!(Encoding::named("gzip, zstd"), None);
    }

    #[test]
    fn a_bomb_is_not_expanded() {
        let zeros = vec![0; 8 * 1024 * 1024];
        for (encoding, body) in [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Zstd, zstd(&zeros)),
        ] {
            assert!(body.len() < 20_000, "{}", body.len());
            let result = encoding.expanded(body.clone(), 1_000_000);
            assert!(
                matches!(result, Err(ExpandError::TooLarge(1_000_000))),
                "{encoding:?}"
            );
            // It might be so large, but others hold the memory.
            let budget = Budget::new(1_000_000);
            let mut held = budget.hold();
            let result = encoding.expand(body, usize::MAX, &mut held);
            assert!(
                matches!(result, Err(ExpandError::Exhausted(_))),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn a_window_that_needs_much_memory_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&[7; 100_000]).unwrap();
        let body = encoder.finish().unwrap();
        let result = Encoding::Zstd.expanded(body, 1_000_000);
        assert!(
            matches!(result, Err(ExpandError::Damaged("zstd", _))),
            "{result:?}"
        );
    }

    proptest! {
        #[test]
        fn what_was_made_smaller_comes_back(
            bytes in prop::collection::vec(any::<u8>(), 0..2_000),
            more in prop::collection::vec(0_u8..3, 0..2_000),
        ) {
            let all = [bytes.as_slice(), more.as_slice()].concat();
            let gzipped = [gzip(&bytes), gzip(&more)].concat();
            prop_assert_eq!(Encoding::Gzip.expanded(gzipped, all.len()).unwrap(), &all[..]);
            let frames = [zstd(&bytes), zstd(&more)].concat();
            prop_assert_eq!(Encoding::Zstd.expanded(frames, all.len()).unwrap(), all);
        }

        #[test]
        fn what_is_cut_is_damaged(
            bytes in prop::collection::vec(any::<u8>(), 1..2_000),
            cut in any::<prop::sample::Index>(),
        ) {
            for (encoding, body) in [(Encoding::Gzip, gzip(&bytes)), (Encoding::Zstd, zstd(&bytes))] {
                let at = 1 + cut.index(body.len() - 1);
                let result = encoding.expanded(body[..at].to_vec(), 10_000);
                prop_assert!(matches!(result, Err(ExpandError::Damaged(..))), "{:?}", result);
            }
        }

        #[test]
        fn noise_never_passes_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                let _ignored = encoding.expanded(bytes.clone(), 100);
                let mut body = if encoding == Encoding::Gzip { gzip(&bytes) } else { zstd(&bytes) };
                let index = at.index(body.len());
                body[index] ^= flip;
                if let Ok(expanded) = encoding.expanded(body, 100) {
                    prop_assert!(expanded.len() <= 100);
                }
            }
        }
    }
}
