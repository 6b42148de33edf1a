//! A table in memory: keys to rows, and typed columns.

use std::collections::BTreeMap;
use std::ops::Range;

use super::geofence::Zones;
use super::validity::Validity;
use crate::model::{DataType, Interner, Symbol, TimestampMs, Trilean};

/// How often each combination of some text columns occurs; NULL is `None`.
pub type Counts<'a> = Vec<(Vec<Option<&'a str>>, u64)>;

/// The values of one column, by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TableColumn {
    Number(Vec<f64>),
    Boolean(Vec<Trilean>),
    /// Symbols of the table's own texts.
    Text(Vec<Symbol>),
}

impl TableColumn {
    pub(super) fn new(data_type: DataType) -> Self {
        match data_type {
            DataType::Number => Self::Number(Vec::new()),
            DataType::Boolean => Self::Boolean(Vec::new()),
            DataType::Text => Self::Text(Vec::new()),
        }
    }

    /// Puts the rows into another order.
    pub(super) fn reorder(&mut self, order: &[u32]) {
        fn picked<T: Copy>(values: &[T], order: &[u32]) -> Vec<T> {
            order
                .iter()
                .filter_map(|row| values.get(*row as usize).copied())
                .collect()
        }
        match self {
            Self::Number(values) => *values = picked(values, order),
            Self::Boolean(values) => *values = picked(values, order),
            Self::Text(values) => *values = picked(values, order),
        }
    }

    pub(super) fn shrink(&mut self) {
        match self {
            Self::Number(values) => values.shrink_to_fit(),
            Self::Boolean(values) => values.shrink_to_fit(),
            Self::Text(values) => values.shrink_to_fit(),
        }
    }

    fn byte_len(&self) -> usize {
        match self {
            Self::Number(values) => values.capacity() * size_of::<f64>(),
            Self::Boolean(values) => values.capacity() * size_of::<Trilean>(),
            Self::Text(values) => values.capacity() * size_of::<Symbol>(),
        }
    }

    fn symbol(&self, row: usize) -> Symbol {
        match self {
            Self::Text(values) => values.get(row).copied().unwrap_or(Symbol::NULL),
            Self::Number(_) | Self::Boolean(_) => Symbol::NULL,
        }
    }
}

/// A table. Without validity row `n` is that of key `n`; with it a key has its rows side by side,
/// the earliest first.
#[derive(Debug)]
pub struct Table {
    /// The keys: key `n` has symbol `n + 1`.
    pub(super) keys: Interner,
    /// The texts of all text columns.
    pub(super) texts: Interner,
    /// The columns, in the order in which the lookup adds them.
    pub(super) columns: Vec<TableColumn>,
    /// From when to when the rows are valid, where the table says so.
    pub(super) validity: Option<Validity>,
    /// What finds a row by position instead of a key: row `n` is zone `n`, and there are no keys.
    pub(super) zones: Option<Zones>,
}

impl Table {
    /// A table without rows.
    pub fn empty(types: impl IntoIterator<Item = DataType>) -> Self {
        Self {
            keys: Interner::new(),
            texts: Interner::new(),
            columns: types.into_iter().map(TableColumn::new).collect(),
            validity: None,
            zones: None,
        }
    }

    /// The rows of a key; none where it is not in the table.
    pub(super) fn rows_of(&self, key: &str) -> Range<usize> {
        let key = self.keys.find(key).map(Symbol::index);
        match key.and_then(|index| index.checked_sub(1)) {
            Some(key) => self.rows_of_nth(key),
            None => 0..0,
        }
    }

    fn rows_of_nth(&self, key: usize) -> Range<usize> {
        match &self.validity {
            Some(validity) => validity.rows_of(key),
            None => key..key + 1,
        }
    }

    /// How many keys.
    pub fn keys(&self) -> usize {
        self.keys.len() - 1
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        match (&self.zones, &self.validity) {
            (Some(zones), _) => zones.count(),
            (None, Some(validity)) => validity.rows(),
            (None, None) => self.keys(),
        }
    }

    /// How many bytes the table takes.
    pub fn byte_len(&self) -> usize {
        let columns: usize = self.columns.iter().map(TableColumn::byte_len).sum();
        let validity = self.validity.as_ref().map_or(0, Validity::byte_len);
        let zones = self.zones.as_ref().map_or(0, Zones::byte_len);
        self.keys.byte_len() + self.texts.byte_len() + columns + validity + zones
    }

    /// Whether a key is there, valid or not.
    pub fn has(&self, key: &str) -> bool {
        self.keys.find(key).is_some()
    }

    /// Whether rows are valid for a time only.
    pub fn is_dated(&self) -> bool {
        self.validity.is_some()
    }

    /// How many keys there are for each combination of some text columns, which are given by their
    /// place in the lookup's `add`; sorted by text, NULL first. Of a table with validity the rows
    /// that are valid at a time count, or each key's latest row where none is given. A column that
    /// is no text counts as NULL.
    pub fn count_by(&self, columns: &[usize], at: Option<TimestampMs>) -> Counts<'_> {
        let columns: Vec<_> = columns
            .iter()
            .map(|place| self.columns.get(*place))
            .collect();
        let mut counts: BTreeMap<Vec<Symbol>, u64> = BTreeMap::new();
        let mut group = Vec::with_capacity(columns.len());
        for key in 0..self.keys() {
            let rows = self.rows_of_nth(key);
            let row = match (&self.validity, at) {
                (Some(validity), Some(at)) => validity.row_at(rows, at),
                (Some(_), None) => rows.last(),
                (None, _) => Some(key),
            };
            let Some(row) = row else { continue };
            group.clear();
            group.extend(
                columns
                    .iter()
                    .map(|column| column.map_or(Symbol::NULL, |column| column.symbol(row))),
            );
            match counts.get_mut(&group) {
                Some(count) => *count += 1,
                None => drop(counts.insert(group.clone(), 1)),
            }
        }
        let text = |symbol: &Symbol| (!symbol.is_null()).then(|| self.texts.text(*symbol));
        let mut counts: Vec<_> = counts
            .into_iter()
            .map(|(group, count)| (group.iter().map(text).collect::<Vec<_>>(), count))
            .collect();
        counts.sort_unstable();
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, table};
    use super::*;

    #[test]
    fn takes_less_than_a_hundred_bytes_a_row_beside_its_texts() {
        const ROWS: usize = 1_000_000;
        let mut csv = String::from("id,model,kwh,electric\n");
        for row in 0..ROWS {
            csv.push_str(&format!("V{row:010},model-{},{row},true\n", row % 40));
        }
        let config = config(
            r#"{"csv": "v.csv", "key": "id"}"#,
            r#"["model", {"column": "kwh", "type": "number"},
                {"column": "electric", "type": "boolean"}]"#,
        );
        let table = table(&config, csv.as_bytes()).unwrap();
        assert_eq!(table.rows(), ROWS);
        let texts = ROWS * "V0000000000".len();
        let beside = table.byte_len() - texts;
        assert!(beside < 100 * ROWS, "{} bytes a row", beside / ROWS);
        // Not less than what the columns and the index of the keys must take.
        assert!(beside > 42 * ROWS, "{} bytes a row", beside / ROWS);
    }

    #[test]
    fn counts_keys_by_texts() {
        let csv = "id,model,market\nV1,B,UK\nV2,A,\nV3,B,UK\nV4,A,US\nV5,,UK\n";
        let config = config(r#"{"csv": "v.csv", "key": "id"}"#, r#"["model", "market"]"#);
        let table = table(&config, csv.as_bytes()).unwrap();
        assert_eq!(
            table.count_by(&[1, 0], None),
            [
                (vec![None, Some("A")], 1),
                (vec![Some("UK"), None], 1),
                (vec![Some("UK"), Some("B")], 2),
                (vec![Some("US"), Some("A")], 1),
            ]
        );
        assert_eq!(table.count_by(&[], None), [(vec![], 5)]);
        assert_eq!(table.count_by(&[7], None), [(vec![None], 5)]);
    }

    #[test]
    fn counts_the_rows_that_are_valid_at_a_time() {
        let csv = "id,model,from,to\nV1,A,,100\nV1,B,100,\nV2,A,50,60\nV3,B,10,\n";
        let config = config(
            r#"{"csv": "v.csv", "key": "id", "valid": {"from": "from", "to": "to", "unit": "ms"}}"#,
            r#"["model"]"#,
        );
        let table = table(&config, csv.as_bytes()).unwrap();
        assert_eq!((table.keys(), table.rows()), (3, 4));
        let (a, b) = (vec![Some("A")], vec![Some("B")]);
        assert_eq!(table.count_by(&[0], Some(5)), [(a.clone(), 1)]);
        assert_eq!(
            table.count_by(&[0], Some(55)),
            [(a.clone(), 2), (b.clone(), 1)]
        );
        assert_eq!(table.count_by(&[0], Some(100)), [(b.clone(), 2)]);
        assert_eq!(table.count_by(&[0], None), [(a, 1), (b, 2)]);
    }

    #[test]
    fn an_empty_table_has_no_rows() {
        let table = Table::empty([DataType::Text]);
        assert_eq!((table.rows(), table.rows_of("V1")), (0, 0..0));
        assert_eq!(table.count_by(&[0], None), []);
    }
}
