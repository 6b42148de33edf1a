//! A checkpoint that is being written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checkpoints::Checkpoints;
use super::chunk::{self, CHUNK_BYTES};
use super::error::StateError;
use super::manifest::{Blob, Chunk, Content, Entry, Manifest, damaged};
use super::names;
use super::packer::Packer;
use super::store::{Store, StoreErrorKind};

/// What is said of a checkpoint when it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The time of its cut.
    pub created_ms: i64,
    /// Up to when every sample was formed and acknowledged at its cut, ms since the epoch: whoever
    /// goes on from it sends nothing of that time or before it.
    pub acknowledged_ms: Option<i64>,
    /// This weir.
    pub weir_version: String,
}

/// A checkpoint that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its number.
    pub number: u64,
    /// How many bytes are stored for all of its parts, also those that it shares.
    pub bytes: u64,
    /// How many bytes were put for it, with its manifest.
    pub new_bytes: u64,
    /// The oldest checkpoint that is still there: what is older need not be kept anywhere.
    pub oldest_kept: u64,
}

/// A chunk with its blob, wherever it is used.
#[derive(Debug, Clone)]
pub(super) struct Held {
    blob: Arc<Blob>,
    chunk: Chunk,
}

/// What tells an immutable piece from all others of this process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PieceKey {
    stage: String,
    part: String,
    piece: u64,
}

impl Held {
    /// All chunks of a manifest by their content.
    pub(super) fn all(manifest: &Manifest) -> BTreeMap<Content, Self> {
        let blobs: Vec<_> = manifest.blobs.iter().cloned().map(Arc::new).collect();
        let chunks = manifest.entries.iter().flat_map(|entry| &entry.chunks);
        let held = chunks.filter_map(|chunk| Self::of(chunk, &blobs));
        held.map(|held| (held.chunk.content, held)).collect()
    }

    fn of(chunk: &Chunk, blobs: &[Arc<Blob>]) -> Option<Self> {
        let blob = Arc::clone(blobs.get(chunk.blob)?);
        Some(Self {
            blob,
            chunk: *chunk,
        })
    }
}

/// A checkpoint that is being written. Its bytes go to the store as they come; it exists when
/// [`commit`](Self::commit) has returned.
#[derive(Debug)]
pub struct Draft<'c> {
    checkpoints: &'c mut Checkpoints,
    store: Arc<dyn Store>,
    number: u64,
    packer: Packer,
    entries: Vec<Entry>,
    /// What was stored for this checkpoint or is referred to by it, by its content.
    contents: BTreeMap<Content, Chunk>,
    pieces: BTreeMap<PieceKey, Vec<Chunk>>,
}

impl<'c> Draft<'c> {
    pub(super) fn new(checkpoints: &'c mut Checkpoints, number: u64) -> Self {
        let folder = names::data(&checkpoints.identity.pipeline);
        let packer = Packer::new(folder, number, checkpoints.identity.epoch);
        Self {
            store: Arc::clone(&checkpoints.store),
            checkpoints,
            number,
            packer,
            entries: Vec::new(),
            contents: BTreeMap::new(),
            pieces: BTreeMap::new(),
        }
    }

    /// Adds a part. Where the checkpoint before holds the same bytes, they are not stored again.
    ///
    /// # Errors
    /// The store does not take them.
    pub fn add(
        &mut self,
        stage: &str,
        part: &str,
        bytes: impl AsRef<[u8]>,
    ) -> Result<(), StateError> {
        let chunks = self.chunks(bytes.as_ref())?;
        self.push(stage, part, chunks);
        Ok(())
    }

    /// Adds a piece of a part, which never changes: a piece that the checkpoint before holds, and this
    /// process has put, is only referred to, and not even encoded. Its number has to be unique among
    /// all pieces that this part ever has in this process.
    ///
    /// # Errors
    /// The store does not take it, or it cannot be encoded.
    pub fn add_piece(
        &mut self,
        stage: &str,
        part: &str,
        piece: u64,
        encode: impl FnOnce() -> Result<Vec<u8>, StateError>,
    ) -> Result<(), StateError> {
        let key = PieceKey {
            stage: stage.to_owned(),
            part: part.to_owned(),
            piece,
        };
        let chunks = if let Some(chunks) = self.pieces.get(&key) {
            chunks.clone()
        } else if let Some(held) = self.checkpoints.pieces.get(&key) {
            held.iter()
                .map(|held| refer(&mut self.packer, held))
                .collect()
        } else {
            self.chunks(&encode()?)?
        };
        self.pieces.insert(key, chunks.clone());
        self.push(stage, part, chunks);
        Ok(())
    }

    /// Makes the checkpoint what a restart begins with, and removes checkpoints that need not be kept.
    ///
    /// # Errors
    /// Another process writes this pipeline's checkpoints ([`StateError::Fenced`]), the number is not
    /// after all others, or the store fails, which leaves open whether the checkpoint exists. After an
    /// error the next checkpoint needs another number.
    pub fn commit(mut self, about: About) -> Result<Committed, StateError> {
        let number = self.number;
        if number < self.checkpoints.next_number() {
            let newest = self.checkpoints.next_number() - 1;
            return Err(StateError::Number { number, newest });
        }
        self.packer.flush(&*self.store)?;
        let own = self.packer.own().to_vec();
        let new_bytes = self.packer.new_bytes();
        let identity = &self.checkpoints.identity;
        let manifest = Manifest {
            number,
            created_ms: about.created_ms,
            acknowledged_ms: about.acknowledged_ms,
            weir_version: about.weir_version,
            pipeline: identity.pipeline.clone(),
            writer: identity.writer.clone(),
            epoch: identity.epoch,
            blobs: self.packer.into_blobs(),
            entries: self.entries,
        };
        let bytes = manifest.encode(&self.checkpoints.what(number))?;
        self.checkpoints.tried = number;
        let manifest = Arc::new(manifest);
        create(self.checkpoints, &manifest, &bytes, &own)?;

        let blobs: Vec<_> = manifest.blobs.iter().cloned().map(Arc::new).collect();
        let held = |chunks: Vec<Chunk>| {
            let held = chunks.iter().filter_map(|chunk| Held::of(chunk, &blobs));
            held.collect()
        };
        let pieces = self.pieces.into_iter();
        self.checkpoints.pieces = pieces.map(|(key, chunks)| (key, held(chunks))).collect();
        self.checkpoints.contents = Held::all(&manifest);
        Ok(Committed {
            number,
            bytes: manifest.stored_bytes(),
            new_bytes: new_bytes + bytes.len() as u64,
            oldest_kept: self.checkpoints.clean(),
        })
    }

    fn push(&mut self, stage: &str, part: &str, chunks: Vec<Chunk>) {
        self.entries.push(Entry {
            stage: stage.to_owned(),
            part: part.to_owned(),
            bytes: chunks.iter().map(|chunk| chunk.content.bytes).sum(),
            chunks,
        });
    }

    fn chunks(&mut self, bytes: &[u8]) -> Result<Vec<Chunk>, StateError> {
        bytes
            .chunks(CHUNK_BYTES)
            .map(|bytes| self.chunk(bytes))
            .collect()
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<Chunk, StateError> {
        let content = chunk::content(bytes);
        if let Some(chunk) = self.contents.get(&content) {
            return Ok(*chunk);
        }
        let chunk = match self.checkpoints.contents.get(&content) {
            Some(held) => refer(&mut self.packer, held),
            None => self.store(bytes, content)?,
        };
        self.contents.insert(content, chunk);
        Ok(chunk)
    }

    fn store(&mut self, bytes: &[u8], content: Content) -> Result<Chunk, StateError> {
        let compressed = chunk::compress(bytes);
        let stored = compressed.as_deref().unwrap_or(bytes);
        let added = self.packer.add(&*self.store, stored);
        // Until it is committed, nothing uses what was put.
        self.checkpoints
            .loose
            .extend(self.packer.own().last().cloned());
        let (blob, offset) = added?;
        Ok(Chunk {
            blob,
            offset,
            stored: stored.len() as u64,
            crc: crc32fast::hash(stored),
            snappy: compressed.is_some(),
            content,
        })
    }
}

fn refer(packer: &mut Packer, held: &Held) -> Chunk {
    Chunk {
        blob: packer.refer(&held.blob),
        ..held.chunk
    }
}

/// Creates a checkpoint's manifest, and makes sure that nobody else writes checkpoints.
fn create(
    checkpoints: &mut Checkpoints,
    manifest: &Arc<Manifest>,
    bytes: &[u8],
    own: &[String],
) -> Result<(), StateError> {
    let number = manifest.number;
    let name = checkpoints.name(number);
    if let Err(error) = checkpoints.store.create(&name, bytes) {
        // An answer that was lost: the first attempt may have succeeded.
        let found = checkpoints.store.get(&name).ok().flatten();
        if found.as_deref() != Some(bytes) {
            if error.kind != StoreErrorKind::AlreadyExists {
                return Err(error.into());
            }
            let by = match found.map(|found| checkpoints.decode(number, &found)) {
                Some(Ok(manifest)) => manifest.author(),
                Some(Err(error)) => return Err(error),
                None => return Err(error.into()),
            };
            checkpoints.remove_blobs(own.to_vec());
            return Err(fenced(checkpoints, number, by));
        }
    }
    checkpoints.remember(Arc::clone(manifest));
    checkpoints.refresh()?;
    match checkpoints.newest() {
        Some(newest) if newest == number => Ok(()),
        Some(newest) if newest > number => {
            // This one was away for so long that another one has already removed the checkpoint whose
            // number it has taken.
            if let Err(error) = checkpoints.store.delete(&name) {
                return Err(error.into());
            }
            checkpoints.remove_blobs(own.to_vec());
            let by = checkpoints.author(newest);
            Err(fenced(checkpoints, newest, by))
        }
        _ => Err(damaged(
            &checkpoints.what(number),
            "it is gone as soon as it was written",
        )),
    }
}

fn fenced(checkpoints: &Checkpoints, number: u64, by: String) -> StateError {
    StateError::Fenced {
        pipeline: checkpoints.identity.pipeline.clone(),
        number,
        by,
    }
}
