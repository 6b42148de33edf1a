//! Which files the compiler sees: the trees of `mod` declarations.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{Code, Finding};
use crate::lexer::Kind;

/// Texts of source files by their paths relative to the repository.
pub(crate) type Sources = BTreeMap<String, String>;

/// A file as a module of its crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) file: String,
    /// Its names from the crate's root inwards; none for the root itself.
    pub(crate) names: Vec<String>,
    /// Whether it is compiled for tests only.
    pub(crate) test: bool,
}

/// A `mod name;`.
struct Declaration {
    name: String,
    /// From a `#[path]`.
    path: Option<String>,
    test: bool,
    token: usize,
}

/// The modules of a crate from its root file on, and the declarations without a file.
pub(crate) fn modules(sources: &Sources, root: &str) -> (Vec<Module>, Vec<Finding>) {
    let mut modules = Vec::new();
    let mut findings = Vec::new();
    let mut pending = vec![Module {
        file: root.to_owned(),
        names: Vec::new(),
        test: false,
    }];
    while let Some(module) = pending.pop() {
        let text = sources
            .get(&module.file)
            .map(String::as_str)
            .unwrap_or_default();
        let code = Code::new(&module.file, text, module.test);
        for declaration in declarations(&code) {
            let candidates = candidates(&module, &declaration);
            let Some(file) = candidates.iter().find(|file| sources.contains_key(*file)) else {
                let message = format!("module {} has no file", declaration.name);
                findings.push(code.finding(declaration.token, message));
                continue;
            };
            let names = module
                .names
                .iter()
                .chain([&declaration.name])
                .cloned()
                .collect();
            pending.push(Module {
                file: file.clone(),
                names,
                test: declaration.test,
            });
        }
        modules.push(module);
    }
    (modules, findings)
}

/// The files below folders that no crate declares.
pub(crate) fn dead_files(sources: &Sources, folders: &[&str], roots: &[&str]) -> Vec<Finding> {
    let mut alive = BTreeSet::new();
    let mut findings = Vec::new();
    for root in roots {
        let (modules, missing) = modules(sources, root);
        alive.extend(modules.into_iter().map(|module| module.file));
        findings.extend(missing);
    }
    let below = |path: &str| folders.iter().any(|folder| path.starts_with(folder));
    let dead = sources
        .keys()
        .filter(|path| below(path) && !alive.contains(*path));
    findings
        .extend(dead.map(|path| Finding::new(path, 1, "no mod declaration leads to this file")));
    findings
}

fn declarations(code: &Code<'_>) -> Vec<Declaration> {
    let mut declarations = Vec::new();
    for token in code.find(&["mod"]) {
        if code.at(token + 2) != ";" {
            continue;
        }
        declarations.push(Declaration {
            name: code.at(token + 1).to_owned(),
            path: path_attribute(code, token),
            test: code.test.get(token).copied().unwrap_or_default(),
            token,
        });
    }
    declarations
}

/// The value of a `#[path = "…"]` of the item to which a token belongs.
fn path_attribute(code: &Code<'_>, token: usize) -> Option<String> {
    let start = (0..token)
        .rev()
        .find(|index| matches!(code.at(*index), ";" | "}" | "{"));
    let attribute = code.find(&["path", "=", "\""]);
    let at = attribute.last_before(start.map_or(0, |start| start + 1), token)?;
    let value = code
        .tokens
        .get(at + 2)
        .filter(|value| value.kind == Kind::Text)?;
    Some(value.text.to_owned())
}

trait LastBefore {
    fn last_before(self, from: usize, to: usize) -> Option<usize>;
}

impl<I: Iterator<Item = usize>> LastBefore for I {
    fn last_before(self, from: usize, to: usize) -> Option<usize> {
        self.filter(|at| (from..to).contains(at)).last()
    }
}

fn candidates(module: &Module, declaration: &Declaration) -> Vec<String> {
    let (folder, file) = module.file.rsplit_once('/').unwrap_or(("", &module.file));
    if let Some(path) = &declaration.path {
        return vec![beside(folder, path)];
    }
    let stem = file.trim_end_matches(".rs");
    let is_folder = module.names.is_empty() || stem == "mod";
    let folder = if is_folder {
        folder.to_owned()
    } else {
        format!("{folder}/{stem}")
    };
    let name = &declaration.name;
    vec![
        format!("{folder}/{name}.rs"),
        format!("{folder}/{name}/mod.rs"),
    ]
}

/// A path as seen from a folder, each `../` one folder further out.
fn beside(mut folder: &str, mut path: &str) -> String {
    while let Some(rest) = path.strip_prefix("../") {
        path = rest;
        folder = folder.rsplit_once('/').map_or("", |(outer, _)| outer);
    }
    if folder.is_empty() {
        return path.to_owned();
    }
    format!("{folder}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        [
            ("src/lib.rs", "pub mod a;\nmod b;\nmod inline { fn x() {} }"),
            (
                "src/a.rs",
                "mod inner; #[cfg(test)] #[path = \"a_tests.rs\"] mod tests;",
            ),
            ("src/a/inner.rs", ""),
            (
                "src/a_tests.rs",
                "mod deep; #[path = \"../other/x.rs\"] mod shared;",
            ),
            ("src/b/mod.rs", "mod c;\nmod missing;"),
            ("src/b/c.rs", ""),
            ("src/a_tests/deep.rs", ""),
            ("src/dead.rs", "mod deader;"),
            ("other/x.rs", ""),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into()
    }

    #[test]
    fn follows_declarations() {
        let (modules, missing) = modules(&sources(), "src/lib.rs");
        let mut found: Vec<_> = modules
            .iter()
            .map(|module| (module.file.as_str(), module.names.join("::"), module.test))
            .collect();
        found.sort();
        let expected = [
            ("other/x.rs", "a::tests::shared", true),
            ("src/a.rs", "a", false),
            ("src/a/inner.rs", "a::inner", false),
            ("src/a_tests.rs", "a::tests", true),
            ("src/a_tests/deep.rs", "a::tests::deep", true),
            ("src/b/c.rs", "b::c", false),
            ("src/b/mod.rs", "b", false),
            ("src/lib.rs", "", false),
        ];
        assert_eq!(
            found,
            expected.map(|(file, names, test)| (file, names.to_owned(), test))
        );
        assert_eq!(
            missing,
            [Finding::new(
                "src/b/mod.rs",
                2,
                "module missing has no file"
            )]
        );
    }

    #[test]
    fn finds_dead_files() {
        let findings = dead_files(&sources(), &["src/"], &["src/lib.rs"]);
        let found: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "src/b/mod.rs:2: module missing has no file",
                "src/dead.rs:1: no mod declaration leads to this file",
            ]
        );
    }
}
