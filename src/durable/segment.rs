//! The format of a segment: a header, then records, nothing between them.
//!
//! | bytes | header                                             |
//! |-------|----------------------------------------------------|
//! | 8     | `weir log`                                         |
//! | 4     | version of the format                              |
//! | 8     | position of the first record                       |
//! | 8     | position behind the last record before the segment |
//! | 8     | newest time of all records before the segment      |
//! | 4     | CRC-32 of all of this                              |
//!
//! | bytes | record                                             |
//! |-------|----------------------------------------------------|
//! | 4     | length of the payload                              |
//! | 4     | CRC-32 of the record's position, time and payload  |
//! | 8     | time, ms since the epoch                           |
//! | n     | payload                                            |
//!
//! Numbers are little-endian. The position is part of a record's checksum, not of its bytes: so bytes
//! that happen to be a record, but not this one, are noticed.

/// The version of the format that is written, and the newest that is read.
pub const FORMAT_VERSION: u32 = 1;
/// How large a record may be. A length beyond it is damage, and nothing is allocated for it.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"weir log";
pub(super) const HEADER_BYTES: usize = 40;
/// What a record takes beside its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 16;

/// A record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number in the log, from 0.
    pub position: u64,
    /// The time that it was appended with, in ms since the epoch.
    pub time_ms: i64,
    /// What was appended.
    pub bytes: Vec<u8>,
}

/// The beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The position of the first record.
    pub first: u64,
    /// The position behind the last record of the segment before: lower than `first` where positions
    /// were left out.
    pub after: u64,
    /// The newest time of all records before this segment, in ms; `i64::MIN` where there were none.
    pub newest_ms: i64,
}

/// Why something is no beginning of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderError {
    /// A newer format.
    Version {
        /// Its version.
        found: u32,
    },
    /// Something else than a header.
    Corrupt {
        /// Where, in bytes.
        offset: u64,
        /// What is there and what should be.
        reason: String,
    },
}

impl Header {
    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.after.to_le_bytes());
        bytes.extend_from_slice(&self.newest_ms.to_le_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header at the beginning of `bytes`.
    ///
    /// # Errors
    /// It is none, is damaged, or is that of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        let corrupt = |offset, reason: &str| HeaderError::Corrupt {
            offset,
            reason: reason.to_owned(),
        };
        if !bytes.starts_with(&MAGIC) {
            return Err(corrupt(0, "no segment of a log begins like this"));
        }
        // The version comes first: a newer header may be of another size.
        let number = take(bytes, 8).map(u32::from_le_bytes);
        match number {
            Some(found) if found > FORMAT_VERSION => return Err(HeaderError::Version { found }),
            Some(FORMAT_VERSION) => {}
            Some(_) => return Err(corrupt(8, "there has never been such a version")),
            None => return Err(corrupt(8, "the file ends within its header")),
        }
        let (Some(first), Some(after), Some(newest), Some(checksum)) = (
            take(bytes, 12),
            take(bytes, 20),
            take(bytes, 28),
            take(bytes, 36),
        ) else {
            return Err(corrupt(12, "the file ends within its header"));
        };
        let hashed = bytes.get(..36).unwrap_or_default();
        if crc32fast::hash(hashed) != u32::from_le_bytes(checksum) {
            return Err(corrupt(0, "the header is not what its checksum says"));
        }
        Ok(Self {
            first: u64::from_le_bytes(first),
            after: u64::from_le_bytes(after),
            newest_ms: i64::from_le_bytes(newest),
        })
    }
}

fn take<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..from + N)?.try_into().ok()
}

fn checksum(position: u64, time_ms: i64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.update(&time_ms.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Writes a record behind what is in `out`. The payload must not be larger than
/// [`MAX_RECORD_BYTES`], or it cannot be read again.
pub fn write_record(position: u64, time_ms: i64, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.reserve(RECORD_HEADER_BYTES + payload.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(position, time_ms, payload).to_le_bytes());
    out.extend_from_slice(&time_ms.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The time of the record at the beginning of `bytes`, as it is written there.
pub(super) fn time_of(bytes: &[u8]) -> Option<i64> {
    take(bytes, 8).map(i64::from_le_bytes)
}

/// What stands at a place where a record should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// The record, which takes `size` bytes.
    Record {
        time_ms: i64,
        payload: &'a [u8],
        size: usize,
    },
    /// Fewer bytes than the record would take.
    Incomplete { needs: usize },
    /// Something else. `size` is what it would take by its length.
    Broken { size: Option<usize>, reason: String },
}

/// The record at the beginning of `bytes`.
pub(super) fn step(bytes: &[u8], position: u64) -> Step<'_> {
    let (Some(length), Some(expected), Some(time)) =
        (take(bytes, 0), take(bytes, 4), take(bytes, 8))
    else {
        return Step::Incomplete {
            needs: RECORD_HEADER_BYTES,
        };
    };
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_RECORD_BYTES {
        return Step::Broken {
            size: None,
            reason: format!(
                "record {position} is {length} bytes long, which is more than {MAX_RECORD_BYTES}"
            ),
        };
    }
    let size = RECORD_HEADER_BYTES + length;
    let Some(payload) = bytes.get(RECORD_HEADER_BYTES..size) else {
        return Step::Incomplete { needs: size };
    };
    let time_ms = i64::from_le_bytes(time);
    if checksum(position, time_ms, payload) != u32::from_le_bytes(expected) {
        return Step::Broken {
            size: Some(size),
            reason: format!("record {position} is not what its checksum says"),
        };
    }
    Step::Record {
        time_ms,
        payload,
        size,
    }
}

/// The first intact record at `offset` or behind it, as its offset and position: the lengths of the
/// records before it, though damaged, must lead there.
pub(super) fn next_intact(bytes: &[u8], offset: usize, position: u64) -> Option<(usize, u64)> {
    let (mut offset, mut position) = (offset, position);
    loop {
        match step(bytes.get(offset..)?, position) {
            Step::Record { .. } => return Some((offset, position)),
            Step::Broken {
                size: Some(size), ..
            } => {
                offset += size;
                position = position.checked_add(1)?;
            }
            Step::Broken { size: None, .. } | Step::Incomplete { .. } => return None,
        }
    }
}

/// What is in a segment, beside the records themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Its beginning.
    pub header: Header,
    /// The position behind the last intact record.
    pub next: u64,
    /// The offset behind the last intact record, in bytes. What follows is torn.
    pub end: usize,
    /// How many damaged records have an intact one behind them.
    pub damaged: u64,
    /// How many records seem to begin in what is torn.
    pub torn: u64,
    /// The time of the first intact record, in ms.
    pub oldest_ms: Option<i64>,
    /// The newest time of these and all earlier records, in ms; `i64::MIN` where there are none.
    pub newest_ms: i64,
}

/// Reads the bytes of a whole segment and gives each intact record to `take`: position, time, payload.
///
/// # Errors
/// Those of [`Header::read`]. What is behind the header is read as far as it goes.
pub fn read_segment(
    bytes: &[u8],
    mut take: impl FnMut(u64, i64, &[u8]),
) -> Result<Contents, HeaderError> {
    let header = Header::read(bytes)?;
    let mut contents = Contents {
        header,
        next: header.first,
        end: HEADER_BYTES,
        damaged: 0,
        torn: 0,
        oldest_ms: None,
        newest_ms: header.newest_ms,
    };
    while let Some((offset, position)) = next_intact(bytes, contents.end, contents.next) {
        let record = step(bytes.get(offset..).unwrap_or_default(), position);
        let Step::Record {
            time_ms,
            payload,
            size,
        } = record
        else {
            break;
        };
        let Some(next) = position.checked_add(1) else {
            break;
        };
        take(position, time_ms, payload);
        contents.damaged += position - contents.next;
        contents.next = next;
        contents.end = offset + size;
        contents.oldest_ms = contents.oldest_ms.or(Some(time_ms));
        contents.newest_ms = contents.newest_ms.max(time_ms);
    }
    contents.torn = count_torn(bytes, contents.end, contents.next);
    Ok(contents)
}

/// How many records seem to begin behind the last intact one.
fn count_torn(bytes: &[u8], mut offset: usize, position: u64) -> u64 {
    let mut count = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        count += 1;
        match step(rest, position) {
            // Zeros, which a crash may leave behind, are not that many empty records.
            Step::Broken {
                size: Some(size), ..
            } if size > RECORD_HEADER_BYTES => offset += size,
            _ => break,
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1, written without this code: a header (42, 40, 3 November 2024), `first` and an empty
    /// record of -1 ms.
    const VERSION_1: &str = "77656972206c6f67010000002a000000000000002800000000000000083718f1920100002ae6973005000000ebde5b64f03a18f192010000666972737400000000e01b39e5ffffffffffffffff";

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits = hexadecimal.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn read(bytes: &[u8]) -> (Contents, Vec<(u64, i64, Vec<u8>)>) {
        let mut records = Vec::new();
        let contents = read_segment(bytes, |position, time_ms, payload| {
            records.push((position, time_ms, payload.to_vec()));
        });
        (contents.unwrap(), records)
    }

    const HEADER: Header = Header {
        first: 42,
        after: 40,
        newest_ms: 1_730_621_749_000,
    };

    #[test]
    fn version_1_is_read_and_written() {
        let golden = bytes(VERSION_1);
        let (contents, records) = read(&golden);
        let expected = [
            (42, 1_730_621_750_000, b"first".to_vec()),
            (43, -1, Vec::new()),
        ];
        assert_eq!(records, expected);
        let expected = Contents {
            header: HEADER,
            next: 44,
            end: golden.len(),
            damaged: 0,
            torn: 0,
            oldest_ms: Some(1_730_621_750_000),
            newest_ms: 1_730_621_750_000,
        };
        assert_eq!(contents, expected);
        let mut written = HEADER.to_bytes();
        for (position, time_ms, payload) in records {
            write_record(position, time_ms, &payload, &mut written);
        }
        assert_eq!(written, golden);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_a_header_is_noticed() {
        let header = HEADER.to_bytes();
        assert_eq!(Header::read(&header), Ok(HEADER));
        for end in 0..HEADER_BYTES {
            Header::read(&header[..end]).unwrap_err();
        }
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = header.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            Header::read(&flipped).unwrap_err();
        }
        let mut newer = header;
        newer[8] = 2;
        assert_eq!(Header::read(&newer), Err(HeaderError::Version { found: 2 }));
    }

    #[test]
    fn a_length_is_not_believed() {
        for (length, expected) in [
            (u32::MAX, None),
            (64 << 20, Some(RECORD_HEADER_BYTES + (64 << 20))),
            ((64 << 20) + 1, None),
        ] {
            let mut bytes = Vec::new();
            write_record(5, 0, b"x", &mut bytes);
            bytes[..4].copy_from_slice(&u32::to_le_bytes(length));
            match (step(&bytes, 5), expected) {
                (Step::Incomplete { needs }, Some(expected)) => assert_eq!(needs, expected),
                (Step::Broken { size, reason }, None) => {
                    assert_eq!(size, None);
                    let text =
                        format!("record 5 is {length} bytes long, which is more than 67108864");
                    assert_eq!(reason, text);
                }
                (other, _) => panic!("{length}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_record_is_one_at_its_position_only() {
        let mut bytes = Vec::new();
        write_record(5, 0, b"x", &mut bytes);
        assert!(matches!(step(&bytes, 5), Step::Record { size: 17, .. }));
        let broken = Step::Broken {
            size: Some(17),
            reason: "record 6 is not what its checksum says".to_owned(),
        };
        assert_eq!(step(&bytes, 6), broken);
    }

    #[test]
    fn damage_is_told_from_a_torn_end() {
        let mut bytes = HEADER.to_bytes();
        let mut ends = vec![bytes.len()];
        for position in 42..47 {
            write_record(position, 0, b"payload", &mut bytes);
            ends.push(bytes.len());
        }
        // Two records in the middle: the one behind them is found by their lengths.
        let mut damaged = bytes.clone();
        damaged[ends[1] + 20] ^= 4;
        damaged[ends[3] - 1] ^= 4;
        let (contents, records) = read(&damaged);
        let positions: Vec<_> = records.iter().map(|record| record.0).collect();
        assert_eq!(positions, [42, 45, 46]);
        assert_eq!((contents.damaged, contents.torn, contents.next), (2, 0, 47));
        // A length: what is behind it cannot be found.
        let mut damaged = bytes.clone();
        damaged[ends[1] + 1] ^= 4;
        let (contents, records) = read(&damaged);
        assert_eq!(records.len(), 1);
        assert_eq!((contents.damaged, contents.torn, contents.next), (0, 1, 43));
        assert_eq!(contents.end, ends[1]);
        // The last two, and zeros.
        let mut damaged = bytes.clone();
        damaged[ends[3] + 20] ^= 4;
        damaged[ends[4] + 20] ^= 4;
        damaged.extend_from_slice(&[0; 100]);
        let (contents, records) = read(&damaged);
        assert_eq!(records.len(), 3);
        assert_eq!((contents.damaged, contents.torn, contents.next), (0, 3, 45));
        assert_eq!(contents.end, ends[3]);
    }
}
