//! Rust sources as tokens: as much of the language as the rules need.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, a keyword, a number or a lifetime.
    Word,
    /// A mark; `::` is one.
    Mark,
    /// A text literal of any kind, without its quotes, escapes as written.
    Text,
    /// A character literal.
    Character,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// From 1.
    pub(crate) line: usize,
}

/// A source cut into code and comments.
#[derive(Debug, Default)]
pub(crate) struct Lexed<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    /// Lines and texts of comments.
    pub(crate) comments: Vec<(usize, &'a str)>,
}

/// Cuts a source that the compiler has accepted.
pub(crate) fn lex(source: &str) -> Lexed<'_> {
    let mut lexed = Lexed::default();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if let Some(length) = comment(rest) {
            lexed.comments.push((line, &rest[..length]));
            length
        } else {
            let (kind, length, inner) = token(rest, first);
            lexed.tokens.push(Token {
                kind,
                text: &rest[inner.0..inner.1],
                line,
            });
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    lexed
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let mut at = 0;
    loop {
        let tail = rest.get(at..).filter(|tail| !tail.is_empty());
        let Some(tail) = tail else {
            return Some(rest.len());
        };
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// The kind of the token at the beginning, its length, and where its text begins and ends.
fn token(rest: &str, first: char) -> (Kind, usize, (usize, usize)) {
    if let Some((opening, closing)) = quotes(rest) {
        let inner = match opening.ends_with("#\"") || opening.contains('r') {
            true => rest[opening.len()..].find(&closing),
            false => unescaped(&rest[opening.len()..], '"'),
        };
        let end = opening.len() + inner.unwrap_or(rest.len() - opening.len());
        let length = (end + closing.len()).min(rest.len());
        return (Kind::Text, length, (opening.len(), end));
    }
    let quote = usize::from(rest.starts_with("b'"));
    if rest[quote..].starts_with('\'') {
        let inner = &rest[quote + 1..];
        let second = inner.chars().nth(1);
        if quote == 1 || inner.starts_with('\\') || second == Some('\'') {
            // The first character may be the quote itself, escaped.
            let end = quote + 1 + unescaped(inner, '\'').unwrap_or(inner.len() - 1);
            return (Kind::Character, end + 1, (quote + 1, end));
        }
        let length = 1 + word(inner);
        return (Kind::Word, length, (0, length));
    }
    if first.is_alphanumeric() || first == '_' {
        let length = word(rest);
        return (Kind::Word, length, (0, length));
    }
    let length = if rest.starts_with("::") {
        2
    } else {
        first.len_utf8()
    };
    (Kind::Mark, length, (0, length))
}

/// How the text literal at the beginning is opened and closed, where there is one.
fn quotes(rest: &str) -> Option<(&str, String)> {
    let prefix = rest
        .find(|c: char| !matches!(c, 'b' | 'c' | 'r'))
        .filter(|length| *length <= 2)?;
    let (letters, tail) = rest.split_at(prefix);
    let hashes = tail.find(|c| c != '#')?;
    if !tail[hashes..].starts_with('"') || (hashes > 0 && !letters.ends_with('r')) {
        return None;
    }
    Some((
        &rest[..prefix + hashes + 1],
        format!("\"{}", "#".repeat(hashes)),
    ))
}

fn unescaped(text: &str, end: char) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == end {
            return Some(at);
        }
    }
    None
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> Vec<(Kind, &str)> {
        lex(source)
            .tokens
            .iter()
            .map(|token| (token.kind, token.text))
            .collect()
    }

    #[test]
    fn knows_texts_characters_and_lifetimes() {
        use Kind::{Character, Mark, Text, Word};
        assert_eq!(shown("a::b"), [(Word, "a"), (Mark, "::"), (Word, "b")]);
        assert_eq!(
            shown(r#""a\"//b" 'x' '\'' b'"' b"c""#),
            [
                (Text, r#"a\"//b"#),
                (Character, "x"),
                (Character, r"\'"),
                (Character, "\""),
                (Text, "c"),
            ]
        );
        assert_eq!(
            shown("r#\"a\"b\\\"# r\"\\\" br##\"x\"#\"##"),
            [(Text, "a\"b\\"), (Text, "\\"), (Text, "x\"#"),]
        );
        assert_eq!(shown("&'a str"), [(Mark, "&"), (Word, "'a"), (Word, "str")]);
        assert_eq!(
            shown("r#type b c"),
            [
                (Word, "r"),
                (Mark, "#"),
                (Word, "type"),
                (Word, "b"),
                (Word, "c"),
            ]
        );
        assert_eq!(
            shown("'é' 'é: x"),
            [(Character, "é"), (Word, "'é"), (Mark, ":"), (Word, "x"),]
        );
    }

    #[test]
    fn counts_lines_and_keeps_comments_apart() {
        let lexed = lex("// one\n/* two\n/* three */ */ x \"a\nb\" y");
        assert_eq!(
            lexed.comments,
            [(1, "// one"), (2, "/* two\n/* three */ */")]
        );
        let lines: Vec<_> = lexed
            .tokens
            .iter()
            .map(|token| (token.text, token.line))
            .collect();
        assert_eq!(lines, [("x", 3), ("a\nb", 3), ("y", 4)]);
    }
}
