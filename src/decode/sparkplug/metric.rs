//! The metrics of a message.

use std::borrow::Cow;

use super::super::events::Refusal;
use super::super::metrics::Reason;
use super::super::plan::{Leaves, ObjectPlan, Scalar};
use super::{broken, malformed};
use crate::model::protobuf::{Content, Fields};

/// How deep properties may be nested.
const MAX_DEPTH: usize = 32;

/// The names of the types, by their numbers from 1 on.
const TYPES: [&str; 34] = [
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Double",
    "Boolean",
    "String",
    "DateTime",
    "Text",
    "UUID",
    "DataSet",
    "Bytes",
    "File",
    "Template",
    "PropertySet",
    "PropertySetList",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Int64Array",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "FloatArray",
    "DoubleArray",
    "BooleanArray",
    "StringArray",
    "DateTimeArray",
];

/// A metric as it is written.
#[derive(Debug, Default)]
pub(super) struct Metric<'b> {
    pub(super) name: Option<&'b str>,
    pub(super) alias: Option<u64>,
    /// ms since the epoch.
    pub(super) timestamp: Option<i64>,
    pub(super) datatype: Option<u32>,
    pub(super) is_historical: bool,
    pub(super) is_transient: bool,
    pub(super) is_null: bool,
    pub(super) properties: Option<&'b [u8]>,
    /// The value, with the number of its field counted from that of `int_value`.
    value: Option<(u32, Content<'b>)>,
}

impl<'b> Metric<'b> {
    /// The metrics of a message.
    pub(super) fn all(bytes: &'b [u8]) -> impl Iterator<Item = Result<Self, Refusal>> {
        Fields::of(bytes).filter_map(|field| match field {
            Ok((2, Content::Bytes(bytes))) => Some(Self::read(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(malformed(error))),
        })
    }

    fn read(bytes: &'b [u8]) -> Result<Self, Refusal> {
        let mut metric = Self::default();
        for field in Fields::of(bytes) {
            match field.map_err(malformed)? {
                (1, Content::Bytes(name)) => metric.name = Some(text(name)?),
                (2, Content::Varint(alias)) => metric.alias = Some(alias),
                (3, Content::Varint(ms)) => metric.timestamp = i64::try_from(ms).ok(),
                (4, Content::Varint(datatype)) => metric.datatype = u32::try_from(datatype).ok(),
                (5, Content::Varint(is)) => metric.is_historical = is != 0,
                (6, Content::Varint(is)) => metric.is_transient = is != 0,
                (7, Content::Varint(is)) => metric.is_null = is != 0,
                (9, Content::Bytes(properties)) => metric.properties = Some(properties),
                (number @ 10..=19, value) => metric.value = Some((number - 10, value)),
                _ => {}
            }
        }
        Ok(metric)
    }

    /// The value, read as a type.
    pub(super) fn value(&self, datatype: Option<u32>) -> Result<Scalar<'b>, Refusal> {
        match self.value {
            Some((number, value)) if !self.is_null => scalar(number, value, datatype),
            _ => Ok(Scalar::Null),
        }
    }

    /// The value, where it is a whole number from 0 on.
    pub(super) fn number(&self) -> Option<u64> {
        match self.value {
            Some((0 | 1, Content::Varint(number))) => Some(number),
            _ => None,
        }
    }
}

/// The name of a type.
pub(super) fn type_name(datatype: u32) -> Option<&'static str> {
    TYPES.get((datatype as usize).checked_sub(1)?).copied()
}

/// A value of a metric or property. `number` counts their fields from that of `int_value`.
fn scalar<'b>(
    number: u32,
    value: Content<'b>,
    datatype: Option<u32>,
) -> Result<Scalar<'b>, Refusal> {
    Ok(match (number, value) {
        (0, Content::Varint(value)) => Scalar::Integer(whole(value, datatype)),
        (1, Content::Varint(value)) => match (i64::try_from(value), datatype) {
            (Ok(value), _) => Scalar::Integer(value),
            (Err(_), Some(4)) => Scalar::Integer(value.cast_signed()),
            (Err(_), _) => Scalar::Number(value as f64),
        },
        (2, Content::Fixed32(bits)) => Scalar::Number(f64::from(f32::from_bits(bits))),
        (3, Content::Fixed64(bits)) => Scalar::Number(f64::from_bits(bits)),
        (4, Content::Varint(value)) => Scalar::Boolean(value != 0),
        (5, Content::Bytes(value)) => Scalar::Text(Cow::Borrowed(text(value)?)),
        (6..=9, _) => Scalar::Composite,
        _ => return Err(broken("a value of another wire type than its field")),
    })
}

/// A number of 32 bits. Some senders write a negative one with all of them, some with those of its type.
fn whole(value: u64, datatype: Option<u32>) -> i64 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    match datatype {
        Some(1) => i64::from(i8::from_le_bytes([a])),
        Some(2) => i64::from(i16::from_le_bytes([a, b])),
        Some(3) => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => i64::from(u32::from_le_bytes([a, b, c, d])),
    }
}

/// Hands over the properties that are wanted.
pub(super) fn hand_over_properties(
    bytes: &[u8],
    wanted: &ObjectPlan,
    leaves: &mut dyn Leaves,
    depth: usize,
) -> Result<(), Refusal> {
    if depth > MAX_DEPTH {
        return Err(broken(format!("properties deeper than {MAX_DEPTH} levels")));
    }
    let mut keys = Vec::new();
    let mut values = Vec::new();
    for field in Fields::of(bytes) {
        match field.map_err(malformed)? {
            (1, Content::Bytes(key)) => keys.push(text(key)?),
            (2, Content::Bytes(value)) => values.push(value),
            _ => {}
        }
    }
    for (key, value) in keys.into_iter().zip(values) {
        let Some(entry) = wanted.entry(key, &mut 0) else {
            continue;
        };
        let (mut datatype, mut is_null, mut found) = (None, false, None);
        for field in Fields::of(value) {
            match field.map_err(malformed)? {
                (1, Content::Varint(number)) => datatype = u32::try_from(number).ok(),
                (2, Content::Varint(is)) => is_null = is != 0,
                (number @ 3..=10, value) => found = Some((number - 3, value)),
                _ => {}
            }
        }
        let scalar = match found {
            Some((6, Content::Bytes(nested))) => {
                if let Some(wanted) = &entry.object {
                    hand_over_properties(nested, wanted, leaves, depth + 1)?;
                }
                Scalar::Composite
            }
            Some((number, value)) if !is_null => scalar(number, value, datatype)?,
            _ => Scalar::Null,
        };
        for leaf in &entry.leaves {
            leaves.take(*leaf, &scalar);
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|error| (Reason::InvalidUtf8, error.to_string()))
}
