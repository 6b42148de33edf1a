//! Hash keys of partition keys, the ranges of them that shards have, and whose a shard is.

use md5::{Digest as _, Md5};

use super::super::config::Instance;

/// The hash keys of a shard, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HashRange {
    pub(super) first: u128,
    pub(super) last: u128,
}

impl HashRange {
    /// That of a shard, from the decimal numbers that Kinesis says.
    pub(super) fn parse(first: &str, last: &str) -> Option<Self> {
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(Self { first, last })
    }

    /// Whether a hash key falls into it.
    pub(super) fn contains(&self, key: u128) -> bool {
        (self.first..=self.last).contains(&key)
    }

    /// Whether the shard is read by this instance: the one into whose part of all hash keys the middle of
    /// the range falls, as Flink's `UniformShardAssigner` has it.
    pub(super) fn is_of(&self, instance: Instance) -> bool {
        let middle = self.first + (self.last - self.first) / 2;
        // middle × count / 2^128 without a greater integer: both halves are less than 2^96.
        let count = u128::from(instance.count);
        let (high, low) = (middle >> 64, middle & u128::from(u64::MAX));
        let part = (high * count + ((low * count) >> 64)) >> 64;
        part + 1 == u128::from(instance.number)
    }
}

/// The hash key of a partition key: its MD5 as a number of 128 bits.
pub(super) fn hash_key(partition_key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The ranges of a stream with so many shards, as Kinesis makes them.
    fn ranges(count: u128) -> Vec<HashRange> {
        let step = u128::MAX / count;
        let ranges = (0..count).map(|number| HashRange {
            first: number * step,
            last: if number + 1 == count {
                u128::MAX
            } else {
                (number + 1) * step - 1
            },
        });
        ranges.collect()
    }

    #[test]
    fn the_hash_key_is_the_md5_of_the_partition_key() {
        assert_eq!(hash_key(b""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
        assert_eq!(hash_key(b"a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn as_many_instances_as_shards_have_one_each() {
        for count in [1_u32, 2, 3, 8, 64] {
            for (index, range) in (1..).zip(ranges(u128::from(count))) {
                for number in 1..=count {
                    let instance = Instance { number, count };
                    assert_eq!(range.is_of(instance), number == index, "{index} of {count}");
                }
            }
        }
    }

    #[test]
    fn a_range_is_two_numbers_in_order() {
        let all = "340282366920938463463374607431768211455";
        let range = HashRange::parse("0", all).unwrap();
        assert!(range.contains(0) && range.contains(u128::MAX));
        assert_eq!(HashRange::parse("7", "6"), None);
        assert_eq!(HashRange::parse("x", "6"), None);
        let range = HashRange::parse("5", "6").unwrap();
        assert!(!range.contains(4) && range.contains(5) && range.contains(6) && !range.contains(7));
    }

    proptest! {
        #[test]
        fn every_range_has_exactly_one_instance(
            a in any::<u128>(), b in any::<u128>(), count in 1..=10_000_u32,
        ) {
            let range = HashRange { first: a.min(b), last: a.max(b) };
            let mut owners = (1..=count).filter(|number| {
                range.is_of(Instance { number: *number, count })
            });
            let owner = owners.next().unwrap();
            prop_assert_eq!(owners.next(), None);
            // The naive reference, in floating point, may differ by one at a border.
            let middle = range.first / 2 + range.last / 2;
            let expected = (middle as f64 / 2_f64.powi(128) * f64::from(count)) as i64 + 1;
            prop_assert!((i64::from(owner) - expected).abs() <= 1, "{} {}", owner, expected);
        }
    }
}
