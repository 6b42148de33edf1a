//! A column while it is filled: texts are places in the batch's buffer until all of them are there,
//! and get their symbols together.

use crate::model::{Column, DataType, Interner, TextPlace, Trilean};

/// The values of one field so far, a row each.
#[derive(Debug)]
pub(super) enum Cells {
    /// Numbers; NaN is NULL.
    Number(Vec<f64>),
    /// Truth values.
    Boolean(Vec<Trilean>),
    /// Texts.
    Text(Vec<TextPlace>),
}

impl Cells {
    /// No values yet, and room for some.
    pub(super) fn with_capacity(data_type: DataType, rows: usize) -> Self {
        match data_type {
            DataType::Number => Self::Number(Vec::with_capacity(rows)),
            DataType::Boolean => Self::Boolean(Vec::with_capacity(rows)),
            DataType::Text => Self::Text(Vec::with_capacity(rows)),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Number(values) => values.len(),
            Self::Boolean(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    pub(super) fn push_null(&mut self) {
        match self {
            Self::Number(values) => values.push(f64::NAN),
            Self::Boolean(values) => values.push(Trilean::Null),
            Self::Text(values) => values.push(TextPlace::NULL),
        }
    }

    /// Removes the rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Number(values) => values.truncate(rows),
            Self::Boolean(values) => values.truncate(rows),
            Self::Text(values) => values.truncate(rows),
        }
    }

    /// Whether the last row is NULL, or there is none.
    pub(super) fn ends_with_null(&self) -> bool {
        match self {
            Self::Number(values) => values.last().is_none_or(|value| value.is_nan()),
            Self::Boolean(values) => values.last().is_none_or(|value| *value == Trilean::Null),
            Self::Text(values) => values.last().is_none_or(|value| value.is_null()),
        }
    }

    /// Gives the texts that lie in `buffer` their symbols, so that the buffer may change.
    pub(super) fn settle(&mut self, buffer: &[u8], interner: &mut Interner) {
        if let Self::Text(places) = self {
            let mut symbols = Vec::new();
            interner.intern_all(buffer, places, &mut symbols);
            for (place, symbol) in places.iter_mut().zip(symbols) {
                *place = TextPlace::known(symbol);
            }
        }
    }

    /// The column. Texts that have no symbol yet lie in `buffer`.
    pub(super) fn into_column(self, buffer: &[u8], interner: &mut Interner) -> Column {
        match self {
            Self::Number(values) => Column::Number(values),
            Self::Boolean(values) => Column::Boolean(values),
            Self::Text(places) => {
                let mut symbols = Vec::new();
                interner.intern_all(buffer, &places, &mut symbols);
                Column::Text(symbols)
            }
        }
    }
}
