//! Event time against the wall clock.

use std::thread;
use std::time::{Duration, Instant};

/// Says when an event is due.
///
/// The schedule is absolute: an event is due as long after the start as its emission time is after
/// the origin. Who falls behind is neither slowed down nor forgiven: later events keep their due
/// times, are sent at once until the schedule is reached again, and the lag is recorded. (A
/// schedule that waits for the receiver would hide exactly the delays that a load test is after:
/// coordinated omission.)
#[derive(Debug, Clone)]
pub struct Pacer {
    origin_ms: u64,
    started: Instant,
    /// The emission time that was checked last: its events need no second look at the clock.
    current_ms: Option<u64>,
    behind: Duration,
    max_behind: Duration,
}

impl Pacer {
    /// A schedule on which the event time `origin_ms`, milliseconds since the epoch, is due at
    /// `started`. Pacers of several shards share both.
    pub fn new(origin_ms: u64, started: Instant) -> Self {
        Self {
            origin_ms,
            started,
            current_ms: None,
            behind: Duration::ZERO,
            max_behind: Duration::ZERO,
        }
    }

    /// Whether events with this emission time were already found due.
    pub fn is_current(&self, emission_ms: u64) -> bool {
        self.current_ms == Some(emission_ms)
    }

    /// How long it is at `now` until an event is due: zero when it is, and then the lag is
    /// recorded.
    pub fn pause(&mut self, emission_ms: u64, now: Instant) -> Duration {
        let due = Duration::from_millis(emission_ms.saturating_sub(self.origin_ms));
        let elapsed = now.saturating_duration_since(self.started);
        if elapsed < due {
            return due - elapsed;
        }
        self.current_ms = Some(emission_ms);
        self.behind = elapsed - due;
        self.max_behind = self.max_behind.max(self.behind);
        Duration::ZERO
    }

    /// Blocks until an event is due.
    pub fn wait(&mut self, emission_ms: u64) {
        while !self.is_current(emission_ms) {
            let pause = self.pause(emission_ms, Instant::now());
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
    }

    /// How far the last event was behind the schedule.
    pub fn behind(&self) -> Duration {
        self.behind
    }

    /// How far any event was behind the schedule.
    pub fn max_behind(&self) -> Duration {
        self.max_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn waits_for_the_schedule_and_not_for_the_last_event() {
        let started = Instant::now();
        let mut pacer = Pacer::new(1_000, started);
        assert_eq!(pacer.pause(1_000, started), ms(0));
        assert_eq!(pacer.pause(1_010, started + ms(4)), ms(6));
        assert!(!pacer.is_current(1_010));
        // 90 ms behind: what follows is due at its own time, not 90 ms later.
        assert_eq!(pacer.pause(1_010, started + ms(100)), ms(0));
        assert!(pacer.is_current(1_010));
        assert_eq!(pacer.behind(), ms(90));
        assert_eq!(pacer.pause(1_080, started + ms(100)), ms(0));
        assert_eq!(pacer.behind(), ms(20));
        assert_eq!(pacer.pause(1_110, started + ms(100)), ms(10));
        assert_eq!(pacer.pause(1_110, started + ms(110)), ms(0));
        assert_eq!(pacer.behind(), ms(0));
        assert_eq!(pacer.max_behind(), ms(90));
    }

    #[test]
    fn what_lies_before_the_origin_is_due_at_once() {
        let started = Instant::now();
        let mut pacer = Pacer::new(1_000, started);
        assert_eq!(pacer.pause(10, started), ms(0));
        assert_eq!(pacer.max_behind(), ms(0));
    }

    #[test]
    fn wait_returns_once_the_event_is_due() {
        let mut pacer = Pacer::new(0, Instant::now());
        pacer.wait(2);
        assert!(pacer.is_current(2));
        assert!(pacer.started.elapsed() >= ms(2));
    }
}
