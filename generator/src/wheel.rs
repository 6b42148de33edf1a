//! Puts readings with random delays into the order of their emission.

use crate::held::Held;

/// A ring of buckets, one a millisecond, as long as the longest delay: inserting and taking cost
/// the same whatever the disorder.
#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Vec<Vec<Held>>,
    mask: u64,
    len: usize,
}

impl Wheel {
    /// A wheel for so many different delays, from 0 on.
    pub(crate) fn new(delays: u32) -> Self {
        // A power of two: the bucket of a time is then a mask instead of a division.
        let buckets = delays.next_power_of_two();
        Self {
            buckets: (0..buckets).map(|_| Vec::new()).collect(),
            mask: u64::from(buckets) - 1,
            len: 0,
        }
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Inserts a reading that is emitted at this time, fewer milliseconds ahead than there are
    /// delays.
    pub(crate) fn insert(&mut self, emission_ms: u64, held: Held) {
        self.bucket(emission_ms).push(held);
        self.len += 1;
    }

    /// Swaps what is emitted at this time for an empty vector, whose memory serves again.
    pub(crate) fn take(&mut self, emission_ms: u64, into: &mut Vec<Held>) {
        into.clear();
        std::mem::swap(self.bucket(emission_ms), into);
        self.len -= into.len();
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the mask is one less than the number of buckets"
    )]
    fn bucket(&mut self, emission_ms: u64) -> &mut Vec<Held> {
        &mut self.buckets[(emission_ms & self.mask) as usize]
    }
}
