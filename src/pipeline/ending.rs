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
    /// How a source ends that was asked to stop. `goes_on`: somebody keeps its positions, the pipeline's
    /// state or the source.
    pub(super) fn by_stop(is_replayable: bool, goes_on: bool) -> Self {
        match (is_replayable, goes_on) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_end_only_where_nothing_goes_on() {
        // Files without state, MQTT without, and both with state, or Kafka.
        for (is_replayable, goes_on, closes_windows, ends_series) in [
            (true, false, false, true),
            (false, false, true, true),
            (true, true, false, false),
        ] {
            let ending = Ending::by_stop(is_replayable, goes_on);
            let is = (ending.closes_windows(), ending.ends_series());
            assert_eq!(is, (closes_windows, ends_series), "{ending:?}");
        }
        for (is_replayable, closes_windows) in [(true, false), (false, true)] {
            let ending = Ending::by_failure(is_replayable);
            assert_eq!(ending.closes_windows(), closes_windows, "{ending:?}");
            assert!(!ending.ends_series(), "{ending:?}");
        }
        assert!(Ending::Complete.closes_windows() && Ending::Complete.ends_series());
    }
}
