//! Every file of `tests/bad-pipelines` gives exactly the messages in the file beside it.
//!
//! `UPDATE=1` rewrites the messages. They are the user's only help, so each is to be read: does it
//! say what was found, what would be right, and does it point there?

use weir::config::{self, Overrides};

use super::files_of;
use crate::markdown::hold_to_file;
use crate::support::files::repository;

#[test]
fn every_bad_file_gives_exactly_its_messages() {
    let folder = repository().join("tests/bad-pipelines");
    let prefix = format!("{}/", folder.display());
    let paths = files_of(&folder, "yaml").unwrap();
    assert!(paths.len() >= 200, "only {} files were found", paths.len());
    let mut wrong = Vec::new();
    for path in &paths {
        let Err(error) = config::load(path, &Overrides::default()) else {
            wrong.push(format!("{} is accepted", path.display()));
            continue;
        };
        let found = format!("{error}\n").replace(&prefix, "");
        if let Err(error) = hold_to_file(&path.with_extension("txt"), &found) {
            wrong.push(error.to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_message_belongs_to_a_bad_file() {
    let folder = repository().join("tests/bad-pipelines");
    for path in files_of(&folder, "txt").unwrap() {
        assert!(
            path.with_extension("yaml").is_file(),
            "{} has no pipeline",
            path.display()
        );
    }
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    let count = |name: &str| {
        let path = repository().join("tests/bad-pipelines").join(name);
        match config::load(&path, &Overrides::default()) {
            Err(config::LoadError::Problems(problems)) => problems.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(count("several-unknown-keys.yaml"), 9);
    assert_eq!(count("several-meanings.yaml"), 16);
}
