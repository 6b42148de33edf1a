//! A file of a shard's journal.
//!
//! `weirjrnl` and a version byte; then records in [frames](super::frame): a kind, the number of the
//! request, and for a request its samples. A file ends where a record is cut off or does not match its
//! checksum: what was being written when the process or the machine died was not acted upon yet.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use crate::model::{Corrupt, Decoder, Sample};
use crate::write::samples::read_samples;

use super::frame::{Frames, frame};

/// The first bytes of every file, the version last.
const HEADER: [u8; 9] = *b"weirjrnl\x01";

const REQUEST: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;

/// What a journal says.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::write::remote_write) enum Record {
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

impl Record {
    /// The request that it is about.
    pub(in crate::write::remote_write) fn number(&self) -> u64 {
        let (Self::Request { number, .. } | Self::Acknowledgement { number }) = self;
        *number
    }
}

/// The bytes of a request's record; `samples` as a `SampleWriter` writes them.
pub(in crate::write::remote_write) fn request(number: u64, samples: &[u8]) -> Vec<u8> {
    record(REQUEST, number, samples)
}

/// The bytes of an acknowledgement's record.
pub(in crate::write::remote_write) fn acknowledgement(number: u64) -> Vec<u8> {
    record(ACKNOWLEDGEMENT, number, &[])
}

fn record(kind: u8, number: u64, rest: &[u8]) -> Vec<u8> {
    frame(&[&[kind], &number.to_le_bytes(), rest])
}

/// A file that records are added to.
#[derive(Debug)]
pub(in crate::write::remote_write) struct JournalFile {
    pub(in crate::write::remote_write) file: File,
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
    pub(in crate::write::remote_write) fn open(path: &Path, sync: bool) -> io::Result<Self> {
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

    /// How much of it is records, in bytes.
    pub(in crate::write::remote_write) fn length(&self) -> u64 {
        self.length
    }

    /// Adds a record, and has it on the disk with `sync`.
    ///
    /// # Errors
    /// The disk is full or fails; the record then is not there for anyone.
    pub(in crate::write::remote_write) fn append(&mut self, record: &[u8]) -> io::Result<()> {
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
    pub(in crate::write::remote_write) fn append_unsynced(
        &mut self,
        record: &[u8],
    ) -> io::Result<()> {
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
pub(in crate::write::remote_write) struct Extent {
    /// Up to the end of the last whole record; 0 where not even the header is whole.
    pub(in crate::write::remote_write) records: u64,
    /// The length of the file.
    pub(in crate::write::remote_write) file: u64,
}

/// Reads a file's records one by one.
///
/// # Errors
/// The file cannot be read, is of another version, or has a record that matches its checksum and
/// cannot be understood.
pub(in crate::write::remote_write) fn read(
    path: &Path,
    mut each: impl FnMut(Record),
) -> io::Result<Extent> {
    read_contents(path, |content| {
        each(decode(content)?);
        Ok(())
    })
}

/// Reads only the numbers of a file's requests, which takes a fraction of the time.
///
/// # Errors
/// Those of [`read`].
pub(in crate::write::remote_write) fn read_numbers(
    path: &Path,
    mut each: impl FnMut(u64),
) -> io::Result<Extent> {
    read_contents(path, |content| {
        let mut from = Decoder::new(content);
        from.u8()?;
        each(from.u64()?);
        Ok(())
    })
}

fn read_contents(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), Corrupt>,
) -> io::Result<Extent> {
    let file = File::open(path)?;
    let mut extent = Extent {
        records: 0,
        file: file.metadata()?.len(),
    };
    let from = BufReader::with_capacity(1 << 20, file);
    let Some((header, mut frames)) = Frames::open(from, extent.file)? else {
        return Ok(extent);
    };
    if header != HEADER {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no journal, or one of another version of weir; a fresh start empties it",
        ));
    }
    loop {
        extent.records = frames.end();
        let Some(content) = frames.next()? else {
            return Ok(extent);
        };
        each(content).map_err(|error| {
            let message = format!("the record at byte {}: {error}", extent.records);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
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
