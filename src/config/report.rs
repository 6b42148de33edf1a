//! What is wrong with a pipeline file: every problem at its place, all at once.

mod lines;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::document::{Document, PathSegment};

pub(crate) use lines::{Lines, Mark};

/// Where something was written. Places in the file come first, in reading order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file.
    File {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// How many characters of the line are meant, at least 1.
        width: usize,
    },
    /// In an argument of the command line, by its name: `--set write.remote_write.url`.
    Argument(Arc<str>),
}

impl Place {
    /// The beginning of the file.
    pub const START: Self = Self::File {
        line: 1,
        column: 1,
        width: 1,
    };

    /// The line from 1, where the place is in the file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => Some(*line),
            Self::Argument(_) => None,
        }
    }

    /// The column in characters from 1, where the place is in the file.
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::File { column, .. } => Some(*column),
            Self::Argument(_) => None,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What was found and what would be right, on one line.
    pub message: String,
}

/// Everything that is wrong with one file, sorted by place, each thing once.
///
/// `{}` prints a line a problem, `file:line:column: message`; `{:#}` adds the line of the file with
/// the place underlined.
#[derive(Debug, Clone)]
pub struct Problems {
    file: String,
    lines: Lines,
    // Ordered by place; an alias makes the same problem several times.
    problems: BTreeSet<Problem>,
}

impl Problems {
    /// No problems yet of a file with this name and text.
    pub fn new(file: impl Into<String>, text: &str) -> Self {
        Self {
            file: file.into(),
            lines: Lines::new(text),
            problems: BTreeSet::new(),
        }
    }

    /// Adds a problem at a place.
    pub fn add(&mut self, place: Place, message: impl AsRef<str>) {
        // Messages of other libraries and quoted values may hold line breaks.
        let message = message.as_ref().replace(char::is_control, " ");
        self.problems.insert(Problem { place, message });
    }

    /// Adds a problem of the value at a path; see [`Document::place`].
    pub(crate) fn add_at(
        &mut self,
        document: &Document,
        path: &[PathSegment<'_>],
        message: impl AsRef<str>,
    ) {
        self.add(document.place(path), message);
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All problems, by place.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    fn write_problem(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        let (line, column, width) = match &problem.place {
            Place::Argument(name) => return write!(f, "{name}: {}", problem.message),
            Place::File {
                line,
                column,
                width,
            } => (*line, *column, *width),
        };
        write!(f, "{}:{line}:{column}: {}", self.file, problem.message)?;
        if !f.alternate() {
            return Ok(());
        }
        let Some(excerpt) = self.lines.excerpt(line, column, width) else {
            return Ok(());
        };
        let number = line.to_string();
        write!(f, "\n  {number} | {}", excerpt.text)?;
        write!(f, "\n  {:1$} | {2}", "", number.len(), excerpt.carets)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            self.write_problem(f, problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(line: usize, column: usize, width: usize) -> Place {
        Place::File {
            line,
            column,
            width,
        }
    }

    #[test]
    fn prints_a_line_a_problem_by_place_and_each_once() {
        let mut problems = Problems::new("x.yaml", "a: 1\nb: 2\n");
        problems.add(Place::Argument("--set b".into()), "third");
        problems.add(file(2, 1, 1), "second\nwith a break");
        problems.add(file(1, 4, 1), "first");
        problems.add(file(1, 4, 1), "first");
        assert_eq!(
            problems.to_string(),
            "x.yaml:1:4: first\nx.yaml:2:1: second with a break\n--set b: third"
        );
        assert_eq!(problems.len(), 3);
    }

    #[test]
    fn underlines_the_place() {
        let text = "metrics:\n  lit:\n    value: sum(mesurement)\n\tü: [日, x]";
        let mut problems = Problems::new("x.yaml", text);
        problems.add(
            file(3, 16, 10),
            "unknown field 'mesurement'; did you mean 'measurement'?",
        );
        problems.add(file(4, 9, 1), "no");
        problems.add(file(9, 1, 1), "beyond the end");
        assert_eq!(
            format!("{problems:#}"),
            "x.yaml:3:16: unknown field 'mesurement'; did you mean 'measurement'?\n  \
               3 |     value: sum(mesurement)\n    \
                 |                ^^^^^^^^^^\n\
             x.yaml:4:9: no\n  4 | \tü: [日, x]\n    | \t       ^\n\
             x.yaml:9:1: beyond the end"
        );
    }

    #[test]
    fn shows_only_a_part_of_a_very_long_line() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let mut problems = Problems::new("x.yaml", &text);
        problems.add(file(1, 501, 400), "here");
        let rendered = format!("{problems:#}");
        let lines: Vec<&str> = rendered.lines().collect();
        let at = lines[1].chars().position(|c| c == 'X');
        assert_eq!(at, lines[2].chars().position(|c| c == '^'));
        assert!(
            lines.iter().all(|line| line.chars().count() < 180),
            "{rendered}"
        );
    }
}
