//! What a fleet is like, and the checks of it.

use crate::random::Probability;

/// Readings of one vehicle a second, unless the rate says otherwise.
const READINGS_PER_SECOND: u64 = 3;
/// The disorder is buffered by the millisecond: this bounds the buffer.
const LONGEST_DISORDER_MS: u64 = 600_000;
/// Late events are kept in memory: 30 days of them are more than anybody has.
const LATEST_MS: u64 = 30 * 86_400_000;
/// A millisecond's events are kept in memory: this bounds them to a million.
const HIGHEST_RATE: u64 = 1_000_000_000;
/// The end of the year 9999.
const LAST_START_MS: u64 = 253_402_300_799_999;

/// What a fleet is like. Start from [`FleetConfig::new`] and change what differs.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetConfig {
    /// How many vehicles there are in the whole fleet.
    pub vehicles: u32,
    /// The same seed makes the same events.
    pub seed: u64,
    /// The time of the first event, milliseconds since the epoch.
    pub start_ms: u64,
    /// Events a second in event time, of the whole fleet.
    pub events_per_second: u64,
    /// How probable it is that a reading of a motor finds the vehicle started or stopped since the
    /// last one, 0…1.
    pub move_probability: f64,
    /// How probable it is that a reading of the warning lights finds another number of them, 0…1.
    pub warning_probability: f64,
    /// Every event is emitted up to so many milliseconds after its time.
    pub disorder_ms: u64,
    /// The share of events that are held back by `late_by_ms` as well, 0…1.
    pub late_share: f64,
    /// How long late events are held back, in milliseconds.
    pub late_by_ms: u64,
    /// Which part of the fleet this instance is, `0..shards`: the vehicles whose index modulo
    /// `shards` is `shard`.
    pub shard: u32,
    /// In how many parts the fleet is divided.
    pub shards: u32,
}

impl FleetConfig {
    /// A fleet with three readings a vehicle and second, in order, undivided, from the epoch on.
    pub fn new(vehicles: u32) -> Self {
        Self {
            vehicles,
            seed: 1,
            start_ms: 0,
            events_per_second: u64::from(vehicles) * READINGS_PER_SECOND,
            move_probability: 0.01,
            warning_probability: 0.001,
            disorder_ms: 0,
            late_share: 0.0,
            late_by_ms: 30_000,
            shard: 0,
            shards: 1,
        }
    }

    /// Checks that there is such a fleet.
    ///
    /// # Errors
    /// When a value is out of its range.
    pub fn check(&self) -> Result<(), InvalidFleet> {
        self.chances().map(|_| ())
    }

    /// Checks everything and takes what the vehicles need.
    pub(crate) fn chances(&self) -> Result<Chances, InvalidFleet> {
        if self.vehicles == 0 {
            return Err(InvalidFleet::NoVehicles);
        }
        if self.events_per_second == 0 || self.events_per_second > HIGHEST_RATE {
            return Err(InvalidFleet::Rate(self.events_per_second));
        }
        if self.start_ms > LAST_START_MS {
            return Err(InvalidFleet::Start(self.start_ms));
        }
        if self.disorder_ms > LONGEST_DISORDER_MS {
            return Err(InvalidFleet::Disorder(self.disorder_ms));
        }
        if self.late_by_ms > LATEST_MS {
            return Err(InvalidFleet::LateBy(self.late_by_ms));
        }
        if self.shards == 0 || self.shards > self.vehicles {
            let Self {
                shards, vehicles, ..
            } = *self;
            return Err(InvalidFleet::Shards { shards, vehicles });
        }
        if self.shard >= self.shards {
            let Self { shard, shards, .. } = *self;
            return Err(InvalidFleet::Shard { shard, shards });
        }
        let probability =
            |name, share| Probability::new(share).ok_or(InvalidFleet::Probability { name, share });
        Ok(Chances {
            motion: probability("move probability", self.move_probability)?,
            warnings: probability("warning probability", self.warning_probability)?,
            late: probability("late share", self.late_share)?,
            delays: self.disorder_ms as u32 + 1,
        })
    }
}

/// How probable the changes of a vehicle and the delays of its messages are.
#[derive(Debug, Clone)]
pub(crate) struct Chances {
    pub(crate) motion: Probability,
    pub(crate) warnings: Probability,
    pub(crate) late: Probability,
    /// How many different delays there are: 0 and each millisecond up to the disorder.
    pub(crate) delays: u32,
}

/// Why a configuration makes no fleet.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidFleet {
    /// There is nobody to send anything.
    #[error("a fleet of 0 vehicles sends nothing; it needs at least 1")]
    NoVehicles,
    /// The rate is none, or above what fits into memory.
    #[error("{0} events a second is out of range; it must be 1 to {HIGHEST_RATE}")]
    Rate(u64),
    /// Such times do not fit what reads the events.
    #[error(
        "a start at {0} ms is out of range; it must be at most {LAST_START_MS}, in the year 9999"
    )]
    Start(u64),
    /// The disorder would need too much memory.
    #[error("a disorder of {0} ms is too long; it can be {LONGEST_DISORDER_MS} ms, ten minutes")]
    Disorder(u64),
    /// Late events would need too much memory.
    #[error("late by {0} ms is too long; it can be {LATEST_MS} ms, thirty days")]
    LateBy(u64),
    /// Some shards would have no vehicles.
    #[error("{shards} shards do not divide {vehicles} vehicles; there must be 1 to {vehicles}")]
    Shards {
        /// The shards asked for.
        shards: u32,
        /// The vehicles there are.
        vehicles: u32,
    },
    /// There is no such shard.
    #[error("there is no shard {shard} of {shards}; they count from 0")]
    Shard {
        /// The shard asked for.
        shard: u32,
        /// How many there are.
        shards: u32,
    },
    /// A probability is no probability.
    #[error("a {name} of {share} is out of range; it must be 0 to 1")]
    Probability {
        /// Which probability.
        name: &'static str,
        /// The value given.
        share: f64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_named() {
        let good = FleetConfig::new(10);
        assert!(good.chances().is_ok());
        let cases = [
            (
                FleetConfig {
                    vehicles: 0,
                    ..good.clone()
                },
                "a fleet of 0 vehicles sends nothing; it needs at least 1",
            ),
            (
                FleetConfig {
                    events_per_second: 0,
                    ..good.clone()
                },
                "0 events a second is out of range; it must be 1 to 1000000000",
            ),
            (
                FleetConfig {
                    start_ms: u64::MAX,
                    ..good.clone()
                },
                "a start at 18446744073709551615 ms is out of range; \
                 it must be at most 253402300799999, in the year 9999",
            ),
            (
                FleetConfig {
                    disorder_ms: 600_001,
                    ..good.clone()
                },
                "a disorder of 600001 ms is too long; it can be 600000 ms, ten minutes",
            ),
            (
                FleetConfig {
                    late_by_ms: 2_592_000_001,
                    ..good.clone()
                },
                "late by 2592000001 ms is too long; it can be 2592000000 ms, thirty days",
            ),
            (
                FleetConfig {
                    shards: 11,
                    ..good.clone()
                },
                "11 shards do not divide 10 vehicles; there must be 1 to 10",
            ),
            (
                FleetConfig {
                    shards: 2,
                    shard: 2,
                    ..good.clone()
                },
                "there is no shard 2 of 2; they count from 0",
            ),
            (
                FleetConfig {
                    late_share: 1.5,
                    ..good
                },
                "a late share of 1.5 is out of range; it must be 0 to 1",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(config.chances().unwrap_err().to_string(), message);
        }
    }
}
