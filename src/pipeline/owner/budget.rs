//! The budget of a metric's series: what is beyond it is put together in one group, `other`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use super::keyed::StoredPane;
use super::placed::Placed;
use crate::config::Metric;
use crate::model::{
    Column, Corrupt, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol, TimestampMs,
};
use crate::pipeline::metrics::BudgetMetrics;
use crate::state::StoreError;
use crate::telemetry::LogLimit;
use crate::window::Groups;
use crate::window::aggregate::{AggregateKind, SymbolMap};

/// What all labels of the group of the rest are.
const OTHER: &str = "other";

/// A series that has had no sample for so long, by event time, loses its place, ms.
const FORGET_AFTER_MS: i64 = 3_600_000;

/// At most how often it is told which label costs most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The series of a metric that have a place, with the end of the last window that they were in.
///
/// Places go to series in order of the windows in which they first appear, and within a window in
/// the order of their labels: so they depend on the data alone.
#[derive(Debug)]
pub(in crate::pipeline) struct Budget {
    metric: String,
    labels: Vec<String>,
    limit: usize,
    /// The place of each series.
    places: HashMap<Box<[Symbol]>, usize, FixedState>,
    /// Shared with a checkpoint that is being written: copied where it then changes.
    placed: Arc<Placed>,
    metrics: BudgetMetrics,
    log: LogLimit,
}

impl Budget {
    /// All places free; nothing where the metric has no budget.
    pub(in crate::pipeline) fn new(metric: &Metric, metrics: BudgetMetrics) -> Option<Self> {
        Some(Self {
            metric: metric.name.to_string(),
            labels: metric.by.iter().map(|(name, _)| name.to_string()).collect(),
            limit: metric.max_series?,
            places: HashMap::with_hasher(FixedState::with_seed(0)),
            placed: Arc::new(Placed::new(metric.by.len())),
            metrics,
            log: LogLimit::every(TELL_EVERY),
        })
    }

    /// Which series have a place now.
    pub(in crate::pipeline) fn freeze(&self) -> Arc<Placed> {
        self.placed.clone()
    }

    /// Takes over the places of a checkpoint.
    ///
    /// # Errors
    /// A series has two places.
    pub(in crate::pipeline) fn restore(&mut self, placed: Arc<Placed>) -> Result<(), Corrupt> {
        if placed.len() == 0 {
            return Ok(());
        }
        let known = self.places.len();
        self.places.extend(placed.series().zip(0..));
        if known > 0 || self.places.len() != placed.len() {
            let reason = "a series has two places".to_owned();
            return Err(Corrupt { offset: 0, reason });
        }
        self.placed = placed;
        Ok(())
    }

    /// The groups of a window, those beyond the budget merged into one.
    pub(in crate::pipeline) fn fold(
        &mut self,
        end: TimestampMs,
        groups: Groups,
        kinds: &[AggregateKind],
        interner: &mut Interner,
    ) -> Groups {
        let keys: Vec<Box<[Symbol]>> = (0..groups.len())
            .map(|slot| groups.key(slot).into())
            .collect();
        let Some(excess) = self.excess(end, keys, interner) else {
            return groups;
        };
        let other = interner.intern(OTHER);
        groups.regroup(kinds, |key, new| folded_key(key, &excess, other, new))
    }

    /// The same of a pane on disk, whose keys must be in memory at once, but not its groups.
    ///
    /// # Errors
    /// The groups cannot be read.
    pub(in crate::pipeline) fn fold_stored(
        &mut self,
        end: TimestampMs,
        pane: &mut StoredPane,
        kinds: &[AggregateKind],
        interner: &mut Interner,
    ) -> Result<Groups, StoreError> {
        let mut keys = Vec::new();
        while let Some(groups) = pane.next(interner)? {
            keys.extend((0..groups.len()).map(|slot| Box::from(groups.key(slot))));
        }
        pane.rewind();
        let excess = self.excess(end, keys, interner).unwrap_or_default();
        let other = interner.intern(OTHER);
        let mut all = pane.empty();
        while let Some(groups) = pane.next(interner)? {
            let folded = groups.regroup(kinds, |key, new| folded_key(key, &excess, other, new));
            all.merge(&folded, &SymbolMap::Same);
        }
        Ok(all)
    }

    /// Gives the rows of groups beyond the budget the labels of the group of the rest. The first
    /// columns are the labels.
    pub(in crate::pipeline) fn relabel(
        &mut self,
        end: TimestampMs,
        columns: &mut [Column],
        rows: usize,
        interner: &mut Interner,
    ) {
        let width = self.labels.len();
        let key_of = |columns: &[Column], row: usize| -> Box<[Symbol]> {
            let labels = columns.iter().take(width).map(Column::symbols);
            labels
                .map(|label| label.get(row).copied().unwrap_or(Symbol::NULL))
                .collect()
        };
        let mut keys: Vec<_> = (0..rows).map(|row| key_of(columns, row)).collect();
        keys.sort_unstable();
        keys.dedup();
        let Some(excess) = self.excess(end, keys, interner) else {
            return;
        };
        let other = interner.intern(OTHER);
        for row in 0..rows {
            if !excess.contains(&key_of(columns, row)) {
                continue;
            }
            for column in columns.iter_mut().take(width) {
                if let Column::Text(values) = column
                    && let Some(value) = values.get_mut(row)
                {
                    *value = other;
                }
            }
        }
    }

    /// Which of a window's keys, none of them twice, have no place. Nothing where all have one.
    fn excess(
        &mut self,
        end: TimestampMs,
        keys: Vec<Box<[Symbol]>>,
        interner: &Interner,
    ) -> Option<HashSet<Box<[Symbol]>, FixedState>> {
        let mut new = Vec::new();
        let placed = Arc::make_mut(&mut self.placed);
        for key in &keys {
            let place = self.places.get(key).copied();
            match place.and_then(|place| placed.last.get_mut(place)) {
                Some(last) => *last = end,
                None => new.push(key),
            }
        }
        if placed.len() + new.len() > self.limit {
            placed.retain(|last| end.saturating_sub(last) < FORGET_AFTER_MS);
            self.places.clear();
            self.places.extend(placed.series().zip(0..));
        }
        let free = self.limit.saturating_sub(placed.len());
        if new.len() > free {
            let texts = |key: &[Symbol]| -> Vec<String> {
                let text = |symbol: &Symbol| interner.text(*symbol).to_owned();
                key.iter().map(text).collect()
            };
            new.sort_by_cached_key(|key| texts(key));
        }
        let excess: HashSet<_, _> = new.iter().skip(free).map(|key| (*key).clone()).collect();
        for key in new.iter().take(free) {
            self.places.insert((*key).clone(), placed.len());
            placed.add(key, end);
        }
        self.metrics
            .over
            .set(i64::try_from(excess.len()).unwrap_or(i64::MAX));
        if excess.is_empty() {
            return None;
        }
        self.metrics.folded.inc_by(excess.len() as u64);
        self.tell(&keys);
        Some(excess)
    }

    /// Tells how many values each label has, and which has most.
    fn tell(&mut self, keys: &[Box<[Symbol]>]) {
        let mut values: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, label) in self.labels.iter().enumerate() {
            let mut symbols: Vec<_> = keys.iter().filter_map(|key| key.get(place)).collect();
            symbols.sort_unstable();
            symbols.dedup();
            values.insert(label, symbols.len());
            self.metrics
                .values_of(label)
                .set(i64::try_from(symbols.len()).unwrap_or(i64::MAX));
        }
        let Some((label, count)) = values.iter().max_by_key(|(_, count)| **count) else {
            return;
        };
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(
                metric = self.metric,
                series = keys.len(),
                max_series = self.limit,
                costliest_label = label,
                values = count,
                held_back,
                "more series than the budget: the rest is in the group 'other'"
            );
        }
    }
}

impl HoldsSymbols for Budget {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.placed.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.placed.renumber(numbers);
        self.places.clear();
        self.places.extend(self.placed.series().zip(0..));
    }
}

/// Appends the key that a group has within the budget.
fn folded_key(
    key: &[Symbol],
    excess: &HashSet<Box<[Symbol]>, FixedState>,
    other: Symbol,
    new: &mut Vec<Symbol>,
) {
    if excess.contains(key) {
        new.extend(key.iter().map(|_| other));
    } else {
        new.extend_from_slice(key);
    }
}
