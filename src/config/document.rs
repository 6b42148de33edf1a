//! A YAML document as a tree in which everything knows its place.

mod edit;
mod locate;
mod node;
mod parser;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment::{Variables, substitute};
use super::report::{Lines, Place, Problems};

pub(crate) use node::{Entry, Kind, Node, Scalar, Style};
use parser::Origin;

/// The longest file, bytes.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 20;

/// So many variables without a value are reported for one scalar: finding the place of each means
/// reading the scalar from its beginning.
const MAX_FAILURES: usize = 20;

/// A step from a value to one within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathSegment<'a> {
    /// To the value of a key.
    Key(&'a str),
    /// To an item of a sequence, from 0.
    Index(usize),
}

impl<'a> From<&'a str> for PathSegment<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for PathSegment<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl fmt::Display for PathSegment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is missing, forbidden or broken.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        error: io::Error,
    },
    /// It is no pipeline file.
    #[error("{}: longer than {MAX_FILE_BYTES} bytes, which no pipeline file is", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is written in another encoding, or binary.
    #[error("{}:{line}:{column}: invalid UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first invalid byte, from 1.
        line: usize,
        /// Its column in characters, from 1.
        column: usize,
    },
}

/// Reads a pipeline file's text.
///
/// # Errors
/// A file that cannot be opened or read, that is longer than [`MAX_FILE_BYTES`], or that is not
/// UTF-8.
pub(crate) fn read(path: &Path) -> Result<String, ReadError> {
    let io = |error| ReadError::Io {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long, and an endless one ends.
    let limit = MAX_FILE_BYTES as u64 + 1;
    File::open(path)
        .map_err(io)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(ReadError::TooLong {
            path: path.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let valid = String::from_utf8_lossy(valid);
        let line = valid.matches('\n').count() + 1;
        let column = valid.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ReadError::NotUtf8 {
            path: path.to_owned(),
            line,
            column,
        }
    })
}

/// A parsed file.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    lines: Lines,
    root: Node,
}

impl Document {
    /// Parses a text and replaces its variables. Everything that is wrong is reported; `None` where
    /// nothing can be said beyond that. A document may be returned in spite of problems, so that
    /// the rest of it can be checked as well.
    pub(crate) fn parse(
        text: &str,
        variables: &Variables<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        if text.len() > MAX_FILE_BYTES {
            problems.add(Place::START, format!("longer than {MAX_FILE_BYTES} bytes"));
            return None;
        }
        let lines = Lines::new(text);
        if let Some(mark) = lines.marks(1, 1).find(|mark| is_forbidden(mark.char)) {
            let place = Place::File {
                line: mark.line,
                column: mark.column,
                width: 1,
            };
            let code = u32::from(mark.char);
            problems.add(
                place,
                format!("the control character U+{code:04X} is not YAML"),
            );
            return None;
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut root = parser::parse(text, &Origin::File(&lines), problems)?;
        replace_variables(&mut root, &lines, variables, problems);
        Some(Self { lines, root })
    }

    /// The topmost value.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// The value at a path.
    pub(crate) fn get(&self, path: &[PathSegment<'_>]) -> Option<&Node> {
        path.iter().try_fold(&self.root, |node, segment| {
            child(node, segment).map(|(node, _)| node)
        })
    }

    /// The place of the value at a path. Where the file leaves it out, the place of the key of the
    /// innermost value on the way to it.
    pub(crate) fn place(&self, path: &[PathSegment<'_>]) -> Place {
        match self.get(path) {
            Some(node) => node.place.clone(),
            None => self.place_of_key(path),
        }
    }

    /// The place of the key at a path, or of the item where the path ends in a sequence; see
    /// [`place`](Self::place) for what the file leaves out.
    pub(crate) fn place_of_key(&self, path: &[PathSegment<'_>]) -> Place {
        let mut node = &self.root;
        let mut place = &self.root.place;
        for segment in path {
            let Some((next, at)) = child(node, segment) else {
                break;
            };
            (node, place) = (next, at);
        }
        place.clone()
    }

    /// The place of `len` bytes at byte `offset` of the text of the scalar at a path; that of the
    /// whole scalar where a variable was replaced in it.
    pub(crate) fn place_in(&self, path: &[PathSegment<'_>], offset: usize, len: usize) -> Place {
        let Some(node) = self.get(path) else {
            return self.place(path);
        };
        match node.as_scalar() {
            Some(scalar) => locate::locate(&self.lines, scalar, &node.place, offset, len),
            None => node.place.clone(),
        }
    }
}

impl Node {
    /// Parses the value of an argument of the command line, `--set source`, without variables: a
    /// text, or a mapping or list in YAML's flow style. What is wrong is reported under the
    /// argument's name; `None` where nothing came of it.
    pub(crate) fn from_argument(name: &str, text: &str, problems: &mut Problems) -> Option<Self> {
        let name: Arc<str> = name.into();
        let place = Place::Argument(Arc::clone(&name));
        if text.len() > MAX_FILE_BYTES {
            problems.add(place, format!("longer than {MAX_FILE_BYTES} bytes"));
            return None;
        }
        if let Some(char) = text.chars().find(|char| is_forbidden(*char)) {
            let code = u32::from(char);
            problems.add(
                place,
                format!("the control character U+{code:04X} is not YAML"),
            );
            return None;
        }
        if text.trim().is_empty() {
            let scalar = Scalar {
                text: String::new(),
                style: Style::Plain,
                substituted: false,
            };
            return Some(Self {
                kind: Kind::Scalar(scalar),
                place,
            });
        }
        parser::parse(text, &Origin::Argument(name), problems)
    }
}

/// The parser takes a NUL for the end of the text; the others are never meant.
fn is_forbidden(char: char) -> bool {
    char.is_control() && !matches!(char, '\t' | '\n' | '\r' | '\u{85}')
}

/// What a segment leads to, and the place of its key.
fn child<'n>(node: &'n Node, segment: &PathSegment<'_>) -> Option<(&'n Node, &'n Place)> {
    match (&node.kind, segment) {
        (Kind::Mapping(_), PathSegment::Key(key)) => node
            .entry(key)
            .map(|entry| (&entry.value, &entry.key_place)),
        (Kind::Sequence(items), PathSegment::Index(index)) => {
            items.get(*index).map(|item| (item, &item.place))
        }
        _ => None,
    }
}

fn replace_variables(
    node: &mut Node,
    lines: &Lines,
    variables: &Variables<'_>,
    problems: &mut Problems,
) {
    match &mut node.kind {
        Kind::Unresolved => {}
        Kind::Mapping(entries) => {
            for entry in entries {
                replace_variables(&mut entry.value, lines, variables, problems);
            }
        }
        Kind::Sequence(items) => {
            for item in items {
                replace_variables(item, lines, variables, problems);
            }
        }
        Kind::Scalar(scalar) => match substitute(&scalar.text, variables) {
            Ok(text) if text == scalar.text => {}
            Ok(text) => {
                scalar.text = text.into_owned();
                scalar.substituted = true;
            }
            Err(failures) => {
                for failure in failures.into_iter().take(MAX_FAILURES) {
                    let (offset, len) = (failure.offset, failure.len);
                    let place = locate::locate(lines, scalar, &node.place, offset, len);
                    problems.add(place, failure.message);
                }
                node.kind = Kind::Unresolved;
            }
        },
    }
}
