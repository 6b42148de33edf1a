//! Import directions: a module imports only from lower levels.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{Code, Finding};
use crate::modules::{Sources, modules};

/// The levels of the top modules, as the map of the library writes them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    levels: BTreeMap<String, u32>,
    /// Modules that are there for tests alone: those of every level may import them.
    for_tests: BTreeSet<String>,
}

impl Levels {
    /// Reads `pub mod name; // level what it is for`.
    pub(crate) fn parse(path: &str, lib: &str) -> Result<Self, Vec<Finding>> {
        let (mut levels, mut for_tests) = (BTreeMap::new(), BTreeSet::new());
        let mut findings = Vec::new();
        let mut before = "";
        for (index, line) in lib.lines().enumerate() {
            let is_for_tests = std::mem::replace(&mut before, line.trim()) == "#[cfg(test)]";
            let declaration = line.trim().trim_start_matches("pub ");
            let Some((name, comment)) = declaration
                .strip_prefix("mod ")
                .and_then(|rest| rest.split_once(';'))
            else {
                continue;
            };
            let comment = comment.trim().strip_prefix("// ").unwrap_or_default();
            let (level, purpose) = comment.split_once(' ').unwrap_or((comment, ""));
            match level.parse() {
                Ok(_) if !purpose.is_empty() && is_for_tests => {
                    for_tests.insert(name.to_owned());
                }
                Ok(level) if !purpose.is_empty() => drop(levels.insert(name.to_owned(), level)),
                _ => {
                    let message = format!("write what {name} is: mod {name}; // level purpose");
                    findings.push(Finding::new(path, index + 1, message));
                }
            }
        }
        if findings.is_empty() {
            Ok(Self { levels, for_tests })
        } else {
            Err(findings)
        }
    }

    /// The modules that are not for tests alone.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.keys().map(String::as_str)
    }

    /// Why a module may not import another one.
    fn refuse(&self, from: &str, to: &str) -> Option<String> {
        if from == to || self.for_tests.contains(to) {
            return None;
        }
        match (self.levels.get(from), self.levels.get(to)) {
            (Some(mine), Some(theirs)) if theirs < mine => None,
            (Some(mine), Some(theirs)) => Some(format!(
                "{from} (level {mine}) must not import {to} (level {theirs})"
            )),
            (None, _) => Some(format!("{from} has no level")),
            (_, None) => Some(format!(
                "{from} imports {to}, which is no module with a level"
            )),
        }
    }
}

/// What breaks the directions in a crate.
pub(crate) fn wrong_imports(sources: &Sources, root: &str, levels: &Levels) -> Vec<Finding> {
    let mut findings = Vec::new();
    for module in modules(sources, root).0 {
        let Some(top) = module.names.first() else {
            continue;
        };
        let text = sources
            .get(&module.file)
            .map(String::as_str)
            .unwrap_or_default();
        let code = Code::new(&module.file, text, module.test);
        for (token, imported) in imports(&code, module.names.len()) {
            if let Some(message) = levels.refuse(top, imported) {
                findings.push(code.finding(token, message));
            }
        }
    }
    findings
}

/// Every top module that is named, in `use` and elsewhere. `depth` is how many names the file's own
/// module has.
fn imports<'a>(code: &Code<'a>, depth: usize) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    // Where the inline modules end that we are in.
    let mut inline: Vec<usize> = Vec::new();
    let mut index = 0;
    while index < code.tokens.len() {
        inline.retain(|end| index < *end);
        match code.at(index) {
            "mod" if code.at(index + 2) == "{" => inline.push(code.closing(index + 2)),
            "crate" if code.at(index + 1) == "::" => heads(code, index + 2, &mut found),
            // The bare root, other than in `pub(crate)`, could be renamed and used unseen.
            "crate" if code.at(index + 1) != ")" => found.push((index, "the crate's root")),
            "super" => {
                let mut steps = 1;
                while code.at(index + 1) == "::" && code.at(index + 2) == "super" {
                    steps += 1;
                    index += 2;
                }
                if steps >= depth + inline.len() {
                    match code.at(index + 1) {
                        "::" => heads(code, index + 2, &mut found),
                        _ => found.push((index, "the crate's root")),
                    }
                }
            }
            _ => {}
        }
        index += 1;
    }
    found
}

/// The first names of what stands behind `crate::`: one, or several in braces.
fn heads<'a>(code: &Code<'a>, at: usize, found: &mut Vec<(usize, &'a str)>) {
    if code.at(at) != "{" {
        found.push((at, code.at(at)));
        return;
    }
    let end = code.closing(at) - 1;
    let mut index = at + 1;
    let mut begins = true;
    while index < end {
        match code.at(index) {
            "," => begins = true,
            "{" => {
                index = code.closing(index);
                continue;
            }
            name if begins => {
                found.push((index, name));
                begins = false;
            }
            _ => {}
        }
        index += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "//! The map.\n\npub mod model; // 0 words\npub mod decode; // 1 bytes\n\
                       pub mod write; // 1 out\npub mod cli; // 5 commands\n\
                       #[cfg(test)]\nmod testing; // 0 for tests\n";

    fn wrong(path: &str, text: &str) -> Vec<String> {
        let files = [
            ("src/lib.rs", LIB),
            ("src/decode.rs", "mod json;"),
            (path, text),
        ];
        let sources = files
            .map(|(path, text)| (path.to_owned(), text.to_owned()))
            .into();
        let levels = Levels::parse("src/lib.rs", LIB).unwrap();
        let findings = wrong_imports(&sources, "src/lib.rs", &levels);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lower_levels_and_the_module_itself_may_be_imported() {
        let text = "use crate::model::{a, b};\nuse crate::decode::x;\nuse super::y;\n\
                    pub(crate) fn f(x: crate::model::A) {}\nmod tests { use super::super::z; }";
        assert_eq!(wrong("src/decode/json.rs", text), [""; 0]);
    }

    #[test]
    fn siblings_and_higher_levels_may_not() {
        let sibling = "src/decode/json.rs:1: decode (level 1) must not import write (level 1)";
        for text in [
            "use crate::write::x;",
            "use crate::{model::{write, b}, write};",
            "use crate::{write::{a, b}, model};",
            "fn f() { crate::write::g() }",
            "use super::super::write::x;",
            "use super::super::{model, write as out};",
            "use self::super::super::write;",
            "#[cfg(test)] mod tests { use crate::write; }",
            "mod tests { use super::super::super::write; }",
            "mod a { mod b {} use super::super::super::write; }",
            "pub use crate::write as hidden;",
        ] {
            assert_eq!(wrong("src/decode/json.rs", text), [sibling], "{text}");
        }
        assert_eq!(
            wrong("src/decode/json.rs", "\nuse crate::cli;"),
            ["src/decode/json.rs:2: decode (level 1) must not import cli (level 5)"]
        );
        assert_eq!(
            wrong("src/model.rs", "use crate::decode::x;"),
            ["src/model.rs:1: model (level 0) must not import decode (level 1)"]
        );
    }

    #[test]
    fn what_is_for_tests_alone_may_be_imported_and_imports_nothing() {
        for path in ["src/model.rs", "src/decode/json.rs"] {
            assert_eq!(wrong(path, "use crate::testing::x;"), [""; 0]);
        }
        assert_eq!(
            wrong("src/testing.rs", "use crate::model::x;"),
            ["src/testing.rs:1: testing has no level"]
        );
    }

    #[test]
    fn the_root_has_nothing_to_import() {
        for (text, what) in [
            ("use crate::*;", "*"),
            ("use crate::Thing;", "Thing"),
            ("use super::super::*;", "*"),
            ("use crate as root;", "the crate's root"),
            ("use super::super as root;", "the crate's root"),
        ] {
            let message = format!(
                "src/decode/json.rs:1: decode imports {what}, which is no module with a level"
            );
            assert_eq!(wrong("src/decode/json.rs", text), [message]);
        }
    }

    #[test]
    fn every_module_has_a_level_and_a_purpose() {
        let message = "src/lib.rs:2: write what a is: mod a; // level purpose";
        for line in [
            "pub mod a;",
            "mod a; // words",
            "pub mod a; // 1",
            "pub mod a; //",
        ] {
            let findings = Levels::parse("src/lib.rs", &format!("\n{line}\n")).unwrap_err();
            assert_eq!(
                findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
                [message]
            );
        }
    }
}
