//! When each reading is due, and whose it is.
//!
//! The readings of the whole fleet are spread evenly over time: number `n` is due at
//! `start + n / rate`. They go around the fleet in passes, in an order that is fixed for a run, so
//! every vehicle has its own moment in each pass. A shard walks only over its own vehicles.

use crate::config::FleetConfig;
use crate::random::mix;
use crate::vehicle::Vehicle;

/// The vehicles of a shard, and the reading that comes next.
#[derive(Debug)]
pub(crate) struct Schedule {
    start_ms: u64,
    rate: u64,
    fleet: u64,
    /// In the order of their places: a pass is one walk through memory.
    vehicles: Vec<Vehicle>,
    pass: u64,
    next: usize,
}

impl Schedule {
    /// The schedule of a shard from its start on; the configuration has been checked.
    pub(crate) fn new(config: &FleetConfig) -> Self {
        let fleet = u64::from(config.vehicles);
        let stride = stride(fleet);
        let mut vehicles = Vec::with_capacity((config.vehicles / config.shards) as usize + 1);
        let mut index = mix(config.seed) % fleet;
        for place in 0..config.vehicles {
            // Below the number of vehicles, which is a u32.
            let vehicle = index as u32;
            if vehicle % config.shards == config.shard {
                vehicles.push(Vehicle::new(config.seed, vehicle, place));
            }
            index = (index + stride) % fleet;
        }
        Self {
            start_ms: config.start_ms,
            rate: config.events_per_second,
            fleet,
            vehicles,
            pass: 0,
            next: 0,
        }
    }

    /// When the next reading is due, milliseconds since the epoch.
    pub(crate) fn next_due_ms(&self) -> u64 {
        let Some(vehicle) = self.vehicles.get(self.next) else {
            let first = self.vehicles.first().map_or(0, |vehicle| vehicle.place);
            return self.due_ms(self.pass + 1, first);
        };
        self.due_ms(self.pass, vehicle.place)
    }

    /// The vehicle whose reading is next, with the pass that it is in; moves on by one.
    pub(crate) fn next_vehicle(&mut self) -> Option<(&mut Vehicle, u64)> {
        if self.next >= self.vehicles.len() {
            self.next = 0;
            self.pass += 1;
        }
        let vehicle = self.vehicles.get_mut(self.next)?;
        self.next += 1;
        Some((vehicle, self.pass))
    }

    fn due_ms(&self, pass: u64, place: u32) -> u64 {
        let number = pass * self.fleet + u64::from(place);
        self.start_ms + number * 1_000 / self.rate
    }
}

/// The step from one vehicle to the next in a pass: about the golden section of the fleet, so that
/// neighbours in time are far apart in the fleet; coprime to it, so that a pass reaches everybody.
fn stride(fleet: u64) -> u64 {
    let mut stride = fleet * 618 / 1_000 + 1;
    while greatest_common_divisor(stride, fleet) != 1 {
        stride += 1;
    }
    stride
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_reaches_every_vehicle_once() {
        for vehicles in [1, 2, 3, 8, 100, 617, 1_000] {
            let mut schedule = Schedule::new(&FleetConfig::new(vehicles));
            for pass in 0..3 {
                let mut seen = Vec::new();
                for _ in 0..vehicles {
                    let (vehicle, found) = schedule.next_vehicle().unwrap();
                    assert_eq!(found, pass);
                    seen.push(vehicle.index);
                }
                seen.sort_unstable();
                assert_eq!(seen, (0..vehicles).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn readings_are_due_at_the_rate() {
        let config = FleetConfig {
            start_ms: 500,
            events_per_second: 4,
            ..FleetConfig::new(3)
        };
        let mut schedule = Schedule::new(&config);
        let mut due = Vec::new();
        for _ in 0..6 {
            due.push(schedule.next_due_ms());
            schedule.next_vehicle().unwrap();
        }
        assert_eq!(due, [500, 750, 1_000, 1_250, 1_500, 1_750]);
    }
}
