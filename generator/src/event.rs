//! One reading of one vehicle.

use crate::digits::{write_number, write_signed, write_ten_digits};
use crate::region::Region;
use crate::vehicle::VehicleId;

/// No event is longer than this many bytes as JSON.
const LONGEST_JSON: usize = 160;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Revolutions of the combustion engine a minute: 0…3000, 0 when stopped.
    IcRpm,
    /// Revolutions of the electric motor a minute: −10000…10000, 0 when stopped.
    ElectricRpm,
    /// Warning lights that are on: 0…5.
    Warnings,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::IcRpm, Self::ElectricRpm, Self::Warnings];

    /// The name as it stands in an event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IcRpm => "IC_RPM",
            Self::ElectricRpm => "ELECTRIC_RPM",
            Self::Warnings => "WARNINGS",
        }
    }

    /// The piece of an event up to the vehicle's digits.
    const fn json(self) -> &'static [u8] {
        match self {
            Self::IcRpm => br#"{"eventType":"IC_RPM","vehicleId":"V"#,
            Self::ElectricRpm => br#"{"eventType":"ELECTRIC_RPM","vehicleId":"V"#,
            Self::Warnings => br#"{"eventType":"WARNINGS","vehicleId":"V"#,
        }
    }
}

/// One reading of one vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What was measured.
    pub kind: Kind,
    /// The vehicle's index in the fleet; its text is [`Event::vehicle_id`].
    pub vehicle: u32,
    /// Where the vehicle is at home.
    pub region: Region,
    /// When it was measured: milliseconds since the epoch.
    pub timestamp_ms: u64,
    /// What the measurement gave.
    pub measurement: i32,
    /// When it leaves the vehicle: milliseconds since the epoch, never before `timestamp_ms`.
    pub emission_ms: u64,
}

impl Event {
    /// The vehicle's id, the key of the event's message.
    pub const fn vehicle_id(&self) -> VehicleId {
        VehicleId(self.vehicle)
    }

    /// Appends the event as one JSON object, without a line break.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.reserve(LONGEST_JSON);
        out.extend_from_slice(self.kind.json());
        write_ten_digits(out, self.vehicle);
        out.extend_from_slice(self.region.json());
        write_number(out, self.timestamp_ms);
        out.extend_from_slice(br#","measurement":"#);
        write_signed(out, i64::from(self.measurement));
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_exact_json() {
        let event = Event {
            kind: Kind::IcRpm,
            vehicle: 12_345,
            region: Region::Uk,
            timestamp_ms: 1_730_621_749_000,
            measurement: 4_356,
            emission_ms: 1_730_621_749_000,
        };
        let mut out = Vec::new();
        event.write_json(&mut out);
        let expected = concat!(
            r#"{"eventType":"IC_RPM","vehicleId":"V0000012345","region":"UK","#,
            r#""timestamp":1730621749000,"measurement":4356}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn the_longest_event_fits_the_reservation() {
        let event = Event {
            kind: Kind::ElectricRpm,
            vehicle: u32::MAX,
            region: Region::SouthAfrica,
            timestamp_ms: u64::MAX,
            measurement: i32::MIN,
            emission_ms: u64::MAX,
        };
        let mut out = Vec::new();
        event.write_json(&mut out);
        assert!(out.len() <= LONGEST_JSON, "{} bytes", out.len());
    }
}
