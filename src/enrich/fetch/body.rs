//! The bytes of a table as they come in.

use std::io::{self, Read};

use prost::bytes::{Buf, Bytes};

use super::waiter::Waiter;
use super::{Failure, LoadError};

/// The bytes of a table: counted, bounded and hashed.
pub(in crate::enrich) struct Body<'a> {
    name: &'a str,
    bytes: Box<dyn Read + 'a>,
    max_bytes: u64,
    length: u64,
    hash: u64,
    failure: Option<LoadError>,
}

/// What tells two contents apart: their length and a hash.
pub(in crate::enrich) type ContentHash = (u64, u64);

impl<'a> Body<'a> {
    pub(super) fn new(name: &'a str, bytes: Box<dyn Read + 'a>, max_bytes: u64) -> Self {
        Self {
            name,
            bytes,
            max_bytes,
            length: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            failure: None,
        }
    }

    /// Why the bytes ended early. A reader above reports that in words of its own, which say less.
    pub(in crate::enrich) fn failure(&mut self) -> Option<LoadError> {
        self.failure.take()
    }

    /// Of what was read so far.
    pub(in crate::enrich) fn content(&self) -> ContentHash {
        (self.length, self.hash)
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match self.bytes.read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let failure = match error.get_ref().and_then(|e| e.downcast_ref::<Broken>()) {
                    Some(Broken(Some(reason))) => Failure::Temporary(reason.clone()),
                    Some(Broken(None)) => Failure::Stopped,
                    None => Failure::Permanent(error.to_string()),
                };
                self.failure = Some(failure.at(self.name));
                return Err(error);
            }
        };
        self.length += length as u64;
        if self.length > self.max_bytes {
            let reason = format!("it is larger than max_bytes, {}", self.max_bytes);
            self.failure = Some(Failure::Permanent(reason.clone()).at(self.name));
            return Err(io::Error::other(reason));
        }
        // FNV-1a, which does not depend on how the bytes are cut.
        for byte in buffer.get(..length).unwrap_or_default() {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(length)
    }
}

/// A connection that broke off, with the reason; without one the lookup was told to end.
#[derive(Debug, thiserror::Error)]
#[error("the connection broke off")]
struct Broken(Option<String>);

/// Gives the next piece of an answer; nothing at its end.
pub(super) type NextChunk<'a> = Box<dyn FnMut(&Waiter) -> Result<Option<Bytes>, Failure> + 'a>;

/// An answer that comes in pieces.
pub(super) struct Chunks<'a> {
    waiter: &'a Waiter,
    next: NextChunk<'a>,
    chunk: Bytes,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(waiter: &'a Waiter, next: NextChunk<'a>) -> Self {
        Self {
            waiter,
            next,
            chunk: Bytes::new(),
        }
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match (self.next)(self.waiter) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => return Ok(0),
                Err(Failure::Temporary(reason) | Failure::Permanent(reason)) => {
                    return Err(io::Error::other(Broken(Some(reason))));
                }
                Err(Failure::Stopped) => return Err(io::Error::other(Broken(None))),
            }
        }
        let length = self.chunk.len().min(buffer.len());
        if let Some(target) = buffer.get_mut(..length) {
            self.chunk.copy_to_slice(target);
        }
        Ok(length)
    }
}
