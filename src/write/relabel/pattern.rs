//! Regular expressions as Prometheus reads them: RE2 in the syntax of Go
//! (<https://github.com/google/re2/wiki/Syntax>), for the whole text, with `.` for a line feed as well.
//!
//! The `regex` crate finds the same matches and groups. What it reads otherwise is rewritten: `\d`, `\s`,
//! `\w` and `\b` are of ASCII in RE2, a `[` within brackets is a plain character there, and so are the
//! escaped characters `\<` and `\>` and the operators `&&` and `~~`.

use regex::{Regex, RegexBuilder};

/// How large a compiled expression may be, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Compiles an expression, or says what is wrong with it.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let rewritten = rewrite(pattern)?;
    // By itself: a `)` too many would end our own parenthesis.
    if let Err(error) = regex_syntax::Parser::new().parse(&rewritten) {
        let reason = match &error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            error => error.to_string(),
        };
        return Err(format!(
            "'{pattern}' is not a regular expression: {reason}; put \\ before a character that stands \
             for itself"
        ));
    }
    RegexBuilder::new(&format!("^(?s:{rewritten})$"))
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|_| {
            format!("'{pattern}' takes more than {MAX_COMPILED} bytes; repeat smaller parts")
        })
}

fn rewrite(pattern: &str) -> Result<String, String> {
    let mut result = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    // Within brackets: whether a `]` would be the first character there, which then stands for itself.
    let mut brackets: Option<bool> = None;
    while let Some(c) = rest.next() {
        let first = brackets == Some(true);
        brackets = brackets.map(|_| false);
        match c {
            '\\' => match rest.next() {
                Some('d') => result.push_str("[0-9]"),
                Some('D') => result.push_str("[^0-9]"),
                Some('s') => result.push_str(r"[\t\n\f\r ]"),
                Some('S') => result.push_str(r"[^\t\n\f\r ]"),
                Some('w') => result.push_str("[0-9A-Za-z_]"),
                Some('W') => result.push_str("[^0-9A-Za-z_]"),
                Some('b') if brackets.is_none() => result.push_str(r"(?-u:\b)"),
                Some(sign @ ('<' | '>')) => result.push(sign),
                Some(escaped) => result.extend(['\\', escaped]),
                None => result.push('\\'),
            },
            '[' if brackets.is_none() => {
                result.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    result.push('^');
                }
                brackets = Some(true);
            }
            // A class with a name, such as [:alpha:].
            '[' if rest.peek() == Some(&':') => {
                result.push('[');
                for named in rest.by_ref() {
                    result.push(named);
                    if named == ']' {
                        break;
                    }
                }
            }
            ']' if brackets.is_some() && !first => {
                result.push(']');
                brackets = None;
            }
            '-' if brackets.is_some() && rest.peek() == Some(&'-') => {
                return Err(format!(
                    "'{pattern}' has -- within brackets; write \\- for one that stands for itself"
                ));
            }
            '[' | ']' | '&' | '~' if brackets.is_some() => result.extend(['\\', c]),
            _ => result.push(c),
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap().is_match(text)
    }

    #[test]
    fn reads_expressions_as_re2_does() {
        let yes = [
            ("f|o", "o"),
            ("a.b", "a\nb"),
            (r"\d+", "42"),
            (r"[\w.]+", "a_1.b"),
            (r"[^\d]+", "år"),
            (r"a\b.*", "aé"),
            ("[[]+", "[["),
            ("[]a]+", "a]"),
            ("[^]a]+", "b"),
            ("[a&&b]+", "a&b"),
            ("[[:alpha:][]+", "a["),
            (r"\<x\>", "<x>"),
            (r"\pL+", "år"),
            ("(?i)uk", "UK"),
            ("", ""),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern, text), "{pattern} {text:?}");
        }
        let no = [
            ("f|o", "fo"),
            ("foo", "foo\n"),
            (r"\d+", "٣"),
            (r"\w+", "å"),
            (r"\s", "\u{b}"),
            (r"\s", "\u{a0}"),
            ("[^]a]", "]"),
            ("", "a"),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern, text), "{pattern} {text:?}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            (
                "a)(b",
                "'a)(b' is not a regular expression: unopened group; put \\ before a character that \
                 stands for itself",
            ),
            (
                "[a",
                "'[a' is not a regular expression: unclosed character class; put \\ before a character \
                 that stands for itself",
            ),
            (
                "[+--]",
                "'[+--]' has -- within brackets; write \\- for one that stands for itself",
            ),
            (
                "(?:[a-z]{1000}){1000}",
                "'(?:[a-z]{1000}){1000}' takes more than 1048576 bytes; repeat smaller parts",
            ),
        ];
        for (pattern, expected) in cases {
            assert_eq!(compile(pattern).unwrap_err(), expected);
        }
    }
}
