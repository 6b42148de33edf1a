//! Text files as batches of whole lines.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use memchr::{memchr, memchr_iter, memrchr};

use crate::model::{RecordBatch, Split, TimestampMs};

/// How many bytes are read at once: large enough for a few thousand records, small enough that
/// several files advance together.
const BLOCK_BYTES: usize = 256 * 1024;

/// Reads a text in blocks of whole lines.
#[derive(Debug)]
pub(super) struct BlockReader<R> {
    input: R,
    max_line_bytes: usize,
    /// The beginning of a line whose end was not read yet.
    pending: Vec<u8>,
    /// Where `pending` stands: byte offset from 0, line number from 1.
    offset: u64,
    line: u64,
    /// Whether the rest of a line that is too long is being passed over.
    skipping: bool,
    dropped: u64,
}

/// Some consecutive lines, the last of them with or without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The lines with their ends.
    pub(super) bytes: Vec<u8>,
    /// The offset of the first byte.
    pub(super) offset: u64,
    /// The number of the first line, from 1.
    pub(super) first_line: u64,
}

impl<R: Read> BlockReader<R> {
    /// A reader that never holds more than `max_line_bytes` of a line (at least 1).
    pub(super) fn new(input: R, max_line_bytes: usize) -> Self {
        Self {
            input,
            max_line_bytes: max_line_bytes.max(1),
            pending: Vec::new(),
            offset: 0,
            line: 1,
            skipping: false,
            dropped: 0,
        }
    }

    /// Goes on behind what was read before: the line that has the byte before `position` is passed
    /// over to its end. That is the last line that was read, whether `position` is behind its first
    /// byte or behind its end. Gives how many bytes were passed over, which is less than `position`
    /// where the text is shorter.
    ///
    /// # Errors
    /// Reading fails.
    pub(super) fn skip_to(&mut self, position: u64) -> io::Result<u64> {
        let mut chunk = vec![0; BLOCK_BYTES];
        while self.offset < position {
            let room = usize::try_from(position - self.offset)
                .map_or(BLOCK_BYTES, |missing| missing.min(BLOCK_BYTES));
            let read = match self.input.read(chunk.get_mut(..room).unwrap_or_default()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                return Ok(self.offset);
            }
            let passed = chunk.get(..read).unwrap_or_default();
            self.offset += read as u64;
            self.line += memchr_iter(b'\n', passed).count() as u64;
            self.skipping = !passed.ends_with(b"\n");
        }
        Ok(self.offset)
    }

    /// The next lines, or none at the end. What a pipe has is returned without waiting for more.
    ///
    /// # Errors
    /// Reading fails.
    pub(super) fn next_block(&mut self) -> io::Result<Option<Block>> {
        loop {
            let known = self.pending.len();
            if self.read_more()? == 0 {
                return Ok(self.last_block());
            }
            let searched = if self.skipping { self.skip() } else { known };
            let unsearched = self.pending.get(searched..).unwrap_or_default();
            if let Some(end) = memrchr(b'\n', unsearched) {
                return Ok(Some(self.cut(searched + end + 1)));
            }
            if self.pending.len() > self.max_line_bytes + 1 {
                self.dropped += 1;
                self.skipping = true;
                self.discard_pending();
            }
        }
    }

    /// Takes the number of lines that were passed over since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Reads once, so much that `pending` never exceeds a line of the greatest length with its CR
    /// and LF.
    fn read_more(&mut self) -> io::Result<usize> {
        let known = self.pending.len();
        let room = (self.max_line_bytes + 2)
            .saturating_sub(known)
            .clamp(1, BLOCK_BYTES);
        self.pending.resize(known + room, 0);
        let read = loop {
            match self
                .input
                .read(self.pending.get_mut(known..).unwrap_or_default())
            {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.pending
            .truncate(known + read.as_ref().map_or(0, |read| *read));
        read
    }

    /// Passes over the rest of a line that is too long. Everything that remains is unsearched.
    fn skip(&mut self) -> usize {
        match memchr(b'\n', &self.pending) {
            None => self.discard_pending(),
            Some(end) => {
                self.pending.drain(..=end);
                self.offset += end as u64 + 1;
                self.line += 1;
                self.skipping = false;
            }
        }
        0
    }

    fn discard_pending(&mut self) {
        self.offset += self.pending.len() as u64;
        self.pending.clear();
    }

    fn cut(&mut self, length: usize) -> Block {
        let rest = self.pending.split_off(length);
        let bytes = std::mem::replace(&mut self.pending, rest);
        let block = Block {
            offset: self.offset,
            first_line: self.line,
            bytes,
        };
        self.offset += block.bytes.len() as u64;
        self.line += memchr_iter(b'\n', &block.bytes).count() as u64;
        block
    }

    fn last_block(&mut self) -> Option<Block> {
        if self.pending.is_empty() {
            None
        } else {
            Some(self.cut(self.pending.len()))
        }
    }
}

/// Makes batches of a block's lines and counts those that are too long. A batch holds consecutive
/// lines, because it knows only the number of its first; so it ends before an empty or dropped one.
pub(super) fn batches(
    block: Block,
    split: &Split,
    received_ms: TimestampMs,
    max_line_bytes: usize,
) -> (Vec<RecordBatch>, u64) {
    let (runs, dropped) = runs(&block, max_line_bytes);
    let batches = match runs.as_slice() {
        [] => Vec::new(),
        [run] => vec![run.batch(0, block.offset, block.bytes, split, received_ms)],
        _ => runs
            .iter()
            .map(|run| run.copied_batch(&block, split, received_ms))
            .collect(),
    };
    (batches, dropped)
}

/// Consecutive lines with content, as ranges of their block without line ends.
struct Run {
    first_line: u64,
    ranges: Vec<Range<usize>>,
}

fn runs(block: &Block, max_line_bytes: usize) -> (Vec<Run>, u64) {
    let mut runs: Vec<Run> = Vec::new();
    let mut dropped = 0;
    let mut continues = false;
    let mut start = 0;
    let last_end = (!block.bytes.ends_with(b"\n")).then_some(block.bytes.len());
    let ends = memchr_iter(b'\n', &block.bytes).chain(last_end);
    for (line, end) in (block.first_line..).zip(ends) {
        let content = block.bytes.get(start..end).unwrap_or_default();
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let range = start..start + content.len();
        let too_long = content.len() > max_line_bytes;
        if too_long || content.is_empty() {
            dropped += u64::from(too_long);
            continues = false;
        } else if let Some(run) = runs.last_mut().filter(|_| continues) {
            run.ranges.push(range);
        } else {
            runs.push(Run {
                first_line: line,
                ranges: vec![range],
            });
            continues = true;
        }
        start = end + 1;
    }
    (runs, dropped)
}

impl Run {
    /// A batch over `bytes`, which are those of the block from index `skipped` on and stand at
    /// `offset` in the file.
    fn batch(
        &self,
        skipped: usize,
        offset: u64,
        bytes: Vec<u8>,
        split: &Split,
        received_ms: TimestampMs,
    ) -> RecordBatch {
        let mut batch =
            RecordBatch::over(split.clone(), received_ms, bytes).with_first_line(self.first_line);
        for range in &self.ranges {
            let (start, end) = (range.start - skipped, range.end - skipped);
            batch.push_range(position(start)..position(end), offset + start as u64);
        }
        batch
    }

    fn copied_batch(&self, block: &Block, split: &Split, received_ms: TimestampMs) -> RecordBatch {
        let start = self.ranges.first().map_or(0, |range| range.start);
        let end = self.ranges.last().map_or(start, |range| range.end);
        let bytes = block.bytes.get(start..end).unwrap_or_default().to_vec();
        self.batch(
            start,
            block.offset + start as u64,
            bytes,
            split,
            received_ms,
        )
    }
}

/// A block has at most [`BLOCK_BYTES`] or one line, so this never saturates in practice.
fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SplitId;

    /// A reader that gives a few bytes at a time, as a pipe may.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len()).min(self.0.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    /// What is read of a text: each record with its place and position, and how many were dropped.
    fn read(text: &[u8], chunk: usize, max: usize) -> (Vec<(String, Vec<u8>, u64)>, u64) {
        let split = Split {
            id: SplitId(0),
            name: "f".into(),
        };
        let mut reader = BlockReader::new(Trickle(text, chunk), max);
        let (mut records, mut dropped) = (Vec::new(), 0);
        while let Some(block) = reader.next_block().unwrap() {
            assert!(
                block.bytes.len() <= (max + 2).max(BLOCK_BYTES),
                "{}",
                block.bytes.len()
            );
            let (batches, too_long) = batches(block, &split, 0, max);
            dropped += too_long;
            for batch in batches {
                for (index, record) in batch.records().enumerate() {
                    records.push((batch.place(index), record.bytes.to_vec(), record.position));
                }
            }
        }
        (records, dropped + reader.take_dropped())
    }

    fn record(place: &str, bytes: &str, position: u64) -> (String, Vec<u8>, u64) {
        (place.to_owned(), bytes.as_bytes().to_vec(), position)
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let text = b"one\r\ntwo\n\n\r\nfive\nsix is too long\nseven\r\n\xff\x00\xfe\nnine";
        let expected = vec![
            record("f:1", "one", 0),
            record("f:2", "two", 5),
            record("f:5", "five", 12),
            record("f:7", "seven", 33),
            ("f:8".to_owned(), vec![0xff, 0x00, 0xfe], 40),
            record("f:9", "nine", 44),
        ];
        for chunk in 1..=text.len() {
            assert_eq!(
                read(text, chunk, 10),
                (expected.clone(), 1),
                "chunks of {chunk}"
            );
        }
    }

    #[test]
    fn the_greatest_length_counts_without_the_line_end() {
        for end in ["\n", "\r\n", ""] {
            let text = format!("12345{end}");
            assert_eq!(
                read(text.as_bytes(), 3, 5),
                (vec![record("f:1", "12345", 0)], 0)
            );
            let text = format!("123456{end}");
            assert_eq!(read(text.as_bytes(), 3, 5), (vec![], 1), "{end:?}");
        }
    }

    #[test]
    fn a_line_that_never_ends_is_dropped_once_and_not_kept() {
        let mut reader = BlockReader::new(io::repeat(b'x').take(100_000_000), 1_000);
        assert_eq!(reader.next_block().unwrap(), None);
        assert_eq!(reader.take_dropped(), 1);
        assert_eq!(reader.take_dropped(), 0);
        assert!(
            reader.pending.capacity() < 10_000,
            "{}",
            reader.pending.capacity()
        );
    }

    #[test]
    fn nothing_comes_of_nothing() {
        for text in ["", "\n", "\r\n\n\r\n"] {
            assert_eq!(read(text.as_bytes(), 100, 100), (vec![], 0), "{text:?}");
        }
    }

    #[test]
    fn many_blocks_are_one_text() {
        let text: String = (0..100_000)
            .map(|number| format!("line {number}\n"))
            .collect();
        let (records, dropped) = read(text.as_bytes(), usize::MAX, 1_000_000);
        assert_eq!((records.len(), dropped), (100_000, 0));
        for (index, (place, bytes, position)) in records.iter().enumerate() {
            assert_eq!(*place, format!("f:{}", index + 1));
            let written = format!("line {index}");
            assert_eq!(bytes, written.as_bytes());
            let start = usize::try_from(*position).unwrap();
            assert_eq!(&text[start..start + written.len()], written);
        }
    }
}
