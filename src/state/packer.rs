//! Puts many small pieces of bytes into few blobs.

use super::error::StateError;
use super::manifest::Blob;
use super::names;
use super::store::Store;

/// A blob of as many bytes is complete.
const BLOB_BYTES: usize = 8 << 20;

/// Puts bytes into a folder of the store, together in blobs, and lists the blobs for a manifest.
#[derive(Debug)]
pub(super) struct Packer {
    folder: String,
    number: u64,
    epoch: u64,
    /// Those of the manifest: own ones, and of earlier checkpoints.
    blobs: Vec<Blob>,
    /// The one that is being filled, of `blobs`, and what is in it.
    open: Option<usize>,
    buffer: Vec<u8>,
    /// The own ones, also those whose put has failed: it may have written something.
    own: Vec<String>,
    new_bytes: u64,
}

impl Packer {
    /// Puts blobs into `folder`.
    pub(super) fn new(folder: String, number: u64, epoch: u64) -> Self {
        Self {
            folder,
            number,
            epoch,
            blobs: Vec::new(),
            open: None,
            buffer: Vec::new(),
            own: Vec::new(),
            new_bytes: 0,
        }
    }

    /// Stores bytes; returns the blob and the offset in it.
    pub(super) fn add(
        &mut self,
        store: &dyn Store,
        stored: &[u8],
    ) -> Result<(usize, u64), StateError> {
        let blob = *self.open.get_or_insert_with(|| {
            let name = names::blob(self.number, self.epoch, self.own.len());
            self.own.push(name.clone());
            self.blobs.push(Blob { name, bytes: 0 });
            self.blobs.len() - 1
        });
        let offset = self.buffer.len() as u64;
        self.buffer.extend_from_slice(stored);
        if self.buffer.len() >= BLOB_BYTES {
            self.flush(store)?;
        }
        Ok((blob, offset))
    }

    /// The place of a blob that exists.
    pub(super) fn refer(&mut self, blob: &Blob) -> usize {
        let known = self.blobs.iter().rposition(|known| known.name == blob.name);
        known.unwrap_or_else(|| {
            self.blobs.push(blob.clone());
            self.blobs.len() - 1
        })
    }

    /// Puts the blob that is being filled.
    pub(super) fn flush(&mut self, store: &dyn Store) -> Result<(), StateError> {
        let Some(blob) = self.open.take().and_then(|open| self.blobs.get_mut(open)) else {
            return Ok(());
        };
        blob.bytes = self.buffer.len() as u64;
        self.new_bytes += blob.bytes;
        let put = store.put(&format!("{}{}", self.folder, blob.name), &self.buffer);
        self.buffer.clear();
        Ok(put?)
    }

    /// The blobs that it has put or tried to put, without their folder.
    pub(super) fn own(&self) -> &[String] {
        &self.own
    }

    /// How many bytes were put.
    pub(super) fn new_bytes(&self) -> u64 {
        self.new_bytes
    }

    /// All blobs, for the manifest.
    pub(super) fn into_blobs(self) -> Vec<Blob> {
        self.blobs
    }
}
