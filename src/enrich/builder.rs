//! A table as its rows come in.

use super::cell::Cell;
use super::config::LookupConfig;
use super::error::LoadError;
use super::from::ValidUnit;
use super::table::{Table, TableColumn};
use super::validity::{self, DatedRow, FOR_EVER, SINCE_EVER, Validity};

/// How rows are numbered in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbering {
    /// Lines of the file, from 1.
    Lines,
    /// Items of the array or members of the object, from 1.
    Items,
}

/// Where a row is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) path: &'a str,
    pub(super) numbering: Numbering,
}

impl Places<'_> {
    /// An error in a row.
    pub(super) fn refuse(self, number: u64, reason: String) -> LoadError {
        let path = self.path;
        let place = match self.numbering {
            Numbering::Lines => format!("{path}:{number}"),
            Numbering::Items => format!("{path}: item {number}"),
        };
        LoadError::Row { place, reason }
    }

    fn other(self, number: u64) -> String {
        match self.numbering {
            Numbering::Lines => format!("line {number}"),
            Numbering::Items => format!("item {number}"),
        }
    }
}

/// The values of a row besides its key.
pub(super) struct Row<'a, I> {
    /// Where it is.
    pub(super) number: u64,
    /// Its key.
    pub(super) key: &'a str,
    /// Its added columns, in order.
    pub(super) cells: I,
    /// From when to when it is valid; not looked at in a table without validity.
    pub(super) valid: [Cell<'a>; 2],
}

/// A table as its rows come in.
pub(super) struct TableBuilder<'a> {
    config: &'a LookupConfig,
    places: Places<'a>,
    table: Table,
    /// The rows of a table with validity, with their numbers.
    dated: Vec<(DatedRow, u64)>,
}

impl<'a> TableBuilder<'a> {
    pub(super) fn new(config: &'a LookupConfig, places: Places<'a>) -> Self {
        Self {
            config,
            places,
            table: Table::empty(config.add.iter().map(super::AddedColumn::data_type)),
            dated: Vec::new(),
        }
    }

    /// Adds a row.
    pub(super) fn push<'c>(
        &mut self,
        row: Row<'c, impl Iterator<Item = Cell<'c>>>,
    ) -> Result<(), LoadError> {
        let Row {
            number, key, valid, ..
        } = row;
        let keys = self.table.keys();
        let symbol = self.table.keys.intern(key);
        match &self.config.from.valid {
            Some(columns) => {
                let [from, to] = valid;
                let from = self.time(number, &columns.from, from, columns.unit, SINCE_EVER)?;
                let to = self.time(number, &columns.to, to, columns.unit, FOR_EVER)?;
                if from >= to {
                    let [from, to] = valid;
                    return Err(self.places.refuse(
                        number,
                        format!(
                            "'{}' is {to}, which is not after '{}', {from}",
                            columns.to, columns.from
                        ),
                    ));
                }
                self.dated.push(((symbol.0 - 1, from, to), number));
            }
            None if self.table.keys() == keys => {
                let reason = format!("the key '{key}' stands in an earlier row already");
                return Err(self.places.refuse(number, reason));
            }
            None => {}
        }
        let columns = self.table.columns.iter_mut().zip(&self.config.add);
        for ((column, added), cell) in columns.zip(row.cells) {
            if let Err(expected) = cell.push(column, &mut self.table.texts) {
                return Err(wrong(self.places, number, added.column(), expected, cell));
            }
        }
        Ok(())
    }

    fn time(
        &self,
        number: u64,
        column: &str,
        cell: Cell<'_>,
        unit: ValidUnit,
        open: i64,
    ) -> Result<i64, LoadError> {
        validity::time_of(cell, unit, open)
            .map_err(|expected| wrong(self.places, number, column, expected, cell))
    }

    /// The whole table.
    pub(super) fn finish(self) -> Result<Table, LoadError> {
        let mut table = self.table;
        if self.config.from.valid.is_some() {
            let rows: Vec<_> = self.dated.iter().map(|(row, _)| *row).collect();
            let (validity, order) = Validity::build(&rows, table.keys()).map_err(|overlap| {
                let (Some(row), Some(other)) =
                    (self.dated.get(overlap.row), self.dated.get(overlap.other))
                else {
                    return self
                        .places
                        .refuse(0, "two rows are valid at once".to_owned());
                };
                let ((key, from, to), number) = *row;
                let ((_, other_from, other_to), other_number) = *other;
                let key = table.keys.text(crate::model::Symbol(key + 1));
                let reason = format!(
                    "the key '{key}' is valid {}, which overlaps {}, where it is valid {}",
                    validity::describe(from, to),
                    self.places.other(other_number),
                    validity::describe(other_from, other_to),
                );
                self.places.refuse(number, reason)
            })?;
            for column in &mut table.columns {
                column.reorder(&order);
            }
            table.validity = Some(validity);
        }
        table.columns.iter_mut().for_each(TableColumn::shrink);
        Ok(table)
    }
}

fn wrong(
    places: Places<'_>,
    number: u64,
    column: &str,
    expected: &str,
    found: Cell<'_>,
) -> LoadError {
    let reason = format!("column '{column}': expected a {expected}, found {found}");
    places.refuse(number, reason)
}
