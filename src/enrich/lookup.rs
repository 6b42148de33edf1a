//! A lookup on one worker: each distinct key is looked up once, and is an array access afterwards.

use std::sync::Arc;

use prometheus::IntCounter;

use super::config::{LookupConfig, Otherwise, OtherwiseWord};
use super::fallback::{Fallback, fallbacks};
use super::metrics::LookupMetrics;
use super::refresh::SharedTable;
use super::table::{Table, TableColumn};
use crate::model::{Column, Interner, Symbol, Trilean};

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    NotYet,
    Hit,
    Miss,
}

/// The added fields of the keys known so far, by the key's symbol.
#[derive(Debug)]
struct Cache {
    known: Vec<Known>,
    columns: Vec<Column>,
}

/// A lookup on one worker.
#[derive(Debug)]
pub struct Lookup {
    shared: Arc<SharedTable>,
    table: Arc<Table>,
    version: u64,
    fallbacks: Vec<Fallback>,
    drop_misses: bool,
    cache: Cache,
    misses: IntCounter,
    dropped: IntCounter,
}

impl Lookup {
    /// A lookup in a shared table.
    ///
    /// # Errors
    /// A value of `otherwise` is of another type than its column, or its column is not added.
    pub fn build(
        config: &LookupConfig,
        shared: Arc<SharedTable>,
        metrics: &LookupMetrics,
    ) -> Result<Self, String> {
        let fallbacks = fallbacks(&config.add, &config.otherwise)?;
        // The version first: a table that is replaced in between is then found to be new.
        let version = shared.version();
        let table = shared.table();
        let name = [config.lookup.as_str()];
        Ok(Self {
            shared,
            table,
            version,
            cache: Cache::new(&fallbacks),
            fallbacks,
            drop_misses: config.otherwise == Otherwise::Word(OtherwiseWord::Drop),
            misses: metrics.misses.with_label_values(&name),
            dropped: metrics.dropped.with_label_values(&name),
        })
    }

    /// Looks up a column of keys and appends the added fields to `columns`. Where misses are to be
    /// dropped, gives the rows that stay; all do where it gives nothing. A table that has changed is
    /// taken in here, between two batches.
    pub fn apply(
        &mut self,
        keys: &[Symbol],
        columns: &mut Vec<Column>,
        interner: &mut Interner,
    ) -> Option<Vec<u32>> {
        if self.shared.version() != self.version {
            self.version = self.shared.version();
            self.table = self.shared.table();
            self.cache = Cache::new(&self.fallbacks);
        }
        let mut misses = 0_u64;
        for key in keys {
            let mut known = self.cache.known(*key);
            if known == Known::NotYet {
                known = self.resolve(*key, interner);
            }
            misses += u64::from(known == Known::Miss);
        }
        for column in &self.cache.columns {
            columns.push(gather(column, keys));
        }
        if misses == 0 {
            return None;
        }
        self.misses.inc_by(misses);
        if !self.drop_misses {
            return None;
        }
        self.dropped.inc_by(misses);
        let hits = keys.iter().zip(0_u32..);
        Some(
            hits.filter(|(key, _)| self.cache.known(**key) == Known::Hit)
                .map(|(_, row)| row)
                .collect(),
        )
    }

    #[cold]
    fn resolve(&mut self, key: Symbol, interner: &mut Interner) -> Known {
        self.cache.grow(interner.len());
        let row = if key.is_null() {
            None
        } else {
            self.table.row(interner.text(key))
        };
        for (index, column) in self.cache.columns.iter_mut().enumerate() {
            let (Some(source), Some(fallback)) =
                (self.table.columns.get(index), self.fallbacks.get(index))
            else {
                continue;
            };
            set(
                column,
                key.index(),
                source,
                row,
                fallback,
                &self.table,
                interner,
            );
        }
        let known = if row.is_some() {
            Known::Hit
        } else {
            Known::Miss
        };
        if let Some(entry) = self.cache.known.get_mut(key.index()) {
            *entry = known;
        }
        known
    }
}

impl Cache {
    fn new(fallbacks: &[Fallback]) -> Self {
        let column = |fallback: &Fallback| match fallback {
            Fallback::Number(_) => Column::Number(Vec::new()),
            Fallback::Boolean(_) => Column::Boolean(Vec::new()),
            Fallback::Text(_) => Column::Text(Vec::new()),
        };
        Self {
            known: Vec::new(),
            columns: fallbacks.iter().map(column).collect(),
        }
    }

    #[inline]
    fn known(&self, key: Symbol) -> Known {
        self.known
            .get(key.index())
            .copied()
            .unwrap_or(Known::NotYet)
    }

    fn grow(&mut self, symbols: usize) {
        let symbols = symbols.next_power_of_two();
        self.known.resize(symbols, Known::NotYet);
        for column in &mut self.columns {
            match column {
                Column::Number(values) => values.resize(symbols, f64::NAN),
                Column::Boolean(values) => values.resize(symbols, Trilean::Null),
                Column::Text(values) => values.resize(symbols, Symbol::NULL),
            }
        }
    }
}

/// Writes the value of a row, or the fallback, into a cache column.
fn set(
    column: &mut Column,
    at: usize,
    source: &TableColumn,
    row: Option<usize>,
    fallback: &Fallback,
    table: &Table,
    interner: &mut Interner,
) {
    match (column, source, fallback) {
        (Column::Number(cache), TableColumn::Number(values), Fallback::Number(fallback)) => {
            let value = row.and_then(|row| values.get(row)).unwrap_or(fallback);
            write(cache, at, *value);
        }
        (Column::Boolean(cache), TableColumn::Boolean(values), Fallback::Boolean(fallback)) => {
            let value = row.and_then(|row| values.get(row)).unwrap_or(fallback);
            write(cache, at, *value);
        }
        (Column::Text(cache), TableColumn::Text(values), Fallback::Text(fallback)) => {
            let symbol = match row.and_then(|row| values.get(row)) {
                Some(symbol) if symbol.is_null() => Symbol::NULL,
                Some(symbol) => interner.intern(table.texts.text(*symbol)),
                None => fallback
                    .as_ref()
                    .map_or(Symbol::NULL, |text| interner.intern(text)),
            };
            write(cache, at, symbol);
        }
        // Cache, table and fallbacks are made from the same list of columns.
        _ => {}
    }
}

fn write<T>(cache: &mut [T], at: usize, value: T) {
    if let Some(entry) = cache.get_mut(at) {
        *entry = value;
    }
}

fn gather(cache: &Column, keys: &[Symbol]) -> Column {
    fn values<T: Copy>(cache: &[T], keys: &[Symbol], null: T) -> Vec<T> {
        keys.iter()
            .map(|key| cache.get(key.index()).copied().unwrap_or(null))
            .collect()
    }
    match cache {
        Column::Number(cache) => Column::Number(values(cache, keys, f64::NAN)),
        Column::Boolean(cache) => Column::Boolean(values(cache, keys, Trilean::Null)),
        Column::Text(cache) => Column::Text(values(cache, keys, Symbol::NULL)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::csv_table;
    use super::*;
    use crate::telemetry::Registry;

    fn config(otherwise: &str) -> LookupConfig {
        serde_json::from_str(&format!(
            r#"{{"lookup": "v", "key": "vehicle", "from": {{"csv": "v.csv", "key": "id"}},
                "add": ["model", {{"column": "kwh", "type": "number"}}], "otherwise": {otherwise}}}"#
        ))
        .unwrap()
    }

    struct Fixture {
        lookup: Lookup,
        shared: Arc<SharedTable>,
        interner: Interner,
        config: LookupConfig,
    }

    impl Fixture {
        fn new(otherwise: &str, csv: &str) -> Self {
            let config = config(otherwise);
            let table = csv_table::read(&config, "v.csv", csv.as_bytes()).unwrap();
            let shared = SharedTable::new(table);
            let metrics = LookupMetrics::new(&Registry::new("test"));
            let lookup = Lookup::build(&config, shared.clone(), &metrics).unwrap();
            Self {
                lookup,
                shared,
                interner: Interner::new(),
                config,
            }
        }

        /// Models and battery sizes of the keys, and the rows that stay.
        fn apply(&mut self, keys: &[&str]) -> (Vec<String>, Vec<f64>, Option<Vec<u32>>) {
            let keys: Vec<_> = keys.iter().map(|key| self.interner.intern(key)).collect();
            let mut columns = Vec::new();
            let kept = self.lookup.apply(&keys, &mut columns, &mut self.interner);
            let models = columns[0]
                .symbols()
                .iter()
                .map(|model| self.interner.text(*model).to_owned());
            (models.collect(), columns[1].numbers().to_vec(), kept)
        }
    }

    const CSV: &str = "id,model,kwh\nV1,Helion,50\nV2,Polara,60\n";

    #[test]
    fn adds_fields_and_falls_back_for_unknown_keys() {
        let mut fixture = Fixture::new(r#"{"model": "unknown"}"#, CSV);
        let (models, kwh, kept) = fixture.apply(&["V2", "V9", "V1", "V2"]);
        assert_eq!(models, ["Polara", "unknown", "Helion", "Polara"]);
        assert_eq!((kwh[0], kwh[2], kwh[1].is_nan()), (60.0, 50.0, true));
        assert_eq!(kept, None);
        assert_eq!(fixture.lookup.misses.get(), 1);
        fixture.apply(&["V9"]);
        assert_eq!(fixture.lookup.misses.get(), 2);
    }

    #[test]
    fn drops_unknown_keys_where_it_is_told_to() {
        let mut fixture = Fixture::new(r#""drop""#, CSV);
        let (_, _, kept) = fixture.apply(&["V2", "V9", "V1"]);
        assert_eq!(kept, Some(vec![0, 2]));
        assert_eq!(fixture.lookup.dropped.get(), 1);
    }

    #[test]
    fn takes_in_a_changed_table_at_the_next_batch() {
        let mut fixture = Fixture::new(r#""null""#, CSV);
        assert_eq!(fixture.apply(&["V1", "V9"]).0, ["Helion", ""]);
        let csv = "id,model,kwh\nV9,Galantor,70\n";
        let table = csv_table::read(&fixture.config, "v.csv", csv.as_bytes()).unwrap();
        fixture.shared.replace(table);
        assert_eq!(fixture.apply(&["V1", "V9"]).0, ["", "Galantor"]);
    }

    #[test]
    fn refuses_fallbacks_that_do_not_fit() {
        let metrics = LookupMetrics::new(&Registry::new("test"));
        for (otherwise, message) in [
            (
                r#"{"mode": "x"}"#,
                "'mode' is not added by this lookup; it adds model, kwh",
            ),
            (r#"{"kwh": "x"}"#, "'kwh' is a number, found \"x\""),
        ] {
            let config = config(otherwise);
            let table = csv_table::read(&config, "v.csv", CSV.as_bytes()).unwrap();
            let refused = Lookup::build(&config, SharedTable::new(table), &metrics);
            assert_eq!(refused.err().as_deref(), Some(message));
        }
    }
}
