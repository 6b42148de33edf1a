//! A checkpoint that was read: whole, or not at all.

use std::io;
use std::thread;

use super::chunk;
use super::error::StateError;
use super::manifest::{Blob, Chunk, Entry, Manifest, damaged};
use super::store::{Store, StoreErrorKind};

/// How many blobs are read at once: a bucket has more to give than one connection takes.
const READERS: usize = 4;

/// The state of a pipeline at one moment, with all of its bytes as they were stored. Its checksums
/// have been checked.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Its number.
    pub number: u64,
    /// When it was taken.
    pub created_ms: i64,
    /// Up to when every sample was acknowledged then, ms since the epoch, where that is known.
    pub acknowledged_ms: Option<i64>,
    /// The weir that has written it.
    pub weir_version: String,
    /// The pipeline.
    pub pipeline: String,
    /// The process that has written it.
    pub writer: String,
    what: String,
    manifest: Manifest,
    /// The bytes of the manifest's blobs.
    blobs: Vec<Vec<u8>>,
}

impl Checkpoint {
    /// Reads the blobs of a manifest from their folder. What it is goes into messages.
    pub(super) fn load(
        store: &dyn Store,
        folder: &str,
        what: String,
        manifest: Manifest,
    ) -> Result<Self, StateError> {
        let blobs = read_all(store, folder, &what, &manifest)?;
        Self::of(what, manifest, blobs)
    }

    /// Puts a checkpoint together of what was read.
    pub(super) fn of(
        what: String,
        manifest: Manifest,
        blobs: Vec<Vec<u8>>,
    ) -> Result<Self, StateError> {
        let checkpoint = Self {
            number: manifest.number,
            created_ms: manifest.created_ms,
            acknowledged_ms: manifest.acknowledged_ms,
            weir_version: manifest.weir_version.clone(),
            pipeline: manifest.pipeline.clone(),
            writer: manifest.writer.clone(),
            what,
            manifest,
            blobs,
        };
        checkpoint.verify()?;
        Ok(checkpoint)
    }

    /// Its parts, in the order in which they were added.
    pub fn entries(&self) -> &[Entry] {
        &self.manifest.entries
    }

    /// How many bytes are stored for its parts.
    pub fn stored_bytes(&self) -> u64 {
        self.manifest.stored_bytes()
    }

    /// The bytes of one of its entries, as they were added.
    ///
    /// # Errors
    /// The entry is of another checkpoint.
    pub fn read(&self, entry: &Entry) -> Result<Vec<u8>, StateError> {
        let mut bytes = Vec::with_capacity(usize::try_from(entry.bytes).unwrap_or_default());
        for one in &entry.chunks {
            let unpacked = self
                .stored(one)
                .ok_or_else(|| "it is not there".to_owned())
                .and_then(|stored| chunk::restore(stored, one.snappy, one.content, &mut bytes));
            unpacked.map_err(|reason| self.damaged(entry, &reason))?;
        }
        Ok(bytes)
    }

    /// Which parts it has, and where they are.
    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of the manifest's blobs.
    pub(super) fn blobs(&self) -> &[Vec<u8>] {
        &self.blobs
    }

    /// The bytes of a chunk as they are stored.
    pub(super) fn stored(&self, chunk: &Chunk) -> Option<&[u8]> {
        let from = usize::try_from(chunk.offset).ok()?;
        let end = from.checked_add(usize::try_from(chunk.stored).ok()?)?;
        self.blobs.get(chunk.blob)?.get(from..end)
    }

    fn verify(&self) -> Result<(), StateError> {
        for entry in self.entries() {
            for chunk in &entry.chunks {
                let stored = self.stored(chunk);
                if stored.is_none_or(|stored| crc32fast::hash(stored) != chunk.crc) {
                    return Err(self.damaged(entry, "its checksum is wrong"));
                }
            }
        }
        Ok(())
    }

    fn damaged(&self, entry: &Entry, reason: &str) -> StateError {
        damaged(
            &self.what,
            format!("{}/{}: {reason}", entry.stage, entry.part),
        )
    }
}

/// The bytes of all blobs, in the manifest's order.
fn read_all(
    store: &dyn Store,
    folder: &str,
    what: &str,
    manifest: &Manifest,
) -> Result<Vec<Vec<u8>>, StateError> {
    let blobs = &manifest.blobs;
    let read = |reader: usize, readers: usize| -> Result<Vec<Vec<u8>>, StateError> {
        let mine = blobs.iter().skip(reader).step_by(readers);
        mine.map(|blob| read_one(store, folder, what, blob))
            .collect()
    };
    let readers = blobs.len().min(READERS);
    if readers <= 1 {
        return read(0, 1);
    }
    let shares = thread::scope(|scope| -> io::Result<Vec<_>> {
        let read = &read;
        let threads = (0..readers).map(|reader| {
            let name = format!("state-read-{reader}");
            thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || read(reader, readers))
        });
        let threads: Vec<_> = threads.collect::<io::Result<_>>()?;
        let ended = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(damaged(what, "reading it has panicked")))
        });
        Ok(ended.collect())
    });
    let Ok(shares) = shares else {
        // No more threads are to be had.
        return read(0, 1);
    };
    let mut shares: Vec<_> = shares
        .into_iter()
        .map(|share| Ok(share?.into_iter()))
        .collect::<Result<_, StateError>>()?;
    let mut all = Vec::with_capacity(blobs.len());
    for index in 0..blobs.len() {
        all.extend(shares.get_mut(index % readers).and_then(Iterator::next));
    }
    Ok(all)
}

fn read_one(
    store: &dyn Store,
    folder: &str,
    what: &str,
    blob: &Blob,
) -> Result<Vec<u8>, StateError> {
    let name = format!("{folder}{}", blob.name);
    let bytes = match store.get(&name) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(damaged(what, format!("{name} is missing"))),
        Err(error) if error.kind == StoreErrorKind::Corrupt => {
            return Err(damaged(what, error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    if bytes.len() as u64 != blob.bytes {
        let reason = format!(
            "{name} has {} bytes in place of {}",
            bytes.len(),
            blob.bytes
        );
        return Err(damaged(what, reason));
    }
    Ok(bytes)
}
