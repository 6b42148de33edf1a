//! The file that older files of the journal are folded into.
//!
//! `weirmark` and a version byte; then blocks in [frames](super::frame), each with its kind first: many
//! blocks of marks, each the hashes of series (high and low halves) and the timestamps in columns,
//! ascending by hash; a block for each request that is not settled, with the checkpoint in whose file it
//! stood, its number and its samples; and one block at the end, with the number that the next request
//! may have and how many marks there are.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use crate::model::{Corrupt, Decoder, Encoder, Sample, TimestampMs};
use crate::write::samples::{SampleWriter, read_samples};

use super::frame::{FRAME_BYTES, Frames, frame};

/// The first bytes of the file, the version last.
const HEADER: [u8; 9] = *b"weirmark\x01";

/// How many marks a block has: as many as are read or written at once.
const BLOCK_MARKS: usize = 4_096;

const MARKS: u8 = 1;
const OPEN: u8 = 2;
const END: u8 = 3;

/// The newest timestamp that was sent of a series and acknowledged, by the series' wide hash.
pub(in crate::write::remote_write) type Mark = (u128, TimestampMs);

/// A request of which it is not known whether the receiver has it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::write::remote_write) struct OpenRequest {
    /// The newest checkpoint in whose file it stood.
    pub(in crate::write::remote_write) checkpoint: u64,
    pub(in crate::write::remote_write) number: u64,
    pub(in crate::write::remote_write) samples: Vec<Sample>,
}

/// Something of the file.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::write::remote_write) enum Block {
    /// Ascending by hash, also from block to block.
    Marks(Vec<Mark>),
    Open(OpenRequest),
    /// The last one.
    End {
        /// Above the numbers of all requests that were folded in.
        next: u64,
    },
}

/// Why a file cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::write::remote_write) enum MarksError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What comes before is good.
    #[error("it is damaged at byte {at}: {reason}")]
    Damaged { at: u64, reason: String },
}

/// Writes a file block by block.
pub(in crate::write::remote_write) struct MarksWriter<'w> {
    out: &'w mut dyn Write,
    block: Vec<Mark>,
    marks: u64,
}

impl<'w> MarksWriter<'w> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of the file.
    pub(in crate::write::remote_write) fn new(out: &'w mut dyn Write) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK_MARKS),
            marks: 0,
        })
    }

    /// Adds a mark whose hash is above those of all before it.
    ///
    /// # Errors
    /// Those of the file.
    pub(in crate::write::remote_write) fn mark(&mut self, mark: Mark) -> io::Result<()> {
        self.block.push(mark);
        self.marks += 1;
        if self.block.len() < BLOCK_MARKS {
            return Ok(());
        }
        self.end_block()
    }

    /// Writes the requests and what is still missing.
    ///
    /// # Errors
    /// Those of the file.
    pub(in crate::write::remote_write) fn finish(
        mut self,
        open: &[OpenRequest],
        next: u64,
    ) -> io::Result<()> {
        self.end_block()?;
        for request in open {
            let mut block = Encoder::new();
            block.u8(OPEN);
            block.u64(request.checkpoint);
            block.u64(request.number);
            SampleWriter::of(&request.samples).encode(&mut block);
            self.out.write_all(&frame(&[block.as_bytes()]))?;
        }
        let mut end = Encoder::new();
        end.u8(END);
        end.u64(next);
        end.u64(self.marks);
        self.out.write_all(&frame(&[end.as_bytes()]))
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let mut block = Encoder::new();
        block.u8(MARKS);
        let hashes = || self.block.iter().map(|(hash, _)| *hash);
        block.u64s(hashes().map(|hash| (hash >> 64) as u64));
        block.u64s(hashes().map(|hash| hash as u64));
        block.i64s(self.block.iter().map(|(_, time)| *time));
        self.block.clear();
        self.out.write_all(&frame(&[block.as_bytes()]))
    }
}

/// Reads a file block by block.
#[derive(Debug)]
pub(in crate::write::remote_write) struct MarksReader<R> {
    frames: Frames<R>,
    /// The highest hash so far.
    last: Option<u128>,
    marks: u64,
    is_at_end: bool,
}

impl MarksReader<BufReader<File>> {
    /// Opens a file; nothing where there is none.
    ///
    /// # Errors
    /// It cannot be read, or does not begin as one.
    pub(in crate::write::remote_write) fn open(path: &Path) -> Result<Option<Self>, MarksError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let length = file.metadata()?.len();
        Self::new(BufReader::with_capacity(1 << 20, file), length).map(Some)
    }
}

impl<R: Read> MarksReader<R> {
    /// Begins to read what is `length` bytes long.
    ///
    /// # Errors
    /// It cannot be read, or does not begin as a file of marks.
    pub(in crate::write::remote_write) fn new(from: R, length: u64) -> Result<Self, MarksError> {
        let Some((header, frames)) = Frames::open(from, length)? else {
            return Err(damaged(0, "it is cut off"));
        };
        if header != HEADER {
            let reason = "it holds no marks, or those of another version of weir";
            return Err(damaged(0, reason));
        }
        Ok(Self {
            frames,
            last: None,
            marks: 0,
            is_at_end: false,
        })
    }

    /// The next block; nothing behind the end.
    ///
    /// # Errors
    /// It cannot be read, is cut off here, or does not match its checksum or what came before.
    pub(in crate::write::remote_write) fn next(&mut self) -> Result<Option<Block>, MarksError> {
        if self.is_at_end {
            return Ok(None);
        }
        let at = self.frames.end();
        let Some(content) = self.frames.next()? else {
            return Err(damaged(at, "it is cut off, or the checksum is wrong"));
        };
        let block = decode(content, self.last, self.marks);
        let block = block.map_err(|error| {
            let offset = at + FRAME_BYTES as u64 + error.offset as u64;
            damaged(offset, error.reason)
        })?;
        match &block {
            Block::Marks(marks) => {
                self.last = marks.last().map(|(hash, _)| *hash).or(self.last);
                self.marks += marks.len() as u64;
            }
            Block::Open(_) => {}
            Block::End { .. } => self.is_at_end = true,
        }
        Ok(Some(block))
    }
}

fn decode(content: &[u8], last: Option<u128>, marks: u64) -> Result<Block, Corrupt> {
    let mut from = Decoder::new(content);
    let block = match from.u8()? {
        MARKS => Block::Marks(decode_marks(&mut from, last)?),
        OPEN => Block::Open(OpenRequest {
            checkpoint: from.u64()?,
            number: from.u64()?,
            samples: read_samples(&mut from)?,
        }),
        END => {
            let (next, count) = (from.u64()?, from.u64()?);
            if count != marks {
                return Err(from.corrupt(format!("{marks} marks in place of {count}")));
            }
            Block::End { next }
        }
        other => return Err(from.corrupt(format!("kind {other} is none of 1, 2 and 3"))),
    };
    from.end()?;
    Ok(block)
}

fn decode_marks(from: &mut Decoder<'_>, mut last: Option<u128>) -> Result<Vec<Mark>, Corrupt> {
    let (high, low) = (from.u64s()?, from.u64s()?);
    let times = from.i64s()?;
    if high.len() != low.len() || high.len() != times.len() {
        return Err(from.corrupt(format!(
            "{} and {} halves of hashes have {} timestamps",
            high.len(),
            low.len(),
            times.len()
        )));
    }
    let mut marks = Vec::with_capacity(times.len());
    for ((high, low), time) in high.into_iter().zip(low).zip(times) {
        let hash = (u128::from(high) << 64) | u128::from(low);
        if last.is_some_and(|last| last >= hash) {
            return Err(from.corrupt("the hashes are not ascending"));
        }
        last = Some(hash);
        marks.push((hash, time));
    }
    Ok(marks)
}

fn damaged(at: u64, reason: impl Into<String>) -> MarksError {
    let reason = reason.into();
    MarksError::Damaged { at, reason }
}

/// Reads the bytes of a file of marks to their end, or as far as they are good, and writes what was
/// read: for tests of the format. Gives how many marks there were, and the bytes where all was read.
pub fn rewrite_marks(bytes: &[u8]) -> (usize, Option<Vec<u8>>) {
    let (mut marks, mut open) = (Vec::new(), Vec::new());
    let Ok(mut reader) = MarksReader::new(bytes, bytes.len() as u64) else {
        return (0, None);
    };
    loop {
        match reader.next() {
            Ok(Some(Block::Marks(more))) => marks.extend(more),
            Ok(Some(Block::Open(request))) => open.push(request),
            Ok(Some(Block::End { next })) => {
                let mut out = Vec::new();
                let written = MarksWriter::new(&mut out).and_then(|mut writer| {
                    for mark in &marks {
                        writer.mark(*mark)?;
                    }
                    writer.finish(&open, next)
                });
                return (marks.len(), written.is_ok().then_some(out));
            }
            Ok(None) | Err(_) => return (marks.len(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::sample;

    fn file(marks: &[Mark], open: &[OpenRequest], next: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = MarksWriter::new(&mut bytes).unwrap();
        for mark in marks {
            writer.mark(*mark).unwrap();
        }
        writer.finish(open, next).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Block>, Option<String>) {
        let mut blocks = Vec::new();
        let mut reader = match MarksReader::new(bytes, bytes.len() as u64) {
            Ok(reader) => reader,
            Err(error) => return (blocks, Some(error.to_string())),
        };
        loop {
            match reader.next() {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => return (blocks, None),
                Err(error) => return (blocks, Some(error.to_string())),
            }
        }
    }

    fn request() -> OpenRequest {
        OpenRequest {
            checkpoint: 3,
            number: 7,
            samples: vec![sample("up", &[("a", "b")], 10, 1.5)],
        }
    }

    #[test]
    fn reads_what_was_written() {
        let marks: Vec<Mark> = (0..10_000)
            .map(|number| (number << 100 | number, number as i64 - 5))
            .collect();
        let (blocks, error) = read(&file(&marks, &[request()], 9));
        assert_eq!(error, None);
        let mut found = Vec::new();
        for block in &blocks[..3] {
            let Block::Marks(marks) = block else {
                panic!("{block:?}")
            };
            found.extend_from_slice(marks);
        }
        assert_eq!(found, marks);
        let rest = [Block::Open(request()), Block::End { next: 9 }];
        assert_eq!(blocks[3..], rest);
        assert_eq!(read(&file(&[], &[], 0)).0, [Block::End { next: 0 }]);
    }

    #[test]
    fn what_is_cut_off_or_changed_is_good_up_to_there() {
        let marks = [(5, 10), (9, 20)];
        let bytes = file(&marks, &[request()], 9);
        let (whole, _) = read(&bytes);
        for end in 0..bytes.len() {
            let (blocks, error) = read(&bytes[..end]);
            assert!(whole.starts_with(&blocks) && error.is_some(), "{end}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            let (blocks, error) = read(&changed);
            assert!(whole.starts_with(&blocks) && error.is_some(), "{place}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let error = |bytes: &[u8]| read(bytes).1.unwrap();
        let unordered = file(&[(9, 1), (5, 1)], &[], 0);
        let expected = "it is damaged at byte 90: the hashes are not ascending";
        assert_eq!(error(&unordered), expected);
        let mut newer = file(&[], &[], 0);
        newer[8] = 2;
        assert_eq!(
            error(&newer),
            "it is damaged at byte 0: it holds no marks, or those of another version of weir"
        );
        let mut unknown = HEADER.to_vec();
        unknown.extend(frame(&[&[9]]));
        let expected = "it is damaged at byte 18: kind 9 is none of 1, 2 and 3";
        assert_eq!(error(&unknown), expected);
        let mut short = HEADER.to_vec();
        short.extend(frame(&[&[END], &[0; 8], &7_u64.to_le_bytes()]));
        let expected = "it is damaged at byte 34: 0 marks in place of 7";
        assert_eq!(error(&short), expected);
    }

    #[test]
    fn seeds_are_what_they_are_called() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/journal_marks");
        let seed = |name: &str| std::fs::read(seeds.join(name)).unwrap();
        let whole = file(&[(5, 10), (u128::MAX, -20)], &[request()], 9);
        assert_eq!(seed("whole"), whole);
        assert_eq!(rewrite_marks(&whole), (2, Some(whole.clone())));
        assert_eq!(rewrite_marks(&seed("cut_off")), (2, None));
        assert_eq!(seed("empty"), file(&[], &[], 0));
    }
}
