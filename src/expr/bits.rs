//! Operations on the bits of whole numbers.
//!
//! A number is taken as a 64-bit integer in two's complement. Beyond ±2^53 a 64-bit float no longer
//! holds every whole number, so that its lowest bits mean nothing: there, and where a number is not
//! whole, the result is NULL. So is a result beyond.

use super::row::{Row, booleans, numbers};
use super::vector::Kernel;

/// 2^53.
const LARGEST: i64 = 1 << f64::MANTISSA_DIGITS;

/// `a & b`
pub(super) const AND: Kernel = |i, a, rows| numbers(i, a, rows, |row| pair(row, |x, y| x & y));
/// `a | b`
pub(super) const OR: Kernel = |i, a, rows| numbers(i, a, rows, |row| pair(row, |x, y| x | y));
/// `bit_xor(a, b)`
pub(super) const XOR: Kernel = |i, a, rows| numbers(i, a, rows, |row| pair(row, |x, y| x ^ y));
/// `bit_not(a)`
pub(super) const NOT: Kernel = |i, a, rows| numbers(i, a, rows, |row| number(!whole(row, 0)?));
/// `bit_count(a)`
pub(super) const COUNT: Kernel = |i, a, rows| {
    numbers(i, a, rows, |row| {
        Some(f64::from(whole(row, 0)?.count_ones()))
    })
};
/// `a << b`
pub(super) const SHIFT_LEFT: Kernel = |i, a, rows| {
    numbers(i, a, rows, |row| {
        let (value, by) = (whole(row, 0)?, place(row, 1)?);
        number(i64::try_from(i128::from(value) << by).ok()?)
    })
};
/// `a >> b`: the sign stays.
pub(super) const SHIFT_RIGHT: Kernel =
    |i, a, rows| numbers(i, a, rows, |row| number(whole(row, 0)? >> place(row, 1)?));
/// `bit_test(a, place)`
pub(super) const TEST: Kernel = |i, a, rows| {
    booleans(i, a, rows, |row| {
        Some(whole(row, 0)? >> place(row, 1)? & 1 == 1)
    })
};
/// `bits(a, from, count)`
pub(super) const FIELD: Kernel = |i, a, rows| {
    numbers(i, a, rows, |row| {
        let (value, from) = (whole(row, 0)?, place(row, 1)?);
        let count =
            whole(row, 2).filter(|count| (1..=i64::from(f64::MANTISSA_DIGITS)).contains(count))?;
        number((value >> from) & ((1 << count) - 1))
    })
};
/// `from_hex(a)`: hexadecimal digits, with or without `0x`.
pub(super) const FROM_HEX: Kernel = |i, a, rows| {
    numbers(i, a, rows, |row| {
        let text = row.text(0)?.trim();
        let digits = text.strip_prefix("0x").or(text.strip_prefix("0X"));
        let digits = digits.unwrap_or(text);
        // `from_str_radix` takes a sign as well.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        number(i64::from_str_radix(digits, 16).ok()?)
    })
};

fn pair(row: &Row<'_>, f: fn(i64, i64) -> i64) -> Option<f64> {
    number(f(whole(row, 0)?, whole(row, 1)?))
}

/// A whole number within ±2^53.
fn whole(row: &Row<'_>, index: usize) -> Option<i64> {
    let number = row.number(index)?;
    let whole = row.count(index)?;
    (number.fract() == 0.0 && (-LARGEST..=LARGEST).contains(&whole)).then_some(whole)
}

/// The place of a bit, 0 being the lowest.
fn place(row: &Row<'_>, index: usize) -> Option<u32> {
    let place = u32::try_from(whole(row, index)?).ok()?;
    (place < i64::BITS).then_some(place)
}

fn number(whole: i64) -> Option<f64> {
    (-LARGEST..=LARGEST)
        .contains(&whole)
        .then_some(whole as f64)
}
