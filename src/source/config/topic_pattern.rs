//! Patterns of Kafka topics.
//!
//! librdkafka gives them to the C library as extended regular expressions of POSIX, for which much of what
//! other expressions know is an error, or means something else: `\d` is the letter d. What both know is
//! allowed, so a pattern is read as one of Rust, and refused where POSIX reads something else.

use regex_syntax::ast::{
    AssertionKind, Ast, ClassAsciiKind, ClassPerl, ClassPerlKind, ClassSetBinaryOp, ClassSetItem,
    GroupKind, Literal, LiteralKind, RepetitionKind, RepetitionRange, Span, Visitor, parse::Parser,
    visit,
};

/// How often POSIX lets something be repeated at most (`RE_DUP_MAX`).
const MAX_REPETITIONS: u32 = 255;

/// What to write in place of an escape that stands within brackets.
const WITHIN_BRACKETS: &str = "write it without the backslash: ] first, ^ not first, - last";

/// What is wrong with a pattern.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let Ok(ast) = Parser::new().parse(pattern) else {
        return Err(format!("'{pattern}' is not a regular expression"));
    };
    visit(&ast, Reading).map_err(|Refused { span, instead }| {
        let part = pattern.get(span.start.offset..span.end.offset);
        format!(
            "'{pattern}' has '{}', which librdkafka's regular expressions (of POSIX) do not have; {instead}",
            part.unwrap_or(pattern)
        )
    })
}

/// A part that POSIX reads otherwise, and what to write instead.
#[derive(Debug)]
struct Refused {
    span: Span,
    instead: String,
}

fn refuse(span: Span, instead: impl Into<String>) -> Result<(), Refused> {
    Err(Refused {
        span,
        instead: instead.into(),
    })
}

/// Looks at each part of an expression.
struct Reading;

impl Visitor for Reading {
    type Output = ();
    type Err = Refused;

    fn finish(self) -> Result<(), Refused> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Refused> {
        match ast {
            Ast::Empty(_) | Ast::Dot(_) | Ast::Alternation(_) | Ast::Concat(_) => Ok(()),
            Ast::Flags(flags) => refuse(flags.span, "write both letters, as in [Bb]us"),
            Ast::Literal(literal) => check_literal(literal),
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine | AssertionKind::EndLine => Ok(()),
                AssertionKind::StartText => refuse(assertion.span, "write ^"),
                AssertionKind::EndText => refuse(assertion.span, "write $"),
                _ => refuse(assertion.span, "write the characters that stand there"),
            },
            Ast::ClassUnicode(class) => refuse(class.span, "write the characters, as in [A-Za-z]"),
            Ast::ClassPerl(class) => refuse(class.span, instead_of(class)),
            // Its parts are looked at one by one.
            Ast::ClassBracketed(_) => Ok(()),
            Ast::Repetition(repetition) => match (&repetition.op.kind, &*repetition.ast) {
                (_, Ast::Assertion(_)) => refuse(
                    repetition.span,
                    "leave out what is repeated: it has no characters",
                ),
                _ if !repetition.greedy => {
                    refuse(repetition.op.span, "write it without its last ?")
                }
                (RepetitionKind::Range(range), _) if most(range) > MAX_REPETITIONS => refuse(
                    repetition.op.span,
                    format!("write at most {MAX_REPETITIONS}"),
                ),
                _ => Ok(()),
            },
            Ast::Group(group) => match &group.kind {
                GroupKind::CaptureIndex(_) => Ok(()),
                GroupKind::NonCapturing(flags) if !flags.items.is_empty() => {
                    refuse(group.span, "write both letters, as in [Bb]us")
                }
                _ => refuse(group.span, "write ( in place of what begins with (?"),
            },
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Refused> {
        match item {
            ClassSetItem::Empty(_) => Ok(()),
            ClassSetItem::Literal(literal) => check_in_brackets(literal),
            ClassSetItem::Range(range) => {
                check_in_brackets(&range.start)?;
                check_in_brackets(&range.end)
            }
            ClassSetItem::Ascii(class) => match class.kind {
                ClassAsciiKind::Word => refuse(class.span, "write A-Za-z0-9_"),
                ClassAsciiKind::Ascii => refuse(class.span, "write . in place of the brackets"),
                _ if class.negated => refuse(class.span, "write ^ behind the first ["),
                _ => Ok(()),
            },
            ClassSetItem::Unicode(class) => {
                refuse(class.span, "write the characters, as in A-Za-z")
            }
            ClassSetItem::Perl(class) => refuse(class.span, instead_within_brackets(class)),
            ClassSetItem::Bracketed(class) => {
                refuse(class.span, "write the characters in one pair of brackets")
            }
            ClassSetItem::Union(union) => {
                let last = union.items.len().saturating_sub(1);
                for (index, item) in union.items.iter().enumerate() {
                    if let ClassSetItem::Literal(literal) = item
                        && literal.c == '-'
                        && literal.kind == LiteralKind::Verbatim
                        && index != 0
                        && index != last
                    {
                        return refuse(union.span, "write - as the last character");
                    }
                }
                Ok(())
            }
        }
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        operation: &ClassSetBinaryOp,
    ) -> Result<(), Refused> {
        let instead = "write each character once, in one pair of brackets";
        refuse(operation.span, instead)
    }
}

/// A character outside of brackets.
fn check_literal(literal: &Literal) -> Result<(), Refused> {
    match literal.kind {
        LiteralKind::Verbatim | LiteralKind::Meta if literal.c.is_ascii() => Ok(()),
        LiteralKind::Verbatim | LiteralKind::Meta => refuse(
            literal.span,
            "write letters, digits, '.', '_' and '-': a topic's name has no others",
        ),
        LiteralKind::Superfluous => refuse(literal.span, "write it without the backslash"),
        _ => refuse(literal.span, "write the character itself"),
    }
}

/// A character within brackets, where a backslash is one like any other.
fn check_in_brackets(literal: &Literal) -> Result<(), Refused> {
    match literal.kind {
        LiteralKind::Meta | LiteralKind::Superfluous => refuse(literal.span, WITHIN_BRACKETS),
        _ => check_literal(literal),
    }
}

/// How often something is repeated at most, or at least where there is no end to it.
fn most(range: &RepetitionRange) -> u32 {
    match range {
        RepetitionRange::Exactly(count)
        | RepetitionRange::AtLeast(count)
        | RepetitionRange::Bounded(_, count) => *count,
    }
}

fn instead_of(class: &ClassPerl) -> &'static str {
    match (&class.kind, class.negated) {
        (ClassPerlKind::Digit, false) => "write [0-9]",
        (ClassPerlKind::Digit, true) => "write [^0-9]",
        (ClassPerlKind::Word, false) => "write [A-Za-z0-9_]",
        (ClassPerlKind::Word, true) => "write [^A-Za-z0-9_]",
        (ClassPerlKind::Space, false) => "leave it out: a topic's name has no blanks",
        (ClassPerlKind::Space, true) => "write . for any character",
    }
}

fn instead_within_brackets(class: &ClassPerl) -> &'static str {
    match (&class.kind, class.negated) {
        (ClassPerlKind::Digit, false) => "write 0-9",
        (ClassPerlKind::Word, false) => "write A-Za-z0-9_",
        (ClassPerlKind::Space, false) => "leave it out: a topic's name has no blanks",
        (_, true) => "write the characters, or those that are not meant behind [^",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_syntaxes_know_passes() {
        for pattern in [
            "^",
            "^bus-.*",
            "^bus-[0-9]+$",
            "^(bus|tram)-[^0-9]{2,4}$",
            "^bus\\.alarms\\-(a|b){0,255}",
            "^[[:alpha:]_.-]+$",
            "^[]a-]x?",
            "^[^]]*\\$",
            "^a{3}b{2,}",
            "^(a*)*()|b",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_posix_reads_otherwise_is_refused_with_what_to_write() {
        for (pattern, part, instead) in [
            (r"^bus-\d+$", r"\d", "write [0-9]"),
            (r"^bus-\D+$", r"\D", "write [^0-9]"),
            (r"^bus-\w+$", r"\w", "write [A-Za-z0-9_]"),
            (r"^bus\W", r"\W", "write [^A-Za-z0-9_]"),
            (
                r"^bus\s",
                r"\s",
                "leave it out: a topic's name has no blanks",
            ),
            (r"^\S+$", r"\S", "write . for any character"),
            (r"^bus\b", r"\b", "write the characters that stand there"),
            (r"^bus\B.", r"\B", "write the characters that stand there"),
            (r"^\<bus", r"\<", "write the characters that stand there"),
            (r"^\Abus", r"\A", "write ^"),
            (r"^bus\z", r"\z", "write $"),
            (r"^\pL+", r"\pL", "write the characters, as in [A-Za-z]"),
            (
                r"^\p{Greek}",
                r"\p{Greek}",
                "write the characters, as in [A-Za-z]",
            ),
            ("^(?i)bus", "(?i)", "write both letters, as in [Bb]us"),
            ("^(?i:bus)-", "(?i:bus)", "write both letters, as in [Bb]us"),
            (
                "^(?:a|b)",
                "(?:a|b)",
                "write ( in place of what begins with (?",
            ),
            (
                "^(?P<n>a)",
                "(?P<n>a)",
                "write ( in place of what begins with (?",
            ),
            ("^bus-.*?", "*?", "write it without its last ?"),
            ("^a{1,2}?", "{1,2}?", "write it without its last ?"),
            ("^a{256}", "{256}", "write at most 255"),
            (
                "^*a",
                "^*",
                "leave out what is repeated: it has no characters",
            ),
            (r"^a\/b", r"\/", "write it without the backslash"),
            (r"^a\x2d", r"\x2d", "write the character itself"),
            (r"^a\t", r"\t", "write the character itself"),
            (r"^[a\-z]", r"\-", WITHIN_BRACKETS),
            (r"^[+-\]]", r"\]", WITHIN_BRACKETS),
            (r"^[\d.]", r"\d", "write 0-9"),
            (r"^[\w.]", r"\w", "write A-Za-z0-9_"),
            (
                r"^[\W.]",
                r"\W",
                "write the characters, or those that are not meant behind [^",
            ),
            (r"^[\pL]", r"\pL", "write the characters, as in A-Za-z"),
            (
                "^[a-z&&[^b]]",
                "a-z&&[^b]",
                "write each character once, in one pair of brackets",
            ),
            (
                "^[a-z--b]",
                "a-z--b",
                "write each character once, in one pair of brackets",
            ),
            (
                "^[a[bc]]",
                "[bc]",
                "write the characters in one pair of brackets",
            ),
            ("^[a-c-e]", "a-c-e", "write - as the last character"),
            ("^[[:word:]]", "[:word:]", "write A-Za-z0-9_"),
            (
                "^[[:ascii:]]",
                "[:ascii:]",
                "write . in place of the brackets",
            ),
            ("^[[:^digit:]]", "[:^digit:]", "write ^ behind the first ["),
            (
                "^büs",
                "ü",
                "write letters, digits, '.', '_' and '-': a topic's name has no others",
            ),
        ] {
            let expected = format!(
                "'{pattern}' has '{part}', which librdkafka's regular expressions (of POSIX) do not have; {instead}"
            );
            assert_eq!(check(pattern), Err(expected));
        }
        let expected = "'^bus-(' is not a regular expression".to_owned();
        assert_eq!(check("^bus-("), Err(expected));
    }
}
