//! Watermarks: up to which event time everything has been seen.
//!
//! A split's watermark is its highest event time minus the allowed disorder. The pipeline's is the
//! lowest of its active splits, and never goes back. Idle splits step aside; when all splits are
//! idle, the watermark follows the clock, so that windows close when traffic stops, but no earlier
//! than they would have closed with traffic.

use std::collections::BTreeMap;

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
    /// Since when its records have given no event, by the clock.
    eventless_since_ms: Option<TimestampMs>,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            state: SplitState::Active,
            highest: None,
            assignments: 0,
            eventless_since_ms: None,
        }
    }
}

/// The watermarks of all splits of a pipeline.
#[derive(Debug)]
pub struct Watermarks {
    out_of_order_ms: i64,
    splits: BTreeMap<SplitId, Split>,
    current: TimestampMs,
    /// When the last events were processed, by the clock.
    last_events_ms: TimestampMs,
    input_ended: bool,
}

impl Watermarks {
    /// No splits yet; events of a split may be `out_of_order_ms` out of order.
    pub fn new(out_of_order_ms: i64) -> Self {
        Self {
            out_of_order_ms,
            splits: BTreeMap::new(),
            current: TimestampMs::MIN,
            last_events_ms: TimestampMs::MIN,
            input_ended: false,
        }
    }

    /// A split begins. It holds back the watermark until its first events.
    pub fn assign(&mut self, split: SplitId) {
        let entry = self.splits.entry(split).or_default();
        entry.state = SplitState::Active;
        entry.assignments += 1;
    }

    /// Events of a split were processed at `now_ms` by the clock; `highest` is the highest event
    /// time that the split has ever shown.
    pub fn events(&mut self, split: SplitId, highest: Option<TimestampMs>, now_ms: TimestampMs) {
        let entry = self.splits.entry(split).or_default();
        entry.state = SplitState::Active;
        entry.highest = entry.highest.max(highest);
        entry.eventless_since_ms = None;
        self.last_events_ms = self.last_events_ms.max(now_ms);
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

    /// All input has ended: every window closes.
    pub fn end(&mut self) {
        self.input_ended = true;
    }

    fn set_state(&mut self, split: SplitId, state: SplitState) {
        if let Some(entry) = self.splits.get_mut(&split) {
            entry.state = state;
        }
    }

    /// The pipeline's watermark at `now_ms` by the clock, ms since the epoch.
    pub fn advance(&mut self, now_ms: TimestampMs) -> TimestampMs {
        self.current = self.current.max(self.candidate(now_ms));
        self.current
    }

    fn candidate(&self, now_ms: TimestampMs) -> TimestampMs {
        if self.input_ended {
            return END_OF_TIME;
        }
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
            watermark(highest).saturating_add(silent_ms)
        })
    }

    /// How many splits are in a state.
    pub fn count(&self, state: SplitState) -> usize {
        self.splits
            .values()
            .filter(|split| split.state == state)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SplitId = SplitId(0);
    const B: SplitId = SplitId(1);

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
        watermarks.end();
        assert_eq!(watermarks.advance(0), END_OF_TIME);
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
