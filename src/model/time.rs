//! Event time and the clock that is passed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, UTC. Negative before 1970.
pub type TimestampMs = i64;

/// Where "now" comes from. No other place reads the wall clock for anything that can reach a
/// decision about an event, so a test can set the time.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A moment that stands still: bounded input is judged against the start of its run, so that
    /// the speed of the run cannot change its result.
    Fixed(TimestampMs),
    /// A clock that a test moves.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The clock frozen at this moment.
    pub fn frozen_now() -> Self {
        Self::Fixed(Self::System.now_ms())
    }

    /// Whether it goes on by itself or is moved; if not, it says nothing about when something came.
    pub fn runs(&self) -> bool {
        !matches!(self, Self::Fixed(_))
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> TimestampMs {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
                }),
            Self::Fixed(now) => *now,
            Self::Manual(now) => now.load(Ordering::Acquire),
        }
    }
}
