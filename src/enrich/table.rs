//! A table in memory: keys to rows, and typed columns.

use crate::model::{DataType, Interner, Symbol, Trilean};

/// Why a table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// A line cannot be read.
    #[error("{path}:{line}: {reason}")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A column is missing.
    #[error("{path}: there is no column '{column}'; the columns are {found}")]
    Column {
        /// The file.
        path: String,
        /// The column that was asked for.
        column: String,
        /// The columns that there are.
        found: String,
    },
}

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

    /// Adds the value of a cell; an empty cell is NULL. Gives the type's name where the cell is of
    /// another type.
    pub(super) fn push(&mut self, cell: &str, texts: &mut Interner) -> Result<(), &'static str> {
        match self {
            Self::Text(values) if cell.is_empty() => values.push(Symbol::NULL),
            Self::Text(values) => values.push(texts.intern(cell)),
            Self::Number(values) if cell.is_empty() => values.push(f64::NAN),
            Self::Number(values) => {
                let value: f64 = cell.trim().parse().map_err(|_| DataType::Number.name())?;
                if !value.is_finite() {
                    return Err("finite number");
                }
                values.push(value);
            }
            Self::Boolean(values) => values.push(match cell.trim() {
                "" => Trilean::Null,
                "true" | "TRUE" | "True" | "1" => Trilean::True,
                "false" | "FALSE" | "False" | "0" => Trilean::False,
                _ => return Err("boolean (true or false)"),
            }),
        }
        Ok(())
    }
}

/// A table.
#[derive(Debug)]
pub struct Table {
    /// The keys: row `n` has symbol `n + 1`.
    pub(super) keys: Interner,
    /// The texts of all text columns.
    pub(super) texts: Interner,
    /// The columns, in the order in which the lookup adds them.
    pub(super) columns: Vec<TableColumn>,
}

impl Table {
    /// The row of a key.
    pub(super) fn row(&self, key: &str) -> Option<usize> {
        self.keys.find(key)?.index().checked_sub(1)
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.keys.len() - 1
    }
}
