//! How many shards it takes to send what comes in.
//!
//! The formula is that of Prometheus (`calculateDesiredShards` in `storage/remote/queue_manager.go`):
//!
//! ```text
//! wanted = time per sample × (samples in per second + 5 % of the samples that wait per second)
//! time per sample = seconds of all shards at requests per second / samples out per second
//! ```
//!
//! with the same averages (a weight of 0.2 every 10 s), rounded up, and changed only where that is more than
//! 30 % off the number that runs. It differs where weir differs:
//!
//! - Prometheus reads its log as fast as it comes, and knows how far behind it is. Here the sources are held
//!   up once the partitions are full, and what comes in is what goes out: so the number grows by half each
//!   time while an owner finds no room.
//! - A change costs nothing that waits, but whoever shrinks too far is held up at once. So it shrinks only
//!   when nothing was held up for five minutes and nothing waits for ten seconds, and to 30 % more than
//!   wanted.
//! - An interval in which a request had to be repeated counts for nothing: a receiver that throttles or is
//!   away would only get more of what it does not take.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::Instant;

use super::rate::Rate;
use crate::write::remote_write::flow::Counts;

/// How often the number is looked at: `shardUpdateDuration` of Prometheus.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// What waits is to be caught up with by this part of it a second.
const CATCH_UP: f64 = 0.05;

/// How far off the number may be: `shardToleranceFraction`.
const TOLERANCE: f64 = 0.3;

/// While something waits for longer than this it does not shrink.
const BEHIND: Duration = Duration::from_secs(10);

/// So long nothing must have been held up before it shrinks.
const QUIET: Duration = Duration::from_secs(300);

/// What is there to be seen at a moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::write::remote_write) struct Seen {
    /// Since the start.
    pub(in crate::write::remote_write) counts: Counts,
    /// Whether a request waits to be repeated.
    pub(in crate::write::remote_write) is_repeating: bool,
    /// For how long the oldest sample has waited.
    pub(in crate::write::remote_write) oldest: Duration,
    /// How many shards run.
    pub(in crate::write::remote_write) running: usize,
}

/// Finds the number of shards from what was seen.
#[derive(Debug)]
pub(in crate::write::remote_write) struct WantedShards {
    /// At least and at most so many.
    bounds: RangeInclusive<usize>,
    samples_in: Rate,
    samples_out: Rate,
    busy: Rate,
    last: Option<(Counts, Instant)>,
    held_up: Option<Instant>,
    exact: f64,
}

impl WantedShards {
    /// Has seen nothing.
    pub(in crate::write::remote_write) fn new(bounds: RangeInclusive<usize>) -> Self {
        Self {
            exact: *bounds.start() as f64,
            bounds,
            samples_in: Rate::default(),
            samples_out: Rate::default(),
            busy: Rate::default(),
            last: None,
            held_up: None,
        }
    }

    /// What the formula has given last, without rounding and limits.
    pub(in crate::write::remote_write) fn exact(&self) -> f64 {
        self.exact
    }

    /// How many shards are to run from now on.
    pub(in crate::write::remote_write) fn after(&mut self, seen: Seen, now: Instant) -> usize {
        let Seen {
            counts, running, ..
        } = seen;
        let Some((before, then)) = self.last.replace((counts, now)) else {
            return running;
        };
        if seen.is_repeating || counts.repetitions > before.repetitions {
            return running;
        }
        let time = now.saturating_duration_since(then);
        let since = |count: fn(&Counts) -> u64| count(&counts).saturating_sub(count(&before));
        self.samples_in.add(since(|of| of.taken) as f64, time);
        self.samples_out.add(since(|of| of.done) as f64, time);
        let busy = counts.busy.saturating_sub(before.busy);
        self.busy.add(busy.as_secs_f64(), time);
        let is_held_up = since(|of| of.refusals) > 0;
        if is_held_up {
            self.held_up = Some(now);
        }
        let out = self.samples_out.per_second();
        if out <= 0.0 {
            return running;
        }
        let waiting = counts.taken.saturating_sub(counts.done) as f64;
        let time_per_sample = self.busy.per_second() / out;
        self.exact = time_per_sample * (self.samples_in.per_second() + CATCH_UP * waiting);
        let mut wanted = round_up(self.exact);
        if is_held_up {
            wanted = wanted.max(running + (running / 2).max(1));
        }
        let running_now = running as f64;
        let is_near = (running_now * (1.0 - TOLERANCE)..=running_now * (1.0 + TOLERANCE))
            .contains(&(wanted as f64));
        let shards = if is_held_up || (wanted > running && !is_near) {
            wanted
        } else if wanted < running && !is_near && self.may_shrink(&seen, now) {
            running.min(round_up(self.exact * (1.0 + TOLERANCE)))
        } else {
            running
        };
        shards.clamp(*self.bounds.start(), *self.bounds.end())
    }

    fn may_shrink(&self, seen: &Seen, now: Instant) -> bool {
        let is_quiet = |since| now.saturating_duration_since(since) >= QUIET;
        self.held_up.is_none_or(is_quiet) && seen.oldest <= BEHIND
    }
}

/// A number of shards, far above any limit at most.
fn round_up(exact: f64) -> usize {
    exact.ceil().clamp(1.0, 1e6) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens in an interval of ten seconds.
    #[derive(Debug, Clone, Copy)]
    struct Interval {
        samples_in: u64,
        samples_out: u64,
        busy_s: f64,
        refusals: u64,
        repetitions: u64,
        oldest_s: u64,
    }

    const IDLE: Interval = Interval {
        samples_in: 0,
        samples_out: 0,
        busy_s: 0.0,
        refusals: 0,
        repetitions: 0,
        oldest_s: 0,
    };

    /// The numbers of shards behind each interval.
    struct Shards {
        wanted: WantedShards,
        running: usize,
        counts: Counts,
        now: Instant,
    }

    impl Shards {
        fn new(bounds: RangeInclusive<usize>, running: usize) -> Self {
            let mut shards = Self {
                wanted: WantedShards::new(bounds),
                running,
                counts: Counts::default(),
                now: Instant::now(),
            };
            shards.tick(0);
            shards
        }

        fn tick(&mut self, oldest_s: u64) -> usize {
            let seen = Seen {
                counts: self.counts,
                is_repeating: false,
                oldest: Duration::from_secs(oldest_s),
                running: self.running,
            };
            self.running = self.wanted.after(seen, self.now);
            self.running
        }

        fn after(&mut self, interval: Interval) -> usize {
            self.counts.taken += interval.samples_in;
            self.counts.done += interval.samples_out;
            self.counts.busy += Duration::from_secs_f64(interval.busy_s);
            self.counts.refusals += interval.refusals;
            self.counts.repetitions += interval.repetitions;
            self.now += INTERVAL;
            self.tick(interval.oldest_s)
        }
    }

    /// All shards send for `busy_s` seconds, 40,000 samples a second each.
    fn busy(busy_s: f64) -> Interval {
        let samples = (busy_s * 40_000.0) as u64;
        Interval {
            samples_in: samples,
            samples_out: samples,
            busy_s,
            ..IDLE
        }
    }

    #[test]
    fn is_what_the_formula_says() {
        // (running, interval, exact, shards)
        let waiting = |interval: Interval, waiting: u64| Interval {
            samples_in: interval.samples_out + waiting,
            ..interval
        };
        for (running, interval, exact, expected) in [
            (1, IDLE, 1.0, 1),
            (1, busy(5.0), 0.5, 1),
            (2, busy(19.0), 1.9, 2),
            // As many more as wait come in: a tenth of them a second, and 5 % are to be caught up with.
            (1, waiting(busy(8.0), 400_000), 0.8 + 0.1 * 10.0 + 0.5, 3),
            (4, waiting(busy(40.0), 320_000), 4.0 + 0.8 + 0.4, 6),
            // Within 30 %.
            (10, waiting(busy(100.0), 320_000), 10.0 + 0.8 + 0.4, 10),
            (10, busy(70.0), 7.0, 10),
            // Below, and to 30 % more than it takes.
            (10, busy(60.0), 6.0, 8),
            (10, busy(1.0), 0.1, 1),
        ] {
            let mut shards = Shards::new(1..=100, running);
            assert_eq!(shards.after(interval), expected, "{running} {interval:?}");
            assert!(
                (shards.wanted.exact() - exact).abs() < 1e-6,
                "{running} {interval:?}: {}",
                shards.wanted.exact()
            );
        }
    }

    #[test]
    fn keeps_to_its_bounds() {
        let much = Interval {
            samples_in: 40_000_000,
            ..busy(10.0)
        };
        assert_eq!(Shards::new(1..=8, 1).after(much), 8);
        assert_eq!(Shards::new(3..=8, 8).after(busy(0.1)), 3);
        assert_eq!(Shards::new(5..=5, 5).after(much), 5);
    }

    #[test]
    fn grows_while_an_owner_finds_no_room() {
        let mut shards = Shards::new(1..=8, 1);
        let held_up = |shards: &Shards| Interval {
            refusals: 1,
            ..busy(10.0 * shards.running as f64)
        };
        for expected in [2, 3, 4, 6, 8, 8] {
            let interval = held_up(&shards);
            assert_eq!(shards.after(interval), expected);
        }
    }

    #[test]
    fn shrinks_when_nothing_was_held_up_for_a_while() {
        let mut shards = Shards::new(1..=8, 1);
        let held_up = Interval {
            refusals: 3,
            ..busy(10.0)
        };
        assert_eq!(shards.after(held_up), 2);
        shards.running = 8;
        for second in (10..300).step_by(10) {
            assert_eq!(shards.after(busy(2.0)), 8, "after {second} s");
        }
        assert_eq!(shards.after(busy(2.0)), 1);
    }

    #[test]
    fn does_not_shrink_while_something_waits_for_long() {
        let mut shards = Shards::new(1..=8, 8);
        let behind = Interval {
            oldest_s: 11,
            ..busy(2.0)
        };
        assert_eq!(shards.after(behind), 8);
        assert_eq!(shards.after(busy(2.0)), 1);
    }

    #[test]
    fn a_receiver_that_throttles_gets_no_more_shards() {
        let mut shards = Shards::new(1..=8, 2);
        let throttled = Interval {
            samples_in: 4_000_000,
            refusals: 5,
            repetitions: 1,
            ..busy(20.0)
        };
        for _ in 0..20 {
            assert_eq!(shards.after(throttled), 2);
        }
        // Nor does what was measured then count later.
        assert_eq!(shards.wanted.samples_in.per_second(), 0.0);
    }

    #[test]
    fn does_not_flap_at_any_rate() {
        for rate in (1..=79).map(|tenths| f64::from(tenths) / 10.0) {
            let mut shards = Shards::new(1..=8, 1);
            let mut changes = Vec::new();
            for _ in 0..500 {
                // The sources are held up where the shards cannot send it all.
                let capacity = shards.running as f64;
                let interval = Interval {
                    refusals: u64::from(rate > capacity),
                    ..busy(10.0 * rate.min(capacity))
                };
                let before = shards.running;
                if shards.after(interval) != before {
                    changes.push((before, shards.running));
                }
            }
            assert!(shards.running as f64 >= rate, "{rate}: {changes:?}");
            assert!(changes.len() <= 6, "{rate}: {changes:?}");
            let shrunk = changes.iter().filter(|(before, after)| after < before);
            assert!(shrunk.count() <= 1, "{rate}: {changes:?}");
        }
    }
}
