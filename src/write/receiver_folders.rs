//! Where receivers have their journals and rejected samples below the folder of the state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::WriteError;
use super::config::DEFAULT_RECEIVER;

/// What a receiver has in its folder.
const CONTENTS: [&str; 2] = ["journal", "rejected"];

/// The folder of a receiver.
pub(super) fn folder_of(state: &Path, receiver: &str) -> PathBuf {
    match receiver {
        DEFAULT_RECEIVER => state.to_owned(),
        name => all(state).join(name),
    }
}

/// Where those are that have a name.
fn all(state: &Path) -> PathBuf {
    state.join("receivers")
}

/// Lets the only receiver of a pipeline go on with what it had under another name, where it has nothing
/// under its own and there is one other that has.
///
/// # Errors
/// The folders cannot be read or moved.
pub(super) fn adopt(state: &Path, receiver: &str) -> Result<(), WriteError> {
    let own = folder_of(state, receiver);
    if has_journal(&own) {
        return Ok(());
    }
    let mut others = others(&all(state)).map_err(failed(state))?;
    others.push(state.to_owned());
    others.retain(|other| *other != own && has_journal(other));
    let [other] = others.as_slice() else {
        return Ok(());
    };
    fs::create_dir_all(&own).map_err(failed(&own))?;
    // The journal comes last: without it this is done again.
    for content in CONTENTS.iter().rev() {
        let (from, to) = (other.join(content), own.join(content));
        if from.exists() && !to.exists() {
            fs::rename(&from, &to).map_err(failed(&from))?;
        }
    }
    let (from, to) = (other.display(), own.display());
    tracing::info!(receiver, %from, %to, "the receiver has another name; it goes on with what it had");
    Ok(())
}

fn has_journal(folder: &Path) -> bool {
    folder.join("journal").is_dir()
}

fn others(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |error| WriteError::Journal {
        path: path.clone(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of state in which these have a journal with their names in it.
    fn state(receivers: &[&str]) -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        for receiver in receivers {
            let own = folder_of(state.path(), receiver);
            for content in CONTENTS {
                fs::create_dir_all(own.join(content)).unwrap();
                fs::write(own.join(content).join("of"), receiver).unwrap();
            }
        }
        state
    }

    /// Whose journal and rejected samples a receiver has.
    fn has(state: &tempfile::TempDir, receiver: &str) -> [Option<String>; 2] {
        let own = folder_of(state.path(), receiver);
        CONTENTS.map(|content| fs::read_to_string(own.join(content).join("of")).ok())
    }

    fn of(receiver: &str) -> [Option<String>; 2] {
        [Some(receiver.to_owned()), Some(receiver.to_owned())]
    }

    #[test]
    fn a_receiver_goes_on_under_another_name() {
        for (before, after) in [("default", "main"), ("main", "default"), ("main", "other")] {
            let state = state(&[before]);
            adopt(state.path(), after).unwrap();
            assert_eq!(has(&state, after), of(before), "{before} {after}");
            assert_eq!(has(&state, before), [None, None]);
        }
    }

    #[test]
    fn what_is_not_certain_stays_where_it_is() {
        let of_two = state(&["east", "west"]);
        adopt(of_two.path(), "main").unwrap();
        assert_eq!(has(&of_two, "main"), [None, None]);
        assert_eq!(has(&of_two, "east"), of("east"));
        let own = state(&["default", "main"]);
        adopt(own.path(), "main").unwrap();
        assert_eq!(has(&own, "main"), of("main"));
        assert_eq!(has(&own, "default"), of("default"));
        let new = state(&[]);
        adopt(new.path(), "main").unwrap();
        assert_eq!(has(&new, "main"), [None, None]);
    }

    #[test]
    fn what_was_moved_in_part_is_moved_to_its_end() {
        let state = state(&["default"]);
        let own = folder_of(state.path(), "main");
        fs::create_dir_all(&own).unwrap();
        fs::rename(state.path().join("rejected"), own.join("rejected")).unwrap();
        adopt(state.path(), "main").unwrap();
        assert_eq!(has(&state, "main"), of("default"));
    }
}
