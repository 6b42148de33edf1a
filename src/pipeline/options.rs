//! How a pipeline is run.

use std::fmt;
use std::str::FromStr;

use crate::model::Clock;
use crate::source::FileProgress;

/// How a pipeline is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many workers; the pipeline file's number, or one for each core, where it is not said.
    pub workers: Option<usize>,
    /// The clock of everything that judges events by the time of day. Bounded input takes one that
    /// stands still.
    pub clock: Clock,
    /// Told how far files are read.
    pub progress: FileProgress,
    /// Which state it starts from, where it keeps one.
    pub restore: Restore,
    /// Whether state that the pipeline has no use for any more may be dropped.
    pub allow_dropped_state: bool,
}

/// Which state a pipeline starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Restore {
    /// The latest checkpoint; none where there is none yet.
    #[default]
    Latest,
    /// None: it begins anew, and forgets what it has sent before.
    Fresh,
    /// None either, as it has begun anew and failed before its first checkpoint. What it has sent
    /// since then is not sent again.
    StillFresh,
    /// The savepoint of this name.
    Savepoint(String),
}

impl Restore {
    /// Where a pipeline that has started from here starts after a failure. As long as its process has
    /// made no checkpoint, the newest one is of an earlier process, and was not asked for.
    #[must_use]
    pub fn after_failure(self, has_checkpoint: bool) -> Self {
        match self {
            _ if has_checkpoint => Self::Latest,
            Self::Fresh => Self::StillFresh,
            same => same,
        }
    }
}

/// As the command says it.
impl fmt::Display for Restore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Latest => LATEST,
            Self::Fresh | Self::StillFresh => FRESH,
            Self::Savepoint(name) => name,
        })
    }
}

impl FromStr for Restore {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            LATEST => Ok(Self::Latest),
            FRESH => Ok(Self::Fresh),
            name => check_savepoint_name(name).map(|()| Self::Savepoint(name.to_owned())),
        }
    }
}

const LATEST: &str = "latest";
const FRESH: &str = "fresh";
/// Names become those of files and objects.
const MAX_NAME_BYTES: usize = 100;

/// A text is no name of a savepoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no name of a savepoint; use up to {MAX_NAME_BYTES} letters, digits, '-', '_' and '.', \
     a letter or digit first, but not '{LATEST}' or '{FRESH}'"
)]
pub struct InvalidName(String);

/// Whether a text can be the name of a savepoint.
///
/// # Errors
/// It cannot.
pub fn check_savepoint_name(name: &str) -> Result<(), InvalidName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= MAX_NAME_BYTES
        && name.chars().all(allowed)
        && ![LATEST, FRESH].contains(&name);
    if is_good {
        Ok(())
    } else {
        Err(InvalidName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_named() {
        assert_eq!("latest".parse(), Ok(Restore::Latest));
        assert_eq!("fresh".parse(), Ok(Restore::Fresh));
        let savepoint = Restore::Savepoint("before-2.1_x".to_owned());
        assert_eq!("before-2.1_x".parse(), Ok(savepoint.clone()));
        let starts = [
            Restore::Latest,
            Restore::Fresh,
            Restore::StillFresh,
            savepoint,
        ];
        let words = starts.map(|restore| restore.to_string());
        assert_eq!(words, ["latest", "fresh", "fresh", "before-2.1_x"]);
        let message = "'Fresh!' is no name of a savepoint; use up to 100 letters, digits, '-', '_' and \
                       '.', a letter or digit first, but not 'latest' or 'fresh'";
        let error = "Fresh!".parse::<Restore>().unwrap_err();
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn what_was_asked_for_holds_until_there_is_a_checkpoint() {
        let savepoint = Restore::Savepoint("one".to_owned());
        for (start, again) in [
            (Restore::Latest, Restore::Latest),
            (Restore::Fresh, Restore::StillFresh),
            (Restore::StillFresh, Restore::StillFresh),
            (savepoint.clone(), savepoint),
        ] {
            assert_eq!(start.clone().after_failure(false), again);
            assert_eq!(start.after_failure(true), Restore::Latest);
        }
    }

    #[test]
    fn names_cannot_leave_their_folder_or_mean_a_start() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "ä",
            "-x",
            "latest",
            "fresh",
            &"x".repeat(101),
        ] {
            assert!(check_savepoint_name(name).is_err(), "{name}");
        }
    }
}
