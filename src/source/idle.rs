//! Which splits have had nothing to read for so long that they should hold back nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::SplitId;

/// Counts silence by split. Time is passed in.
///
/// Only silence that we can be sure of counts: while the connection is lost, while a split is paused
/// or has records that we have not read, or while the pipeline takes no more, no split becomes idle.
/// A wrongly idle split makes its events late; one that is idle too late only delays a window.
#[derive(Debug)]
pub(super) struct IdleTracker {
    idle_after: Duration,
    connected: bool,
    splits: BTreeMap<SplitId, Silence>,
    /// Idle splits whose silence is no longer known to be one.
    woken: Vec<SplitId>,
}

#[derive(Debug)]
struct Silence {
    since: Instant,
    caught_up: bool,
    idle: bool,
    paused: bool,
}

impl IdleTracker {
    /// A tracker without splits that is not connected.
    pub(super) fn new(idle_after: Duration) -> Self {
        Self {
            idle_after,
            connected: false,
            splits: BTreeMap::new(),
            woken: Vec::new(),
        }
    }

    /// Begins with a split; it counts as not read to its end yet.
    pub(super) fn assigned(&mut self, split: SplitId, now: Instant) {
        self.splits.insert(
            split,
            Silence {
                since: now,
                caught_up: false,
                idle: false,
                paused: false,
            },
        );
    }

    /// Forgets a split.
    #[cfg(any(feature = "kafka", feature = "kinesis"))]
    pub(super) fn revoked(&mut self, split: SplitId) {
        self.splits.remove(&split);
    }

    /// A split had records: it is not idle.
    pub(super) fn active(&mut self, split: SplitId, now: Instant) {
        if let Some(silence) = self.splits.get_mut(&split) {
            silence.since = now;
            silence.idle = false;
        }
    }

    /// Says whether a split is paused. What comes for a paused split is not read; once it is read
    /// again, it counts as not read to its end until something else is known.
    #[cfg(any(feature = "kafka", feature = "kinesis"))]
    pub(super) fn paused(&mut self, split: SplitId, paused: bool, now: Instant) {
        self.caught_up(split, false, now);
        if let Some(silence) = self.splits.get_mut(&split) {
            silence.since = now;
            silence.paused = paused;
        }
    }

    /// Says whether a split has been read to its end, as far as can be known now.
    pub(super) fn caught_up(&mut self, split: SplitId, caught_up: bool, now: Instant) {
        let Some(silence) = self.splits.get_mut(&split) else {
            return;
        };
        if silence.paused {
            return;
        }
        if caught_up && !silence.caught_up {
            silence.since = now;
        }
        silence.caught_up = caught_up;
        if !caught_up && std::mem::take(&mut silence.idle) {
            self.woken.push(split);
        }
    }

    /// Says whether the source is connected; all timers begin again when it has become so.
    pub(super) fn connected(&mut self, connected: bool, now: Instant) {
        if connected && !self.connected {
            self.restart(now);
        }
        self.connected = connected;
        if !connected {
            for (split, silence) in &mut self.splits {
                if std::mem::take(&mut silence.idle) {
                    self.woken.push(*split);
                }
            }
        }
    }

    /// The splits that were idle and hold back the watermark again, because what is sent to them now
    /// cannot be read: each once. Otherwise the watermark would follow the clock through an outage,
    /// and all that was sent meanwhile would be late.
    #[cfg(any(feature = "kafka", feature = "kinesis", feature = "mqtt", test))]
    pub(super) fn take_woken(&mut self) -> Vec<SplitId> {
        std::mem::take(&mut self.woken)
    }

    /// The pipeline took no more until now: all timers begin again, because what arrived meanwhile
    /// was not read.
    pub(super) fn blocked(&mut self, now: Instant) {
        self.restart(now);
    }

    /// The splits that have just become idle, each once until its next records.
    pub(super) fn due(&mut self, now: Instant) -> Vec<SplitId> {
        if !self.connected {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (split, silence) in &mut self.splits {
            let silent = now.saturating_duration_since(silence.since) >= self.idle_after;
            if silence.caught_up && !silence.idle && silent {
                silence.idle = true;
                due.push(*split);
            }
        }
        due
    }

    fn restart(&mut self, now: Instant) {
        for silence in self.splits.values_mut() {
            silence.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SplitId = SplitId(1);
    const B: SplitId = SplitId(2);

    struct Scene {
        tracker: IdleTracker,
        start: Instant,
    }

    impl Scene {
        /// Two splits, connected and caught up at second 0, idle after 10 s.
        fn new() -> Self {
            let start = Instant::now();
            let mut tracker = IdleTracker::new(Duration::from_secs(10));
            tracker.connected(true, start);
            for split in [A, B] {
                tracker.assigned(split, start);
                tracker.caught_up(split, true, start);
            }
            Self { tracker, start }
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        fn due(&mut self, second: u64) -> Vec<SplitId> {
            let now = self.at(second);
            self.tracker.due(now)
        }
    }

    #[test]
    fn each_split_becomes_idle_once_until_its_next_records() {
        let mut scene = Scene::new();
        scene.tracker.active(B, scene.at(4));
        assert_eq!(scene.due(9), []);
        assert_eq!(scene.due(10), [A]);
        assert_eq!(scene.due(13), []);
        assert_eq!(scene.due(14), [B]);
        scene.tracker.active(A, scene.at(15));
        assert_eq!(scene.due(24), []);
        assert_eq!(scene.due(25), [A]);
    }

    #[test]
    fn nothing_is_idle_while_the_connection_is_lost_nor_right_after() {
        let mut scene = Scene::new();
        scene.tracker.connected(false, scene.at(5));
        assert_eq!(scene.due(60), []);
        scene.tracker.connected(true, scene.at(60));
        scene.tracker.connected(true, scene.at(65));
        assert_eq!(scene.due(69), []);
        assert_eq!(scene.due(70), [A, B]);
    }

    #[test]
    fn a_split_with_unread_records_is_not_idle() {
        let mut scene = Scene::new();
        scene.tracker.caught_up(A, false, scene.at(3));
        assert_eq!(scene.due(30), [B]);
        scene.tracker.caught_up(A, true, scene.at(31));
        scene.tracker.caught_up(A, true, scene.at(35));
        assert_eq!(scene.due(40), []);
        assert_eq!(scene.due(41), [A]);
    }

    #[test]
    fn time_in_which_the_pipeline_took_nothing_does_not_count() {
        let mut scene = Scene::new();
        scene.tracker.blocked(scene.at(9));
        assert_eq!(scene.due(18), []);
        assert_eq!(scene.due(19), [A, B]);
    }

    #[cfg(any(feature = "kafka", feature = "kinesis"))]
    #[test]
    fn a_revoked_split_is_forgotten() {
        let mut scene = Scene::new();
        scene.tracker.revoked(A);
        assert_eq!(scene.due(10), [B]);
        scene.tracker.assigned(A, scene.at(11));
        assert_eq!(scene.due(30), []);
    }

    #[cfg(any(feature = "kafka", feature = "kinesis"))]
    #[test]
    fn a_paused_split_is_not_silent() {
        let mut scene = Scene::new();
        scene.tracker.paused(A, true, scene.at(5));
        scene.tracker.caught_up(A, true, scene.at(6));
        assert_eq!(scene.due(60), [B]);
        scene.tracker.paused(A, false, scene.at(60));
        assert_eq!(scene.due(80), [], "its end was not seen since");
        scene.tracker.caught_up(A, true, scene.at(81));
        assert_eq!(scene.due(90), []);
        assert_eq!(scene.due(91), [A]);
        scene.tracker.paused(A, true, scene.at(92));
        assert_eq!(scene.tracker.take_woken(), [A], "it was idle");
    }

    #[test]
    fn a_lost_connection_wakes_what_was_idle() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut idle = IdleTracker::new(Duration::from_secs(10));
        idle.connected(true, start);
        for split in [SplitId(0), SplitId(1)] {
            idle.assigned(split, start);
            idle.caught_up(split, true, start);
        }
        idle.active(SplitId(1), later(5));
        assert_eq!(idle.due(later(10)), [SplitId(0)]);
        assert_eq!(idle.take_woken(), []);
        idle.connected(false, later(11));
        assert_eq!(idle.take_woken(), [SplitId(0)]);
        assert_eq!(idle.take_woken(), []);
        idle.connected(true, later(100));
        assert_eq!(idle.due(later(109)), []);
        assert_eq!(idle.due(later(110)), [SplitId(0), SplitId(1)]);
        idle.caught_up(SplitId(1), false, later(111));
        assert_eq!(idle.take_woken(), [SplitId(1)]);
    }
}
