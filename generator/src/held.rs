//! A reading that has been taken and not yet emitted.

use crate::event::{Event, Kind};
use crate::region::Region;
use crate::vehicle::{Reading, Vehicle};

/// A reading on its way: small, since a fleet with disorder has many of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    vehicle: u32,
    /// From its time to its emission, in milliseconds.
    lag_ms: u32,
    measurement: i16,
    kind: Kind,
    region: Region,
}

impl Held {
    /// A reading that is emitted so many milliseconds after its time.
    pub(crate) fn new(vehicle: &Vehicle, reading: Reading, lag_ms: u32) -> Self {
        Self {
            vehicle: vehicle.index,
            lag_ms,
            measurement: reading.measurement,
            kind: reading.kind,
            region: vehicle.region,
        }
    }

    /// The event that is emitted at this time.
    pub(crate) fn emit(self, emission_ms: u64) -> Event {
        Event {
            kind: self.kind,
            vehicle: self.vehicle,
            region: self.region,
            timestamp_ms: emission_ms - u64::from(self.lag_ms),
            measurement: i32::from(self.measurement),
            emission_ms,
        }
    }
}
