//! `weir savepoint` and `weir state` on state that lies in a store.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use weir::state::{About, Checkpoints, Identity, S3Options, Savepoints, StoreLocation};

use crate::support::files::{self, Output, temporary_folder, weir};

const LIMIT: Duration = Duration::from_secs(60);

/// A folder with a pipeline file that keeps its checkpoints where `checkpoints` says.
fn folder(checkpoints: &str) -> Result<TempDir> {
    let folder = temporary_folder()?;
    let pipeline = format!(
        r#"pipeline: cars
source: {{ kafka: {{ brokers: "127.0.0.1:9", topics: [a], group: cars }} }}
event: {{ time: {{ from: t }}, fields: {{ region: text }} }}
metrics:
  m: {{ window: {{ tumbling: 5s }}, by: [region], value: count(*) }}
write: {{ file: {{ path: samples.ndjson }} }}
state: {{ dir: state{checkpoints} }}
"#
    );
    files::write(folder.path(), "cars.yaml", &pipeline)?;
    Ok(folder)
}

/// Writes a checkpoint and a savepoint of it.
fn fill(location: &StoreLocation) -> Result<()> {
    let store = location.open(&S3Options::default())?;
    let identity = Identity {
        pipeline: "cars".to_owned(),
        writer: "test".to_owned(),
        epoch: 1,
    };
    let mut checkpoints = Checkpoints::open(store.clone(), identity.clone())?;
    let number = checkpoints.next_number();
    let mut draft = checkpoints.begin(number);
    draft.add("windows", "m", [1; 100])?;
    draft.add("windows", "n", [2; 28])?;
    draft.add("places", "0", [3; 4])?;
    draft.commit(About {
        created_ms: 1_730_621_750_000,
        acknowledged_ms: None,
        weir_version: "0.0.9".to_owned(),
    })?;
    let checkpoint = checkpoints.load(number)?;
    Savepoints::new(store, identity).save("before", &checkpoint)?;
    Ok(())
}

fn run(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command: Command = weir([]);
    command.args(arguments).current_dir(folder);
    files::run(&command, LIMIT)
}

/// What a command that succeeds prints.
fn prints(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = run(folder, arguments)?;
    ensure!(output.status.code() == Some(0), "{arguments:?}: {output:?}");
    Ok(output.stdout)
}

/// What a command that fails says.
fn fails(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = run(folder, arguments)?;
    ensure!(output.status.code() == Some(1), "{arguments:?}: {output:?}");
    Ok(output.stderr)
}

const SHOWN: &str = "
STAGE    ENTRIES   SIZE
windows        2  128 B
places         1    4 B
";

#[test]
fn savepoints_are_managed_where_they_lie() {
    let place = temporary_folder().unwrap();
    let elsewhere = format!(", checkpoints: \"file://{}\"", place.path().display());
    for checkpoints in ["", &elsewhere] {
        let folder = folder(checkpoints).unwrap();
        let at = folder.path();
        let location = match checkpoints {
            "" => StoreLocation::Rocks(at.join("state/checkpoints")),
            _ => StoreLocation::Directory(place.path().to_owned()),
        };
        fill(&location).unwrap();

        let list = prints(at, &["savepoint", "list", "cars.yaml"]).unwrap();
        let lines: Vec<_> = list.lines().collect();
        assert_eq!(lines.len(), 2, "{list}");
        let words: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(words[..2], ["before", "2024-11-03T08:15:50Z"], "{list}");
        assert_eq!(words[words.len() - 2..], ["0.0.9", "1"], "{list}");

        let shown = prints(at, &["savepoint", "show", "cars.yaml", "before"]).unwrap();
        assert!(shown.contains("\nsavepoint   before\n"), "{shown}");
        assert!(shown.ends_with(SHOWN), "{shown}");
        let latest = prints(at, &["state", "inspect", "cars.yaml"]).unwrap();
        assert!(
            latest.starts_with("pipeline    cars\ncheckpoint  1\n"),
            "{latest}"
        );
        assert!(latest.ends_with(SHOWN), "{latest}");

        prints(
            at,
            &[
                "savepoint",
                "export",
                "cars.yaml",
                "before",
                "before.savepoint",
            ],
        )
        .unwrap();
        prints(
            at,
            &[
                "savepoint",
                "import",
                "cars.yaml",
                "again",
                "before.savepoint",
            ],
        )
        .unwrap();
        let again = prints(
            at,
            &["state", "inspect", "cars.yaml", "--savepoint", "again"],
        )
        .unwrap();
        assert_eq!(
            again,
            shown.replace("savepoint   before", "savepoint   again")
        );

        let deleted = prints(at, &["savepoint", "delete", "cars.yaml", "before"]).unwrap();
        assert_eq!(deleted, "savepoint before is deleted\n");
        let gone = fails(at, &["savepoint", "show", "cars.yaml", "before"]).unwrap();
        assert_eq!(
            gone,
            "weir: pipeline cars has no savepoint 'before'; there are again\n"
        );
    }
}

#[test]
fn a_folder_of_state_is_looked_into_without_its_pipeline_file() {
    let folder = folder("").unwrap();
    let state = folder.path().join("state");
    fill(&StoreLocation::Rocks(state.join("checkpoints"))).unwrap();
    let shown = prints(folder.path(), &["state", "inspect", "state"]).unwrap();
    assert!(shown.starts_with("pipeline    cars\n"), "{shown}");
    assert!(shown.ends_with(SHOWN), "{shown}");
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let nothing = fails(folder.path(), &["state", "inspect", "empty"]).unwrap();
    assert_eq!(nothing, "weir: there is no state in empty\n");
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = folder("").unwrap();
    let at = folder.path();
    let create = [
        "savepoint",
        "create",
        "cars.yaml",
        "b",
        "--address",
        "127.0.0.1:9",
    ];
    assert_eq!(
        fails(at, &create).unwrap(),
        "weir: no weir answers at 127.0.0.1:9; is pipeline cars running? \
         give its address with --address\n"
    );
    let bad_name = run(at, &["savepoint", "create", "cars.yaml", "latest"]).unwrap();
    assert_eq!(bad_name.status.code(), Some(2));
    assert!(
        bad_name.stderr.contains("is no name of a savepoint"),
        "{}",
        bad_name.stderr
    );
    let without = std::fs::read_to_string(at.join("cars.yaml")).unwrap();
    let without = without.replace("state: { dir: state }", "");
    files::write(at, "without.yaml", &without).unwrap();
    assert_eq!(
        fails(at, &["savepoint", "list", "without.yaml"]).unwrap(),
        "weir: pipeline cars keeps no state; set state.dir in without.yaml\n"
    );
    assert_eq!(
        fails(at, &["run", "without.yaml", "--restore", "b"]).unwrap(),
        "weir: pipeline cars keeps no state, so --restore has no meaning; \
         set state.dir, or remove it\n"
    );
    let both = run(at, &["run", "cars.yaml", "--restore", "b", "--input", "x"]).unwrap();
    assert_eq!(both.status.code(), Some(2), "{}", both.stderr);
}
