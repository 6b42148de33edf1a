//! The estimate of one device's skew.
//!
//! Readings are taken in blocks of [`BLOCK_READINGS`]. Of a block only the second least reading
//! counts, so that one odd event decides nothing. The estimate is the lesser one of the block
//! before and of the block at hand, where each of them has one: so it follows a clock that jumps
//! ahead with the second reading, and forgets a clock that was corrected after at most two blocks.

use super::ClockState;
use crate::model::{Corrupt, Decoder, Encoder};

/// How many readings a block has.
pub const BLOCK_READINGS: u8 = 16;

/// Nothing is known.
const NONE: i32 = i32::MAX;

/// 16 bytes for each device: ms as 32 bits, which reach to 24 days and saturate there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skew {
    /// The second least reading of the block before, ms.
    previous: i32,
    /// The least and the second least reading of the block at hand, ms.
    least: i32,
    second: i32,
    readings: u8,
}

impl Default for Skew {
    fn default() -> Self {
        Self {
            previous: NONE,
            least: NONE,
            second: NONE,
            readings: 0,
        }
    }
}

impl Skew {
    /// Takes a reading, ms; says whether the estimate may have changed.
    pub(super) fn add(&mut self, reading: i64) -> bool {
        let reading = reading.clamp(i64::from(i32::MIN), i64::from(NONE - 1));
        let reading = i32::try_from(reading).unwrap_or(NONE - 1);
        let before = self.second;
        if reading < self.least {
            self.second = self.least;
            self.least = reading;
        } else if reading < self.second {
            self.second = reading;
        }
        self.readings += 1;
        if self.readings == BLOCK_READINGS {
            *self = Self {
                previous: self.second,
                ..Self::default()
            };
            return true;
        }
        self.second != before
    }

    /// Writes columns of the estimates of all devices, field by field.
    pub(super) fn encode_all<'s>(
        out: &mut Encoder,
        skews: impl ExactSizeIterator<Item = &'s Self> + Clone,
    ) {
        out.i32s(skews.clone().map(|skew| skew.previous));
        out.i32s(skews.clone().map(|skew| skew.least));
        out.i32s(skews.clone().map(|skew| skew.second));
        out.u8s(skews.map(|skew| skew.readings));
    }

    /// Reads what [`encode_all`](Self::encode_all) has written of so many devices.
    pub(super) fn decode_all(from: &mut Decoder<'_>, count: usize) -> Result<Vec<Self>, Corrupt> {
        let [previous, least, second] = [from.i32s()?, from.i32s()?, from.i32s()?];
        let readings = from.u8s()?;
        let lengths = [previous.len(), least.len(), second.len(), readings.len()];
        if lengths != [count; 4] {
            let reason = format!("{lengths:?} values for {count} devices");
            return Err(from.corrupt(reason));
        }
        let fields = previous.into_iter().zip(least).zip(second).zip(readings);
        let skews: Vec<Self> = fields
            .map(|(((previous, least), second), readings)| Self {
                previous,
                least,
                second,
                readings,
            })
            .collect();
        let is_valid = |skew: &Self| {
            skew.readings < BLOCK_READINGS
                && skew.least <= skew.second
                && (skew.least == NONE) == (skew.readings < 1)
                && (skew.second == NONE) == (skew.readings < 2)
        };
        match skews.iter().all(is_valid) {
            true => Ok(skews),
            false => Err(from.corrupt("the readings of a device do not go with their number")),
        }
    }

    /// The receive time minus the event time of a device without delay, ms; nothing before its
    /// second reading.
    pub(super) fn estimate(&self) -> Option<i32> {
        let estimate = self.previous.min(self.second);
        (estimate != NONE).then_some(estimate)
    }

    /// What the estimate says. Readings are late for other reasons, too, so a clock is behind only
    /// where a whole block says so.
    pub(super) fn state(&self, max_skew_ms: i64) -> ClockState {
        match self.estimate().map(i64::from) {
            Some(estimate) if estimate < -max_skew_ms => ClockState::Ahead,
            Some(estimate) if estimate > max_skew_ms && self.previous != NONE => ClockState::Behind,
            _ => ClockState::Right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, over all readings.
    fn naive(readings: &[i64]) -> Option<i32> {
        let second = |block: &[i64]| {
            let mut block = block.to_vec();
            block.sort_unstable();
            block.get(1).copied()
        };
        let mut blocks = readings.chunks(usize::from(BLOCK_READINGS)).rev();
        let at_hand = !readings.len().is_multiple_of(usize::from(BLOCK_READINGS));
        let current = at_hand.then(|| blocks.next()).flatten().and_then(second);
        let previous = blocks.next().and_then(second);
        let estimate = current.into_iter().chain(previous).min()?;
        Some(i32::try_from(estimate).unwrap())
    }

    proptest::proptest! {
        #[test]
        fn is_the_second_least_of_two_blocks(
            readings in proptest::collection::vec(-1_000_000_i64..1_000_000, 0..70),
        ) {
            let mut skew = Skew::default();
            for (index, reading) in readings.iter().enumerate() {
                let before = skew.estimate();
                let may_have_changed = skew.add(*reading);
                proptest::prop_assert_eq!(skew.estimate(), naive(&readings[..=index]));
                proptest::prop_assert!(may_have_changed || skew.estimate() == before);
            }
        }
    }

    #[test]
    fn saturates() {
        let mut skew = Skew::default();
        for reading in [i64::MIN, i64::MIN] {
            skew.add(reading);
        }
        assert_eq!(skew.estimate(), Some(i32::MIN));
        let mut skew = Skew::default();
        for reading in [i64::MAX; 16] {
            skew.add(reading);
        }
        assert_eq!(skew.estimate(), Some(i32::MAX - 1));
    }
}
