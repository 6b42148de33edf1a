//! What the documents tell the reader to do must be possible.

use std::collections::BTreeSet;

use crate::code::{Code, Finding};

/// Fenced blocks with one of these names hold commands.
const SHELLS: [&str; 4] = ["sh", "bash", "shell", "console"];
/// Options in front of weir's subcommand that take a value.
const GLOBAL_OPTIONS: [&str; 2] = ["--log-format", "--log-level"];

/// A piece of a document that is set as code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snippet {
    line: usize,
    text: String,
}

/// What can be called.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    pub(crate) targets: BTreeSet<String>,
    pub(crate) subcommands: BTreeSet<String>,
    pub(crate) flags: BTreeSet<String>,
    pub(crate) benches: BTreeSet<String>,
}

impl Commands {
    /// Reads the targets of a Makefile, the benches of a manifest, and weir's subcommands and flags
    /// from the source of its arguments: the variants of `Command`, and every field.
    pub(crate) fn read(makefile: &str, manifest: &str, arguments: &str) -> Self {
        let code = Code::new("arguments.rs", arguments, false);
        let mut commands = Self::default();
        for bench in manifest.split("[[bench]]").skip(1) {
            let name = bench.lines().find_map(|line| line.strip_prefix("name = "));
            let name = name.map(|name| name.trim_matches('"').to_owned());
            commands.benches.extend(name);
        }
        for line in makefile
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_alphanumeric()))
        {
            if let Some((names, rest)) = line.split_once(':')
                && !rest.starts_with('=')
                && !names.contains('=')
            {
                commands
                    .targets
                    .extend(names.split_whitespace().map(str::to_owned));
            }
        }
        for at in code.find(&["enum", "Command", "{"]) {
            let variants = (at + 3..code.closing(at + 2)).filter(|at| code.at(at + 1) == "(");
            let names = variants.map(|at| code.at(at)).chain(
                (at + 3..code.closing(at + 2))
                    .filter(|at| matches!(code.at(at + 1), "," | "}"))
                    .map(|at| code.at(at)),
            );
            let names = names.filter(|name| name.starts_with(char::is_uppercase));
            commands.subcommands.extend(names.map(in_kebab_case));
        }
        let fields = code
            .find(&[":"])
            .map(|at| code.at(at - 1).replace('_', "-"));
        commands.flags.extend(fields);
        commands
            .flags
            .extend(["help".to_owned(), "version".to_owned()]);
        commands
    }

    /// The commands of a document that cannot be called.
    pub(crate) fn wrong(&self, path: &str, document: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for Snippet { line, text } in snippets(document) {
            for command in text.split(['|', ';']).flat_map(|part| part.split("&&")) {
                if let Some(message) = self.refuse(command) {
                    findings.push(Finding::new(path, line, message));
                }
            }
        }
        findings
    }

    fn refuse(&self, command: &str) -> Option<String> {
        let command = command.trim().trim_start_matches("$ ");
        let command = command.split(" #").next().unwrap_or_default();
        let words = command.split_whitespace();
        let mut words = words.skip_while(|word| word.contains('=') || *word == "sudo");
        let program = words.next()?;
        match program.rsplit('/').next()? {
            "make" => words
                .filter(|word| !word.starts_with('-') && !word.contains('='))
                .find(|word| is_name(word) && !self.targets.contains(*word))
                .map(|target| format!("the Makefile has no target {target}")),
            "weir" => self.refuse_weir(words),
            "cargo" => {
                let bench = words.skip_while(|word| *word != "--bench").nth(1);
                bench
                    .filter(|bench| is_name(bench) && !self.benches.contains(*bench))
                    .map(|bench| format!("Cargo.toml has no bench {bench}"))
            }
            _ => None,
        }
    }

    fn refuse_weir<'a>(&self, mut words: impl Iterator<Item = &'a str>) -> Option<String> {
        let mut subcommand = false;
        while let Some(word) = words.next() {
            if GLOBAL_OPTIONS.contains(&word) {
                words.next();
            } else if let Some(flag) = word.strip_prefix("--") {
                let flag = flag.split('=').next().unwrap_or_default();
                if is_name(flag) && !self.flags.contains(flag) {
                    return Some(format!("weir has no option --{flag}"));
                }
            } else if !subcommand && is_name(word) {
                subcommand = true;
                if !self.subcommands.contains(word) {
                    return Some(format!("weir has no subcommand {word}"));
                }
            }
        }
        None
    }
}

/// A variant as clap calls it: `DeadLetters` is `dead-letters`.
fn in_kebab_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// Placeholders (`FILE`, `…`, `<name>`) are no names.
fn is_name(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_'))
}

/// Code spans, and the lines of blocks of commands.
pub(crate) fn snippets(document: &str) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    let mut fence: Option<bool> = None;
    for (index, text) in document.lines().enumerate() {
        let line = index + 1;
        if let Some(name) = text.trim_start().strip_prefix("```") {
            fence = match fence {
                None => Some(SHELLS.contains(&name.trim())),
                Some(_) => None,
            };
            continue;
        }
        match fence {
            Some(true) => snippets.push(Snippet {
                line,
                text: text.to_owned(),
            }),
            Some(false) => {}
            None => {
                let spans = text.split('`').skip(1).step_by(2);
                snippets.extend(spans.map(|span| Snippet {
                    line,
                    text: span.to_owned(),
                }));
            }
        }
    }
    snippets
}

/// The paths of a document that do not exist.
pub(crate) fn missing_paths(
    path: &str,
    document: &str,
    folders: &[&str],
    exists: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Snippet { line, text } in snippets(document) {
        for word in text.split_whitespace() {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
            let known = word
                .split_once('/')
                .is_some_and(|(first, _)| folders.contains(&first));
            if known && word.chars().all(plain) && !exists(word) {
                findings.push(Finding::new(path, line, format!("there is no {word}")));
            }
        }
    }
    findings
}

/// The pictures of a document that do not exist. `exists` is asked for the paths as they are written.
pub(crate) fn missing_pictures(
    path: &str,
    document: &str,
    exists: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(document.lines()) {
        for picture in text.split("![").skip(1) {
            let target = picture
                .split_once("](")
                .and_then(|(_, rest)| rest.split_once(')'));
            if let Some((target, _)) = target
                && !target.contains("://")
                && !exists(target)
            {
                findings.push(Finding::new(path, line, format!("there is no {target}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKEFILE: &str = "SECONDS := 60\n.PHONY: demo\ndemo test: build\n\tweir x: y\nbuild:\n";
    const MANIFEST: &str =
        "[lib]\nname = \"x\"\n[[bench]]\nname = \"limit\"\n[[bench]]\nname = \"growth\"\n";
    const ARGUMENTS: &str =
        "enum Command { /// Run.\n Run(RunArguments), Schema, Demo(D), DeadLetters(L) }
        struct RunArguments { #[arg(long = \"set\")] pub(super) set: Vec<X>, dry_run: bool }";

    fn wrong(document: &str) -> Vec<String> {
        let findings = Commands::read(MAKEFILE, MANIFEST, ARGUMENTS).wrong("x.md", document);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn commands_are_read() {
        let commands = Commands::read(MAKEFILE, MANIFEST, ARGUMENTS);
        let names = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(names(&commands.targets), "build demo test");
        assert_eq!(names(&commands.subcommands), "dead-letters demo run schema");
        assert_eq!(names(&commands.benches), "growth limit");
    }

    #[test]
    fn possible_commands_pass() {
        let document = "make it so, weir is here. `make demo SECONDS=0` `make X` `weir` `weir FILE…`\n\
            ```sh\n$ make test demo  # make all\nX=1 target/release/weir --log-format json run --dry-run=1 x\n\
            weir schema | make build && weir run y --set a=b\ncargo bench --bench limit -- x\n```\n```yaml\nmake nothing\n```\n";
        assert_eq!(wrong(document), [""; 0]);
    }

    #[test]
    fn impossible_commands_are_found() {
        assert_eq!(
            wrong("\n`make all`"),
            ["x.md:2: the Makefile has no target all"]
        );
        assert_eq!(
            wrong("a `b` c `weir start`"),
            ["x.md:1: weir has no subcommand start"]
        );
        assert_eq!(
            wrong("```console\n$ make demo && ./weir run x --force\n```"),
            ["x.md:2: weir has no option --force"]
        );
        assert_eq!(
            wrong("`cargo bench --profile release --bench speed -- quick`"),
            ["x.md:1: Cargo.toml has no bench speed"]
        );
    }

    #[test]
    fn missing_paths_are_found() {
        let document = "`src/a.rs`, `src/b.rs` and `src/*.rs`, `and/or`\n```sh\nsh src/c.sh\n```";
        let findings = missing_paths("x.md", document, &["src"], |path| path == "src/a.rs");
        let found: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "x.md:1: there is no src/b.rs",
                "x.md:3: there is no src/c.sh"
            ]
        );
    }
    #[test]
    fn missing_pictures_are_found() {
        let document = "![A](a.svg) ![B](b.svg)\n[c](c.svg) ![D](https://example.com/d.svg)";
        let findings = missing_pictures("x.md", document, |path| path == "a.svg");
        let found: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["x.md:1: there is no b.svg"]);
    }
}
