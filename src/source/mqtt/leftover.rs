//! Logs of brokers that the pipeline file no longer names.
//!
//! What a log has was acknowledged: the broker does not have it any more. So it is read to its end,
//! whoever it came from.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::model::{Split, SplitId};

use super::super::log::{self, Follower, LogMetrics, LogSettings, Logged};
use super::super::metrics::SourceMetrics;
use super::super::{Context, SourceError, SourceEvent, SourceOutput, StopSignal};

/// The split's name where the log of the only broker is read. It is the same wherever that is: what
/// of a log is processed does not depend on where new messages come from.
const LOG_SPLIT: &str = "log/mqtt";

/// What the name of a log's segment ends with.
const SEGMENT: &str = "log";

/// The log of a broker: its split's name and its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogPlace {
    pub(super) split_name: String,
    pub(super) folder: PathBuf,
}

impl LogPlace {
    /// That of the broker with a name, or of the only one.
    pub(super) fn new(folder: &Path, broker: Option<&str>) -> Self {
        match broker {
            None => Self {
                split_name: LOG_SPLIT.to_owned(),
                folder: folder.to_owned(),
            },
            Some(name) => Self {
                split_name: format!("{LOG_SPLIT}/{name}"),
                folder: folder.join(name),
            },
        }
    }

    /// All that are there, in order of their names.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub(super) fn all(folder: &Path) -> Result<Vec<Self>, String> {
        let (mut names, has_segments) = entries(folder)?;
        names.sort_unstable();
        let mut places = Vec::new();
        if has_segments {
            places.push(Self::new(folder, None));
        }
        for name in names {
            let place = Self::new(folder, Some(&name));
            if entries(&place.folder)?.1 {
                places.push(place);
            }
        }
        Ok(places)
    }
}

/// The folders in a folder, and whether there are segments of a log.
fn entries(folder: &Path) -> Result<(Vec<String>, bool), String> {
    let failed = |error| format!("its log: {} cannot be listed: {error}", folder.display());
    let (mut folders, mut has_segments) = (Vec::new(), false);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((folders, false)),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if path.is_dir() {
            // Our names are text; others are none of our business.
            folders.extend(entry.file_name().into_string());
        } else {
            has_segments |= path
                .extension()
                .is_some_and(|extension| extension == SEGMENT);
        }
    }
    Ok((folders, has_segments))
}

/// A log that nobody appends to any more.
#[derive(Debug)]
pub(super) struct Leftover {
    split: Split,
    follower: Follower,
}

impl Leftover {
    /// Opens a log to read what of it was not processed; none, where there is nothing.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn open(
        place: &LogPlace,
        id: SplitId,
        context: &Context,
        metrics: &SourceMetrics,
        log_metrics: LogMetrics,
    ) -> Result<Option<Self>, SourceError> {
        let Some(settings) = &context.log else {
            return Ok(None);
        };
        let split = Split {
            id,
            name: place.split_name.as_str().into(),
        };
        let settings = LogSettings {
            folder: place.folder.clone(),
            config: settings.config.clone(),
        };
        let opened = Logged::open_one(&settings, &split, 0, context, metrics, log_metrics);
        let opened = opened.map_err(|error| SourceError::new("mqtt", format!("its log: {error}")));
        // Without its appender, the log has ended.
        let Logged { follower, .. } = opened?;
        if follower.is_at_end() {
            return Ok(None);
        }
        tracing::info!(
            split = place.split_name,
            "the log of a broker that is not named any more is read to its end"
        );
        Ok(Some(Self { split, follower }))
    }

    /// Its split, which the source says for it.
    pub(super) fn begin(&mut self) -> Split {
        self.follower.begin()
    }

    /// Hands over what it has.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn run(
        self,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let id = self.split.id;
        let read = log::follow(self.follower, || Ok(()), output, stop);
        read.map_err(|error| SourceError::new("mqtt", error.to_string()))?;
        if !stop.is_stopped() && output.send(SourceEvent::Finished(id)).is_err() {
            tracing::debug!("the pipeline has ended before the log");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_found_by_their_segments() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(LogPlace::all(&log), Ok(Vec::new()));
        for (broker, has_segments) in [
            (None, true),
            (Some("west"), true),
            (Some("east"), true),
            (Some("gone"), false),
        ] {
            let place = LogPlace::new(&log, broker);
            fs::create_dir_all(&place.folder).unwrap();
            if has_segments {
                fs::write(place.folder.join("00000000000000000000.log"), "").unwrap();
            }
        }
        let found = LogPlace::all(&log).unwrap();
        let names: Vec<_> = found.iter().map(|place| &*place.split_name).collect();
        assert_eq!(names, ["log/mqtt", "log/mqtt/east", "log/mqtt/west"]);
    }
}
