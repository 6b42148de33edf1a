//! The wire format of protobuf (<https://protobuf.dev/programming-guides/encoding/>).

use super::super::events::Refusal;
use super::super::metrics::Reason;
use crate::model::protobuf::varint;

/// How deep groups may be nested that nobody looks at.
const MAX_GROUPS: usize = 100;

/// How the value behind a tag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// A number in groups of seven bits.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// A length and as many bytes.
    Delimited,
    /// Fields up to the end of the group.
    Group,
    /// The end of a group.
    GroupEnd,
    /// Four bytes.
    Fixed32,
}

/// What is left of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'b> {
    rest: &'b [u8],
    /// Where the message ends in its record.
    end: usize,
}

impl<'b> Cursor<'b> {
    /// A whole record.
    pub(super) fn new(record: &'b [u8]) -> Self {
        Self {
            rest: record,
            end: record.len(),
        }
    }

    /// A part of a record, which ends there.
    pub(super) fn within(part: &'b [u8], end: usize) -> Self {
        Self { rest: part, end }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bytes(&self) -> &'b [u8] {
        self.rest
    }

    /// Where in the record the next byte stands.
    pub(super) fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    #[cold]
    fn cut_off(&self) -> Refusal {
        self.broken("cut off")
    }

    #[cold]
    fn broken(&self, what: &str) -> Refusal {
        let at = self.position();
        (Reason::Malformed, format!("{what} at byte {at}"))
    }

    /// The number of the next field, and how its value is written.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, the result goes through memory"
    )]
    pub(super) fn tag(&mut self) -> Result<(u32, Wire), Refusal> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(u32::MAX);
        if number == 0 || number > 0x1fff_ffff {
            return Err(self.broken("no number of a field"));
        }
        let wire = match tag & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Delimited,
            3 => Wire::Group,
            4 => Wire::GroupEnd,
            5 => Wire::Fixed32,
            _ => return Err(self.broken("no type of a field")),
        };
        Ok((number, wire))
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Refusal> {
        varint(&mut self.rest).map_err(|_| self.cut_off())
    }

    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.cut_off());
        };
        self.rest = rest;
        Ok(*bytes)
    }

    /// The bytes behind a length, which may claim anything.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, the result goes through memory"
    )]
    pub(super) fn delimited(&mut self) -> Result<Self, Refusal> {
        let length = self.varint()?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((inner, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.cut_off());
        };
        self.rest = rest;
        Ok(Self {
            rest: inner,
            end: self.position(),
        })
    }

    /// The fields of a group that has begun.
    pub(super) fn group(&mut self, number: u32) -> Result<Self, Refusal> {
        self.group_at(number, 1)
    }

    fn group_at(&mut self, number: u32, depth: usize) -> Result<Self, Refusal> {
        if depth > MAX_GROUPS {
            return Err(self.broken("groups nested too deep"));
        }
        let start = self.rest;
        loop {
            let (before, end) = (self.rest, self.position());
            let (found, wire) = self.tag()?;
            if wire != Wire::GroupEnd {
                self.skip_at(found, wire, depth)?;
                continue;
            }
            if found != number {
                return Err(self.broken("the end of another group"));
            }
            let rest = start.get(..start.len() - before.len());
            let rest = rest.unwrap_or_default();
            return Ok(Self { rest, end });
        }
    }

    /// Passes over a value.
    #[inline]
    pub(super) fn skip(&mut self, number: u32, wire: Wire) -> Result<(), Refusal> {
        self.skip_at(number, wire, 0)
    }

    fn skip_at(&mut self, number: u32, wire: Wire, depth: usize) -> Result<(), Refusal> {
        match wire {
            Wire::Varint => drop(self.varint()?),
            Wire::Fixed64 => drop(self.fixed::<8>()?),
            Wire::Fixed32 => drop(self.fixed::<4>()?),
            Wire::Delimited => drop(self.delimited()?),
            Wire::Group => drop(self.group_at(number, depth + 1)?),
            Wire::GroupEnd => return Err(self.broken("the end of a group that has not begun")),
        }
        Ok(())
    }
}
