//! LIKE: `%` stands for any characters, `_` for one. Without ESCAPE nothing escapes them.

use crate::model::{Symbol, Trilean};

use super::vector::{Kernel, Vector, View, argument, map1, map2};

/// `value LIKE pattern [ESCAPE character]`, the arguments in that order.
pub(super) const LIKE: Kernel = |interner, a, _| {
    let value: View<'_, Symbol> = argument(a, 0);
    let pattern: View<'_, Symbol> = argument(a, 1);
    let escape: View<'_, Symbol> = argument(a, 2);
    let escape = interner.text(escape.at(0)).chars().next();
    let parse = |pattern: Symbol| {
        let text = (!pattern.is_null()).then(|| interner.text(pattern))?;
        Pattern::parse(text, escape).ok()
    };
    let matches = |value: Symbol, pattern: Option<&Pattern>| match pattern {
        Some(pattern) if !value.is_null() => pattern.matches(interner.text(value)).into(),
        _ => Trilean::Null,
    };
    Vector::Boolean(match pattern {
        View::Constant(pattern) => {
            let pattern = parse(pattern);
            map1(value, |value| matches(value, pattern.as_ref()))
        }
        View::Rows(_) => map2(value, pattern, |value, pattern| {
            matches(value, parse(pattern).as_ref())
        }),
    })
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Character(char),
    One,
    Any,
}

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Part>);

/// Why a pattern is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pattern '{pattern}' has an escape character '{escape}' that does not precede \
     '%', '_' or '{escape}'"
)]
pub(super) struct InvalidPattern {
    pattern: String,
    escape: char,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] where the escape character precedes something else than `%`, `_` or
    /// itself, as in standard SQL.
    pub(super) fn parse(text: &str, escape: Option<char>) -> Result<Self, InvalidPattern> {
        let mut parts = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if Some(character) == escape {
                match characters.next() {
                    Some(next) if next == character || next == '%' || next == '_' => {
                        parts.push(Part::Character(next));
                    }
                    _ => {
                        let pattern = text.to_owned();
                        return Err(InvalidPattern {
                            pattern,
                            escape: character,
                        });
                    }
                }
                continue;
            }
            match character {
                '%' if parts.last() == Some(&Part::Any) => {}
                '%' => parts.push(Part::Any),
                '_' => parts.push(Part::One),
                _ => parts.push(Part::Character(character)),
            }
        }
        Ok(Self(parts))
    }

    /// Whether the whole text matches. At a mismatch only the latest `%` takes one more character:
    /// an earlier one could not do better, so there is no exponential search.
    fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.as_slice();
        let mut rest = text.chars();
        let mut latest = None;
        loop {
            if let [Part::Any, behind @ ..] = parts {
                latest = Some((behind, rest.clone()));
                parts = behind;
                continue;
            }
            let mut next = rest.clone();
            match (parts, next.next()) {
                ([], None) => return true,
                ([Part::One, behind @ ..], Some(_)) => (parts, rest) = (behind, next),
                ([Part::Character(wanted), behind @ ..], Some(found)) if *wanted == found => {
                    (parts, rest) = (behind, next);
                }
                _ => {
                    let Some((behind, mut from)) = latest else {
                        return false;
                    };
                    if from.next().is_none() {
                        return false;
                    }
                    latest = Some((behind, from.clone()));
                    (parts, rest) = (behind, from);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_texts() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("%", "", true),
            ("_", "ü", true),
            ("_", "", false),
            ("a%", "abc", true),
            ("%c", "abc", true),
            ("%b%", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "abbc", false),
            ("a%b%c", "aXbYbZc", true),
            ("a%b%c", "aXcYb", false),
            ("%%_", "x", true),
            ("%ab", "aab", true),
        ];
        for (pattern, text, expected) in cases {
            let parsed = Pattern::parse(pattern, None).unwrap();
            assert_eq!(parsed.matches(text), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn escapes_only_what_has_a_meaning() {
        assert!(Pattern::parse("5!%!!", Some('!')).unwrap().matches("5%!"));
        assert!(!Pattern::parse("5!%", Some('!')).unwrap().matches("50"));
        for bad in ["a!", "!a"] {
            let escape = '!';
            let error = Pattern::parse(bad, Some(escape)).unwrap_err();
            assert_eq!(
                error,
                InvalidPattern {
                    pattern: bad.to_owned(),
                    escape
                }
            );
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = Pattern::parse(&"%a".repeat(200), None).unwrap();
        assert!(!pattern.matches(&("a".repeat(2_000) + "b")));
    }
}
