//! From an offset in a scalar's text back to the line and column where it was written.

use super::node::{Scalar, Style};
use crate::config::report::{Lines, Mark, Place};

/// The place of `len` bytes at `offset` of a scalar's text. Folding and indentation change nothing
/// but white space, so the text is compared with the file by its visible characters; where that
/// fails (a variable was replaced), the place is that of the whole scalar.
pub(super) fn locate(
    lines: &Lines,
    scalar: &Scalar,
    start: &Place,
    offset: usize,
    len: usize,
) -> Place {
    find(lines, scalar, start, offset, len).unwrap_or_else(|| start.clone())
}

fn find(lines: &Lines, scalar: &Scalar, start: &Place, offset: usize, len: usize) -> Option<Place> {
    let Place::File { line, column, .. } = start else {
        return None;
    };
    if scalar.substituted {
        return None;
    }
    let before = scalar.text.get(..offset)?;
    let after = scalar.text.get(offset..)?;
    let meant = after.get(..len).unwrap_or(after);
    let (line, column) = match scalar.style {
        Style::SingleQuoted | Style::DoubleQuoted => (*line, column + 1),
        // A block's place is its first line, not its header.
        Style::Plain | Style::Literal | Style::Folded => (*line, *column),
    };
    let marks = lines.marks(line, column);
    let mut reader = Reader {
        marks,
        style: scalar.style,
        line,
        column,
    };
    reader.follow(before)?;
    if after.starts_with(|c: char| !c.is_whitespace()) {
        reader.skip_space();
    }
    let (line, column) = (reader.line, reader.column);
    reader.follow(meant)?;
    let width = if reader.line == line {
        reader.column.saturating_sub(column).max(1)
    } else {
        lines.width_from(line, column)
    };
    Some(Place::File {
        line,
        column,
        width,
    })
}

/// Reads a scalar as it was written.
struct Reader<I: Iterator<Item = Mark>> {
    marks: I,
    style: Style,
    /// The place behind the last visible character that was read.
    line: usize,
    column: usize,
}

impl<I: Iterator<Item = Mark> + Clone> Reader<I> {
    /// Reads the visible characters of a part of the text; `None` where the file has others.
    fn follow(&mut self, text: &str) -> Option<()> {
        for expected in text.chars().filter(|c| !c.is_whitespace()) {
            self.skip_space();
            let found = self.character()?;
            if found != expected {
                return None;
            }
        }
        Some(())
    }

    /// Goes on to the next visible character.
    fn skip_space(&mut self) {
        loop {
            let mut ahead = Reader {
                marks: self.marks.clone(),
                style: self.style,
                line: 0,
                column: 0,
            };
            match ahead.character() {
                Some(char) if char.is_whitespace() => *self = ahead,
                _ => break,
            }
        }
        if let Some(mark) = self.marks.clone().next() {
            (self.line, self.column) = (mark.line, mark.column);
        }
    }

    /// Reads one character of the text, which an escape may stand for. An escaped line break reads
    /// as white space.
    fn character(&mut self) -> Option<char> {
        let mark = self.advance()?;
        match (self.style, mark.char) {
            (Style::SingleQuoted, '\'') => {
                let quote = self.advance()?;
                (quote.char == '\'').then_some('\'')
            }
            (Style::DoubleQuoted, '"') => None,
            (Style::DoubleQuoted, '\\') => self.escaped(),
            (_, char) => Some(char),
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let digits = match self.advance()?.char {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0' => return Some('\0'),
            'a' => return Some('\u{7}'),
            'b' => return Some('\u{8}'),
            'e' => return Some('\u{1b}'),
            'n' | 't' | '\t' | 'v' | 'f' | 'r' | 'N' | 'L' | 'P' | '_' => return Some(' '),
            other => return Some(other),
        };
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.advance()?.char.to_digit(16)?;
        }
        char::from_u32(code)
    }

    fn advance(&mut self) -> Option<Mark> {
        let mark = self.marks.next()?;
        (self.line, self.column) = (mark.line, mark.column + 1);
        Some(mark)
    }
}
