//! The last timestamp that went out for each series.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use crate::model::{Series, TimestampMs};

/// A series whose last sample lies this far behind the newest of its part is forgotten, in ms.
/// Receivers refuse samples of that age anyway, so it cannot do harm that they would not report.
const REMEMBERED_MS: TimestampMs = 3_600_000;

/// Below so many series nothing is forgotten.
const MIN_SWEEP: usize = 1_024;

/// The last timestamp of each series, for all shards. Its parts follow from the series' hashes as the
/// partitions do, so that shards do not wait for each other.
#[derive(Debug)]
pub(super) struct LastSent {
    parts: Vec<Mutex<Part>>,
}

#[derive(Debug)]
struct Part {
    table: HashTable<(Arc<Series>, TimestampMs)>,
    newest: TimestampMs,
    /// Old series are looked for when the table has grown to this size, so that the search costs
    /// a constant time for each new series.
    sweep_at: usize,
}

impl LastSent {
    /// Nothing was sent yet.
    pub(super) fn new(parts: usize) -> Self {
        Self {
            parts: (0..parts).map(|_| Mutex::new(Part::new())).collect(),
        }
    }

    /// When the last sample of the series was, ms since the epoch.
    pub(super) fn get(&self, series: &Arc<Series>) -> Option<TimestampMs> {
        self.part(series)?.get(series)
    }

    /// Remembers the last sample of a series, ms since the epoch.
    pub(super) fn set(&self, series: &Arc<Series>, timestamp: TimestampMs) {
        if let Some(mut part) = self.part(series) {
            part.set(series, timestamp);
        }
    }

    fn part(&self, series: &Arc<Series>) -> Option<MutexGuard<'_, Part>> {
        let number = series.hash().checked_rem(self.parts.len() as u64)?;
        let part = self.parts.get(number as usize)?;
        Some(part.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Part {
    fn new() -> Self {
        Self {
            table: HashTable::new(),
            newest: TimestampMs::MIN,
            sweep_at: MIN_SWEEP,
        }
    }

    fn get(&self, series: &Arc<Series>) -> Option<TimestampMs> {
        self.table
            .find(series.hash(), |(known, _)| known == series)
            .map(|(_, last)| *last)
    }

    fn set(&mut self, series: &Arc<Series>, timestamp: TimestampMs) {
        self.newest = self.newest.max(timestamp);
        let known = self
            .table
            .find_mut(series.hash(), |(known, _)| known == series);
        if let Some((_, last)) = known {
            *last = timestamp;
            return;
        }
        if self.table.len() >= self.sweep_at {
            self.sweep();
        }
        let entry = (Arc::clone(series), timestamp);
        self.table
            .insert_unique(series.hash(), entry, |(series, _)| series.hash());
    }

    fn sweep(&mut self) {
        let oldest = self.newest.saturating_sub(REMEMBERED_MS);
        self.table.retain(|(_, last)| *last >= oldest);
        self.table
            .shrink_to(self.table.len() * 2, |(series, _)| series.hash());
        self.sweep_at = MIN_SWEEP.max(self.table.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(number: usize) -> Arc<Series> {
        let vehicle = number.to_string().into();
        Arc::new(Series::new(
            "speed".into(),
            vec![("vehicle".into(), vehicle)],
        ))
    }

    #[test]
    fn remembers_each_series_by_its_labels() {
        let last = LastSent::new(3);
        last.set(&series(1), 10);
        last.set(&series(2), 20);
        last.set(&series(1), 15);
        assert_eq!(last.get(&series(1)), Some(15));
        assert_eq!(last.get(&series(2)), Some(20));
        assert_eq!(last.get(&series(3)), None);
    }

    #[test]
    fn forgets_series_that_have_ended() {
        let mut last = Part::new();
        // One new series a minute: 60 of them are younger than an hour at any time.
        for number in 0..10_000 {
            last.set(&series(number), number as i64 * 60_000);
        }
        assert!(last.table.len() <= MIN_SWEEP, "{}", last.table.len());
        assert_eq!(last.get(&series(0)), None);
        assert_eq!(last.get(&series(9_940)), Some(9_940 * 60_000));
    }

    #[test]
    fn keeps_all_series_that_still_report() {
        let mut last = Part::new();
        for round in 0..3 {
            for number in 0..5_000 {
                last.set(&series(number), round);
            }
        }
        assert_eq!(last.table.len(), 5_000);
    }
}
