//! One vehicle: who it is, and the state that its readings come from.

use std::fmt;

use crate::config::Chances;
use crate::digits::write_ten_digits;
use crate::event::Kind;
use crate::random::{SplitMix64, mix};
use crate::region::Region;

/// The id of a vehicle as text: `V` and ten digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VehicleId(pub u32);

impl VehicleId {
    /// Appends the id.
    pub fn write(self, out: &mut Vec<u8>) {
        out.push(b'V');
        write_ten_digits(out, self.0);
    }
}

impl fmt::Display for VehicleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V{:010}", self.0)
    }
}

/// A vehicle of the fleet. All its randomness comes from its own stream, so that its readings
/// depend neither on the other vehicles nor on how the fleet is divided.
#[derive(Debug)]
pub(crate) struct Vehicle {
    pub(crate) index: u32,
    /// The place of its readings among those of the fleet, `0..vehicles`.
    pub(crate) place: u32,
    pub(crate) region: Region,
    random: SplitMix64,
    first_kind: u8,
    moving: bool,
    warnings: u8,
}

/// What a vehicle reads, and how its message travels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) kind: Kind,
    pub(crate) measurement: i16,
    /// How long the message takes, in milliseconds.
    pub(crate) delay_ms: u32,
    /// Whether the message is held back.
    pub(crate) late: bool,
}

impl Vehicle {
    /// A vehicle in its first state.
    pub(crate) fn new(seed: u64, index: u32, place: u32) -> Self {
        let mut random = SplitMix64::new(seed, index);
        let (motion, warnings) = random.next_pair();
        Self {
            index,
            place,
            region: Region::of_vehicle(index),
            random,
            // Not the index itself: a shard is the index modulo something, and would then see one
            // kind of reading at a time.
            first_kind: (mix(!u64::from(index)) % 3) as u8,
            moving: motion.below(2) == 1,
            warnings: warnings.below(6) as u8,
        }
    }

    /// The reading of a pass; three passes in a row give the three kinds.
    ///
    /// A reading always takes the same draws from the stream, so that disorder and lateness change
    /// when an event arrives and nothing else.
    pub(crate) fn read(&mut self, pass: u64, chances: &Chances) -> Reading {
        let (change, value) = self.random.next_pair();
        let (delay, late) = self.random.next_pair();
        let kind = match (pass + u64::from(self.first_kind)) % 3 {
            0 => Kind::IcRpm,
            1 => Kind::ElectricRpm,
            _ => Kind::Warnings,
        };
        let measurement = match kind {
            Kind::IcRpm => {
                self.moving ^= change.happens(chances.motion);
                if self.moving {
                    1 + value.below(3_000) as i16
                } else {
                    0
                }
            }
            Kind::ElectricRpm => {
                self.moving ^= change.happens(chances.motion);
                if self.moving {
                    electric_rpm(value.below(20_000))
                } else {
                    0
                }
            }
            Kind::Warnings => {
                if change.happens(chances.warnings) {
                    // One of the five other numbers of lights.
                    self.warnings = (self.warnings + 1 + value.below(5) as u8) % 6;
                }
                i16::from(self.warnings)
            }
        };
        Reading {
            kind,
            measurement,
            delay_ms: delay.below(chances.delays),
            late: late.happens(chances.late),
        }
    }
}

/// One of the 20,000 speeds of a turning motor: −10000…10000 without 0.
fn electric_rpm(draw: u32) -> i16 {
    let rpm = draw as i16 - 10_000;
    if rpm < 0 { rpm } else { rpm + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_written_and_displayed() {
        for (index, text) in [
            (0, "V0000000000"),
            (12_345, "V0000012345"),
            (u32::MAX, "V4294967295"),
        ] {
            let mut out = Vec::new();
            VehicleId(index).write(&mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(VehicleId(index).to_string(), text);
        }
    }

    #[test]
    fn a_turning_motor_never_stands_still() {
        assert_eq!(electric_rpm(0), -10_000);
        assert_eq!(electric_rpm(9_999), -1);
        assert_eq!(electric_rpm(10_000), 1);
        assert_eq!(electric_rpm(19_999), 10_000);
    }
}
