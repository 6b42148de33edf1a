//! How a pipeline's input ends.

/// How the input ends, and what that means for open windows and for series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// For good: all windows close, and all series end.
    Complete,
    /// By a stop, where a later start begins anew: open windows are left, because nobody forms the rest
    /// of them, and all series end.
    Stopped,
    /// By a stop or a failure, where a later start goes on from here: open windows are left, to be formed
    /// again when their events are read again, and series live on.
    Interrupted,
    /// By the failure of a source that cannot be read again: all windows close, and series live on, because
    /// the pipeline may be started again.
    Failed,
}

impl Ending {
    /// How a source ends that was asked to stop. Where it keeps its positions elsewhere, as Kafka does, it
    /// goes on later and has said so before.
    pub(super) fn by_stop(is_replayable: bool, has_state: bool) -> Self {
        match (is_replayable, has_state) {
            (false, _) => Self::Complete,
            (true, true) => Self::Interrupted,
            (true, false) => Self::Stopped,
        }
    }

    /// How a source ends that has failed.
    pub(super) fn by_failure(is_replayable: bool) -> Self {
        if is_replayable {
            Self::Interrupted
        } else {
            Self::Failed
        }
    }

    /// Whether windows close that are still open.
    pub(super) fn closes_windows(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }

    /// Whether no series has a sample behind this.
    pub(super) fn ends_series(self) -> bool {
        matches!(self, Self::Complete | Self::Stopped)
    }
}
