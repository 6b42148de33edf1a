//! How long to wait after failures, which come one after the other.

use std::time::Duration;

use crate::model::backoff::{self, BackoffLimits};

const LIMITS: BackoffLimits = BackoffLimits {
    min: Duration::from_millis(200),
    max: Duration::from_secs(5),
    max_retry_after: Duration::ZERO,
};

/// Waits that grow with each failure.
#[derive(Debug)]
pub(super) struct Backoff {
    waits: backoff::Backoff,
    failures: u32,
}

impl Backoff {
    /// With a seed of its own, readers do not ask in step with each other.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            waits: backoff::Backoff::new(LIMITS, seed),
            failures: 0,
        }
    }

    /// The wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.waits.wait(self.failures, None)
    }

    /// Something has succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}
