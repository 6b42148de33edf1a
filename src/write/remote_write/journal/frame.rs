//! How bytes lie in the journal's files: the length of each content and its CRC-32 (4 bytes each), and
//! the content.

use std::io::{self, Read};

/// The length and the checksum before a content.
pub(in crate::write::remote_write) const FRAME_BYTES: usize = 8;

/// The bytes of a frame around these pieces, one behind the other.
pub(in crate::write::remote_write) fn frame(pieces: &[&[u8]]) -> Vec<u8> {
    let mut checksum = crc32fast::Hasher::new();
    for piece in pieces {
        checksum.update(piece);
    }
    let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(FRAME_BYTES + length);
    // Requests are bounded to 32 MiB, and their samples take less than a few times that here.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum.finalize().to_le_bytes());
    for piece in pieces {
        bytes.extend_from_slice(piece);
    }
    bytes
}

/// Reads frames one by one, as long as they are whole.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Frames<R> {
    from: R,
    /// The length of all that there is.
    length: u64,
    /// The end of the last whole frame, or of what stands before the first.
    end: u64,
    content: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// The frames behind a header, in what is `length` bytes long with the header; nothing where there
    /// are not even enough bytes for a header.
    ///
    /// # Errors
    /// It cannot be read.
    pub(in crate::write::remote_write) fn open<const N: usize>(
        mut from: R,
        length: u64,
    ) -> io::Result<Option<([u8; N], Self)>> {
        let mut header = [0; N];
        if !fill(&mut from, &mut header)? {
            return Ok(None);
        }
        let frames = Self {
            from,
            length,
            end: N as u64,
            content: Vec::new(),
        };
        Ok(Some((header, frames)))
    }

    /// The content of the next frame; nothing where that is cut off or does not match its checksum, or
    /// where all are read. It is not to be called again then.
    ///
    /// # Errors
    /// It cannot be read.
    pub(in crate::write::remote_write) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut sizes = [0; FRAME_BYTES];
        if !fill(&mut self.from, &mut sizes)? {
            return Ok(None);
        }
        let [a, b, c, d, e, f, g, h] = sizes;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        let checksum = u32::from_le_bytes([e, f, g, h]);
        let end = self.end + FRAME_BYTES as u64 + size;
        // Before so many bytes are asked for.
        if end > self.length {
            return Ok(None);
        }
        self.content
            .resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
        if !fill(&mut self.from, &mut self.content)? || crc32fast::hash(&self.content) != checksum {
            return Ok(None);
        }
        self.end = end;
        Ok(Some(&self.content))
    }

    /// Where the last whole frame ends.
    pub(in crate::write::remote_write) fn end(&self) -> u64 {
        self.end
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
