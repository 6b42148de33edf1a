//! The format of a savepoint's file.
//!
//! A line with `weir savepoint` and the format's number, the manifest's length (8 bytes,
//! little-endian), the manifest, and the bytes of its blobs in its order.

use std::io::{self, Read, Write};

use super::checkpoint::Checkpoint;
use super::error::StateError;
use super::manifest::{Manifest, damaged};

const MAGIC: &str = "weir savepoint ";
const FORMAT: u32 = 1;
/// The longest first line that is read.
const LINE_BYTES: usize = 64;

/// Writes a savepoint's file. Returns how many bytes it has.
pub(super) fn write(checkpoint: &Checkpoint, out: &mut dyn Write) -> Result<u64, StateError> {
    let manifest = checkpoint.manifest().encode("a savepoint's file")?;
    let line = format!("{MAGIC}{FORMAT}\n");
    let length = (manifest.len() as u64).to_le_bytes();
    let mut bytes = 0;
    let head: [&[u8]; 3] = [line.as_bytes(), &length, &manifest];
    let blobs = checkpoint.blobs().iter().map(Vec::as_slice);
    for section in head.into_iter().chain(blobs) {
        out.write_all(section).map_err(|error| failure(&error))?;
        bytes += section.len() as u64;
    }
    out.flush().map_err(|error| failure(&error))?;
    Ok(bytes)
}

/// Reads a savepoint's file.
pub(super) fn read(from: &mut dyn Read) -> Result<Checkpoint, StateError> {
    let what = "a savepoint's file";
    let line = read_line(from)?;
    let format = line
        .strip_prefix(MAGIC)
        .and_then(|format| format.parse::<u32>().ok());
    match format {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => {
            return Err(StateError::Newer {
                what: what.to_owned(),
                found,
                known: FORMAT,
                weir_version: None,
            });
        }
        _ => return Err(damaged(what, "it does not begin as one")),
    }
    let mut length = [0; 8];
    from.read_exact(&mut length)
        .map_err(|error| cut_off(what, &error))?;
    let manifest = take(from, u64::from_le_bytes(length), what)?;
    let manifest = Manifest::decode(what, &manifest)?;
    let blobs = manifest
        .blobs
        .iter()
        .map(|blob| take(from, blob.bytes, what));
    let blobs = blobs.collect::<Result<_, _>>()?;
    if from.read(&mut [0]).map_err(|error| failure(&error))? > 0 {
        return Err(damaged(what, "it goes on behind its end"));
    }
    Checkpoint::of(what.to_owned(), manifest, blobs)
}

fn read_line(from: &mut dyn Read) -> Result<String, StateError> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LINE_BYTES && from.read(&mut byte).map_err(|error| failure(&error))? > 0 {
        if byte == *b"\n" {
            break;
        }
        line.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The next bytes. A length is not believed before they are there.
fn take(from: &mut dyn Read, length: u64, what: &str) -> Result<Vec<u8>, StateError> {
    let mut bytes = Vec::new();
    from.take(length)
        .read_to_end(&mut bytes)
        .map_err(|error| failure(&error))?;
    if bytes.len() as u64 != length {
        let missing = length - bytes.len() as u64;
        return Err(damaged(
            what,
            format!("it was cut off: {missing} bytes are missing"),
        ));
    }
    Ok(bytes)
}

fn cut_off(what: &str, error: &io::Error) -> StateError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(what, "it was cut off"),
        _ => failure(error),
    }
}

fn failure(error: &io::Error) -> StateError {
    StateError::File {
        reason: error.to_string(),
    }
}
