//! JSON objects as rows of a table.

use serde_json::{Map, Value};

use super::builder::{Places, Row, TableBuilder};
use super::cell::Cell;
use super::config::{AddedColumn, LookupConfig};
use super::error::LoadError;
use super::json_path::JsonPath;
use super::table::Table;

/// A column: a path in the row's object.
struct Column<'a> {
    name: &'a str,
    path: JsonPath<'a>,
    /// Whether some row has it.
    found: bool,
}

impl<'a> Column<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            path: JsonPath::new(name),
            found: false,
        }
    }

    /// The value in a row; JSON `null` where the row has none.
    fn of<'v>(&mut self, row: &'v Map<String, Value>) -> &'v Value {
        let value = self.path.find(row);
        self.found |= value.is_some();
        value.unwrap_or(&Value::Null)
    }
}

/// Takes in JSON objects as rows.
pub(super) struct JsonRows<'a> {
    places: Places<'a>,
    builder: TableBuilder<'a>,
    key: Option<Column<'a>>,
    columns: Vec<Column<'a>>,
    valid: Vec<Column<'a>>,
    rows: usize,
}

impl<'a> JsonRows<'a> {
    pub(super) fn new(config: &'a LookupConfig, places: Places<'a>) -> Self {
        let valid = config.from.valid.iter();
        let valid = valid.flat_map(|valid| [valid.from.as_str(), valid.to.as_str()]);
        Self {
            places,
            builder: TableBuilder::new(config, places),
            key: config.from.key.as_deref().map(Column::new),
            columns: config
                .add
                .iter()
                .map(AddedColumn::column)
                .map(Column::new)
                .collect(),
            valid: valid.map(Column::new).collect(),
            rows: 0,
        }
    }

    /// Adds a row. `member` is the row's key in an object of objects, which counts where no key
    /// column is named.
    pub(super) fn push(
        &mut self,
        number: u64,
        member: Option<&str>,
        row: &Value,
    ) -> Result<(), LoadError> {
        let refuse = |reason: String| Err(self.places.refuse(number, reason));
        let Some(row) = row.as_object() else {
            return refuse(format!("expected an object, found {}", Cell::Json(row)));
        };
        let key = match (&mut self.key, member) {
            (None, Some("")) => return refuse("the key is empty".to_owned()),
            (None, Some(member)) => member.into(),
            (None, None) => {
                return refuse(
                    "an array's rows need a key column; name it as 'key' in 'from'".to_owned(),
                );
            }
            (Some(column), _) => {
                let cell = Cell::Json(column.of(row));
                let name = column.name;
                if cell.is_null() {
                    return refuse(format!("the key '{name}' is missing or empty"));
                }
                let Some(key) = cell.key() else {
                    return refuse(format!(
                        "the key '{name}': expected a text or a whole number, found {cell}"
                    ));
                };
                key
            }
        };
        let mut valid = [Cell::Json(&Value::Null); 2];
        for (cell, column) in valid.iter_mut().zip(&mut self.valid) {
            *cell = Cell::Json(column.of(row));
        }
        self.rows += 1;
        self.builder.push(Row {
            number,
            key: &key,
            cells: self
                .columns
                .iter_mut()
                .map(|column| Cell::Json(column.of(row))),
            valid,
        })
    }

    /// The whole table. A column that no row has is a slip of the pen.
    pub(super) fn finish(self) -> Result<Table, LoadError> {
        let mut columns = self.columns.iter().chain(&self.valid);
        if let Some(column) = columns.find(|column| !column.found && self.rows > 0) {
            return Err(LoadError::NoRowHas {
                path: self.places.path.to_owned(),
                column: column.name.to_owned(),
            });
        }
        self.builder.finish()
    }
}
