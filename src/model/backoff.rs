//! How long to wait before a request is repeated.

use std::time::Duration;

use super::time::TimestampMs;

/// How long waits may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffLimits {
    /// The bound of the first wait.
    pub min: Duration,
    /// The greatest bound.
    pub max: Duration,
    /// A receiver that asks for more patience than this is asked again sooner.
    pub max_retry_after: Duration,
}

/// Exponential backoff with full jitter: a random time up to a bound that doubles with every
/// attempt. See <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
#[derive(Debug, Clone)]
pub struct Backoff {
    limits: BackoffLimits,
    random: fastrand::Rng,
}

impl Backoff {
    /// The same seed gives the same waits.
    pub fn new(limits: BackoffLimits, seed: u64) -> Self {
        Self {
            limits,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// How long to wait after `failures` failed attempts. What the receiver asked for counts
    /// instead, but no less than the first bound: `Retry-After: 0` must not become a busy loop.
    pub fn wait(&mut self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let BackoffLimits {
            min,
            max,
            max_retry_after,
        } = self.limits;
        if let Some(asked) = retry_after {
            return asked.min(max_retry_after).max(min);
        }
        let doublings = failures.saturating_sub(1).min(31);
        let bound = min.saturating_mul(1 << doublings).min(max);
        bound.mul_f64(self.random.f64())
    }
}

/// Reads a Retry-After header: seconds, or an HTTP date, which is compared with `now_ms` (ms since
/// the epoch). `None` where it is neither.
pub fn parse_retry_after(text: &str, now_ms: TimestampMs) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    let wait_ms = date.as_millisecond().saturating_sub(now_ms);
    Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        let limits = BackoffLimits {
            min: Duration::from_millis(30),
            max: Duration::from_secs(5),
            max_retry_after: Duration::from_secs(300),
        };
        Backoff::new(limits, seed)
    }

    #[test]
    fn doubles_the_bound_up_to_the_maximum() {
        let mut backoff = backoff(7);
        for (failures, bound) in [
            (1, 30),
            (2, 60),
            (3, 120),
            (8, 3_840),
            (9, 5_000),
            (99, 5_000),
        ] {
            let waits: Vec<_> = (0..200).map(|_| backoff.wait(failures, None)).collect();
            let longest = waits.iter().max().unwrap();
            let shortest = waits.iter().min().unwrap();
            assert!(
                *longest <= Duration::from_millis(bound),
                "{failures} {longest:?}"
            );
            assert!(
                *longest > Duration::from_millis(bound * 8 / 10),
                "{failures} {longest:?}"
            );
            assert!(
                *shortest < Duration::from_millis(bound * 2 / 10),
                "{failures} {shortest:?}"
            );
        }
    }

    #[test]
    fn repeats_itself_with_its_seed() {
        let waits = |seed| -> Vec<_> {
            let mut backoff = backoff(seed);
            (1..20)
                .map(|failures| backoff.wait(failures, None))
                .collect()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn gives_way_to_the_receiver_within_bounds() {
        let mut backoff = backoff(1);
        for (asked_ms, expected_ms) in [
            (0, 30),
            (7_000, 7_000),
            (300_000, 300_000),
            (9_000_000, 300_000),
        ] {
            let asked = Some(Duration::from_millis(asked_ms));
            assert_eq!(backoff.wait(5, asked), Duration::from_millis(expected_ms));
        }
    }

    #[test]
    fn reads_seconds_and_dates() {
        let now = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        let seconds = |text| parse_retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds(""), None);
    }
}
