//! Watermarks: up to which event time everything has been seen.
//!
//! A split's watermark is its highest event time minus the allowed disorder. The pipeline's is the
//! lowest of its active splits, and never goes back. Idle splits step aside; when all splits are
//! idle, the watermark follows the clock, so that windows close when traffic stops, but no earlier
//! than they would have closed with traffic.
//!
//! A split that is further ahead of the others than `max_drift` is paused until they have caught
//! up: what it shows meanwhile could only wait in open windows. It is measured against the lowest
//! active split, and at least against the pipeline's watermark; a split that has shown nothing yet
//! counts as standing at that watermark, or, before there is one, where the lowest of the others
//! began. So the lowest split is never paused, and open windows span no more than the watermark,
//! the allowed disorder, `max_drift`, and one batch of each split.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{SplitId, TimestampMs};

/// The watermark behind which nothing is left: all input has been read.
pub const END_OF_TIME: TimestampMs = TimestampMs::MAX;

/// What a split is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SplitState {
    /// It holds back the watermark.
    Active,
    /// It has been silent and steps aside until its next events.
    Idle,
    /// It has ended.
    Finished,
}

#[derive(Debug)]
struct Split {
    state: SplitState,
    /// The highest event time so far.
    highest: Option<TimestampMs>,
    /// How often it was assigned and not revoked yet. The next assignment may be known before the
    /// worker has got to the revocation of the one before.
    assignments: u32,
    /// The highest time of its first events.
    first: Option<TimestampMs>,
    /// Since when its records have given no event, by the clock.
    eventless_since_ms: Option<TimestampMs>,
    /// Whether it is not to be read until the others have caught up.
    paused: bool,
    /// Whether it is to go to somebody else, and waits for nobody until then.
    leaves: bool,
}

/// Which splits are to be paused, after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// All of them.
    pub splits: BTreeSet<SplitId>,
    /// How many of them were not paused before.
    pub new: u64,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            state: SplitState::Active,
            highest: None,
            assignments: 0,
            first: None,
            eventless_since_ms: None,
            paused: false,
            leaves: false,
        }
    }
}

/// The watermarks of all splits of a pipeline.
#[derive(Debug)]
pub struct Watermarks {
    out_of_order_ms: i64,
    /// How far a split may be ahead of the others, ms; any distance where there is none.
    max_drift_ms: Option<i64>,
    splits: BTreeMap<SplitId, Split>,
    /// Up to where splits were read before they are assigned here.
    seeds: BTreeMap<SplitId, TimestampMs>,
    current: TimestampMs,
    /// What was reached before a restart, until there are events: silence goes on from there.
    restored: TimestampMs,
    /// When the last events were processed, by the clock.
    last_events_ms: TimestampMs,
    /// How many workers take no input for now.
    held: usize,
}

impl Watermarks {
    /// No splits yet; events of a split may be `out_of_order_ms` out of order.
    pub fn new(out_of_order_ms: i64) -> Self {
        Self {
            out_of_order_ms,
            max_drift_ms: None,
            splits: BTreeMap::new(),
            seeds: BTreeMap::new(),
            current: TimestampMs::MIN,
            restored: TimestampMs::MIN,
            last_events_ms: TimestampMs::MIN,
            held: 0,
        }
    }

    /// The same, with splits paused that are more than `max_drift_ms` ahead of the others.
    #[must_use]
    pub fn with_max_drift(mut self, max_drift_ms: i64) -> Self {
        self.max_drift_ms = Some(max_drift_ms);
        self
    }

    /// Goes on from a watermark that was reached before.
    pub fn restore(&mut self, current: TimestampMs) {
        self.current = self.current.max(current);
        self.restored = self.current;
    }

    /// A split is to go on from where its highest event time was `highest`: its next
    /// [`assign`](Self::assign) begins with that.
    pub fn seed(&mut self, split: SplitId, highest: TimestampMs) {
        self.seeds.insert(split, highest);
    }

    /// A split begins. It holds back the watermark until its first events, or goes on from where it
    /// was.
    pub fn assign(&mut self, split: SplitId) {
        let seed = self.seeds.remove(&split);
        let entry = self.splits.entry(split).or_default();
        entry.state = SplitState::Active;
        entry.assignments += 1;
        entry.leaves = false;
        entry.highest = entry.highest.max(seed);
        entry.first = entry.first.or(seed);
    }

    /// Events of a split were processed at `now_ms` by the clock; `highest` is the highest event
    /// time that the split has ever shown.
    pub fn events(&mut self, split: SplitId, highest: Option<TimestampMs>, now_ms: TimestampMs) {
        let entry = self.splits.entry(split).or_default();
        entry.state = SplitState::Active;
        entry.highest = entry.highest.max(highest);
        entry.first = entry.first.or(entry.highest);
        entry.eventless_since_ms = None;
        self.last_events_ms = self.last_events_ms.max(now_ms);
        self.restored = TimestampMs::MIN;
    }

    /// Records of a split were processed at `now_ms` by the clock, none of which gave an event. To
    /// its source such a split is never silent, so it steps aside here once that has gone on for
    /// `idle_after_ms`: it would hold back all windows as long as the records come.
    pub fn eventless(&mut self, split: SplitId, now_ms: TimestampMs, idle_after_ms: i64) {
        let Some(entry) = self.splits.get_mut(&split) else {
            return;
        };
        let since = *entry.eventless_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since) >= idle_after_ms {
            entry.state = SplitState::Idle;
        }
    }

    /// A split is silent.
    pub fn idle(&mut self, split: SplitId) {
        self.set_state(split, SplitState::Idle);
    }

    /// A split that was silent holds back the watermark again: its silence means nothing now.
    pub fn wake(&mut self, split: SplitId) {
        self.set_state(split, SplitState::Active);
    }

    /// A split has ended.
    pub fn finish(&mut self, split: SplitId) {
        self.set_state(split, SplitState::Finished);
    }

    /// A split is to go to somebody else: until it is [`assign`](Self::assign)ed again it is not paused, however
    /// far it is ahead.
    pub fn leave(&mut self, split: SplitId) {
        if let Some(entry) = self.splits.get_mut(&split) {
            entry.leaves = true;
        }
    }

    /// A split belongs to somebody else; or to us again, where it was assigned anew meanwhile. Then
    /// it holds back the watermark until its first events.
    pub fn revoke(&mut self, split: SplitId) {
        let Some(entry) = self.splits.get_mut(&split) else {
            return;
        };
        let assignments = entry.assignments.saturating_sub(1);
        if assignments == 0 {
            self.splits.remove(&split);
        } else {
            *entry = Split {
                assignments,
                ..Split::default()
            };
        }
    }

    /// A worker takes no input for now. What waits for it may be of splits that are idle as yet, so
    /// the watermark stays where it is until [`release`](Self::release).
    pub fn hold(&mut self) {
        self.held += 1;
    }

    /// A worker that had to [`hold`](Self::hold) takes input again.
    pub fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// All input has ended: the splits of which nothing waits any more have ended with it.
    pub fn end(&mut self, is_over: impl Fn(SplitId) -> bool) {
        for (id, split) in &mut self.splits {
            if is_over(*id) {
                split.state = SplitState::Finished;
            }
        }
    }

    fn set_state(&mut self, split: SplitId, state: SplitState) {
        if let Some(entry) = self.splits.get_mut(&split) {
            entry.state = state;
        }
    }

    /// The pipeline's watermark at `now_ms` by the clock, ms since the epoch.
    pub fn advance(&mut self, now_ms: TimestampMs) -> TimestampMs {
        if self.last_events_ms == TimestampMs::MIN {
            // Silence counts from here on, for splits that go on from where they were.
            self.last_events_ms = now_ms;
        }
        if self.held == 0 {
            self.current = self.current.max(self.candidate(now_ms));
        }
        self.current
    }

    fn candidate(&self, now_ms: TimestampMs) -> TimestampMs {
        let with = |state| {
            self.splits
                .values()
                .filter(move |split| split.state == state)
        };
        let watermark = |highest: TimestampMs| highest.saturating_sub(self.out_of_order_ms);
        if with(SplitState::Active).next().is_some() {
            return with(SplitState::Active)
                .map(|split| split.highest.map_or(TimestampMs::MIN, watermark))
                .min()
                .unwrap_or(TimestampMs::MIN);
        }
        if with(SplitState::Idle).next().is_none() {
            // No split, or all of them finished while others may still be assigned.
            return TimestampMs::MIN;
        }
        let highest = self.splits.values().filter_map(|split| split.highest).max();
        let silent_ms = now_ms.saturating_sub(self.last_events_ms).max(0);
        highest.map_or(TimestampMs::MIN, |highest| {
            let reached = watermark(highest).max(self.restored);
            reached.saturating_add(silent_ms)
        })
    }

    /// Decides anew which splits are paused; gives them where that has changed. A paused split goes
    /// on at half of the greatest drift, because to pause and resume is not free for a source.
    pub fn align(&mut self) -> Option<Paused> {
        let max_drift_ms = self.max_drift_ms?;
        let standing = self.standing();
        let (mut new, mut changed) = (0, false);
        for split in self.splits.values_mut() {
            let limit_ms = if split.paused {
                max_drift_ms / 2
            } else {
                max_drift_ms
            };
            let drift_ms = split.drift_ms(standing);
            let paused = !split.leaves && drift_ms.is_some_and(|drift_ms| drift_ms > limit_ms);
            changed |= paused != split.paused;
            new += u64::from(paused && !split.paused);
            split.paused = paused;
        }
        changed.then(|| Paused {
            splits: self
                .splits
                .iter()
                .filter(|(_, split)| split.paused)
                .map(|(id, _)| *id)
                .collect(),
            new,
        })
    }

    /// Whether a split is paused.
    pub fn is_paused(&self, split: SplitId) -> bool {
        self.splits.get(&split).is_some_and(|split| split.paused)
    }

    /// How far the highest active split is ahead of where the others stand, ms.
    pub fn drift_ms(&self) -> i64 {
        let standing = self.standing();
        let drifts = self.splits.values();
        drifts
            .filter_map(|split| split.drift_ms(standing))
            .max()
            .unwrap_or_default()
            .max(0)
    }

    /// Where the splits stand that hold back the watermark, as an event time, where that is known.
    fn standing(&self) -> Option<TimestampMs> {
        let active = || {
            let splits = self.splits.values();
            splits.filter(|split| split.state == SplitState::Active)
        };
        let watermark = (self.current > TimestampMs::MIN)
            .then(|| self.current.saturating_add(self.out_of_order_ms));
        let lowest = if active().all(|split| split.highest.is_some()) {
            active().filter_map(|split| split.highest).min()
        } else if watermark.is_none() {
            active().filter_map(|split| split.first).min()
        } else {
            None
        };
        lowest.max(watermark)
    }

    /// How many splits are in a state; paused ones are in no other.
    pub fn count(&self, state: SplitState) -> usize {
        self.splits
            .values()
            .filter(|split| split.state == state && !split.paused)
            .count()
    }

    /// How many splits are paused.
    pub fn count_paused(&self) -> usize {
        self.splits.values().filter(|split| split.paused).count()
    }
}

impl Split {
    /// How far it is ahead of `standing`, ms; nothing where it holds back no watermark.
    fn drift_ms(&self, standing: Option<TimestampMs>) -> Option<i64> {
        let highest = self.highest.filter(|_| self.state == SplitState::Active)?;
        Some(highest.saturating_sub(standing?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SplitId = SplitId(0);
    const B: SplitId = SplitId(1);
    const C: SplitId = SplitId(2);

    #[test]
    fn is_the_lowest_of_the_active_splits_and_never_goes_back() {
        let mut watermarks = Watermarks::new(2_000);
        assert_eq!(watermarks.advance(0), i64::MIN);
        watermarks.assign(A);
        watermarks.assign(B);
        watermarks.events(A, Some(10_000), 0);
        assert_eq!(watermarks.advance(0), i64::MIN, "B has shown nothing yet");
        watermarks.events(B, Some(7_000), 0);
        assert_eq!(watermarks.advance(0), 5_000);
        watermarks.events(B, Some(6_000), 0);
        assert_eq!(watermarks.advance(0), 5_000);
        watermarks.idle(B);
        assert_eq!(watermarks.advance(0), 8_000);
        watermarks.events(B, Some(7_500), 0);
        assert_eq!(watermarks.advance(0), 8_000, "B is back, behind the others");
        watermarks.events(A, Some(20_000), 0);
        watermarks.finish(B);
        assert_eq!(watermarks.advance(0), 18_000);
        watermarks.revoke(A);
        assert_eq!(watermarks.advance(0), 18_000);
    }

    #[test]
    fn follows_the_clock_when_all_is_silent() {
        let mut watermarks = Watermarks::new(2_000);
        watermarks.assign(A);
        watermarks.assign(B);
        watermarks.events(A, Some(100_000), 500_000);
        watermarks.events(B, Some(90_000), 500_500);
        watermarks.idle(A);
        assert_eq!(watermarks.advance(510_500), 88_000, "B is not idle");
        watermarks.idle(B);
        assert_eq!(watermarks.advance(510_500), 108_000);
        assert_eq!(watermarks.advance(511_500), 109_000);
    }

    #[test]
    fn a_split_that_is_assigned_anew_before_its_revocation_holds_back_the_watermark() {
        let mut watermarks = Watermarks::new(0);
        watermarks.assign(A);
        watermarks.assign(B);
        watermarks.events(A, Some(10_000), 0);
        watermarks.events(B, Some(10_000), 0);
        assert_eq!(watermarks.advance(0), 10_000);
        watermarks.assign(B);
        watermarks.revoke(B);
        watermarks.events(A, Some(20_000), 0);
        assert_eq!(watermarks.advance(0), 10_000, "B has shown nothing since");
        watermarks.events(B, Some(12_000), 0);
        assert_eq!(watermarks.advance(0), 12_000);
        watermarks.revoke(B);
        assert_eq!(watermarks.advance(0), 20_000, "B is gone");
    }

    #[test]
    fn a_split_without_usable_records_steps_aside() {
        let mut watermarks = Watermarks::new(0);
        watermarks.assign(A);
        watermarks.assign(B);
        watermarks.events(A, Some(10_000), 0);
        watermarks.eventless(B, 1_000, 5_000);
        watermarks.eventless(B, 5_999, 5_000);
        assert_eq!(watermarks.advance(5_999), i64::MIN, "not for long enough");
        watermarks.eventless(B, 6_000, 5_000);
        assert_eq!(watermarks.advance(6_000), 10_000);
        watermarks.events(B, Some(9_000), 6_001);
        watermarks.eventless(B, 11_000, 5_000);
        watermarks.events(A, Some(20_000), 11_000);
        assert_eq!(watermarks.advance(11_000), 10_000, "B has had events again");
    }

    #[test]
    fn silence_without_any_event_closes_nothing() {
        let mut watermarks = Watermarks::new(0);
        watermarks.assign(A);
        watermarks.idle(A);
        assert_eq!(watermarks.advance(1_000_000), i64::MIN);
    }

    fn paused(watermarks: &mut Watermarks) -> Vec<SplitId> {
        watermarks.advance(0);
        drop(watermarks.align());
        let ids = [A, B, C].into_iter();
        ids.filter(|id| watermarks.is_paused(*id)).collect()
    }

    #[test]
    fn a_split_that_runs_ahead_is_paused_until_the_others_have_come_half_way() {
        let mut watermarks = Watermarks::new(2_000).with_max_drift(10_000);
        watermarks.assign(A);
        watermarks.assign(B);
        watermarks.events(A, Some(100_000), 0);
        watermarks.events(B, Some(110_000), 0);
        assert_eq!(paused(&mut watermarks), [], "exactly as far as it may");
        watermarks.events(B, Some(110_001), 0);
        watermarks.advance(0);
        let expected = Paused {
            splits: BTreeSet::from([B]),
            new: 1,
        };
        assert_eq!(watermarks.align(), Some(expected));
        assert_eq!(watermarks.align(), None, "nothing has changed");
        assert_eq!(watermarks.drift_ms(), 10_001);
        assert_eq!(watermarks.count_paused(), 1);
        assert_eq!(watermarks.count(SplitState::Active), 1);
        watermarks.events(A, Some(105_000), 0);
        assert_eq!(paused(&mut watermarks), [B]);
        assert_eq!(watermarks.advance(0), 103_000, "B holds nothing back");
        watermarks.events(A, Some(105_001), 0);
        assert_eq!(paused(&mut watermarks), []);
        watermarks.events(A, Some(130_000), 0);
        assert_eq!(
            paused(&mut watermarks),
            [A],
            "now it is the other way round"
        );
    }

    #[test]
    fn splits_that_no_longer_hold_back_the_watermark_pause_nobody() {
        for step_aside in [
            Watermarks::idle as fn(&mut Watermarks, SplitId),
            Watermarks::finish,
            Watermarks::revoke,
        ] {
            let mut watermarks = Watermarks::new(0).with_max_drift(10_000);
            watermarks.assign(A);
            watermarks.assign(B);
            watermarks.events(A, Some(100_000), 0);
            watermarks.events(B, Some(200_000), 0);
            assert_eq!(paused(&mut watermarks), [B]);
            step_aside(&mut watermarks, A);
            assert_eq!(paused(&mut watermarks), []);
        }
        let mut watermarks = Watermarks::new(0).with_max_drift(10_000);
        watermarks.events(A, Some(100_000), 0);
        watermarks.events(B, Some(200_000), 0);
        assert_eq!(paused(&mut watermarks), [B]);
        watermarks.end(|split| split == A);
        assert_eq!(
            paused(&mut watermarks),
            [],
            "nothing of A is left to wait for"
        );
    }

    #[test]
    fn a_split_that_has_shown_nothing_stands_where_the_others_began() {
        let mut watermarks = Watermarks::new(2_000).with_max_drift(10_000);
        for split in [A, B, C] {
            watermarks.assign(split);
        }
        watermarks.events(A, Some(100_000), 0);
        watermarks.events(B, Some(105_000), 0);
        watermarks.events(B, Some(110_001), 0);
        assert_eq!(paused(&mut watermarks), [B], "C may begin where A began");
        watermarks.events(A, Some(110_000), 0);
        assert_eq!(paused(&mut watermarks), [B], "A has gone on since");
        watermarks.idle(C);
        assert_eq!(paused(&mut watermarks), [], "C is silent");

        // Once there is a watermark, no window behind it is open any more.
        assert_eq!(watermarks.advance(0), 108_000);
        watermarks.revoke(C);
        watermarks.assign(C);
        watermarks.events(A, Some(119_000), 0);
        watermarks.events(B, Some(121_000), 0);
        assert_eq!(paused(&mut watermarks), [B]);
    }

    #[test]
    fn a_split_that_is_to_go_waits_for_no_other_until_it_comes_back() {
        let mut watermarks = Watermarks::new(0).with_max_drift(10_000);
        watermarks.assign(A);
        watermarks.assign(B);
        watermarks.events(A, Some(100_000), 0);
        watermarks.events(B, Some(200_000), 0);
        assert_eq!(paused(&mut watermarks), [B]);
        watermarks.leave(B);
        assert_eq!(paused(&mut watermarks), []);
        watermarks.events(B, Some(300_000), 0);
        assert_eq!(paused(&mut watermarks), []);
        assert_eq!(
            watermarks.advance(0),
            100_000,
            "windows wait for the others"
        );
        watermarks.idle(B);
        watermarks.assign(B);
        assert_eq!(paused(&mut watermarks), [B]);
    }

    #[test]
    fn a_split_far_behind_the_watermark_pauses_nobody_that_is_near_it() {
        let mut watermarks = Watermarks::new(0).with_max_drift(10_000);
        watermarks.assign(A);
        watermarks.assign(B);
        watermarks.idle(B);
        watermarks.events(A, Some(500_000), 0);
        watermarks.advance(0);
        watermarks.events(B, Some(100_000), 0);
        assert_eq!(paused(&mut watermarks), [], "its windows are closed");
        watermarks.events(A, Some(510_001), 0);
        assert_eq!(paused(&mut watermarks), [A]);
    }

    #[test]
    fn stays_while_a_worker_takes_no_input() {
        let mut watermarks = Watermarks::new(0);
        watermarks.assign(A);
        watermarks.events(A, Some(10_000), 0);
        assert_eq!(watermarks.advance(0), 10_000);
        watermarks.hold();
        watermarks.hold();
        watermarks.events(A, Some(20_000), 0);
        watermarks.release();
        assert_eq!(watermarks.advance(0), 10_000);
        watermarks.release();
        assert_eq!(watermarks.advance(0), 20_000);
    }

    #[test]
    fn an_outage_stops_the_clock_of_what_was_silent() {
        let mut watermarks = Watermarks::new(0);
        watermarks.assign(A);
        watermarks.events(A, Some(100_000), 0);
        watermarks.idle(A);
        assert_eq!(watermarks.advance(10_000), 110_000);
        watermarks.wake(A);
        assert_eq!(watermarks.advance(60_000), 110_000);
    }
}
