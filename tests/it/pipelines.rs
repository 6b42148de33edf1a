//! Pipeline files: those of the repository load, bad ones say what is wrong with them, and the
//! reference describes every key.

mod bad;
mod overrides;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use weir::config::{self, Overrides};

use super::support::files::{self, repository, weir};

const LIMIT: Duration = Duration::from_secs(60);

/// The files of a folder with an extension, sorted.
fn files_of(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `weir` in a folder of the repository.
fn weir_in<const N: usize>(folder: &str, arguments: [&str; N]) -> Command {
    let mut command = weir(arguments);
    command.current_dir(repository().join(folder));
    command
}

#[test]
fn every_pipeline_of_the_repository_is_valid() {
    let paths = files_of(&repository().join("pipelines"), "yaml").unwrap();
    assert!(!paths.is_empty());
    for path in paths {
        let pipeline =
            config::load(&path, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
        let name = path.file_name().unwrap().to_str().unwrap();
        let metrics = pipeline.metrics.len();
        let plural = if metrics == 1 { "" } else { "s" };

        let validated = files::run(&weir_in("pipelines", ["validate", name]), LIMIT).unwrap();
        assert_eq!(validated.stderr, "");
        assert_eq!(
            validated.stdout,
            format!("{name}: ok, {metrics} metric{plural}\n")
        );
        assert_eq!(validated.status.code(), Some(0));
    }
}

#[test]
fn validate_goes_through_all_files_and_exits_with_2_for_bad_ones() {
    let good = "../../pipelines/connected-cars.yaml";
    let arguments = ["validate", "window-zero.yaml", good, "label-unknown.yaml"];
    let validated = files::run(&weir_in("tests/bad-pipelines", arguments), LIMIT).unwrap();
    assert_eq!(validated.stdout, format!("{good}: ok, 3 metrics\n"));
    let expected = expected_message("window-zero") + &expected_message("label-unknown");
    assert_eq!(validated.stderr, expected);
    assert_eq!(validated.status.code(), Some(2));
}

#[test]
fn run_exits_with_2_for_a_bad_file_and_touches_no_output() {
    let folder = files::temporary_folder().unwrap();
    let output = files::write(folder.path(), "samples.ndjson", "from before\n").unwrap();
    let output_text = output.to_str().unwrap();
    let arguments = ["run", "value-syntax.yaml", "--output", output_text];
    let run = files::run(&weir_in("tests/bad-pipelines", arguments), LIMIT).unwrap();
    assert_eq!(run.stdout, "");
    assert_eq!(run.stderr, expected_message("value-syntax"));
    assert_eq!(run.status.code(), Some(2));
    assert_eq!(fs::read_to_string(output).unwrap(), "from before\n");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = files::temporary_folder().unwrap();
    let latin1 = folder.path().join("latin1.yaml");
    fs::write(&latin1, b"pipeline: cars\nsource: caf\xe9\n").unwrap();
    let long = files::write(folder.path(), "long.yaml", &"#".repeat(1_048_577)).unwrap();
    let missing = folder.path().join("missing.yaml");
    let cases = [
        (latin1, ":2:12: invalid UTF-8; save the file as UTF-8"),
        (
            long,
            ": longer than 1048576 bytes, which no pipeline file is",
        ),
        (missing, ": No such file or directory (os error 2)"),
    ];
    for (path, expected) in cases {
        let error = config::load(&path, &Overrides::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}{expected}", path.display()));
    }
}

/// What a bad file is expected to say.
fn expected_message(name: &str) -> String {
    let path = repository()
        .join("tests/bad-pipelines")
        .join(format!("{name}.txt"));
    fs::read_to_string(path).unwrap_or_default()
}
