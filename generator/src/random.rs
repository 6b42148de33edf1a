//! Pseudo-random numbers that are the same on every machine and in every version.

/// The step of splitmix64: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A splitmix64 generator: eight bytes of state, so that every vehicle can have its own.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// The stream of one member of a family: it depends on nothing but the seed and the member.
    pub(crate) fn new(seed: u64, member: u32) -> Self {
        Self(mix(mix(seed.wrapping_add(STEP)) ^ u64::from(member)))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// The next 64 bits as two independent draws.
    pub(crate) fn next_pair(&mut self) -> (Draw, Draw) {
        let bits = self.next();
        (Draw((bits >> 32) as u32), Draw(bits as u32))
    }
}

/// 32 random bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw(u32);

impl Draw {
    /// As a number in `0..bound`.
    pub(crate) fn below(self, bound: u32) -> u32 {
        ((u64::from(self.0) * u64::from(bound)) >> 32) as u32
    }

    /// Whether something of this probability happens.
    pub(crate) fn happens(self, probability: Probability) -> bool {
        u64::from(self.0) < probability.0
    }
}

/// A probability as a threshold for 32 random bits: 0 never happens, 2^32 always.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probability(u64);

impl Probability {
    /// From a share between 0 and 1; `None` outside of that.
    pub(crate) fn new(share: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        Some(Self((share * 4_294_967_296.0).round() as u64))
    }
}

/// Scrambles 64 bits: the finaliser of splitmix64, a bijection.
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_numbers() {
        // The first outputs of the reference implementation for the seed 1234567.
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        assert_eq!(random.next(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn draws_stay_below_their_bound() {
        assert_eq!(Draw(0).below(6), 0);
        assert_eq!(Draw(u32::MAX).below(6), 5);
        assert_eq!(Draw(u32::MAX).below(1), 0);
    }

    #[test]
    fn the_extremes_of_probability_are_certain() {
        let never = Probability::new(0.0).unwrap();
        let always = Probability::new(1.0).unwrap();
        assert!(!Draw(0).happens(never));
        assert!(Draw(u32::MAX).happens(always));
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Probability::new(wrong).is_none(), "{wrong}");
        }
    }
}
