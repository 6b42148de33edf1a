//! Regular expressions: compiled once, searched in time linear in the text.

use std::ops::Range;
use std::sync::Arc;

use regex::{Captures, Regex, RegexBuilder};

use crate::model::{Interner, Symbol, Trilean};

use super::prepared::{Constants, Fault, Prepared};
use super::row::{append, texts};
use super::vector::{Vector, unary};

/// A pattern that is larger when compiled is refused, bytes.
const MAX_COMPILED: usize = 4 << 20;

/// `regexp_like(text, pattern[, flags])`
pub(super) fn like(constants: &Constants<'_>) -> Result<Arc<dyn Prepared>, Fault> {
    let flags = Flags::parse(constants, 2, "")?;
    Ok(Arc::new(Like(compile(constants, flags)?)))
}

/// `regexp_extract(text, pattern[, group])`
pub(super) fn extract(constants: &Constants<'_>) -> Result<Arc<dyn Prepared>, Fault> {
    let pattern = compile(constants, Flags::default())?;
    let groups = pattern.captures_len() - 1;
    let wanted = constants.number(2).unwrap_or(0.0);
    let Some(group) = (0..=groups).find(|group| *group as f64 == wanted) else {
        let message =
            format!("there is no group {wanted}: the last one of the pattern is {groups}");
        return Err(Fault::new(2, message));
    };
    Ok(Arc::new(Extract { pattern, group }))
}

/// `regexp_replace(text, pattern, replacement[, flags])`
pub(super) fn replace(constants: &Constants<'_>) -> Result<Arc<dyn Prepared>, Fault> {
    let flags = Flags::parse(constants, 3, "g")?;
    let pattern = compile(constants, flags)?;
    let parts = replacement(constants.text(2).unwrap_or_default(), &pattern)?;
    Ok(Arc::new(Replace {
        pattern,
        parts,
        everywhere: flags.everywhere,
    }))
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_matches_line_feed: bool,
    ignore_space: bool,
    everywhere: bool,
}

impl Flags {
    /// `more` are the flags that this function has besides the common ones.
    fn parse(constants: &Constants<'_>, argument: usize, more: &str) -> Result<Self, Fault> {
        let mut flags = Self::default();
        let text = constants.text(argument).unwrap_or_default();
        for (offset, flag) in text.char_indices() {
            match flag {
                'i' => flags.ignore_case = true,
                'm' => flags.multi_line = true,
                's' => flags.dot_matches_line_feed = true,
                'x' => flags.ignore_space = true,
                'g' if more.contains('g') => flags.everywhere = true,
                _ => {
                    let known: Vec<String> = "imsx"
                        .chars()
                        .chain(more.chars())
                        .map(String::from)
                        .collect();
                    let known = known.join(", ");
                    return Err(Fault {
                        argument,
                        within: Some(offset..offset + flag.len_utf8()),
                        message: format!("unknown flag '{flag}'; known flags are {known}"),
                    });
                }
            }
        }
        Ok(flags)
    }
}

/// The pattern is argument 1 of all of them.
fn compile(constants: &Constants<'_>, flags: Flags) -> Result<Regex, Fault> {
    let pattern = constants.text(1).unwrap_or_default();
    let fault = |within: Option<Range<usize>>, reason: &str| Fault {
        argument: 1,
        within,
        message: format!("the pattern is not a regular expression: {reason}"),
    };
    // This parser tells the place of a fault; the other one only prints it.
    let parsed = regex_syntax::ParserBuilder::new()
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_matches_line_feed)
        .ignore_whitespace(flags.ignore_space)
        .build()
        .parse(pattern);
    match parsed {
        Ok(_) => {}
        Err(regex_syntax::Error::Parse(error)) => {
            let span = error.span();
            let range = span.start.offset..span.end.offset;
            return Err(fault(Some(range), &error.kind().to_string()));
        }
        Err(regex_syntax::Error::Translate(error)) => {
            let span = error.span();
            let range = span.start.offset..span.end.offset;
            return Err(fault(Some(range), &error.kind().to_string()));
        }
        Err(error) => return Err(fault(None, &error.to_string())),
    }
    RegexBuilder::new(pattern)
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_matches_line_feed)
        .ignore_whitespace(flags.ignore_space)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|_| fault(None, &format!("it takes more than {MAX_COMPILED} bytes")))
}

#[derive(Debug)]
struct Like(Regex);

impl Prepared for Like {
    fn compute(&self, interner: &mut Interner, a: &[Vector<'_>], _: usize) -> Vector<'static> {
        unary(a, |symbol: Symbol| match symbol.is_null() {
            true => Trilean::Null,
            false => self.0.is_match(interner.text(symbol)).into(),
        })
    }
}

#[derive(Debug)]
struct Extract {
    pattern: Regex,
    group: usize,
}

impl Prepared for Extract {
    fn compute(&self, interner: &mut Interner, a: &[Vector<'_>], rows: usize) -> Vector<'static> {
        texts(interner, a, rows, |row, result| {
            let captures = self.pattern.captures(row.text(0)?)?;
            result.push_str(captures.get(self.group)?.as_str());
            Some(())
        })
    }
}

/// A part of a replacement.
#[derive(Debug)]
enum Part {
    Text(String),
    /// What a group has matched.
    Group(usize),
}

#[derive(Debug)]
struct Replace {
    pattern: Regex,
    parts: Vec<Part>,
    everywhere: bool,
}

impl Prepared for Replace {
    fn compute(&self, interner: &mut Interner, a: &[Vector<'_>], rows: usize) -> Vector<'static> {
        texts(interner, a, rows, |row, result| {
            let text = row.text(0)?;
            let times = if self.everywhere { usize::MAX } else { 1 };
            let mut end = 0;
            for captures in self.pattern.captures_iter(text).take(times) {
                let found = captures.get(0)?;
                append(result, text.get(end..found.start())?)?;
                self.expand(&captures, result)?;
                end = found.end();
            }
            append(result, text.get(end..)?)
        })
    }
}

impl Replace {
    fn expand(&self, captures: &Captures<'_>, result: &mut String) -> Option<()> {
        for part in &self.parts {
            match part {
                Part::Text(text) => append(result, text)?,
                Part::Group(group) => {
                    let found = captures.get(*group).map_or("", |found| found.as_str());
                    append(result, found)?;
                }
            }
        }
        Some(())
    }
}

/// A replacement as PostgreSQL writes it: `\1` is a group, `\&` everything that has matched, and
/// `\\` a backslash.
fn replacement(text: &str, pattern: &Regex) -> Result<Vec<Part>, Fault> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((offset, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        let group = match next {
            Some('&') => Some(0),
            Some(digit @ '1'..='9') => digit.to_digit(10).and_then(|d| usize::try_from(d).ok()),
            _ => None,
        };
        match (character, group) {
            ('\\', Some(group)) => {
                let groups = pattern.captures_len() - 1;
                if group > groups {
                    return Err(Fault {
                        argument: 2,
                        within: Some(offset..offset + 2),
                        message: format!(
                            "there is no group {group}: the last one of the pattern is {groups}"
                        ),
                    });
                }
                characters.next();
                parts.push(Part::Text(std::mem::take(&mut literal)));
                parts.push(Part::Group(group));
            }
            ('\\', None) if next == Some('\\') => {
                characters.next();
                literal.push('\\');
            }
            _ => literal.push(character),
        }
    }
    parts.push(Part::Text(literal));
    Ok(parts)
}
