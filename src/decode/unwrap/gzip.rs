//! gzip (RFC 1952): one inflater for all records, since a new one is more work than most of them.

use flate2::{Decompress, FlushDecompress, Status};

use super::super::events::Refusal;
use super::{cannot, make_room};

/// Flags of a member's head.
const HEAD_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Expands what gzip has compressed.
#[derive(Debug)]
pub(super) struct Gunzip(Decompress);

impl Gunzip {
    pub(super) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// Appends the data of all members; everything together is at most `limit` bytes.
    ///
    /// # Errors
    /// It is damaged, or becomes longer.
    pub(super) fn expand(
        &mut self,
        mut bytes: &[u8],
        limit: usize,
        expanded: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        loop {
            let data = data(bytes).ok_or_else(|| damaged("no head of a member"))?;
            let rest = self.inflate(data, limit, expanded)?;
            bytes = rest;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Appends the data of a member, and gives what stands behind the member.
    fn inflate<'b>(
        &mut self,
        data: &'b [u8],
        limit: usize,
        expanded: &mut Vec<u8>,
    ) -> Result<&'b [u8], Refusal> {
        self.0.reset(false);
        let start = expanded.len();
        let mut written = start;
        let mut rest = data;
        loop {
            make_room(expanded, start, written, limit)?;
            let room = expanded.get_mut(written..).unwrap_or_default();
            let before = (self.0.total_in(), self.0.total_out());
            let status = self.0.decompress(rest, room, FlushDecompress::None);
            let status = status.map_err(|error| damaged(&error.to_string()))?;
            let read = usize::try_from(self.0.total_in() - before.0).unwrap_or(usize::MAX);
            let gave = usize::try_from(self.0.total_out() - before.1).unwrap_or(usize::MAX);
            rest = rest.get(read..).unwrap_or_default();
            written = written.saturating_add(gave);
            if status == Status::StreamEnd {
                break;
            }
            if read == 0 && gave == 0 {
                return Err(damaged("cut off"));
            }
        }
        expanded.truncate(written);
        let (trailer, behind) = rest.split_at_checked(8).ok_or_else(|| damaged("cut off"))?;
        let data = expanded.get(start..).unwrap_or_default();
        let length = u32::try_from(data.len() as u64 & u64::from(u32::MAX)).unwrap_or_default();
        let expected = [crc32fast::hash(data).to_le_bytes(), length.to_le_bytes()];
        if expected.as_flattened() != trailer {
            return Err(damaged("wrong checksum"));
        }
        Ok(behind)
    }
}

/// What stands behind a member's head.
fn data(bytes: &[u8]) -> Option<&[u8]> {
    // Magic number, method, flags, time, how well it was compressed, where.
    let (head, mut rest) = bytes.split_at_checked(10)?;
    let [0x1f, 0x8b, 8, flags, ..] = *head else {
        return None;
    };
    if flags & RESERVED != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            let end = memchr::memchr(0, rest)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & HEAD_CRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

fn damaged(detail: &str) -> Refusal {
    cannot("gzip", detail)
}
