//! A hash that is the same on every machine and in every version of weir.
//!
//! It decides which worker owns a series and which shard sends it, so it must not change: FNV-1a
//! (64 bit, <http://www.isthe.com/chongo/tech/comp/fnv/>) followed by the finalizer of MurmurHash3,
//! because FNV alone is weak in its low bits.

/// A running stable hash.
#[derive(Debug, Clone, Copy)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHash {
    /// Adds a text, and a terminator so that `ab`, `c` differs from `a`, `bc`.
    pub fn text(mut self, text: &str) -> Self {
        for byte in text.as_bytes() {
            self.byte(*byte);
        }
        self.byte(0xff);
        self
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The finished hash.
    pub fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

/// A running hash of 128 bits that is the same on every machine and in every version of weir, for
/// what stands in the place of a text: among 10^9 texts, the chance that any two are taken for each
/// other is below 10^-20. It is FNV-1a (128 bit, from the same source).
#[derive(Debug, Clone, Copy)]
pub struct WideStableHash(u128);

impl Default for WideStableHash {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl WideStableHash {
    /// Adds a text, and a terminator so that `ab`, `c` differs from `a`, `bc`.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        for byte in text.as_bytes() {
            self.byte(*byte);
        }
        self.byte(0xff);
        self
    }

    /// Adds bytes, and a terminator. It must be the last addition where the bytes may hold the
    /// terminator, which no text does.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.byte(*byte);
        }
        self.byte(0xff);
        self
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
    }

    /// The finished hash.
    pub fn finish(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wide_one_is_that_of_its_definition() {
        let mut hash = WideStableHash::default();
        // From the list of test vectors of its authors: "a".
        hash.byte(b'a');
        assert_eq!(hash.finish(), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_ne!(
            WideStableHash::default().text("ab").text("c").finish(),
            WideStableHash::default().text("a").text("bc").finish()
        );
        assert_eq!(
            WideStableHash::default().text("a").bytes(b"bc").finish(),
            WideStableHash::default().text("a").text("bc").finish()
        );
    }

    #[test]
    fn is_fixed_for_ever() {
        assert_eq!(
            StableHash::default().text("up").text("job").finish(),
            9_689_448_337_382_131_779
        );
        assert_ne!(
            StableHash::default().text("ab").text("c").finish(),
            StableHash::default().text("a").text("bc").finish()
        );
    }
}
