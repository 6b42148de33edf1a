//! The house rules, held by reading the sources as text.

mod code;
mod documents;
mod fuzz_targets;
mod imports;
mod lexer;
mod modules;
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use code::{Code, Finding};
use documents::{Commands, missing_paths, missing_pictures};
use imports::{Levels, wrong_imports};
use modules::{Sources, dead_files, modules};

const LIB: &str = "src/lib.rs";
const ROOTS: [&str; 7] = [
    LIB,
    "src/main.rs",
    "generator/src/lib.rs",
    "generator/src/main.rs",
    "tests/it/main.rs",
    "tests/chaos/main.rs",
    "tests/architecture/main.rs",
];
/// The folders whose files documents may name.
const FOLDERS: [&str; 9] = [
    "src",
    "tests",
    "generator",
    "pipelines",
    "dashboards",
    "benches",
    "scripts",
    "fuzz",
    "docs",
];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(repository().join(path))
        .map_err(|error| io::Error::other(format!("{path}: {error}")))
}

/// All Rust sources of the repository.
fn sources() -> io::Result<Sources> {
    let mut sources = BTreeMap::new();
    let mut folders: Vec<_> = FOLDERS
        .iter()
        .map(|folder| repository().join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                // What cargo-fuzz builds and finds.
                if !["target", "corpus", "artifacts"]
                    .iter()
                    .any(|name| path.ends_with(name))
                {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = relative(&path);
                sources.insert(name.clone(), read(&name)?);
            }
        }
    }
    assert!(sources.contains_key(LIB), "{LIB} is not there");
    Ok(sources)
}

/// The documents for users and contributors, by their paths.
fn documents() -> io::Result<Sources> {
    let mut documents = BTreeMap::new();
    for path in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "dashboards/README.md",
    ] {
        documents.insert(path.to_owned(), read(path)?);
    }
    for entry in fs::read_dir(repository().join("docs"))? {
        let path = relative(&entry?.path());
        if path.ends_with(".md") {
            documents.insert(path.clone(), read(&path)?);
        }
    }
    Ok(documents)
}

fn relative(path: &Path) -> String {
    let parts = path.strip_prefix(repository()).unwrap_or(path).components();
    parts
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// Applies a rule to the files whose path passes.
fn check(rule: fn(&Code<'_>) -> Vec<Finding>, applies: impl Fn(&str) -> bool) -> io::Result<()> {
    let sources = sources()?;
    let test_files: Vec<_> = ROOTS
        .iter()
        .flat_map(|root| modules(&sources, root).0)
        .filter(|module| module.test)
        .map(|module| module.file)
        .collect();
    let mut findings = Vec::new();
    let mut checked = 0;
    for (path, text) in sources.iter().filter(|(path, _)| applies(path)) {
        checked += 1;
        findings.extend(rule(&Code::new(path, text, test_files.contains(path))));
    }
    assert!(checked > 0, "the rule applies to no file");
    hold(&findings);
    Ok(())
}

fn hold(findings: &[Finding]) {
    assert!(
        findings.is_empty(),
        "house rules are broken:\n{}",
        shown(findings)
    );
}

fn shown(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn in_src(path: &str) -> bool {
    path.starts_with("src/")
}

fn in_cli(path: &str) -> bool {
    path.starts_with("src/cli/") || path == "src/main.rs"
}

fn in_crates(path: &str) -> bool {
    in_src(path) || path.starts_with("generator/src/")
}

fn levels() -> io::Result<Levels> {
    Levels::parse(LIB, &read(LIB)?).map_err(|findings| io::Error::other(shown(&findings)))
}

#[test]
fn modules_import_lower_levels_only() -> io::Result<()> {
    hold(&wrong_imports(&sources()?, LIB, &levels()?));
    Ok(())
}

#[test]
fn the_generator_stands_on_its_own() -> io::Result<()> {
    check(rules::uses_weir, |path| path.starts_with("generator/"))?;
    let manifest = "generator/Cargo.toml";
    hold(&rules::depends_on_weir(manifest, &read(manifest)?));
    Ok(())
}

#[test]
fn only_the_cli_uses_the_generator() -> io::Result<()> {
    check(
        |code| code.forbid(&["weirgen"], "only cli, for its demo, uses the generator"),
        |path| in_src(path) && !in_cli(path),
    )
}

#[test]
fn every_file_is_part_of_a_crate() -> io::Result<()> {
    let folders = [
        "src/",
        "generator/src/",
        "tests/it/",
        "tests/chaos/",
        "tests/architecture/",
    ];
    hold(&dead_files(&sources()?, &folders, &ROOTS));
    Ok(())
}

#[test]
fn no_file_is_too_long() -> io::Result<()> {
    check(rules::too_long, |_| true)
}

#[test]
fn nothing_is_unsafe() -> io::Result<()> {
    check(rules::unsafe_code, |_| true)
}

#[test]
fn nothing_is_left_to_do() -> io::Result<()> {
    check(rules::leftovers, |_| true)
}

#[test]
fn only_the_cli_prints() -> io::Result<()> {
    check(rules::prints, |path| in_src(path) && !in_cli(path))
}

#[test]
fn only_the_cli_uses_anyhow() -> io::Result<()> {
    check(rules::anyhow, |path| in_src(path) && !in_cli(path))
}

#[test]
fn only_model_time_reads_the_wall_clock() -> io::Result<()> {
    check(rules::wall_clock, |path| {
        in_src(path) && path != "src/model/time.rs"
    })
}

#[test]
fn failures_are_values() -> io::Result<()> {
    check(rules::unwraps, in_crates)
}

#[test]
fn messages_are_lowercase_without_a_full_stop() -> io::Result<()> {
    check(rules::messages, in_crates)
}

#[test]
fn every_file_says_what_it_is_for() -> io::Result<()> {
    check(rules::undocumented, |_| true)
}

#[test]
fn the_licence_is_here() -> io::Result<()> {
    let licence = read("LICENSE")?;
    for line in ["Apache License", "Version 2.0, January 2004"] {
        assert!(
            licence.lines().any(|found| found.trim() == line),
            "LICENSE has no line {line:?}"
        );
    }
    let manifest = read("Cargo.toml")?;
    assert!(
        manifest.contains("\nlicense = \"Apache-2.0\"\n"),
        "Cargo.toml names another licence"
    );
    Ok(())
}

#[test]
fn commands_in_documents_exist() -> io::Result<()> {
    let commands = Commands::read(
        &read("Makefile")?,
        &read("Cargo.toml")?,
        &(read("src/cli/arguments.rs")? + &read("src/cli/dead_letters/arguments.rs")?),
    );
    let documents = documents()?;
    let wrong = documents
        .iter()
        .flat_map(|(path, text)| commands.wrong(path, text));
    hold(&wrong.collect::<Vec<_>>());
    Ok(())
}

#[test]
fn paths_in_documents_exist() -> io::Result<()> {
    let exists = |path: &str| repository().join(path).exists();
    let documents = documents()?;
    let missing = documents
        .iter()
        .flat_map(|(path, text)| missing_paths(path, text, &FOLDERS, exists));
    hold(&missing.collect::<Vec<_>>());
    Ok(())
}

#[test]
fn pictures_in_documents_exist() -> io::Result<()> {
    let documents = documents()?;
    let missing = documents.iter().flat_map(|(path, text)| {
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        let exists = move |picture: &str| repository().join(folder).join(picture).exists();
        missing_pictures(path, text, exists)
    });
    hold(&missing.collect::<Vec<_>>());
    Ok(())
}

#[test]
fn the_code_map_names_every_module() -> io::Result<()> {
    let map = read("ARCHITECTURE.md")?;
    for module in levels()?.names() {
        let heading = format!("`src/{module}/`");
        assert!(
            map.contains(&heading),
            "ARCHITECTURE.md says nothing of {heading}"
        );
    }
    Ok(())
}

#[test]
fn every_fuzz_target_has_seeds_a_dictionary_and_a_program() -> io::Result<()> {
    let manifest = read("fuzz/Cargo.toml")?;
    let sources = sources()?;
    let targets = fuzz_targets::names(&sources);
    for target in &targets {
        let dictionary = read(&format!("fuzz/dictionaries/{target}.dict"))?;
        assert!(!dictionary.is_empty(), "{target} has an empty dictionary");
        let mut seeds = fs::read_dir(repository().join("fuzz/seeds").join(target))?;
        assert!(seeds.next().is_some(), "{target} has no seeds");
        let named = format!("path = \"fuzz_targets/{target}.rs\"");
        assert!(manifest.contains(&named), "{target} is not in the manifest");
    }
    assert!(!targets.is_empty(), "there are no fuzz targets");
    for folder in ["fuzz/dictionaries", "fuzz/seeds"] {
        for entry in fs::read_dir(repository().join(folder))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            assert!(
                targets.contains(&&*name),
                "{} is of no fuzz target",
                relative(&path)
            );
        }
    }
    Ok(())
}

#[test]
fn every_format_and_every_step_has_a_fuzz_target_of_its_own() -> io::Result<()> {
    let sources = sources()?;
    let mut findings = Vec::new();
    for (path, enumeration, around) in [
        ("src/decode/format.rs", "Format", ("", "_decoder")),
        ("src/decode/format.rs", "FormatOptions", ("", "_decoder")),
        ("src/decode/unwrap/mod.rs", "UnwrapStep", ("unwrap_", "")),
    ] {
        let text = read(path)?;
        let code = Code::new(path, &text, false);
        let found = fuzz_targets::variants_without(&code, enumeration, around, &sources);
        findings.extend(found);
    }
    hold(&findings);
    Ok(())
}
