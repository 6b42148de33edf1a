//! The walk over data along a plan.

use std::borrow::Cow;

use super::super::config::TimeUnit;
use super::super::events::Refusal;
use super::super::explode::Items;
use super::super::plan::Scalar;
use super::cursor::{Cursor, broken};
use super::plan::{Kind, Part, Plan, Step};
use super::text;

/// How deep data may be nested.
const MAX_DEPTH: usize = 128;

/// Walks the next datum and hands over what is wanted. Gives whether it is a record or a map, or an array of which
/// items are wanted by their places.
///
/// # Errors
/// The datum is broken, or `out` wants no more items.
pub(super) fn walk(
    plan: &Plan,
    cursor: &mut Cursor<'_>,
    out: &mut impl Items,
) -> Result<bool, Refusal> {
    Walk { plan }.value(cursor, 0, out, 1)
}

struct Walk<'p> {
    plan: &'p Plan,
}

impl<'p> Walk<'p> {
    fn value(
        &self,
        cursor: &mut Cursor<'_>,
        step: usize,
        out: &mut impl Items,
        depth: usize,
    ) -> Result<bool, Refusal> {
        let Some(step) = self.plan.step(step) else {
            return Ok(false);
        };
        let value = match &step.kind {
            Kind::Null => Scalar::Null,
            Kind::Boolean => match cursor.array()? {
                [0] => Scalar::Boolean(false),
                [1] => Scalar::Boolean(true),
                [other] => return Err(broken(format!("a boolean of {other}"))),
            },
            Kind::Int => Scalar::Integer(cursor.int()?),
            Kind::Long => Scalar::Integer(cursor.long()?),
            Kind::Float => Scalar::Number(f64::from(f32::from_le_bytes(cursor.array()?))),
            Kind::Double => Scalar::Number(f64::from_le_bytes(cursor.array()?)),
            Kind::Text => {
                let bytes = cursor.bytes()?;
                if step.leaves.is_empty() {
                    return Ok(false);
                }
                text(bytes)?
            }
            Kind::Bytes => {
                cursor.bytes()?;
                Scalar::Composite
            }
            Kind::Fixed(size) => {
                cursor.take(*size)?;
                Scalar::Composite
            }
            Kind::Decimal { size, scale } => {
                let bytes = match size {
                    Some(size) => cursor.take(*size)?,
                    None => cursor.bytes()?,
                };
                if step.leaves.is_empty() {
                    return Ok(false);
                }
                Scalar::Number(decimal(bytes, *scale))
            }
            Kind::Uuid => {
                let bytes = cursor.array()?;
                if step.leaves.is_empty() {
                    return Ok(false);
                }
                Scalar::Text(Cow::Owned(uuid(bytes)))
            }
            Kind::Date => {
                let raw = cursor.int()?;
                let ms = raw * 86_400_000;
                Scalar::Time { raw, ms }
            }
            Kind::Timestamp(unit) => {
                let raw = cursor.long()?;
                let ms = match unit {
                    TimeUnit::Ns => raw.div_euclid(1_000_000),
                    TimeUnit::Us => raw.div_euclid(1_000),
                    TimeUnit::S | TimeUnit::Ms | TimeUnit::Rfc3339 => raw,
                };
                Scalar::Time { raw, ms }
            }
            Kind::Enum(symbols) => {
                let index = cursor.int()?;
                let symbol = usize::try_from(index)
                    .ok()
                    .and_then(|index| symbols.get(index));
                match symbol {
                    Some(symbol) => Scalar::Text(Cow::Borrowed(symbol)),
                    None => {
                        let known = symbols.len();
                        return Err(broken(format!("symbol {index} of {known} symbols")));
                    }
                }
            }
            nested => return self.nested(cursor, step, nested, out, depth),
        };
        for leaf in &step.leaves {
            out.take(*leaf, &value);
        }
        Ok(false)
    }

    fn nested(
        &self,
        cursor: &mut Cursor<'_>,
        step: &Step,
        kind: &'p Kind,
        out: &mut impl Items,
        depth: usize,
    ) -> Result<bool, Refusal> {
        if depth > MAX_DEPTH {
            return Err(broken(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        for leaf in &step.leaves {
            out.take(*leaf, &Scalar::Composite);
        }
        match kind {
            Kind::Union(branches) => {
                let index = cursor.long()?;
                let branch = usize::try_from(index)
                    .ok()
                    .and_then(|index| branches.get(index));
                match branch {
                    Some(branch) => self.value(cursor, *branch, out, depth + 1),
                    None => {
                        let known = branches.len();
                        Err(broken(format!("branch {index} of a union of {known}")))
                    }
                }
            }
            Kind::Record(parts) => {
                for part in parts {
                    match part {
                        Part::Step(step) => drop(self.value(cursor, *step, out, depth + 1)?),
                        Part::Again(steps) => {
                            let begin = cursor.clone();
                            for step in steps {
                                *cursor = begin.clone();
                                self.value(cursor, *step, out, depth + 1)?;
                            }
                        }
                        Part::Skip(bytes) => drop(cursor.take(*bytes)?),
                        Part::SkipNumbers(numbers) => {
                            for _ in 0..*numbers {
                                cursor.long()?;
                            }
                        }
                    }
                }
                Ok(true)
            }
            Kind::Map { value, keys } => {
                self.map(cursor, *value, keys, None, out, depth)?;
                Ok(true)
            }
            Kind::OnTheWay { object, below } => {
                out.begin_object();
                match &**object {
                    Kind::Map { value, keys } => {
                        if !self.map(cursor, *value, keys, Some(*below), out, depth)? {
                            go_on(out.no_array())?;
                        }
                    }
                    object => drop(self.nested(cursor, step, object, out, depth)?),
                }
                out.end_object();
                Ok(false)
            }
            Kind::Through { item, is_empty } => {
                while let Some(items) = next_block(cursor, *is_empty)? {
                    for _ in 0..items {
                        self.value(cursor, *item, out, depth + 1)?;
                    }
                }
                Ok(false)
            }
            Kind::NoArray(passed_over) => {
                self.value(cursor, *passed_over, out, depth)?;
                go_on(out.no_array())?;
                Ok(false)
            }
            Kind::Items { item, is_empty } => {
                while let Some(items) = next_block(cursor, *is_empty)? {
                    for _ in 0..items {
                        let is_object = self.value(cursor, *item, out, depth + 1)?;
                        go_on(out.end_item(is_object))?;
                    }
                }
                Ok(false)
            }
            Kind::Array {
                item,
                places,
                is_empty,
            } => {
                self.array(cursor, *item, places, *is_empty, out, depth)?;
                Ok(!places.is_empty())
            }
            _ => Ok(false),
        }
    }

    fn array(
        &self,
        cursor: &mut Cursor<'_>,
        item: usize,
        places: &[(usize, usize)],
        is_empty: bool,
        out: &mut impl Items,
        depth: usize,
    ) -> Result<(), Refusal> {
        let mut place = 0;
        loop {
            let (items, bytes) = cursor.block()?;
            if items == 0 {
                return Ok(());
            }
            if let (true, Some(bytes)) = (places.is_empty(), bytes) {
                cursor.take(bytes)?;
                continue;
            }
            // Nothing is taken of an item without bytes.
            if is_empty {
                continue;
            }
            for _ in 0..bounded(cursor, items)? {
                let wanted = places.iter().find(|(wanted, _)| *wanted == place);
                let step = wanted.map_or(item, |(_, step)| *step);
                self.value(cursor, step, out, depth + 1)?;
                place += 1;
            }
        }
    }

    /// Gives whether there was a value for which a step is done.
    fn map(
        &self,
        cursor: &mut Cursor<'_>,
        value: usize,
        keys: &[(Box<str>, usize)],
        sought: Option<usize>,
        out: &mut impl Items,
        depth: usize,
    ) -> Result<bool, Refusal> {
        let mut is_found = false;
        loop {
            let (pairs, bytes) = cursor.block()?;
            if pairs == 0 {
                return Ok(is_found);
            }
            if let (true, Some(bytes)) = (keys.is_empty(), bytes) {
                cursor.take(bytes)?;
                continue;
            }
            for _ in 0..bounded(cursor, pairs)? {
                let key = cursor.bytes()?;
                let wanted = keys.iter().find(|(known, _)| known.as_bytes() == key);
                let step = wanted.map_or(value, |(_, step)| *step);
                is_found |= sought == Some(step);
                self.value(cursor, step, out, depth + 1)?;
            }
        }
    }
}

fn go_on(is_wanted: bool) -> Result<(), Refusal> {
    match is_wanted {
        true => Ok(()),
        false => Err(broken("too many items")),
    }
}

/// How many items the next block has; nothing at the end.
fn next_block(cursor: &mut Cursor<'_>, is_empty: bool) -> Result<Option<u64>, Refusal> {
    match cursor.block()? {
        (0, _) => Ok(None),
        (items, _) if is_empty => Ok(Some(items)),
        (items, _) => bounded(cursor, items).map(Some),
    }
}

/// Items with a byte or more cannot be more than there are bytes.
fn bounded(cursor: &Cursor<'_>, items: u64) -> Result<u64, Refusal> {
    let left = cursor.left();
    if items > left as u64 {
        return Err(broken(format!("{items} items in {left} bytes")));
    }
    Ok(items)
}

/// A whole number of any size, most significant byte first and in two's complement, with some of its
/// digits behind the point.
fn decimal(bytes: &[u8], scale: u32) -> f64 {
    let sign = match bytes.first() {
        Some(0x80..) => u8::MAX,
        _ => 0,
    };
    // Bytes that only repeat the sign say nothing.
    let mut bytes = bytes;
    while let Some((first, rest)) = bytes.split_first()
        && let Some(next) = rest.first()
        && *first == sign
        && (next ^ sign) < 0x80
    {
        bytes = rest;
    }
    if let Some(padding) = 16_usize.checked_sub(bytes.len()) {
        let mut whole = [sign; 16];
        if let Some(place) = whole.get_mut(padding..) {
            place.copy_from_slice(bytes);
        }
        let whole = i128::from_be_bytes(whole);
        if scale == 0 {
            return whole as f64;
        }
        // The nearest number, which a division would not give.
        return format!("{whole}e-{scale}").parse().unwrap_or(f64::NAN);
    }
    // What is behind the first 16 bytes is far below what a number can tell apart.
    let Some((first, rest)) = bytes.split_first_chunk() else {
        return f64::NAN;
    };
    let power = |base: f64, exponent| base.powi(i32::try_from(exponent).unwrap_or(i32::MAX));
    i128::from_be_bytes(*first) as f64 * power(256.0, rest.len() as u64)
        / power(10.0, u64::from(scale))
}

/// As in RFC 9562: `6ba7b810-9dad-11d1-80b4-00c04fd430c8`.
fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_the_nearest_numbers() {
        assert_eq!(decimal(&[], 2), 0.0);
        assert_eq!(decimal(&[0xff, 0x85], 2), -1.23);
        assert_eq!(decimal(&[0x04, 0xd2], 3), 1.234);
        assert_eq!(
            decimal(&[0x7f; 16], 0),
            i128::from_be_bytes([0x7f; 16]) as f64
        );
        let wide = decimal(&[&[0x01], [0; 20].as_slice()].concat(), 48);
        assert!((wide / 1.461_501_637_330_903 - 1.0).abs() < 1e-12, "{wide}");
        let minus = decimal(&[&[0xfe], [0xff; 20].as_slice()].concat(), 48);
        assert!((minus + wide).abs() < 1e-12, "{minus}");
        for (last, expected) in [(0x9c, -1.0), (0xff, -0.01), (0x80, -1.28)] {
            let padded = [[0xff; 19].as_slice(), &[last]].concat();
            assert_eq!(decimal(&padded, 2), expected);
        }
        assert_eq!(decimal(&[[0; 30].as_slice(), &[0x80]].concat(), 2), 1.28);
        assert_eq!(decimal(&[0xff; 20], 0), -1.0);
        let lowest = [&[0xff], [0x80].as_slice(), &[0; 15]].concat();
        assert_eq!(decimal(&lowest, 0), i128::MIN as f64);
    }

    #[test]
    fn uuids_have_their_hyphens() {
        let bytes = [
            0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0, 0xc0, 0x4f, 0xd4, 0x30,
            0xc8,
        ];
        assert_eq!(uuid(bytes), "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    }
}
