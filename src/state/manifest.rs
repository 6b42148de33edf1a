//! The format of a manifest: which parts a checkpoint or savepoint has, and where their bytes are.
//!
//! A line with `weir checkpoint`, the format's number and the CRC-32 of all that follows (8 hexadecimal
//! digits), then JSON. A field that is added keeps the format's number; what an older weir would
//! misread raises it, and gets a fixture in `tests/state-formats/`.

use serde::{Deserialize, Serialize};

use super::error::StateError;

/// The newest format, which is the one that is written.
pub(super) const FORMAT: u32 = 1;

const MAGIC: &str = "weir checkpoint ";

/// All of a checkpoint but its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) number: u64,
    pub(super) created_ms: i64,
    /// See [`About`](super::About); manifests of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) acknowledged_ms: Option<i64>,
    pub(super) weir_version: String,
    pub(super) pipeline: String,
    /// Who has written it, for messages.
    pub(super) writer: String,
    /// The process that has written it.
    pub(super) epoch: u64,
    pub(super) blobs: Vec<Blob>,
    pub(super) entries: Vec<Entry>,
}

/// A file of bytes in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blob {
    /// Without its folder.
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// A part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The stage whose state this is.
    pub stage: String,
    /// Which of the stage's parts. Several entries of the same part are its pieces, in their order.
    pub part: String,
    /// How long it is, before it was compressed.
    pub bytes: u64,
    pub(super) chunks: Vec<Chunk>,
}

/// Some bytes of an entry, and where in a blob they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// The blob's place in the manifest.
    pub(super) blob: usize,
    pub(super) offset: u64,
    /// How many bytes are stored.
    pub(super) stored: u64,
    /// The CRC-32 of the stored bytes.
    pub(super) crc: u32,
    /// Whether they are compressed, in Snappy's raw format.
    pub(super) snappy: bool,
    pub(super) content: Content,
}

/// What tells the bytes of one chunk from others, before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) bytes: u64,
    pub(super) crc: u32,
    /// A second hash, for finding equal bytes only: it may differ between versions of weir.
    pub(super) hash: u64,
}

impl Entry {
    /// How many bytes are stored.
    pub fn stored_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.stored).sum()
    }
}

impl Manifest {
    /// How many bytes are stored for all entries.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.entries.iter().map(Entry::stored_bytes).sum()
    }

    /// Who has written it and when.
    pub(super) fn author(&self) -> String {
        let time = jiff::Timestamp::from_millisecond(self.created_ms);
        let time = time.map_or_else(
            |_| format!("{} ms", self.created_ms),
            |time| time.to_string(),
        );
        format!("{} at {time}", self.writer)
    }

    pub(super) fn encode(&self, what: &str) -> Result<Vec<u8>, StateError> {
        let json = serde_json::to_vec(self).map_err(|error| damaged(what, error.to_string()))?;
        let crc = crc32fast::hash(&json);
        let mut bytes = format!("{MAGIC}{FORMAT} {crc:08x}\n").into_bytes();
        bytes.extend_from_slice(&json);
        Ok(bytes)
    }

    /// Reads a manifest; `what` it is goes into messages.
    pub(super) fn decode(what: &str, bytes: &[u8]) -> Result<Self, StateError> {
        let no_manifest = || damaged(what, "the manifest does not begin as one");
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (line, json) = end
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or_else(no_manifest)?;
        let json = json.get(1..).unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| no_manifest())?;
        let (format, crc) = line
            .strip_prefix(MAGIC)
            .and_then(|line| line.split_once(' '))
            .and_then(|(format, crc)| Some((format.parse::<u32>().ok()?, crc)))
            .ok_or_else(no_manifest)?;
        if format > FORMAT {
            return Err(newer(what, format, json));
        }
        if format != FORMAT {
            let reason = format!("the manifest has format {format}, which there never was");
            return Err(damaged(what, reason));
        }
        let found = crc32fast::hash(json);
        if u32::from_str_radix(crc, 16) != Ok(found) {
            let reason = format!(
                "the manifest has the checksum {found:08x} in place of {crc}: it was cut \
                         off or changed"
            );
            return Err(damaged(what, reason));
        }
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|error| damaged(what, format!("the manifest is not complete: {error}")))?;
        manifest.check().map_err(|reason| damaged(what, reason))?;
        Ok(manifest)
    }

    /// That everything lies where something can be.
    fn check(&self) -> Result<(), String> {
        for entry in &self.entries {
            let mut bytes = 0_u64;
            for chunk in &entry.chunks {
                let blob = self.blobs.get(chunk.blob);
                let end = chunk.offset.checked_add(chunk.stored);
                if blob.zip(end).is_none_or(|(blob, end)| end > blob.bytes) {
                    let name = blob.map_or("a blob that is not listed", |blob| &blob.name);
                    return Err(format!(
                        "{}/{} lies outside of {name}",
                        entry.stage, entry.part
                    ));
                }
                bytes = bytes.saturating_add(chunk.content.bytes);
            }
            if bytes != entry.bytes {
                return Err(format!(
                    "{}/{} has {bytes} bytes in place of {}",
                    entry.stage, entry.part, entry.bytes
                ));
            }
        }
        Ok(())
    }
}

pub(super) fn damaged(what: &str, reason: impl Into<String>) -> StateError {
    StateError::Damaged {
        what: what.to_owned(),
        reason: reason.into(),
    }
}

fn newer(what: &str, found: u32, json: &[u8]) -> StateError {
    let json: Option<serde_json::Value> = serde_json::from_slice(json).ok();
    let version = json
        .as_ref()
        .and_then(|json| json.get("weir_version")?.as_str());
    StateError::Newer {
        what: what.to_owned(),
        found,
        known: FORMAT,
        weir_version: version.map(str::to_owned),
    }
}
