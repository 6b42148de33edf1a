//! Arithmetic and the functions of numbers. A result that is not finite is NULL.

use std::f64::consts;

use super::row::numbers;
use super::vector::{Kernel, Values, Vector, binary, reduce, unary};

/// `a + b`
pub(super) const ADD: Kernel = |_, a, _| finite2(a, |x, y| x + y);
/// `a - b`
pub(super) const SUBTRACT: Kernel = |_, a, _| finite2(a, |x, y| x - y);
/// `a * b`
pub(super) const MULTIPLY: Kernel = |_, a, _| finite2(a, |x, y| x * y);
/// `a / b`
pub(super) const DIVIDE: Kernel = |_, a, _| finite2(a, |x, y| x / y);
/// `a % b`: the sign is that of `a`.
pub(super) const MODULO: Kernel = |_, a, _| finite2(a, |x, y| x % y);
/// `-a`
pub(super) const NEGATE: Kernel = |_, a, _| finite1(a, |x| -x);

/// `abs(a)`
pub(super) const ABS: Kernel = |_, a, _| finite1(a, f64::abs);
/// `floor(a)`
pub(super) const FLOOR: Kernel = |_, a, _| finite1(a, f64::floor);
/// `ceil(a)`
pub(super) const CEIL: Kernel = |_, a, _| finite1(a, f64::ceil);
/// `sqrt(a)`
pub(super) const SQRT: Kernel = |_, a, _| finite1(a, f64::sqrt);
/// `ln(a)`
pub(super) const LN: Kernel = |_, a, _| finite1(a, f64::ln);
/// `exp(a)`
pub(super) const EXP: Kernel = |_, a, _| finite1(a, f64::exp);
/// `power(a, b)`
pub(super) const POWER: Kernel = |_, a, _| finite2(a, power);

/// `cbrt(a)`: the cube root.
pub(super) const CBRT: Kernel = |_, a, _| finite1(a, f64::cbrt);
/// `log10(a)`
pub(super) const LOG10: Kernel = |_, a, _| finite1(a, f64::log10);
/// `log2(a)`
pub(super) const LOG2: Kernel = |_, a, _| finite1(a, f64::log2);
/// `trunc(a)`: towards zero.
pub(super) const TRUNCATE: Kernel = |_, a, _| finite1(a, f64::trunc);
/// `sign(a)`: -1, 0 or 1.
pub(super) const SIGN: Kernel = |_, a, _| finite1(a, |x| if x == 0.0 { 0.0 } else { x.signum() });

/// `pi()`
pub(super) const PI: Kernel = |_, _, _| Vector::Number(Values::Constant(consts::PI));
/// `sin(a)`, radians.
pub(super) const SIN: Kernel = |_, a, _| finite1(a, f64::sin);
/// `cos(a)`, radians.
pub(super) const COS: Kernel = |_, a, _| finite1(a, f64::cos);
/// `tan(a)`, radians.
pub(super) const TAN: Kernel = |_, a, _| finite1(a, f64::tan);
/// `asin(a)`, radians.
pub(super) const ASIN: Kernel = |_, a, _| finite1(a, f64::asin);
/// `acos(a)`, radians.
pub(super) const ACOS: Kernel = |_, a, _| finite1(a, f64::acos);
/// `atan(a)`, radians.
pub(super) const ATAN: Kernel = |_, a, _| finite1(a, f64::atan);
/// `atan2(y, x)`, radians.
pub(super) const ATAN2: Kernel = |_, a, _| finite2(a, f64::atan2);
/// `degrees(a)`: of radians.
pub(super) const DEGREES: Kernel = |_, a, _| finite1(a, f64::to_degrees);
/// `radians(a)`: of degrees.
pub(super) const RADIANS: Kernel = |_, a, _| finite1(a, f64::to_radians);

/// `clamp(a, low, high)`: NULL where the limits are the wrong way round.
pub(super) const CLAMP: Kernel = |interner, a, rows| {
    numbers(interner, a, rows, |row| {
        let (value, low, high) = (row.number(0)?, row.number(1)?, row.number(2)?);
        (low <= high).then(|| value.clamp(low, high))
    })
};

/// `round(a)`, `round(a, digits)`: halves away from zero.
pub(super) const ROUND: Kernel = |_, a, _| match a {
    [_] => finite1(a, f64::round),
    _ => finite2(a, round),
};

/// `least(a, ...)`: NULL where one of them is.
pub(super) const LEAST: Kernel =
    |_, a, _| Vector::Number(reduce(a, |x: f64, y: f64| pick(x, y, x < y)));
/// `greatest(a, ...)`: NULL where one of them is.
pub(super) const GREATEST: Kernel =
    |_, a, _| Vector::Number(reduce(a, |x: f64, y: f64| pick(x, y, x > y)));

/// A finite number as it is, anything else as NULL.
pub(super) fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}

fn finite1(arguments: &[Vector<'_>], f: impl Fn(f64) -> f64) -> Vector<'static> {
    unary(arguments, |x| finite(f(x)))
}

fn finite2(arguments: &[Vector<'_>], f: impl Fn(f64, f64) -> f64) -> Vector<'static> {
    binary(arguments, |x, y| finite(f(x, y)))
}

/// `x` or `y`; `f64::min` and `max` would skip NULL.
fn pick(x: f64, y: f64, first: bool) -> f64 {
    if x.is_nan() || y.is_nan() {
        f64::NAN
    } else if first {
        x
    } else {
        y
    }
}

/// IEEE has `1 ^ NaN = 1` and `NaN ^ 0 = 1`; SQL has NULL.
fn power(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() {
        f64::NAN
    } else {
        x.powf(y)
    }
}

fn round(x: f64, digits: f64) -> f64 {
    if x.is_nan() || digits.is_nan() {
        return f64::NAN;
    }
    let digits = digits.trunc();
    if digits < 0.0 {
        let unit = power(10.0, -digits);
        return if unit.is_finite() {
            (x / unit).round() * unit
        } else {
            0.0
        };
    }
    // The scaled number overflows only where `x` has no such digits to lose.
    let unit = power(10.0, digits);
    let scaled = x * unit;
    if scaled.is_finite() {
        scaled.round() / unit
    } else {
        x
    }
}
