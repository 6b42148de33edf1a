//! The lines of a file, counted as YAML counts them.

/// Longer lines are shown in part, so that a minified file stays readable.
const LONGEST_EXCERPT: usize = 160;
/// So much of a long line is shown before the place.
const BEFORE_PLACE: usize = 60;

/// A file's lines without their line breaks: `\n`, `\r\n` or `\r`. A byte order mark is no part of
/// the first line.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Vec<Box<str>>);

/// A line of the file and what underlines a place in it.
#[derive(Debug)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    pub(crate) carets: String,
}

/// A character with where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The character; `\n` at the end of each line.
    pub(crate) char: char,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The column in characters, from 1.
    pub(crate) column: usize,
}

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let mut lines = Vec::new();
        let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        while let Some(end) = rest.find(['\n', '\r']) {
            let (line, tail) = rest.split_at(end);
            lines.push(line.into());
            rest = tail
                .strip_prefix("\r\n")
                .or_else(|| tail.get(1..))
                .unwrap_or_default();
        }
        lines.push(rest.into());
        Self(lines)
    }

    /// A line by its number from 1.
    pub(crate) fn get(&self, line: usize) -> Option<&str> {
        self.0.get(line.checked_sub(1)?).map(AsRef::as_ref)
    }

    /// How many characters of a line begin at a column from 1, at least 1.
    pub(crate) fn width_from(&self, line: usize, column: usize) -> usize {
        let length = self
            .get(line)
            .map_or(0, |text| text.trim_end().chars().count());
        (length + 1).saturating_sub(column).max(1)
    }

    /// All characters from a place on, line breaks among them.
    pub(crate) fn marks(&self, line: usize, column: usize) -> impl Iterator<Item = Mark> + Clone {
        let first = line.saturating_sub(1);
        self.0
            .iter()
            .enumerate()
            .skip(first)
            .flat_map(move |(index, text)| {
                let skip = if index == first {
                    column.saturating_sub(1)
                } else {
                    0
                };
                let chars = text.chars().chain(['\n']).enumerate().skip(skip);
                chars.map(move |(at, char)| Mark {
                    char,
                    line: index + 1,
                    column: at + 1,
                })
            })
    }

    /// A line with a place in it underlined, where the file has the line.
    pub(crate) fn excerpt(&self, line: usize, column: usize, width: usize) -> Option<Excerpt> {
        let text = self.get(line)?.trim_end();
        let place = column.saturating_sub(1);
        let start = if place > LONGEST_EXCERPT / 2 {
            place - BEFORE_PLACE
        } else {
            0
        };
        let shown: String = masked(text)
            .into_iter()
            .skip(start)
            .take(LONGEST_EXCERPT)
            .map(printable)
            .collect();
        // Tabs are kept, because nobody knows how wide a terminal makes them.
        let pad = shown
            .chars()
            .take(place - start)
            .map(|c| if c == '\t' { '\t' } else { ' ' });
        let mut carets: String = pad.collect();
        let left = shown.chars().count().saturating_sub(place - start);
        carets.push_str(&"^".repeat(width.min(left).max(1)));
        Some(Excerpt {
            text: shown,
            carets,
        })
    }
}

/// The characters of a line, with stars for the credentials that stand before the host of an address: a line
/// is shown because something is wrong with it, and that may be just this.
fn masked(text: &str) -> Vec<char> {
    let mut chars: Vec<_> = text.chars().collect();
    for at in 0..chars.len() {
        let (before, rest) = chars.split_at_mut(at);
        if rest.first() != Some(&'@') {
            continue;
        }
        let is_end =
            |c: &char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '{' | '[' | ',');
        let begin = before.iter().rposition(is_end).map_or(0, |end| end + 1);
        let (address, login) = before.split_at_mut(begin);
        if address.ends_with(&['/', '/']) || login.contains(&':') {
            login.fill('*');
        }
    }
    chars
}

fn printable(char: char) -> char {
    if char.is_control() && char != '\t' {
        char::REPLACEMENT_CHARACTER
    } else {
        char
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_addresses_are_not_shown() {
        for (line, shown) in [
            (
                "url: https://me:secret@host/a",
                "url: https://*********@host/a",
            ),
            (
                "url: \"https://:secret@host\"",
                "url: \"https://*******@host\"",
            ),
            ("url: https://token@host", "url: https://*****@host"),
            ("url: \"me:secret@host\"", "url: \"*********@host\""),
            ("mail: me@host # a: b", "mail: me@host # a: b"),
            ("url: https://host/a@b", "url: https://host/a@b"),
            ("@", "@"),
        ] {
            let excerpt = Lines::new(line).excerpt(1, 1, 1).unwrap();
            assert_eq!(excerpt.text, shown);
        }
    }

    #[test]
    fn splits_at_every_kind_of_line_break() {
        let lines = Lines::new("\u{feff}a\r\n\nb\rc");
        assert_eq!(lines.0, ["a", "", "b", "c"].map(Box::from));
        assert_eq!(lines.get(4), Some("c"));
        assert_eq!(lines.get(5), None);
        assert_eq!(lines.get(0), None);
    }

    #[test]
    fn walks_over_characters_with_their_places() {
        let lines = Lines::new("aü\nb");
        let marks: Vec<_> = lines
            .marks(1, 2)
            .map(|mark| (mark.char, mark.line, mark.column))
            .collect();
        assert_eq!(
            marks,
            [('ü', 1, 2), ('\n', 1, 3), ('b', 2, 1), ('\n', 2, 2)]
        );
        assert_eq!(lines.width_from(1, 2), 1);
        assert_eq!(lines.width_from(7, 2), 1);
    }
}
