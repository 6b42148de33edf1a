//! Object container files: a schema, and blocks of data that may be compressed.

use std::borrow::Cow;
use std::io::Read;

use super::super::events::Refusal;
use super::cursor::{Cursor, broken};

/// What a container begins with.
const MAGIC: [u8; 4] = *b"Obj\x01";

/// What a block may become once it is expanded, bytes; and all blocks of a container together.
const MAX_EXPANDED: usize = 64 << 20;

/// How far back what is compressed with zstandard may refer, as a power of 2 of bytes.
const MAX_WINDOW_LOG: u32 = 26;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// A container whose head was read.
#[derive(Debug)]
pub(super) struct Container<'b> {
    /// The schema as it stands there.
    pub(super) schema: Cow<'b, [u8]>,
    codec: Codec,
    marker: [u8; 16],
    cursor: Cursor<'b>,
    /// How much more may be expanded.
    left: usize,
}

/// Some data of a container.
#[derive(Debug)]
pub(super) struct Block<'b> {
    /// How many there are.
    pub(super) count: u64,
    pub(super) bytes: Cow<'b, [u8]>,
}

impl<'b> Container<'b> {
    /// Reads the head.
    ///
    /// # Errors
    /// It is none, or names a codec that is not known.
    pub(super) fn open(record: &'b [u8]) -> Result<Self, Refusal> {
        let mut cursor = Cursor::new(record);
        if cursor.array()? != MAGIC {
            return Err(broken("no object container: it does not begin with Obj1"));
        }
        let (mut schema, mut codec) = (None, Codec::Null);
        loop {
            let (pairs, _) = cursor.block()?;
            if pairs == 0 {
                break;
            }
            // Each takes bytes, so their end comes before too many of them.
            for _ in 0..pairs {
                let (key, value) = (cursor.bytes()?, cursor.bytes()?);
                match key {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => codec = codec_of(value)?,
                    _ => {}
                }
            }
        }
        let schema = schema.ok_or_else(|| broken("an object container without avro.schema"))?;
        Ok(Self {
            schema: Cow::Borrowed(schema),
            codec,
            marker: cursor.array()?,
            cursor,
            left: MAX_EXPANDED,
        })
    }

    /// The next block; nothing at the end.
    ///
    /// # Errors
    /// It is broken, or becomes too large.
    pub(super) fn block(&mut self) -> Result<Option<Block<'b>>, Refusal> {
        if self.cursor.left() == 0 {
            return Ok(None);
        }
        let count = self.cursor.long()?;
        let count = u64::try_from(count).map_err(|_| broken(format!("a block of {count} data")))?;
        let packed = self.cursor.bytes()?;
        let bytes = match self.codec {
            Codec::Null => Cow::Borrowed(packed),
            Codec::Deflate => Cow::Owned(self.expand(flate2::read::DeflateDecoder::new(packed))?),
            Codec::Zstandard => {
                let reader = zstd::stream::read::Decoder::with_buffer(packed);
                let mut reader = reader.map_err(|error| unexpanded(&error))?;
                reader
                    .window_log_max(MAX_WINDOW_LOG)
                    .map_err(|error| unexpanded(&error))?;
                Cow::Owned(self.expand(reader)?)
            }
            Codec::Snappy => Cow::Owned(self.snappy(packed)?),
        };
        self.left -= bytes.len().min(self.left);
        if self.cursor.array()? != self.marker {
            return Err(broken("a block without the container's marker behind it"));
        }
        Ok(Some(Block { count, bytes }))
    }

    fn expand(&self, reader: impl Read) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        let read = reader.take(self.left as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| unexpanded(&error))?;
        if bytes.len() > self.left {
            return Err(too_large());
        }
        Ok(bytes)
    }

    /// Behind what is compressed is the CRC-32 of what it was.
    fn snappy(&self, packed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let Some((packed, sum)) = packed.split_last_chunk::<4>() else {
            return Err(broken("a block of snappy without its checksum"));
        };
        let length = snap::raw::decompress_len(packed).map_err(|error| unexpanded(&error))?;
        if length > self.left {
            return Err(too_large());
        }
        let bytes = snap::raw::Decoder::new()
            .decompress_vec(packed)
            .map_err(|error| unexpanded(&error))?;
        if crc32fast::hash(&bytes) != u32::from_be_bytes(*sum) {
            return Err(broken("a block of snappy whose checksum is another one"));
        }
        Ok(bytes)
    }
}

fn codec_of(name: &[u8]) -> Result<Codec, Refusal> {
    match name {
        b"null" => Ok(Codec::Null),
        b"deflate" => Ok(Codec::Deflate),
        b"snappy" => Ok(Codec::Snappy),
        b"zstandard" => Ok(Codec::Zstandard),
        other => Err(broken(format!(
            "the codec {}; null, deflate, snappy and zstandard are known",
            String::from_utf8_lossy(other.get(..other.len().min(20)).unwrap_or_default())
        ))),
    }
}

fn unexpanded(error: &dyn std::error::Error) -> Refusal {
    broken(format!("a block that cannot be expanded: {error}"))
}

fn too_large() -> Refusal {
    broken(format!("blocks of more than {MAX_EXPANDED} bytes"))
}
