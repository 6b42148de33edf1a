//! A source file, and what is found wrong with it.

use std::fmt;

use crate::lexer::{Kind, Lexed, Token, lex};

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// A source file as tokens.
#[derive(Debug)]
pub(crate) struct Code<'a> {
    /// Relative to the repository, with slashes.
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<(usize, &'a str)>,
    /// Which tokens are compiled for tests only.
    pub(crate) test: Vec<bool>,
}

impl<'a> Code<'a> {
    /// `test`: the whole file is compiled for tests only.
    pub(crate) fn new(path: &'a str, text: &'a str, test: bool) -> Self {
        let Lexed { tokens, comments } = lex(text);
        let mut code = Self {
            path,
            text,
            test: vec![test; tokens.len()],
            tokens,
            comments,
        };
        let marks: Vec<_> = code
            .find(&["#", "[", "cfg", "(", "test", ")", "]"])
            .collect();
        for start in marks {
            let end = code.end_of_item(start + 7);
            if let Some(item) = code.test.get_mut(start..end) {
                item.fill(true);
            }
        }
        code
    }

    /// Where a sequence of tokens begins. `"` stands for any text literal.
    pub(crate) fn find(&self, pattern: &[&str]) -> impl Iterator<Item = usize> {
        let matches = |window: &[Token<'_>]| {
            window
                .iter()
                .zip(pattern)
                .all(|(token, wanted)| match token.kind {
                    Kind::Text => *wanted == "\"",
                    Kind::Character => false,
                    Kind::Word | Kind::Mark => token.text == *wanted,
                })
        };
        let windows = self.tokens.windows(pattern.len());
        let found: Vec<_> = windows
            .enumerate()
            .filter(|(_, window)| matches(window))
            .map(|(at, _)| at)
            .collect();
        found.into_iter()
    }

    /// The text of a word or mark; empty for literals and behind the end.
    pub(crate) fn at(&self, index: usize) -> &'a str {
        match self.tokens.get(index) {
            Some(Token {
                kind: Kind::Word | Kind::Mark,
                text,
                ..
            }) => text,
            _ => "",
        }
    }

    pub(crate) fn finding(&self, at: usize, message: impl Into<String>) -> Finding {
        Finding::new(
            self.path,
            self.tokens.get(at).map_or(1, |token| token.line),
            message,
        )
    }

    /// A finding for each place of a sequence of tokens.
    pub(crate) fn forbid(&self, pattern: &[&str], message: &str) -> Vec<Finding> {
        self.find(pattern)
            .map(|at| self.finding(at, message))
            .collect()
    }

    /// The index behind the bracket that closes the one at `open`.
    pub(crate) fn closing(&self, open: usize) -> usize {
        let mut depth = 0;
        for index in open..self.tokens.len() {
            match self.at(index) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return index + 1;
            }
        }
        self.tokens.len()
    }

    /// The index behind an item: behind its `;`, or behind its block.
    fn end_of_item(&self, start: usize) -> usize {
        let mut index = start;
        while index < self.tokens.len() {
            match self.at(index) {
                ";" => return index + 1,
                "{" => return self.closing(index),
                "(" | "[" => index = self.closing(index),
                _ => index += 1,
            }
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_compiled_for_tests_only() {
        let text = "fn a() { b } #[cfg(test)] #[path = \"x\"] mod c; d
            #[cfg(test)] fn e(f: [u8; 2]) -> G { h { i } } j #[cfg(not(test))] k";
        let code = Code::new("x.rs", text, false);
        let words = code.tokens.iter().zip(&code.test);
        let plain: Vec<_> = words
            .filter(|(token, test)| !**test && token.kind == Kind::Word)
            .collect();
        let plain: Vec<_> = plain.into_iter().map(|(token, _)| token.text).collect();
        assert_eq!(plain, ["fn", "a", "b", "d", "j", "cfg", "not", "test", "k"]);
    }

    #[test]
    fn finds_code_and_no_literals() {
        let code = Code::new("x.rs", "\"todo!\" // todo!\n'a' todo!() e(\"x\")", false);
        assert_eq!(
            code.forbid(&["todo", "!"], "no"),
            [Finding::new("x.rs", 2, "no")]
        );
        assert_eq!(code.find(&["e", "(", "\""]).count(), 1);
    }
}
