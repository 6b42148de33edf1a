//! Text to sqlparser's tree, within limits that keep every later walk off the end of the stack.

use std::ops::Range;

use sqlparser::ast::Expr;
use sqlparser::dialect::{AnsiDialect, Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::error::ExprError;

/// A longer text is refused, bytes.
const MAX_BYTES: usize = 64 * 1024;
/// More operators are refused. sqlparser's own limit is on its recursion, and a chain such as
/// `1 + 1 + ...` makes a tree as deep as it is long without any; finding its span does recurse.
const MAX_OPERATORS: usize = 600;
/// Nested brackets and calls.
const MAX_NESTING: usize = 50;

/// SQL without any vendor's extension, but with `FILTER`.
#[derive(Debug)]
struct PlainDialect;

impl Dialect for PlainDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    /// `trim(text, characters)`.
    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    /// The operators on bits bind equally, from the left, as in PostgreSQL.
    fn prec_value(&self, precedence: Precedence) -> u8 {
        let precedence = match precedence {
            Precedence::Ampersand | Precedence::Caret => Precedence::Pipe,
            other => other,
        };
        AnsiDialect {}.prec_value(precedence)
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
}

/// An expression's text and tokens.
#[derive(Debug)]
pub(super) struct Source<'t> {
    text: &'t str,
    /// Where each character begins, bytes.
    characters: Vec<usize>,
    /// Where each line begins, characters.
    lines: Vec<usize>,
    tokens: Vec<TokenWithSpan>,
    brackets: Vec<Brackets>,
}

/// A pair of round brackets, byte offsets.
#[derive(Debug)]
struct Brackets {
    /// Where the name before the opening one begins; where there is none, the opening one itself.
    name: usize,
    open: usize,
    /// Behind the closing one.
    end: usize,
}

impl<'t> Source<'t> {
    /// Splits a text into tokens.
    ///
    /// # Errors
    /// What is no token, or the limit that the text exceeds.
    pub(super) fn new(text: &'t str) -> Result<Self, ExprError> {
        let mut source = Self {
            text,
            characters: Vec::new(),
            lines: Vec::new(),
            tokens: Vec::new(),
            brackets: Vec::new(),
        };
        if text.len() > MAX_BYTES {
            let length = text.len();
            let message = format!("{length} bytes are too long; at most {MAX_BYTES} are allowed");
            return Err(source.error(message));
        }
        source.characters = text.char_indices().map(|(offset, _)| offset).collect();
        let breaks = text
            .chars()
            .enumerate()
            .filter(|(_, character)| *character == '\n');
        source.lines = std::iter::once(0)
            .chain(breaks.map(|(index, _)| index + 1))
            .collect();
        source.tokens = Tokenizer::new(&PlainDialect, text)
            .tokenize_with_location()
            .map_err(|error| source.syntax_error(&error.to_string()))?;
        let operators = source
            .tokens
            .iter()
            .filter(|token| is_operator(&token.token))
            .count();
        if operators > MAX_OPERATORS {
            return Err(source.error(format!(
                "{operators} operators and brackets are too many; at most {MAX_OPERATORS} are \
                 allowed; IN takes any number of values"
            )));
        }
        source.brackets = source.match_brackets();
        Ok(source)
    }

    /// Parses the text as one expression.
    ///
    /// # Errors
    /// The first fault of syntax.
    pub(super) fn parse(&self) -> Result<Expr, ExprError> {
        let mut parser = Parser::new(&PlainDialect)
            .with_recursion_limit(MAX_NESTING)
            .with_tokens_with_locations(self.tokens.clone());
        let expr = parser.parse_expr().map_err(|error| match error {
            ParserError::RecursionLimitExceeded => {
                self.error("nested too deeply; split it into several fields".to_owned())
            }
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
                self.syntax_error(&message)
            }
        })?;
        let next = parser.peek_token_ref();
        if next.token != Token::EOF {
            let Range { start, end } = self.exact_range(next.span);
            let message = format!("expected an operator or the end, found '{}'", next.token);
            return Err(ExprError {
                message,
                start,
                end,
            });
        }
        Ok(expr)
    }

    /// The bytes of an expression; the whole text where sqlparser gives no span. Its spans leave
    /// out the brackets of calls and groups at either end: those with a partner inside are added.
    pub(super) fn range(&self, span: Span) -> Range<usize> {
        let inner = self.exact_range(span);
        let mut range = inner.clone();
        for pair in &self.brackets {
            let opens = inner.contains(&pair.open);
            let closes = inner.start < pair.end && pair.end <= inner.end;
            if opens && !closes {
                range.end = range.end.max(pair.end);
            } else if closes && !opens {
                range.start = range.start.min(pair.name);
            }
        }
        range
    }

    /// A range with the name and the brackets of the call around it.
    pub(super) fn call(&self, range: Range<usize>) -> Range<usize> {
        let around = |pair: &&Brackets| pair.open < range.start && range.end < pair.end;
        let innermost = self
            .brackets
            .iter()
            .filter(around)
            .max_by_key(|pair| pair.open);
        innermost.map_or(range.clone(), |pair| pair.name..pair.end)
    }

    /// Where a part of the text between two quotes stands; a quote within it is written twice.
    pub(super) fn within_text(
        &self,
        quoted: &Range<usize>,
        part: &Range<usize>,
    ) -> Option<Range<usize>> {
        let written = self.slice(quoted).strip_prefix('\'')?.strip_suffix('\'')?;
        let begin = quoted.start + 1;
        // The place of each byte of the text.
        let mut places = Vec::new();
        let mut is_second = false;
        for (place, byte) in written.bytes().enumerate() {
            if byte == b'\'' && !is_second {
                is_second = true;
                continue;
            }
            is_second = false;
            places.push(begin + place);
        }
        places.push(begin + written.len());
        Some(*places.get(part.start)?..*places.get(part.end)?)
    }

    /// The text of a range.
    pub(super) fn slice(&self, range: &Range<usize>) -> &'t str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// An error about the whole text.
    pub(super) fn error(&self, message: String) -> ExprError {
        ExprError {
            message,
            start: 0,
            end: self.text.len(),
        }
    }

    fn exact_range(&self, span: Span) -> Range<usize> {
        if span.start.line == 0 {
            return 0..self.text.len();
        }
        let start = self.offset(span.start);
        start..self.offset(span.end).max(start)
    }

    /// sqlparser counts lines and columns from 1, columns in characters.
    fn offset(&self, location: Location) -> usize {
        let before = |number: u64| {
            usize::try_from(number)
                .unwrap_or(usize::MAX)
                .saturating_sub(1)
        };
        let line = self.lines.get(before(location.line)).copied();
        let index = line.and_then(|first| first.checked_add(before(location.column)));
        let offset = index.and_then(|index| self.characters.get(index)).copied();
        offset.unwrap_or(self.text.len())
    }

    fn match_brackets(&self) -> Vec<Brackets> {
        let mut pairs = Vec::new();
        let mut unclosed = Vec::new();
        let mut word = None;
        for token in &self.tokens {
            let Range { start, end } = self.exact_range(token.span);
            match token.token {
                Token::LParen => unclosed.push((word.unwrap_or(start), start)),
                Token::RParen => {
                    let opening = unclosed.pop();
                    pairs.extend(opening.map(|(name, open)| Brackets { name, open, end }));
                }
                _ => {}
            }
            word = matches!(token.token, Token::Word(_)).then_some(start);
        }
        pairs
    }

    /// sqlparser has no offsets in its errors: the place is the end of the message,
    /// `... at Line: 1, Column: 5`, and is missing for the end of the text.
    fn syntax_error(&self, message: &str) -> ExprError {
        let (message, place) = match message.rsplit_once(" at Line: ") {
            Some((message, place)) => (message, parse_place(place)),
            None => (message, None),
        };
        let range = match place {
            None => self.text.len()..self.text.len(),
            Some(place) => match self.tokens.iter().find(|token| token.span.start == place) {
                Some(token) => self.exact_range(token.span),
                None => self.offset(place)..self.text.len(),
            },
        };
        ExprError {
            message: reword(message),
            start: range.start,
            end: range.end,
        }
    }
}

/// Everything that could make a tree deeper; what is surely none is not counted.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_) => {
            false
        }
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::NoKeyword
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE
                | Keyword::TRUE
                | Keyword::FALSE
                | Keyword::NULL
        ),
        _ => true,
    }
}

fn parse_place(place: &str) -> Option<Location> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location {
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}

/// `Expected: an expression, found: )` in our own words.
fn reword(message: &str) -> String {
    if let Some((expected, found)) = message
        .strip_prefix("Expected: ")
        .and_then(|rest| rest.split_once(", found: "))
    {
        return match found {
            "EOF" => format!("expected {expected}, found the end"),
            _ => format!("expected {expected}, found '{found}'"),
        };
    }
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "not an expression".to_owned(),
    }
}
