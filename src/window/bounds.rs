//! From when to when a window lasts.

use crate::model::TimestampMs;

/// The times `[start, end)` of a window, ms since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounds {
    /// The first time that belongs to it.
    pub start: TimestampMs,
    /// The first time that does not, and the timestamp of its sample.
    pub end: TimestampMs,
}

impl Bounds {
    /// How long it is, ms.
    pub fn length_ms(self) -> i64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether a time belongs to it.
    pub fn contains(self, time: TimestampMs) -> bool {
        self.start <= time && time < self.end
    }
}
