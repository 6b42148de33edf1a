//! The rules of single files.

use crate::code::{Code, Finding};
use crate::lexer::Kind;

/// A file of more lines than this holds more than one noun.
pub(crate) const MAX_LINES: usize = 600;

const LOG_MACROS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

pub(crate) fn too_long(code: &Code<'_>) -> Vec<Finding> {
    let lines = code.text.lines().count();
    if lines <= MAX_LINES {
        return Vec::new();
    }
    let message = format!("{lines} lines; cut it into files of {MAX_LINES} at most");
    vec![Finding::new(code.path, lines, message)]
}

pub(crate) fn unsafe_code(code: &Code<'_>) -> Vec<Finding> {
    code.forbid(
        &["unsafe"],
        "no unsafe code without a measurement that asks for it",
    )
}

/// Notes to oneself, and what is left of debugging.
pub(crate) fn leftovers(code: &Code<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, comment) in &code.comments {
        for note in ["TODO", "FIXME", "XXX", "HACK"] {
            let mut words = comment.split(|c: char| !c.is_alphanumeric());
            if words.any(|word| word == note) {
                let message = format!("{note}: do it, or open an issue");
                findings.push(Finding::new(code.path, *line, message));
            }
        }
    }
    for name in ["todo", "unimplemented", "dbg"] {
        findings.extend(code.forbid(&[name, "!"], &format!("{name}! is for work in progress")));
    }
    let message = "an ignored test holds nothing: mend or remove it";
    findings.extend(code.forbid(&["#", "[", "ignore"], message));
    findings
}

pub(crate) fn prints(code: &Code<'_>) -> Vec<Finding> {
    let names = ["print", "println", "eprint", "eprintln"];
    let forbid = |name| code.forbid(&[name, "!"], "only cli prints; log, or return it");
    names.into_iter().flat_map(forbid).collect()
}

pub(crate) fn anyhow(code: &Code<'_>) -> Vec<Finding> {
    code.forbid(
        &["anyhow"],
        "only cli and main use anyhow; write an error type",
    )
}

/// Everything that asks the system for the time of day.
pub(crate) fn wall_clock(code: &Code<'_>) -> Vec<Finding> {
    let types = [
        "SystemTime",
        "Utc",
        "Local",
        "Timestamp",
        "Zoned",
        "OffsetDateTime",
    ];
    let forbid = |name| {
        code.forbid(
            &[name, "::", "now"],
            "only model::time reads the clock; have one passed in",
        )
    };
    let mut findings: Vec<_> = types.into_iter().flat_map(forbid).collect();
    findings.extend(code.forbid(
        &["UNIX_EPOCH", ".", "elapsed"],
        "only model::time reads the clock",
    ));
    findings
}

/// A failure in code that is not a test must be a value.
pub(crate) fn unwraps(code: &Code<'_>) -> Vec<Finding> {
    // A text tells Option's and Result's expect from methods of ours.
    let patterns = [&[".", "unwrap", "(", ")"][..], &[".", "expect", "(", "\""]];
    let mut findings = Vec::new();
    for pattern in patterns {
        for at in code.find(pattern) {
            if code.test.get(at) == Some(&false) {
                let message = format!("{}() outside of tests; return an error", code.at(at + 1));
                findings.push(code.finding(at, message));
            }
        }
    }
    findings
}

/// Messages of logs and errors are parts of a sentence.
pub(crate) fn messages(code: &Code<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in LOG_MACROS {
        for at in code.find(&[name, "!", "("]) {
            check_message(code, log_message(code, at + 2), &mut findings);
        }
    }
    for at in code.find(&["#", "[", "error", "(", "\""]) {
        check_message(code, Some(at + 4), &mut findings);
    }
    findings
}

/// The message of a log macro: its first argument of a text alone, not of `name = "text"`.
fn log_message(code: &Code<'_>, open: usize) -> Option<usize> {
    let end = code.closing(open);
    (open + 1..end).find(|index| {
        code.tokens
            .get(*index)
            .is_some_and(|token| token.kind == Kind::Text)
            && matches!(code.at(index - 1), "(" | ",")
            && code.closing(open) == end
            && depth(code, open, *index) == 1
    })
}

fn depth(code: &Code<'_>, open: usize, index: usize) -> usize {
    let count = |marks: [&str; 3]| {
        (open..index)
            .filter(|index| marks.contains(&code.at(*index)))
            .count()
    };
    count(["(", "[", "{"]) - count([")", "]", "}"])
}

fn check_message(code: &Code<'_>, at: Option<usize>, findings: &mut Vec<Finding>) {
    let Some(at) = at else { return };
    let text = code.tokens.get(at).map_or("", |token| token.text);
    let mut chars = text.chars();
    let capital = chars.next().is_some_and(char::is_uppercase);
    // An acronym may begin a message.
    if capital && !chars.next().is_some_and(char::is_uppercase) {
        findings.push(code.finding(at, format!("write this message in lowercase: {text}")));
    }
    if text.ends_with(['.', '!']) {
        findings.push(code.finding(at, format!("end this message without a full stop: {text}")));
    }
}

/// A module says what it is for; the name of a file of tests says enough.
pub(crate) fn undocumented(code: &Code<'_>) -> Vec<Finding> {
    let only_tests = !code.test.is_empty() && code.test.iter().all(|test| *test);
    if only_tests {
        return Vec::new();
    }
    if code
        .comments
        .first()
        .is_some_and(|(_, comment)| comment.starts_with("//! "))
        && code.text.starts_with("//! ")
    {
        return Vec::new();
    }
    vec![Finding::new(
        code.path,
        1,
        "begin the file with //! and what it is for",
    )]
}

/// What names the library: the generator stands on its own.
pub(crate) fn uses_weir(code: &Code<'_>) -> Vec<Finding> {
    let message = "the generator imports nothing of weir";
    let mut findings = code.forbid(&["weir", "::"], message);
    findings.extend(code.forbid(&["use", "weir"], message));
    findings.extend(code.forbid(&["crate", "weir"], message));
    findings.dedup();
    findings
}

/// The same in a manifest.
pub(crate) fn depends_on_weir(path: &str, manifest: &str) -> Vec<Finding> {
    let is_weir = |line: &str| {
        let name = line.split(['=', '.']).next().unwrap_or_default();
        line.contains('=') && name.trim() == "weir"
    };
    let lines = manifest
        .lines()
        .enumerate()
        .filter(|(_, line)| is_weir(line));
    lines
        .map(|(index, _)| Finding::new(path, index + 1, "the generator depends on nothing of weir"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&Code<'_>) -> Vec<Finding>;

    /// The lines that a rule finds.
    fn lines(rule: Rule, text: &str) -> Vec<usize> {
        rule(&Code::new("x.rs", text, false))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(lines(too_long, &"x\n".repeat(MAX_LINES)), [0; 0]);
        assert_eq!(
            lines(too_long, &"x\n".repeat(MAX_LINES + 1)),
            [MAX_LINES + 1]
        );
    }

    #[test]
    fn unsafe_code_is_found() {
        assert_eq!(
            lines(unsafe_code, "#![deny(unsafe_code)] // unsafe\n\"unsafe\""),
            [0; 0]
        );
        assert_eq!(lines(unsafe_code, "fn a() {\n unsafe { b() } }"), [2]);
    }

    #[test]
    fn leftovers_are_found() {
        assert_eq!(
            lines(leftovers, "\"TODO\" // the method todo\nlet todo = dbg;"),
            [0; 0]
        );
        assert_eq!(
            lines(leftovers, "// TODO: x\n/* FIXME */\n/// XXX\n//HACK."),
            [1, 2, 3, 4]
        );
        assert_eq!(
            lines(leftovers, "todo!()\nunimplemented!(\"\")\ndbg!(x)"),
            [1, 2, 3]
        );
        assert_eq!(lines(leftovers, "#[ignore]\n#[ignore = \"slow\"]"), [1, 2]);
    }

    #[test]
    fn prints_are_found() {
        assert_eq!(
            lines(prints, "// println!\nwriteln!(out, \"println!\")"),
            [0; 0]
        );
        assert_eq!(
            lines(
                prints,
                "print!(\"\");\nstd::println!();\neprint!();\neprintln!();"
            ),
            [1, 2, 3, 4]
        );
    }

    #[test]
    fn anyhow_is_found() {
        assert_eq!(lines(anyhow, "// anyhow\nuse thiserror::Error;"), [0; 0]);
        assert_eq!(
            lines(
                anyhow,
                "use anyhow::Result;\nfn f() -> anyhow::Result<()> {}"
            ),
            [1, 2]
        );
    }

    #[test]
    fn clocks_are_found() {
        assert_eq!(
            lines(wall_clock, "clock.now_ms(); Instant::now(); x: SystemTime"),
            [0; 0]
        );
        let text = "std::time::SystemTime::now()\nTimestamp::now()\nUNIX_EPOCH.elapsed()";
        assert_eq!(lines(wall_clock, text), [1, 2, 3]);
    }

    #[test]
    fn unwraps_are_found_outside_of_tests() {
        let text = "x.unwrap_or(1); cursor.expect(b'x'); #[expect(lint)] x\n\
                    #[cfg(test)] mod tests { fn a() { x.unwrap(); x.expect(\"y\"); } }";
        assert_eq!(lines(unwraps, text), [0; 0]);
        assert_eq!(lines(unwraps, "x.unwrap();\nx\n.expect(\"y\");"), [1, 3]);
    }

    #[test]
    fn messages_are_parts_of_a_sentence() {
        let good = "tracing::info!(place = \"Here.\", %x, f(\"No.\"), \"the {x} ended\", \"Z.\");\n\
                    tracing::warn!(\"MQTT is away\"); error!(held, \"{count} left\");\n\
                    #[error(\"'{0}' is wrong; write e.g. x\")] #[error(transparent)]";
        assert_eq!(lines(messages, good), [0; 0]);
        let bad = "tracing::info!(\"The end\");\nwarn!(a = \"x\", \"ended.\");\n\
                   #[error(\"Cannot x\")]\n#[error(\"cannot {x}.\")]\ndebug!(\n\"done!\")";
        assert_eq!(
            lines(messages, bad),
            [6, 1, 2, 3, 4].map(|line| line),
            "by macro"
        );
    }

    #[test]
    fn files_without_a_purpose_are_found() {
        assert_eq!(lines(undocumented, "//! Words.\n\nuse x;"), [0; 0]);
        for text in ["", "use x;", "// Words.\n", "use x; //! late", "//!\n"] {
            assert_eq!(lines(undocumented, text), [1], "{text}");
        }
        assert_eq!(
            undocumented(&Code::new("x_tests.rs", "use super::*;", true)),
            []
        );
    }

    #[test]
    fn a_generator_that_leans_on_weir_is_found() {
        assert_eq!(
            lines(uses_weir, "use weirgen::x; // weir::y\n\"weir::z\""),
            [0; 0]
        );
        assert_eq!(lines(uses_weir, "use weir::x;"), [1]);
        assert_eq!(lines(uses_weir, "\nextern crate weir;"), [2]);
        assert_eq!(lines(uses_weir, "\n\nweir::run()"), [3]);
        let manifest = "[package]\nname = \"weirgen\"\n[dependencies]\nweird = \"1\"\n";
        assert_eq!(depends_on_weir("x", manifest), []);
        for line in ["weir = { path = \"..\" }", "weir.path = \"..\""] {
            let findings = depends_on_weir("x", &format!("{manifest}{line}"));
            assert_eq!(
                findings
                    .iter()
                    .map(|finding| finding.line)
                    .collect::<Vec<_>>(),
                [5],
                "{line}"
            );
        }
    }
}
