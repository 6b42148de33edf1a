//! The series of a metric by the symbols of its labels, so that names and values are put together
//! once and not for every window.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{HoldsSymbols, Interner, LiveSymbols, Renumbering, Series, Symbol};

/// How many values of labels are kept for the next series.
const TEXTS: usize = 1_024;

/// The series of one metric.
#[derive(Debug)]
pub(in crate::pipeline) struct SeriesCache {
    name: Arc<str>,
    labels: Vec<Arc<str>>,
    /// Series of the window at hand, and of the one before: what neither of them had is forgotten.
    current: HashMap<Box<[Symbol]>, Arc<Series>>,
    previous: HashMap<Box<[Symbol]>, Arc<Series>>,
    /// Values of labels, each at a place by its symbol. Series of equal values share one text, which takes
    /// less memory and is written sooner.
    texts: HashMap<usize, (Symbol, Arc<str>)>,
}

impl SeriesCache {
    pub(in crate::pipeline) fn new(name: Arc<str>, labels: Vec<Arc<str>>) -> Self {
        Self {
            name,
            labels,
            current: HashMap::new(),
            previous: HashMap::new(),
            texts: HashMap::new(),
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
                let texts = &mut self.texts;
                let values = key.iter().map(|symbol| shared(texts, *symbol, interner));
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
        // They are found by the numbers of before, and made again as they are needed.
        self.texts.clear();
        for known in [&mut self.current, &mut self.previous] {
            let renumbered = known.drain().map(|(mut key, series)| {
                key.renumber(numbers);
                (key, series)
            });
            *known = renumbered.collect();
        }
    }
}

fn shared(
    texts: &mut HashMap<usize, (Symbol, Arc<str>)>,
    symbol: Symbol,
    interner: &Interner,
) -> Arc<str> {
    let place = symbol.index() % TEXTS;
    match texts.get(&place) {
        Some((known, text)) if *known == symbol => Arc::clone(text),
        _ => {
            let text = Arc::from(interner.text(symbol));
            texts.insert(place, (symbol, Arc::clone(&text)));
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_share_the_texts_of_their_values() {
        let mut interner = Interner::default();
        let mut cache = SeriesCache::new("up".into(), vec!["a".into(), "b".into()]);
        let common = interner.intern("common");
        let series: Vec<_> = (0..3 * TEXTS)
            .map(|number| {
                let own = interner.intern(&number.to_string());
                cache.get(&[common, own], &interner)
            })
            .collect();
        for (number, series) in series.iter().enumerate() {
            assert_eq!(&*series.labels()[0].1, "common");
            assert_eq!(*series.labels()[1].1, number.to_string());
        }
        // Another value has taken the place of this one a few times.
        let again = Arc::strong_count(&series[5].labels()[0].1);
        assert!(again > 500, "{again}");
        assert!(cache.texts.len() <= TEXTS);
    }
}
