//! What protobuf is made of.

use super::super::events::Refusal;
use super::super::metrics::Reason;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'b> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'b [u8]),
    Fixed32([u8; 4]),
}

/// The fields of a message, in their order; ends behind the first that is broken.
#[derive(Debug)]
pub(super) struct Fields<'b> {
    rest: &'b [u8],
}

pub(super) fn broken(message: impl Into<String>) -> Refusal {
    (Reason::Malformed, message.into())
}

impl<'b> Fields<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    fn cut_off() -> Refusal {
        broken("cut off within a field")
    }

    fn varint(&mut self) -> Result<u64, Refusal> {
        let mut number = 0;
        for (byte, shift) in self.rest.iter().zip((0..64_u32).step_by(7)) {
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                let read = shift as usize / 7 + 1;
                self.rest = self.rest.get(read..).unwrap_or_default();
                return Ok(number);
            }
        }
        match self.rest.len() {
            0..10 => Err(Self::cut_off()),
            _ => Err(broken("a number of more than 10 bytes")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(Self::cut_off)?;
        self.rest = rest;
        Ok(*array)
    }

    fn field(&mut self) -> Result<(u64, Value<'b>), Refusal> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.array()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Self::cut_off())?;
                let split = self.rest.split_at_checked(length);
                let (bytes, rest) = split.ok_or_else(Self::cut_off)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(self.array()?),
            other => return Err(broken(format!("a field of wire type {other}"))),
        };
        match tag >> 3 {
            0 => Err(broken("a field of number 0")),
            number => Ok((number, value)),
        }
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u64, Value<'b>), Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
