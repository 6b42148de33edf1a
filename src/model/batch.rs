//! Columns of events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::SplitId;
use super::symbol::Symbol;
use super::time::TimestampMs;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// A 64-bit float. NaN stands for NULL, so that arithmetic carries NULL along by itself.
    Number,
    /// True, false or NULL.
    Boolean,
    /// A text.
    Text,
}

impl DataType {
    /// The name as it is written in a pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Text => "text",
        }
    }
}

/// SQL's three truth values in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Trilean {
    /// False.
    False = 0,
    /// True.
    True = 1,
    /// Unknown.
    Null = 2,
}

impl Trilean {
    /// Whether the value is true, which is what `WHERE` and `FILTER` ask.
    pub fn is_true(self) -> bool {
        self == Self::True
    }
}

impl From<bool> for Trilean {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// The values of one field, a row each.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Numbers; NaN is NULL.
    Number(Vec<f64>),
    /// Truth values.
    Boolean(Vec<Trilean>),
    /// Texts as symbols of the worker's interner.
    Text(Vec<Symbol>),
}

impl Column {
    /// An empty column of a type.
    pub fn empty(data_type: DataType) -> Self {
        match data_type {
            DataType::Number => Self::Number(Vec::new()),
            DataType::Boolean => Self::Boolean(Vec::new()),
            DataType::Text => Self::Text(Vec::new()),
        }
    }

    /// The type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Number(_) => DataType::Number,
            Self::Boolean(_) => DataType::Boolean,
            Self::Text(_) => DataType::Text,
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Number(values) => values.len(),
            Self::Boolean(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all rows and keeps the memory.
    pub fn clear(&mut self) {
        match self {
            Self::Number(values) => values.clear(),
            Self::Boolean(values) => values.clear(),
            Self::Text(values) => values.clear(),
        }
    }

    /// Adds a NULL.
    pub fn push_null(&mut self) {
        match self {
            Self::Number(values) => values.push(f64::NAN),
            Self::Boolean(values) => values.push(Trilean::Null),
            Self::Text(values) => values.push(Symbol::NULL),
        }
    }

    /// Removes the last row.
    pub fn pop(&mut self) {
        match self {
            Self::Number(values) => drop(values.pop()),
            Self::Boolean(values) => drop(values.pop()),
            Self::Text(values) => drop(values.pop()),
        }
    }

    /// The numbers, where this is a number column; otherwise none.
    pub fn numbers(&self) -> &[f64] {
        match self {
            Self::Number(values) => values,
            _ => &[],
        }
    }

    /// The truth values, where this is a boolean column; otherwise none.
    pub fn booleans(&self) -> &[Trilean] {
        match self {
            Self::Boolean(values) => values,
            _ => &[],
        }
    }

    /// The symbols, where this is a text column; otherwise none.
    pub fn symbols(&self) -> &[Symbol] {
        match self {
            Self::Text(values) => values,
            _ => &[],
        }
    }
}

/// The name and type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name in expressions.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
}

/// The columns of a batch, by index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    fields: Vec<Field>,
}

impl Schema {
    /// A schema without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column at the end and gives its index.
    pub fn push(&mut self, name: impl Into<String>, data_type: DataType) -> usize {
        self.fields.push(Field {
            name: name.into(),
            data_type,
        });
        self.fields.len() - 1
    }

    /// The index and type of a column by name.
    pub fn find(&self, name: &str) -> Option<(usize, DataType)> {
        let index = self.fields.iter().position(|field| field.name == name)?;
        Some((index, self.fields.get(index)?.data_type))
    }

    /// All columns in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}

/// Decoded events of one split: `times.len()` rows in every column.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The split that all rows came from.
    pub split: SplitId,
    /// Event times, ms since the epoch.
    pub times: Vec<TimestampMs>,
    /// Positions in the split.
    pub positions: Vec<u64>,
    /// When each event was received, ms since the epoch, or [`TimestampMs::MIN`] where that is not
    /// known; empty where nobody asks.
    pub received: Vec<TimestampMs>,
    /// The split's watermark before each row, ms since the epoch.
    pub watermarks: Vec<TimestampMs>,
    /// The number of each row among those that were numbered, rising: what was found out of a row then is found
    /// by it once others are dropped, where positions do not tell the events of a record apart. Empty until
    /// [`number_rows`](Self::number_rows).
    pub numbers: Vec<u32>,
    /// The columns, in the schema's order.
    pub columns: Vec<Column>,
}

impl Batch {
    /// An empty batch.
    pub fn new(split: SplitId) -> Self {
        Self {
            split,
            times: Vec::new(),
            positions: Vec::new(),
            received: Vec::new(),
            watermarks: Vec::new(),
            numbers: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Gives each row its number from 0 on, which it keeps from now on.
    pub fn number_rows(&mut self) {
        self.numbers = (0_u32..).take(self.rows()).collect();
    }

    /// Keeps only some rows, given by number in ascending order.
    pub fn keep(&mut self, rows: &[u32]) {
        keep(&mut self.times, rows);
        keep(&mut self.positions, rows);
        keep(&mut self.received, rows);
        keep(&mut self.watermarks, rows);
        keep(&mut self.numbers, rows);
        for column in &mut self.columns {
            match column {
                Column::Number(values) => keep(values, rows),
                Column::Boolean(values) => keep(values, rows),
                Column::Text(values) => keep(values, rows),
            }
        }
    }
}

fn keep<T: Copy>(values: &mut Vec<T>, rows: &[u32]) {
    *values = rows
        .iter()
        .filter_map(|row| values.get(*row as usize).copied())
        .collect();
}
