//! What was sent before a restart, so that it is not sent again when it is formed again.
//!
//! A series' samples go out in the order of their timestamps, so one timestamp a series says it all:
//! its *mark*. Everything up to it was sent, or stands in a queue already. Marks are needed until
//! every owner is past the highest of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use prometheus::IntGauge;

use crate::model::{Sample, Series, TimestampMs};

use super::compact_marks::CompactMarks;

/// The marks of series.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    table: HashTable<(Arc<Series>, TimestampMs)>,
    /// Of series that are known by their hashes only.
    compact: Arc<CompactMarks>,
    /// All series are done with what is before this time, ms since the epoch.
    before: TimestampMs,
    highest: TimestampMs,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            compact: Arc::default(),
            before: TimestampMs::MIN,
            highest: TimestampMs::MIN,
        }
    }
}

impl Marks {
    /// These marks, and others that come.
    pub(super) fn over(compact: Arc<CompactMarks>) -> Self {
        Self {
            highest: compact.highest(),
            compact,
            ..Self::default()
        }
    }

    /// Whether there is nothing to hold back.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty() && self.compact.is_empty() && self.before == TimestampMs::MIN
    }

    /// How many marks there are; a series may have one of each kind.
    pub(super) fn len(&self) -> usize {
        self.table.len() + self.compact.len()
    }

    /// The mark of a series, ms since the epoch.
    pub(super) fn get(&self, series: &Arc<Series>) -> Option<TimestampMs> {
        let found = self
            .table
            .find(series.hash(), |(known, _)| known == series)
            .map(|(_, mark)| *mark);
        // The hash is only worth its time where there is something to find by it.
        if self.compact.is_empty() {
            return found;
        }
        found.max(self.compact.get(series.wide_hash()))
    }

    /// Lifts the mark of a series to a timestamp.
    pub(super) fn lift(&mut self, series: &Arc<Series>, timestamp_ms: TimestampMs) {
        self.highest = self.highest.max(timestamp_ms);
        let known = self
            .table
            .find_mut(series.hash(), |(known, _)| known == series);
        if let Some((_, mark)) = known {
            *mark = timestamp_ms.max(*mark);
            return;
        }
        let entry = (Arc::clone(series), timestamp_ms);
        self.table
            .insert_unique(series.hash(), entry, |(series, _)| series.hash());
    }

    /// Lifts the time before which all series are done.
    pub(super) fn lift_all(&mut self, before: TimestampMs) {
        self.before = self.before.max(before);
        self.highest = self.highest.max(before);
    }

    /// The time before which all series are done, ms since the epoch.
    pub(super) fn before(&self) -> TimestampMs {
        self.before
    }

    /// Lifts the marks to all of these, which are all of named series.
    pub(super) fn lift_to(&mut self, others: &Self) {
        for (series, mark) in &others.table {
            self.lift(series, *mark);
        }
        self.lift_all(others.before);
    }

    /// Whether a sample was sent before, or waits already.
    pub(super) fn covers(&self, sample: &Sample) -> bool {
        sample.timestamp_ms <= self.highest
            && (sample.timestamp_ms < self.before
                || self
                    .get(&sample.series)
                    .is_some_and(|mark| sample.timestamp_ms <= mark))
    }

    /// All marks of named series, by name and labels.
    pub(super) fn sorted(&self) -> Vec<(&Arc<Series>, TimestampMs)> {
        let mut all: Vec<_> = self
            .table
            .iter()
            .map(|(series, mark)| (series, *mark))
            .collect();
        all.sort_unstable();
        all
    }
}

/// The marks of the time before the start, as long as they are needed.
#[derive(Debug)]
pub(super) struct AlreadySent {
    /// So that samples cost nothing more once there are no marks.
    holds_any: AtomicBool,
    state: Mutex<State>,
    gauge: IntGauge,
}

#[derive(Debug)]
struct State {
    marks: Arc<Marks>,
    /// What a restore from the checkpoint that was begun last has to hold back.
    at_checkpoint: Arc<Marks>,
    /// Up to when each owner has handed over everything.
    flushed: Vec<TimestampMs>,
}

impl AlreadySent {
    /// Holds marks until so many owners are past them.
    pub(super) fn new(marks: Marks, owners: usize, gauge: IntGauge) -> Self {
        gauge.set(i64::try_from(marks.len()).unwrap_or(i64::MAX));
        let marks = Arc::new(marks);
        Self {
            holds_any: AtomicBool::new(!marks.is_empty()),
            state: Mutex::new(State {
                at_checkpoint: Arc::clone(&marks),
                marks,
                flushed: vec![TimestampMs::MIN; owners],
            }),
            gauge,
        }
    }

    /// The marks, while there are any.
    pub(super) fn marks(&self) -> Option<Arc<Marks>> {
        let holds_any = self.holds_any.load(Ordering::Acquire);
        holds_any.then(|| Arc::clone(&self.lock().marks))
    }

    /// An owner has handed over all its samples up to `watermark`.
    pub(super) fn flushed(&self, owner: usize, watermark: TimestampMs) {
        if !self.holds_any.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.lock();
        if let Some(flushed) = state.flushed.get_mut(owner) {
            *flushed = watermark.max(*flushed);
        }
        let past = state.flushed.iter().copied().min();
        if past.is_some_and(|past| past > state.marks.highest) {
            state.marks = Arc::default();
            self.holds_any.store(false, Ordering::Release);
            self.gauge.set(0);
        }
    }

    /// Notes the marks for the checkpoint that begins. It must be now: the owners are asked for their
    /// state next, and what they form after that is formed again by a restore, even where the marks
    /// are forgotten before the checkpoint is complete.
    pub(super) fn begin_checkpoint(&self) {
        let mut state = self.lock();
        state.at_checkpoint = Arc::clone(&state.marks);
    }

    /// The marks for the checkpoint that was begun last.
    pub(super) fn at_checkpoint(&self) -> Arc<Marks> {
        Arc::clone(&self.lock().at_checkpoint)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;
    use crate::write::testing::sample;

    fn up(timestamp: TimestampMs) -> Sample {
        sample("up", &[], timestamp, 1.0)
    }

    #[test]
    fn covers_each_series_up_to_its_mark() {
        let mut marks = Marks::default();
        assert!(marks.is_empty() && !marks.covers(&up(1)));
        marks.lift(&up(0).series, 10);
        marks.lift(&up(0).series, 5);
        let down = sample("down", &[], 20, 1.0);
        marks.lift(&down.series, 20);
        assert!(marks.covers(&up(10)) && !marks.covers(&up(11)));
        assert!(marks.covers(&down) && !marks.covers(&sample("new", &[], 1, 1.0)));
        marks.lift_all(15);
        assert!(marks.covers(&up(14)) && !marks.covers(&up(15)));
        assert!(marks.covers(&sample("new", &[], 14, 1.0)));
        let names: Vec<_> = marks
            .sorted()
            .into_iter()
            .map(|(series, mark)| (series.name().to_string(), mark))
            .collect();
        assert_eq!(names, [("down".to_owned(), 20), ("up".to_owned(), 10)]);
    }

    #[test]
    fn the_higher_one_of_both_kinds_holds() {
        let compact = CompactMarks::of(vec![
            (up(0).series.wide_hash(), 10),
            (sample("down", &[], 0, 1.0).series.wide_hash(), 30),
        ]);
        let mut marks = Marks::over(Arc::new(compact));
        assert!(!marks.is_empty() && marks.len() == 2);
        assert!(marks.covers(&up(10)) && !marks.covers(&up(11)));
        marks.lift(&up(0).series, 12);
        assert!(marks.covers(&up(12)) && !marks.covers(&up(13)));
        marks.lift(&sample("down", &[], 0, 1.0).series, 20);
        assert!(marks.covers(&sample("down", &[], 30, 1.0)));
        assert!(!marks.covers(&sample("new", &[], 1, 1.0)));
        let sent = AlreadySent::new(marks, 1, Registry::new("test").int_gauge("marks", "marks"));
        sent.flushed(0, 30);
        assert!(sent.marks().is_some());
        sent.flushed(0, 31);
        assert!(sent.marks().is_none());
    }

    #[test]
    fn forgets_when_every_owner_is_past_the_highest() {
        let mut marks = Marks::default();
        marks.lift(&up(0).series, 10);
        let gauge = Registry::new("test").int_gauge("marks", "marks");
        let sent = AlreadySent::new(marks, 2, gauge.clone());
        sent.begin_checkpoint();
        sent.flushed(0, 100);
        sent.flushed(1, 10);
        // An owner at 10 may still hand over another sample of that time.
        assert!(sent.marks().is_some_and(|marks| marks.covers(&up(10))));
        assert_eq!(gauge.get(), 1);
        sent.flushed(1, 11);
        assert!(sent.marks().is_none());
        assert_eq!(gauge.get(), 0);
        // The checkpoint was begun while they were needed.
        assert_eq!(sent.at_checkpoint().get(&up(0).series), Some(10));
        sent.begin_checkpoint();
        assert!(sent.at_checkpoint().is_empty());
    }
}
