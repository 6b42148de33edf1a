//! How much of the fleet a metric is made of: of the devices that the reference table has, which
//! reported in a window, which came too late, and which said nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::living::Living;
use super::series::SeriesCache;
use crate::config::{Completeness, Metric, Shape};
use crate::enrich::{SharedTable, Table};
use crate::model::{
    HoldsSymbols, Interner, LiveSymbols, Renumbering, Sample, SampleValue, Symbol, TimestampMs,
};
use crate::window::{Bounds, Groups};

/// What is told of each group, in this order.
const SUFFIXES: [&str; 4] = ["expected", "reporting", "late", "offline"];

/// For so long after the last event, by event time, windows of silence are told of, ms.
const TOLD_SILENCE_MS: i64 = 24 * 3_600_000;

/// The devices of a metric's groups.
#[derive(Debug)]
pub(in crate::pipeline) struct Fleet {
    table: Arc<SharedTable>,
    /// The table's columns that are the labels, by their places in the lookup's `add`.
    columns: Vec<usize>,
    series: [SeriesCache; 4],
    /// How many devices each group has, of this version of the table.
    expected: Expected,
    /// The end of the last window with events of any device.
    last_events: TimestampMs,
}

#[derive(Debug, Default)]
struct Expected {
    version: Option<u64>,
    groups: Vec<(Box<[Symbol]>, u64)>,
    keys: HashSet<Box<[Symbol]>, FixedState>,
    /// Whether each device is in the table, by its symbol, as far as that was asked.
    listed: Vec<Option<bool>>,
    table: Option<Arc<Table>>,
}

impl Fleet {
    /// Nothing where the metric is none of this kind.
    pub(in crate::pipeline) fn new(
        metric: &Metric,
        tables: &[Option<Arc<SharedTable>>],
    ) -> Option<Self> {
        let Shape::Completeness(Completeness {
            lookup, columns, ..
        }) = &metric.shape
        else {
            return None;
        };
        let labels: Vec<_> = metric.by.iter().map(|(name, _)| name.clone()).collect();
        let series = SUFFIXES.map(|suffix| {
            let name = format!("{}_{suffix}", metric.name);
            SeriesCache::new(name.into(), labels.clone())
        });
        Some(Self {
            table: tables.get(*lookup)?.clone()?,
            columns: columns.clone(),
            series,
            expected: Expected::default(),
            last_events: TimestampMs::MIN,
        })
    }

    /// The end of the last window with events of any device.
    pub(in crate::pipeline) fn last_events(&self) -> TimestampMs {
        self.last_events
    }

    /// There were events up to then.
    pub(in crate::pipeline) fn restore(&mut self, last_events: TimestampMs) {
        self.last_events = self.last_events.max(last_events);
    }

    /// Whether the window behind the one that ended at `formed` is told of, also where nothing came.
    pub(in crate::pipeline) fn goes_on(&self, formed: TimestampMs) -> bool {
        formed.saturating_sub(self.last_events) < TOLD_SILENCE_MS
    }

    /// Appends the samples of a window. The first aggregate has the devices that reported in time,
    /// the second those that were late.
    pub(in crate::pipeline) fn form(
        &mut self,
        window: Bounds,
        groups: &Groups,
        mut living: Option<&mut Living>,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        if !groups.is_empty() {
            self.last_events = window.end;
        }
        self.expect(window, interner);
        for series in &mut self.series {
            series.next_window();
        }
        let mut all: Vec<(Box<[Symbol]>, u64)> = self.expected.groups.clone();
        for slot in 0..groups.len() {
            let key = groups.key(slot);
            if !self.expected.keys.contains(key) {
                all.push((key.into(), 0));
            }
        }
        for (key, expected) in all {
            let (reporting, late) = match groups.find(&key) {
                Some(slot) => self.count(groups, slot as usize, interner),
                None => (0, 0),
            };
            if expected + reporting + late == 0 {
                // A group of devices that the table does not have.
                continue;
            }
            let offline = expected.saturating_sub(reporting + late);
            if let Some(living) = &mut living {
                living.saw(&key, window.end);
            }
            let values = [expected, reporting, late, offline];
            for (series, value) in self.series.iter_mut().zip(values) {
                samples.push(Sample {
                    series: series.get(&key, interner),
                    timestamp_ms: window.end,
                    value: (value as f64).into(),
                });
            }
        }
    }

    /// Appends what says that the series of a group have ended.
    pub(in crate::pipeline) fn end(
        &mut self,
        key: &[Symbol],
        timestamp_ms: TimestampMs,
        interner: &Interner,
        samples: &mut Vec<Sample>,
    ) {
        for series in &mut self.series {
            samples.push(Sample {
                series: series.get(key, interner),
                timestamp_ms,
                value: SampleValue::staleness_marker(),
            });
        }
    }

    /// How many devices of the table and of a group reported, and how many others were late.
    fn count(&mut self, groups: &Groups, slot: usize, interner: &Interner) -> (u64, u64) {
        let [reporting, late, ..] = groups.aggregates() else {
            return (0, 0);
        };
        let (mut in_time, mut too_late) = (0, 0);
        let expected = &mut self.expected;
        reporting.for_each_distinct(slot, |device| {
            in_time += u64::from(expected.lists(device, interner));
        });
        late.for_each_besides(reporting, slot, |device| {
            too_late += u64::from(expected.lists(device, interner));
        });
        (in_time, too_late)
    }

    /// Brings what is expected up to date with the table.
    fn expect(&mut self, window: Bounds, interner: &mut Interner) {
        let version = self.table.version();
        let table = self.table.table();
        if self.expected.version == Some(version) && !table.is_dated() {
            return;
        }
        let counts = table.count_by(&self.columns, Some(window.end.saturating_sub(1)));
        let mut groups: BTreeMap<Box<[Symbol]>, u64> = BTreeMap::new();
        for (texts, count) in counts {
            // An empty text is no label, and so the same as NULL.
            let symbol = |text: &Option<&str>| match text {
                None | Some("") => Symbol::NULL,
                Some(text) => interner.intern(text),
            };
            *groups
                .entry(texts.iter().map(symbol).collect())
                .or_default() += count;
        }
        let mut keys = HashSet::with_hasher(FixedState::with_seed(0));
        keys.extend(groups.keys().cloned());
        self.expected = Expected {
            version: Some(version),
            groups: groups.into_iter().collect(),
            keys,
            listed: Vec::new(),
            table: Some(table),
        };
    }
}

impl Expected {
    /// Whether a device is in the table.
    fn lists(&mut self, device: Symbol, interner: &Interner) -> bool {
        if self.listed.len() <= device.index() {
            self.listed
                .resize(interner.len().max(device.index() + 1), None);
        }
        let Some(known) = self.listed.get_mut(device.index()) else {
            return false;
        };
        let table = self.table.as_ref();
        *known.get_or_insert_with(|| table.is_some_and(|table| table.has(interner.text(device))))
    }
}

impl HoldsSymbols for Fleet {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.series.mark_live(live);
        self.expected.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.series.renumber(numbers);
        self.expected.renumber(numbers);
    }
}

/// Which devices are listed is asked again.
impl HoldsSymbols for Expected {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.groups.iter().for_each(|(key, _)| key.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        for (key, _) in &mut self.groups {
            key.renumber(numbers);
        }
        self.keys.clear();
        self.keys
            .extend(self.groups.iter().map(|(key, _)| key.clone()));
        self.listed.clear();
    }
}
