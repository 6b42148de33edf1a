//! Conversions of units.
//!
//! Factors are the exact definitions of NIST Special Publication 811 (2008), appendix B, and ISO
//! 80000; data units are those of IEC 80000-13. A horsepower is 550 foot-pounds a second, a `PS`
//! 75 kilopond metres a second.

use std::f64::consts::PI;
use std::sync::Arc;

use crate::model::{Interner, suggest};

use super::number::finite;
use super::prepared::{Constants, Fault, Prepared};
use super::vector::{Vector, unary};

/// A unit: a value of it is `(value - zero) × numerator / denominator` of its quantity's first unit.
#[derive(Debug, PartialEq)]
struct Unit {
    name: &'static str,
    quantity: &'static str,
    numerator: f64,
    denominator: f64,
    zero: f64,
}

const fn unit(name: &'static str, quantity: &'static str, factor: f64) -> Unit {
    ratio(name, quantity, factor, 1.0)
}

const fn ratio(
    name: &'static str,
    quantity: &'static str,
    numerator: f64,
    denominator: f64,
) -> Unit {
    Unit {
        name,
        quantity,
        numerator,
        denominator,
        zero: 0.0,
    }
}

const fn temperature(name: &'static str, numerator: f64, denominator: f64, zero: f64) -> Unit {
    Unit {
        name,
        quantity: "temperature",
        numerator,
        denominator,
        zero,
    }
}

const UNITS: &[Unit] = &[
    unit("m", "length", 1.0),
    unit("km", "length", 1_000.0),
    ratio("cm", "length", 1.0, 100.0),
    ratio("mm", "length", 1.0, 1_000.0),
    unit("mi", "length", 1_609.344),
    unit("nmi", "length", 1_852.0),
    unit("yd", "length", 0.9144),
    unit("ft", "length", 0.3048),
    unit("in", "length", 0.0254),
    unit("m/s", "speed", 1.0),
    ratio("km/h", "speed", 1_000.0, 3_600.0),
    ratio("mph", "speed", 1_609.344, 3_600.0),
    ratio("kn", "speed", 1_852.0, 3_600.0),
    unit("kg", "mass", 1.0),
    ratio("g", "mass", 1.0, 1_000.0),
    unit("t", "mass", 1_000.0),
    unit("lb", "mass", 0.453_592_37),
    ratio("oz", "mass", 0.453_592_37, 16.0),
    temperature("C", 1.0, 1.0, 0.0),
    temperature("F", 5.0, 9.0, 32.0),
    temperature("K", 1.0, 1.0, 273.15),
    unit("Pa", "pressure", 1.0),
    unit("hPa", "pressure", 100.0),
    unit("kPa", "pressure", 1_000.0),
    unit("bar", "pressure", 100_000.0),
    ratio("psi", "pressure", 0.453_592_37 * 9.806_65, 0.0254 * 0.0254),
    unit("atm", "pressure", 101_325.0),
    unit("J", "energy", 1.0),
    unit("kJ", "energy", 1_000.0),
    unit("MJ", "energy", 1_000_000.0),
    unit("Wh", "energy", 3_600.0),
    unit("kWh", "energy", 3_600_000.0),
    unit("W", "power", 1.0),
    unit("kW", "power", 1_000.0),
    unit("hp", "power", 550.0 * 0.3048 * 0.453_592_37 * 9.806_65),
    unit("PS", "power", 735.498_75),
    unit("l", "volume", 1.0),
    ratio("ml", "volume", 1.0, 1_000.0),
    unit("m3", "volume", 1_000.0),
    unit("gal_us", "volume", 3.785_411_784),
    unit("gal_uk", "volume", 4.546_09),
    unit("deg", "angle", 1.0),
    ratio("rad", "angle", 180.0, PI),
    unit("s", "duration", 1.0),
    ratio("ms", "duration", 1.0, 1_000.0),
    unit("min", "duration", 60.0),
    unit("h", "duration", 3_600.0),
    unit("d", "duration", 86_400.0),
    unit("B", "data", 1.0),
    unit("kB", "data", 1e3),
    unit("MB", "data", 1e6),
    unit("GB", "data", 1e9),
    unit("KiB", "data", 1_024.0),
    unit("MiB", "data", 1_048_576.0),
    unit("GiB", "data", 1_073_741_824.0),
];

/// `convert(number, from, to)`
pub(super) fn convert(constants: &Constants<'_>) -> Result<Arc<dyn Prepared>, Fault> {
    let from = find(constants, 1)?;
    let to = find(constants, 2)?;
    if from.quantity != to.quantity {
        let (name, quantity) = (to.name, to.quantity);
        let of_from: Vec<&str> = UNITS
            .iter()
            .filter(|unit| unit.quantity == from.quantity)
            .map(|unit| unit.name)
            .collect();
        let message = format!(
            "'{name}' is a unit of {quantity}, but '{}' is one of {}; its units are {}",
            from.name,
            from.quantity,
            of_from.join(", ")
        );
        return Err(Fault::new(2, message));
    }
    Ok(Arc::new(Conversion { from, to }))
}

fn find(constants: &Constants<'_>, argument: usize) -> Result<&'static Unit, Fault> {
    let name = constants.text(argument).unwrap_or_default();
    if let Some(unit) = UNITS.iter().find(|unit| unit.name == name) {
        return Ok(unit);
    }
    let names = UNITS.iter().map(|unit| unit.name);
    let hint = match suggest(name, names.clone()) {
        Some(similar) => format!("did you mean '{similar}'?"),
        None => format!("known units are {}", names.collect::<Vec<_>>().join(", ")),
    };
    Err(Fault::new(
        argument,
        format!("unknown unit '{name}'; {hint}"),
    ))
}

#[derive(Debug)]
struct Conversion {
    from: &'static Unit,
    to: &'static Unit,
}

impl Prepared for Conversion {
    fn compute(&self, _: &mut Interner, a: &[Vector<'_>], _: usize) -> Vector<'static> {
        let (from, to) = (self.from, self.to);
        if from == to {
            return unary(a, |value: f64| value);
        }
        // One multiplication and one division, by products that are mostly whole numbers.
        let numerator = from.numerator * to.denominator;
        let denominator = from.denominator * to.numerator;
        unary(a, |value: f64| {
            finite((value - from.zero) * numerator / denominator + to.zero)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_leads_back() {
        for (index, from) in UNITS.iter().enumerate() {
            assert!(
                UNITS
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.name != from.name)
            );
            for to in UNITS.iter().filter(|to| to.quantity == from.quantity) {
                let convert = |from, to, value: f64| {
                    let conversion = Conversion { from, to };
                    let value = [Vector::Number(super::super::vector::Values::Constant(
                        value,
                    ))];
                    match conversion.compute(&mut Interner::new(), &value, 1) {
                        Vector::Number(values) => values.view().at(0),
                        other => panic!("{other:?}"),
                    }
                };
                let back = convert(to, from, convert(from, to, 123.456));
                assert!(
                    (back - 123.456).abs() < 1e-9,
                    "{} {} {back}",
                    from.name,
                    to.name
                );
            }
        }
    }
}
