//! The reference data of the fleet: which model a vehicle is.

use std::io::{self, Write};

use crate::vehicle::VehicleId;

/// The models by vehicle index modulo 8; Nebulara has two of the eight slots.
const MODELS: [&str; 8] = [
    "Astralis",
    "Nebulara",
    "Galantor",
    "Equinoxia",
    "Orbitra",
    "Nebulara",
    "Polara",
    "Helion",
];

/// How many bytes are collected before they are written.
const CHUNK: usize = 64 * 1_024;

/// The model of a vehicle.
#[expect(
    clippy::indexing_slicing,
    reason = "the index is taken modulo the length"
)]
pub const fn model(vehicle: u32) -> &'static str {
    MODELS[vehicle as usize % MODELS.len()]
}

/// Writes the reference table of so many vehicles as CSV: `vehicle_id,model`, one row a vehicle.
///
/// # Errors
/// When the writer fails.
pub fn write_reference(out: &mut impl Write, vehicles: u32) -> io::Result<()> {
    let mut rows = Vec::with_capacity(CHUNK + 64);
    rows.extend_from_slice(b"vehicle_id,model\n");
    for vehicle in 0..vehicles {
        VehicleId(vehicle).write(&mut rows);
        rows.push(b',');
        rows.extend_from_slice(model(vehicle).as_bytes());
        rows.push(b'\n');
        if rows.len() >= CHUNK {
            out.write_all(&rows)?;
            rows.clear();
        }
    }
    out.write_all(&rows)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_header_and_a_row_for_each_vehicle() {
        let mut out = Vec::new();
        write_reference(&mut out, 9).unwrap();
        let expected = "vehicle_id,model\n\
            V0000000000,Astralis\nV0000000001,Nebulara\nV0000000002,Galantor\n\
            V0000000003,Equinoxia\nV0000000004,Orbitra\nV0000000005,Nebulara\n\
            V0000000006,Polara\nV0000000007,Helion\nV0000000008,Astralis\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn many_rows_lose_none_at_the_chunks() {
        let mut out = Vec::new();
        write_reference(&mut out, 20_000).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 20_001);
        for (vehicle, line) in (0..20_000).zip(text.lines().skip(1)) {
            assert_eq!(line, format!("{},{}", VehicleId(vehicle), model(vehicle)));
        }
    }
}
