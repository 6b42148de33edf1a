//! Texts with groups of a regular expression in them, as Go's `Regexp.Expand` reads them.

use std::sync::Arc;

use regex::{Captures, Regex};

/// A text such as `a-${1}-$name`. A `$` that no name follows stands for itself, as does `$$` for one. A
/// name is as long as can be: `$1x` is the group named `1x`. Groups that there are not, or that took no
/// part in the match, are empty.
#[derive(Debug)]
pub(super) enum Template {
    /// Without groups.
    Constant(Arc<str>),
    /// With groups.
    Pieces(Vec<Piece>),
}

/// A part of a template.
#[derive(Debug)]
pub(super) enum Piece {
    /// A text.
    Text(String),
    /// A group of the regular expression.
    Group(usize),
}

impl Template {
    /// Reads a text for a regular expression.
    pub(super) fn parse(text: &str, regex: &Regex) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = name_in(after) else {
                plain.push('$');
                rest = after;
                continue;
            };
            rest = after;
            let Some(group) = group(name, regex) else {
                continue;
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Group(group));
        }
        plain.push_str(rest);
        if pieces.is_empty() {
            return Self::Constant(plain.into());
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Self::Pieces(pieces)
    }

    /// The text for a match.
    pub(super) fn expand(&self, captures: &Captures<'_>) -> Arc<str> {
        let pieces = match self {
            Self::Constant(text) => return Arc::clone(text),
            Self::Pieces(pieces) => pieces,
        };
        let mut result = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => result.push_str(text),
                Piece::Group(group) => {
                    result.push_str(captures.get(*group).map_or("", |found| found.as_str()));
                }
            }
        }
        result.into()
    }

    /// The text, where it is the same for every match.
    pub(super) fn constant(&self) -> Option<&Arc<str>> {
        match self {
            Self::Constant(text) => Some(text),
            Self::Pieces(_) => None,
        }
    }
}

/// The name behind a `$`, and what follows it.
fn name_in(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let text = braced.unwrap_or(text);
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    match braced {
        Some(_) => Some((name, rest.strip_prefix('}')?)),
        None => Some((name, rest)),
    }
}

/// The number of a group by its number or its name. A number with a zero before it is a name.
fn group(name: &str, regex: &Regex) -> Option<usize> {
    let is_number = name.chars().all(|c| c.is_ascii_digit());
    if is_number && (name == "0" || !name.starts_with('0')) {
        let number = name.parse().ok()?;
        return (number < regex.captures_len()).then_some(number);
    }
    regex.capture_names().position(|found| found == Some(name))
}

/// Whether a text can become a label name: a label name with `$1`, `$name`, `${1}` or `${name}` in it.
pub(super) fn is_name_template(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if is_word(c) {
            rest = rest.trim_start_matches(is_word);
            continue;
        }
        let Some(after) = rest.strip_prefix('$') else {
            return false;
        };
        let braced = after.strip_prefix('{');
        let name = braced.unwrap_or(after);
        let behind = name.trim_start_matches(is_word);
        if behind.len() == name.len() {
            return false;
        }
        rest = match braced {
            Some(_) => match behind.strip_prefix('}') {
                Some(behind) => behind,
                None => return false,
            },
            None => behind,
        };
    }
    true
}
