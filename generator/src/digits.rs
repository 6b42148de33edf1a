//! Decimal digits into a byte buffer, without the formatting machinery: it would cost more than all
//! the rest of an event.

/// The digits of the longest `u64`.
const LONGEST: usize = 20;

/// Appends a number.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; LONGEST];
    let mut start = LONGEST;
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = last_digit(rest);
        start -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends a signed number.
pub(crate) fn write_signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    write_number(out, number.unsigned_abs());
}

/// Appends a number with leading zeros, ten digits in all: enough for every `u32`.
pub(crate) fn write_ten_digits(out: &mut Vec<u8>, number: u32) {
    let mut digits = [b'0'; 10];
    let mut rest = u64::from(number);
    for digit in digits.iter_mut().rev() {
        *digit = last_digit(rest);
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// The last digit of a number as ASCII.
fn last_digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn writes_what_format_writes(signed: i64, short: u32) {
            let mut out = Vec::new();
            write_signed(&mut out, signed);
            write_number(&mut out, u64::from(short));
            write_ten_digits(&mut out, short);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{signed}{short}{short:010}"));
        }
    }

    #[test]
    fn writes_the_extremes() {
        let mut out = Vec::new();
        write_number(&mut out, 0);
        out.push(b' ');
        write_number(&mut out, u64::MAX);
        out.push(b' ');
        write_signed(&mut out, i64::MIN);
        assert_eq!(out, b"0 18446744073709551615 -9223372036854775808");
    }
}
