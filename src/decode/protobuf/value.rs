//! Values of single fields.

use prost_reflect::Kind;

use super::super::events::Refusal;
use super::wire::{Cursor, Wire};

/// A value as it was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    /// A whole number that is no `i64`.
    Unsigned(u64),
    Number(f64),
    Boolean(bool),
    /// A text at a place of the record, which is UTF-8 if the record is right.
    Text(Place),
    /// Bytes at a place of the record.
    Bytes(Place),
}

/// From where to where in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Place {
    pub(super) fn of(cursor: &Cursor<'_>) -> Self {
        let start = cursor.position();
        Self {
            start: clamp(start),
            end: clamp(start + cursor.bytes().len()),
        }
    }

    /// What is there, to be read.
    pub(super) fn cursor(self, record: &[u8]) -> Cursor<'_> {
        Cursor::within(self.of_record(record), self.end as usize)
    }

    /// The bytes of the record.
    pub(super) fn of_record(self, record: &[u8]) -> &[u8] {
        let bytes = record.get(self.start as usize..self.end as usize);
        bytes.unwrap_or_default()
    }
}

/// No record is as long as 4 GiB.
fn clamp(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The types of values that are no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarType {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum,
}

impl ScalarType {
    /// Nothing where it is a message.
    pub(super) fn of(kind: &Kind) -> Option<Self> {
        Some(match kind {
            Kind::Double => Self::Double,
            Kind::Float => Self::Float,
            Kind::Int32 => Self::Int32,
            Kind::Int64 => Self::Int64,
            Kind::Uint32 => Self::Uint32,
            Kind::Uint64 => Self::Uint64,
            Kind::Sint32 => Self::Sint32,
            Kind::Sint64 => Self::Sint64,
            Kind::Fixed32 => Self::Fixed32,
            Kind::Fixed64 => Self::Fixed64,
            Kind::Sfixed32 => Self::Sfixed32,
            Kind::Sfixed64 => Self::Sfixed64,
            Kind::Bool => Self::Bool,
            Kind::String => Self::String,
            Kind::Bytes => Self::Bytes,
            Kind::Enum(_) => Self::Enum,
            Kind::Message(_) => return None,
        })
    }

    /// How a value of it is written.
    pub(super) fn wire(self) -> Wire {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => Wire::Fixed64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => Wire::Fixed32,
            Self::String | Self::Bytes => Wire::Delimited,
            _ => Wire::Varint,
        }
    }

    /// The value of a field that is not there and does not say so.
    pub(super) fn default_value(self) -> Value {
        match self {
            Self::Double | Self::Float => Value::Number(0.0),
            Self::Bool => Value::Boolean(false),
            Self::String => Value::Text(Place::default()),
            Self::Bytes => Value::Bytes(Place::default()),
            _ => Value::Integer(0),
        }
    }

    /// Reads a value. Bits that the type has no room for are dropped, as the specification says.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, the value goes through memory, which costs a quarter of reading a message"
    )]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "the specification says so"
    )]
    pub(super) fn read(self, cursor: &mut Cursor<'_>) -> Result<Value, Refusal> {
        Ok(match self {
            Self::Double => Value::Number(f64::from_le_bytes(cursor.fixed()?)),
            Self::Float => Value::Number(f64::from(f32::from_le_bytes(cursor.fixed()?))),
            Self::Int32 | Self::Enum => Value::Integer(i64::from(cursor.varint()? as i32)),
            Self::Int64 => Value::Integer(cursor.varint()? as i64),
            Self::Uint32 => Value::Integer(i64::from(cursor.varint()? as u32)),
            Self::Uint64 => unsigned(cursor.varint()?),
            Self::Sint32 => {
                let bits = cursor.varint()? as u32;
                Value::Integer(i64::from((bits >> 1) as i32 ^ -((bits & 1) as i32)))
            }
            Self::Sint64 => {
                let bits = cursor.varint()?;
                Value::Integer((bits >> 1) as i64 ^ -((bits & 1) as i64))
            }
            Self::Fixed32 => Value::Integer(i64::from(u32::from_le_bytes(cursor.fixed()?))),
            Self::Fixed64 => unsigned(u64::from_le_bytes(cursor.fixed()?)),
            Self::Sfixed32 => Value::Integer(i64::from(i32::from_le_bytes(cursor.fixed()?))),
            Self::Sfixed64 => Value::Integer(i64::from_le_bytes(cursor.fixed()?)),
            Self::Bool => Value::Boolean(cursor.varint()? != 0),
            Self::String => Value::Text(Place::of(&cursor.delimited()?)),
            Self::Bytes => Value::Bytes(Place::of(&cursor.delimited()?)),
        })
    }
}

/// A whole number from 0 on.
pub(super) fn unsigned(number: u64) -> Value {
    match i64::try_from(number) {
        Ok(number) => Value::Integer(number),
        Err(_) => Value::Unsigned(number),
    }
}
