//! Distances on the earth.

use super::row::numbers;
use super::vector::Kernel;

/// The mean radius of the earth, metres: (2a + b) / 3 of WGS 84, as the IUGG defines it
/// (Moritz, "Geodetic Reference System 1980").
const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// `haversine(latitude, longitude, latitude, longitude)`: the great-circle distance, metres. A
/// latitude beyond ±90 degrees is none.
pub(super) const HAVERSINE: Kernel = |interner, a, rows| {
    numbers(interner, a, rows, |row| {
        let (from, to) = (row.number(0)?, row.number(2)?);
        let (west, east) = (row.number(1)?, row.number(3)?);
        if from.abs() > 90.0 || to.abs() > 90.0 {
            return None;
        }
        Some(haversine(from, west, to, east))
    })
};

/// 2 R asin √(sin²(Δφ/2) + cos φ₁ cos φ₂ sin²(Δλ/2)) (R. W. Sinnott, "Virtues of the Haversine",
/// Sky and Telescope 68, 1984). Rounding must not carry the root above 1.
fn haversine(from: f64, west: f64, to: f64, east: f64) -> f64 {
    let north = ((to - from).to_radians() / 2.0).sin();
    let along = ((east - west).to_radians() / 2.0).sin();
    let parallels = from.to_radians().cos() * to.to_radians().cos();
    let root = (north * north + parallels * along * along).sqrt();
    2.0 * EARTH_RADIUS_M * root.min(1.0).asin()
}
