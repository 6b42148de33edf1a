//! Logs at a bounded rate: a million bad events must not become a million lines.

use std::time::{Duration, Instant};

/// Lets one message through an interval and counts those that it held back.
#[derive(Debug)]
pub struct LogLimit {
    interval: Duration,
    last: Option<Instant>,
    held_back: u64,
}

impl LogLimit {
    /// One message an `interval`.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
            held_back: 0,
        }
    }

    /// Whether a message may be logged now; if so, how many were held back since the last one.
    pub fn admit(&mut self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < self.interval)
        {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_holds_back() {
        let mut limit = LogLimit::every(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(limit.admit_at(start), Some(0));
        assert_eq!(limit.admit_at(start + Duration::from_secs(1)), None);
        assert_eq!(limit.admit_at(start + Duration::from_secs(9)), None);
        assert_eq!(limit.admit_at(start + Duration::from_secs(10)), Some(2));
    }
}
