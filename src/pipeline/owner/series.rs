//! The series of a metric by the symbols of its labels, so that names and values are put together
//! once and not for every window.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{HoldsSymbols, Interner, LiveSymbols, Renumbering, Series, Symbol};

/// The series of one metric.
#[derive(Debug)]
pub(in crate::pipeline) struct SeriesCache {
    name: Arc<str>,
    labels: Vec<Arc<str>>,
    /// Series of the window at hand, and of the one before: what neither of them had is forgotten.
    current: HashMap<Box<[Symbol]>, Arc<Series>>,
    previous: HashMap<Box<[Symbol]>, Arc<Series>>,
}

impl SeriesCache {
    pub(in crate::pipeline) fn new(name: Arc<str>, labels: Vec<Arc<str>>) -> Self {
        Self {
            name,
            labels,
            current: HashMap::new(),
            previous: HashMap::new(),
        }
    }

    /// To be called before each window.
    pub(in crate::pipeline) fn next_window(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }

    /// The series of a group.
    pub(in crate::pipeline) fn get(&mut self, key: &[Symbol], interner: &Interner) -> Arc<Series> {
        if let Some(series) = self.current.get(key) {
            return series.clone();
        }
        let series = match self.previous.remove(key) {
            Some(series) => series,
            None => {
                let values = key.iter().map(|symbol| Arc::from(interner.text(*symbol)));
                let labels = self.labels.iter().cloned().zip(values).collect();
                Arc::new(Series::new(self.name.clone(), labels))
            }
        };
        self.current.insert(key.into(), series.clone());
        series
    }
}

impl HoldsSymbols for SeriesCache {
    fn mark_live(&self, live: &mut LiveSymbols) {
        let keys = self.current.keys().chain(self.previous.keys());
        keys.for_each(|key| key.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        for known in [&mut self.current, &mut self.previous] {
            let renumbered = known.drain().map(|(mut key, series)| {
                key.renumber(numbers);
                (key, series)
            });
            *known = renumbered.collect();
        }
    }
}
