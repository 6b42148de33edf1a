//! The files in the folder of a log.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::files::{UNFINISHED, write_atomically};
use super::log::Recovered;
use super::segment::{
    HEADER_BYTES, Header, HeaderError, RECORD_HEADER_BYTES, read_segment, time_of,
};

/// How many digits the name of a segment has, so that names sort as their numbers do.
const DIGITS: usize = 20;
const EXTENSION: &str = ".log";

/// What the writer knows of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// The position of the first record.
    pub(super) first: u64,
    /// The position behind the last record.
    pub(super) end: u64,
    pub(super) bytes: u64,
    /// The time of the first record.
    pub(super) oldest_ms: Option<i64>,
    /// The newest time of its records and all before them; `i64::MIN` where there are none.
    pub(super) newest_ms: i64,
}

impl Segment {
    pub(super) fn records(&self) -> u64 {
        self.end - self.first
    }
}

pub(super) fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:0DIGITS$}{EXTENSION}"))
}

/// The first positions of all segments, in order.
pub(super) fn positions(folder: &Path) -> Result<Vec<u64>, LogError> {
    let mut positions: Vec<_> = names(folder)?
        .iter()
        .filter_map(|name| name.strip_suffix(EXTENSION))
        .filter(|name| name.len() == DIGITS && name.bytes().all(|digit| digit.is_ascii_digit()))
        .filter_map(|name| name.parse().ok())
        .collect();
    positions.sort_unstable();
    Ok(positions)
}

/// Deletes what a crash has left of segments that were being made.
pub(super) fn remove_unfinished(folder: &Path) -> Result<(), LogError> {
    for name in names(folder)? {
        let stem = name.strip_suffix(UNFINISHED);
        if stem.is_some_and(|stem| stem.ends_with(EXTENSION)) {
            delete(&folder.join(name))?;
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>, LogError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            // Our names are UTF-8; others are none of our business.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    read().map_err(LogError::io(folder, "list"))
}

/// Makes a segment without records, durably.
pub(super) fn create_segment(folder: &Path, header: Header) -> Result<PathBuf, LogError> {
    let path = segment_path(folder, header.first);
    write_atomically(&path, &header.to_bytes()).map_err(LogError::io(&path, "create"))?;
    Ok(path)
}

/// Deletes a file; one that is gone is as good.
pub(super) fn delete(path: &Path) -> Result<(), LogError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io(path, "delete")(error))
        }
        _ => Ok(()),
    }
}

/// Opens a segment for reading. The file stands behind the header.
pub(super) fn open(path: &Path, first: u64) -> Result<(File, Header), LogError> {
    let mut file = File::open(path).map_err(LogError::io(path, "open"))?;
    let mut bytes = Vec::new();
    let read = (&mut file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut bytes);
    read.map_err(LogError::io(path, "read"))?;
    let header = Header::read(&bytes).and_then(|header| named(header, first));
    Ok((file, header.map_err(|error| LogError::header(path, error))?))
}

/// That a header is that of the file with this name.
fn named(header: Header, first: u64) -> Result<Header, HeaderError> {
    if header.first == first {
        return Ok(header);
    }
    let reason = format!(
        "it begins with record {}, its name says {first}",
        header.first
    );
    Err(HeaderError::Corrupt { offset: 12, reason })
}

/// Reads the last segment, cuts off what is torn, writes the rest again and syncs it: where a sync has failed
/// before, the system takes for written what it could not write, and would report success for nothing.
pub(super) fn open_last(
    folder: &Path,
    first: u64,
) -> Result<(Segment, Header, Recovered), LogError> {
    let path = segment_path(folder, first);
    let bytes = fs::read(&path).map_err(LogError::io(&path, "read"))?;
    let contents = read_segment(&bytes, |_, _, _| ());
    let contents = contents
        .and_then(|contents| named(contents.header, first).map(|_| contents))
        .map_err(|error| LogError::header(&path, error))?;
    let (whole, torn) = bytes.split_at_checked(contents.end).unwrap_or_default();
    let mend = || -> io::Result<()> {
        let mut file = File::options().write(true).open(&path)?;
        if !torn.is_empty() {
            file.set_len(contents.end as u64)?;
        }
        file.write_all(whole)?;
        file.sync_all()
    };
    mend().map_err(LogError::io(&path, "write again"))?;
    let segment = Segment {
        first,
        end: contents.next,
        bytes: contents.end as u64,
        oldest_ms: contents.oldest_ms,
        newest_ms: contents.newest_ms,
    };
    let recovered = Recovered {
        records: contents.torn,
        bytes: torn.len() as u64,
        damaged: contents.damaged,
    };
    Ok((segment, contents.header, recovered))
}

/// What can be known of a complete segment without reading all of it: its beginning, and the header
/// of the next one. Damage is left to readers; a newer version is not.
pub(super) fn look_at(
    folder: &Path,
    first: u64,
    next: Header,
) -> Result<(Segment, Header), LogError> {
    let path = segment_path(folder, first);
    let begin = || -> io::Result<(u64, Vec<u8>)> {
        let file = File::open(&path)?;
        let mut bytes = Vec::new();
        let length = file.metadata()?.len();
        file.take((HEADER_BYTES + RECORD_HEADER_BYTES) as u64)
            .read_to_end(&mut bytes)?;
        Ok((length, bytes))
    };
    let (bytes, begin) = begin().map_err(LogError::io(&path, "read"))?;
    let header = match Header::read(&begin).and_then(|header| named(header, first)) {
        Ok(header) => header,
        Err(HeaderError::Corrupt { .. }) => Header {
            first,
            after: first,
            newest_ms: next.newest_ms,
        },
        Err(error) => return Err(LogError::header(&path, error)),
    };
    let segment = Segment {
        first,
        end: next.after.max(first),
        bytes,
        oldest_ms: begin.get(HEADER_BYTES..).and_then(time_of),
        newest_ms: next.newest_ms,
    };
    Ok((segment, header))
}
