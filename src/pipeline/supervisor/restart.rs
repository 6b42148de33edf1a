//! Whether a pipeline that has failed is started again, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::RestartConfig;

/// Counts failures and says how long to wait. It has no clock of its own.
#[derive(Debug)]
pub struct RestartPolicy {
    config: RestartConfig,
    /// When the failures were that still count, oldest first; never more than `max_failures`.
    failures: VecDeque<Instant>,
}

impl RestartPolicy {
    /// Nothing has failed yet.
    pub fn new(config: RestartConfig) -> Self {
        Self {
            config,
            failures: VecDeque::new(),
        }
    }

    /// A failure at `now`: how long to wait before the restart, or nothing where there were too many
    /// within `within`. The first wait is `initial_delay`; with every further failure that still
    /// counts it doubles, up to `max_delay`.
    pub fn failed(&mut self, now: Instant) -> Option<Duration> {
        let within = self.config.within.to_std();
        while self
            .failures
            .front()
            .is_some_and(|&failure| now.saturating_duration_since(failure) >= within)
        {
            self.failures.pop_front();
        }
        let doublings = self.failures.len();
        if doublings >= self.config.max_failures as usize {
            return None;
        }
        self.failures.push_back(now);
        let factor = 1_u32.checked_shl(u32::try_from(doublings).unwrap_or(u32::MAX));
        let delay = self
            .config
            .initial_delay
            .to_std()
            .saturating_mul(factor.unwrap_or(u32::MAX));
        Some(delay.min(self.config.max_delay.to_std()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(max_failures: u32, max_delay: u64, within: u64) -> RestartPolicy {
        RestartPolicy::new(RestartConfig {
            initial_delay: model::Duration::from_secs(1),
            max_delay: model::Duration::from_secs(max_delay),
            max_failures,
            within: model::Duration::from_secs(within),
        })
    }

    /// The waits, s, after failures at these times, s.
    fn waits(policy: &mut RestartPolicy, at: &[u32]) -> Vec<Option<u64>> {
        let start = Instant::now();
        at.iter()
            .map(|&second| policy.failed(start + SECOND * second))
            .map(|wait| wait.map(|wait| wait.as_secs()))
            .collect()
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        assert_eq!(
            waits(&mut policy(10, 60, 600), &[0, 1, 2, 3, 4, 5, 6, 7]),
            [1, 2, 4, 8, 16, 32, 60, 60].map(Some)
        );
    }

    #[test]
    fn more_failures_than_allowed_within_the_time_end_it() {
        let allowed = [Some(1), Some(2), Some(4)];
        let mut times = waits(&mut policy(3, 60, 100), &[0, 10, 20, 99]);
        assert_eq!(times.pop(), Some(None));
        assert_eq!(times, allowed);
        // The first one counts no longer.
        let at_its_end = waits(&mut policy(3, 60, 100), &[0, 10, 20, 100]);
        assert_eq!(at_its_end, [Some(1), Some(2), Some(4), Some(4)]);
    }

    #[test]
    fn a_pipeline_that_ran_for_long_begins_with_the_shortest_wait() {
        assert_eq!(
            waits(&mut policy(3, 60, 100), &[0, 50, 200, 500]),
            [Some(1), Some(2), Some(1), Some(1)]
        );
    }

    #[test]
    fn none_allowed_is_none_taken() {
        assert_eq!(waits(&mut policy(0, 60, 100), &[0, 500]), [None, None]);
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let seconds: Vec<u32> = (0..200).collect();
        let waits = waits(&mut policy(10_000, 3_600, 600), &seconds);
        assert_eq!(waits.last(), Some(&Some(3_600)));
    }
}
