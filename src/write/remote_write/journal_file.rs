//! A file of a shard's journal.
//!
//! `weirjrnl` and a version byte; then records, each the length of its content and its CRC-32 (4 bytes
//! each), and the content: a kind, the number of the request, and for a request its samples. A file
//! ends where a record is cut off or does not match its checksum: what was being written when the
//! process or the machine died was not acted upon yet.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use crate::model::{Corrupt, Decoder, Sample};
use crate::write::samples::read_samples;

/// The first bytes of every file, the version last.
const HEADER: [u8; 9] = *b"weirjrnl\x01";

/// The length and the checksum of a record.
const FRAME_BYTES: usize = 8;

const REQUEST: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;

/// What a journal says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// These samples are about to be sent.
    Request {
        /// The request; a shard never uses a number twice.
        number: u64,
        /// The samples.
        samples: Vec<Sample>,
    },
    /// The receiver has taken the request, or refused it for good.
    Acknowledgement {
        /// The request.
        number: u64,
    },
}

/// The bytes of a request's record; `samples` as a `SampleWriter` writes them.
pub(super) fn request(number: u64, samples: &[u8]) -> Vec<u8> {
    record(REQUEST, number, samples)
}

/// The bytes of an acknowledgement's record.
pub(super) fn acknowledgement(number: u64) -> Vec<u8> {
    record(ACKNOWLEDGEMENT, number, &[])
}

fn record(kind: u8, number: u64, rest: &[u8]) -> Vec<u8> {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&[kind]);
    checksum.update(&number.to_le_bytes());
    checksum.update(rest);
    // Requests are bounded to 32 MiB, and their samples take less than a few times that here.
    let length = u32::try_from(1 + size_of::<u64>() + rest.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(FRAME_BYTES + length as usize);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum.finalize().to_le_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

/// A file that records are added to.
#[derive(Debug)]
pub(super) struct JournalFile {
    pub(super) file: File,
    /// How much of it is records, in bytes.
    length: u64,
    /// Whether there may be a part of a record behind them.
    is_torn: bool,
    sync: bool,
}

impl JournalFile {
    /// Opens or creates a file, and cuts off what is no record. With `sync`, what is added is on the
    /// disk once it was added.
    ///
    /// # Errors
    /// The file cannot be read or written, or is of another version.
    pub(super) fn open(path: &Path, sync: bool) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let length = read(path, |_| {})?.records;
        let mut opened = Self {
            file,
            length,
            is_torn: true,
            sync,
        };
        if length == 0 {
            opened.append(&HEADER)?;
            if let (true, Some(folder)) = (sync, path.parent()) {
                // Else a power cut could take the name of the file away.
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(opened)
    }

    /// Adds a record, and has it on the disk with `sync`.
    ///
    /// # Errors
    /// The disk is full or fails; the record then is not there for anyone.
    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.mend()?;
        self.is_torn = true;
        self.file.write_all(record)?;
        if self.sync {
            self.file.sync_data()?;
        }
        self.length += record.len() as u64;
        self.is_torn = false;
        Ok(())
    }

    /// Adds a record that may be lost in a power cut.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(super) fn append_unsynced(&mut self, record: &[u8]) -> io::Result<()> {
        self.mend()?;
        self.is_torn = true;
        self.file.write_all(record)?;
        self.length += record.len() as u64;
        self.is_torn = false;
        Ok(())
    }

    /// Cuts off what a failed write has left: a record behind it would never be read.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        Ok(())
    }
}

/// How much of a file could be read, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Up to the end of the last whole record; 0 where not even the header is whole.
    pub(super) records: u64,
    /// The length of the file.
    pub(super) file: u64,
}

/// Reads a file's records one by one.
///
/// # Errors
/// The file cannot be read, is of another version, or has a record that matches its checksum and
/// cannot be understood.
pub(super) fn read(path: &Path, mut each: impl FnMut(Record)) -> io::Result<Extent> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut from = BufReader::with_capacity(1 << 20, file);
    let mut extent = Extent {
        records: 0,
        file: length,
    };
    let mut header = [0; HEADER.len()];
    if !fill(&mut from, &mut header)? {
        return Ok(extent);
    }
    if header != HEADER {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no journal, or one of another version of weir; a fresh start empties it",
        ));
    }
    extent.records = HEADER.len() as u64;
    let mut content = Vec::new();
    loop {
        let mut sizes = [0; FRAME_BYTES];
        if !fill(&mut from, &mut sizes)? {
            return Ok(extent);
        }
        let [a, b, c, d, e, f, g, h] = sizes;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        let checksum = u32::from_le_bytes([e, f, g, h]);
        let end = extent.records + FRAME_BYTES as u64 + size;
        if end > length {
            return Ok(extent);
        }
        content.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
        if !fill(&mut from, &mut content)? || crc32fast::hash(&content) != checksum {
            return Ok(extent);
        }
        let record = decode(&content).map_err(|error| {
            let message = format!("the record at byte {}: {error}", extent.records);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        each(record);
        extent.records = end;
    }
}

/// Whether there were enough bytes.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn decode(content: &[u8]) -> Result<Record, Corrupt> {
    let mut from = Decoder::new(content);
    let kind = from.u8()?;
    let number = from.u64()?;
    let record = match kind {
        REQUEST => Record::Request {
            number,
            samples: read_samples(&mut from)?,
        },
        ACKNOWLEDGEMENT => Record::Acknowledgement { number },
        other => return Err(from.corrupt(format!("kind {other} is none of 1 and 2"))),
    };
    from.end()?;
    Ok(record)
}
