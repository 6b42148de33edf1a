//! What made a pipeline fail, and whether waiting can mend it.

use crate::pipeline::error::PipelineError;
use crate::pipeline::running::Finished;
use crate::write::WriteError;

/// What made a pipeline fail, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The source gave up.
    Source,
    /// The writer, or the destination of dead letters, takes no more or cannot be set up.
    Writer,
    /// The saved state cannot be gone on with, or is somebody else's.
    State,
    /// A lookup cannot be loaded.
    Lookup,
    /// A thread ended by a panic.
    Panic,
    /// Something else: the system, or the description of the pipeline.
    Other,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Source,
        Self::Writer,
        Self::State,
        Self::Lookup,
        Self::Panic,
        Self::Other,
    ];

    /// The value of the label `cause`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Writer => "writer",
            Self::State => "state",
            Self::Lookup => "lookup",
            Self::Panic => "panic",
            Self::Other => "other",
        }
    }
}

/// A pipeline has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What of it.
    pub cause: Cause,
    /// The error's words.
    pub message: String,
    /// Whether it would fail again for the same reason, however long one waits.
    pub is_permanent: bool,
}

impl Failure {
    /// What ended a pipeline before its time, if something did.
    pub(in crate::pipeline) fn of(finished: &Finished) -> Option<Self> {
        // The writer knows better than the workers why it took no more.
        if let Some(error) = &finished.written.error {
            return Some(Self {
                cause: Cause::Writer,
                message: error.to_string(),
                is_permanent: is_setting(error),
            });
        }
        finished.error.as_ref().map(Self::from)
    }
}

impl From<&PipelineError> for Failure {
    fn from(error: &PipelineError) -> Self {
        let (cause, is_permanent) = match error {
            PipelineError::Source(_) | PipelineError::Lost => (Cause::Source, false),
            PipelineError::Write(error) => (Cause::Writer, is_setting(error)),
            PipelineError::DeadLetters(_) | PipelineError::Writer => (Cause::Writer, false),
            PipelineError::Lookup { .. } => (Cause::Lookup, false),
            PipelineError::State(error) => (Cause::State, error.is_permanent()),
            PipelineError::Invalid(_) => (Cause::Other, true),
            PipelineError::Thread(_)
            | PipelineError::GivenUp
            | PipelineError::SchemaRegistry(_) => (Cause::Other, false),
            PipelineError::Panicked(_) => (Cause::Panic, false),
        };
        Self {
            cause,
            message: error.to_string(),
            is_permanent,
        }
    }
}

/// Whether the pipeline file is wrong.
fn is_setting(error: &WriteError) -> bool {
    matches!(
        error,
        WriteError::Destinations(_) | WriteError::Invalid { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;
    use crate::state::{StateError, StoreError, StoreErrorKind};

    #[test]
    fn only_what_the_file_says_is_beyond_waiting() {
        let source = SourceError {
            source_name: "kafka a:1".to_owned(),
            message: "is away".to_owned(),
        };
        for (error, cause, is_permanent) in [
            (PipelineError::Source(source), Cause::Source, false),
            (
                PipelineError::Write(WriteError::Destinations(2)),
                Cause::Writer,
                true,
            ),
            (
                PipelineError::Invalid("no metrics".to_owned()),
                Cause::Other,
                true,
            ),
            (
                PipelineError::State(
                    StateError::Store(StoreError::new(
                        StoreErrorKind::Unavailable,
                        "s3://fleet",
                        "no answer",
                    ))
                    .into(),
                ),
                Cause::State,
                false,
            ),
            (
                PipelineError::State(
                    StateError::Fenced {
                        pipeline: "cars".to_owned(),
                        number: 2,
                        by: "b".to_owned(),
                    }
                    .into(),
                ),
                Cause::State,
                true,
            ),
            (
                PipelineError::Panicked("worker".to_owned()),
                Cause::Panic,
                false,
            ),
        ] {
            let message = error.to_string();
            let expected = Failure {
                cause,
                message,
                is_permanent,
            };
            assert_eq!(Failure::from(&error), expected);
        }
    }
}
