//! Tumbling windows: one after the other, aligned to the epoch.

use crate::model::{Duration, TimestampMs};

/// Windows `[n × size, (n + 1) × size)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tumbling {
    size_ms: i64,
}

impl Tumbling {
    /// Windows of a size; nothing where the size is zero.
    pub fn new(size: Duration) -> Option<Self> {
        let size_ms = size.as_signed_millis();
        (size_ms > 0).then_some(Self { size_ms })
    }

    /// The size in ms.
    pub fn size_ms(self) -> i64 {
        self.size_ms
    }

    /// The end of the window that a time belongs to, ms since the epoch.
    pub fn end(self, time: TimestampMs) -> TimestampMs {
        let start = time.saturating_sub(time.rem_euclid(self.size_ms));
        start.saturating_add(self.size_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_to_the_epoch_also_before_it() {
        let windows = Tumbling::new(Duration::from_secs(5)).unwrap();
        let ends = [0, 4_999, 5_000, -1, -5_000, -5_001].map(|time| windows.end(time));
        assert_eq!(ends, [5_000, 5_000, 10_000, 0, 0, -5_000]);
        assert_eq!(windows.end(i64::MAX), i64::MAX);
        assert_eq!(Tumbling::new(Duration::from_millis(0)), None);
    }
}
