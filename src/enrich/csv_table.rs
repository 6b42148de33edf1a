//! A table from a CSV file.

use std::io::Read;

use csv::StringRecord;

use super::config::LookupConfig;
use super::table::{LoadError, Table, TableColumn};
use crate::model::Interner;

/// Reads the table of a lookup. `path` names the file in messages.
pub(super) fn read(
    config: &LookupConfig,
    path: &str,
    input: impl Read,
) -> Result<Table, LoadError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(input);
    let header = reader
        .headers()
        .map_err(|error| csv_error(path, &error))?
        .clone();
    let place = |column: &str| {
        header
            .iter()
            .position(|name| name.trim() == column)
            .ok_or_else(|| LoadError::Column {
                path: path.to_owned(),
                column: column.to_owned(),
                found: header.iter().collect::<Vec<_>>().join(", "),
            })
    };
    let key_place = place(&config.from.key)?;
    let mut places = Vec::new();
    let mut columns = Vec::new();
    for added in &config.add {
        places.push((added.column(), place(added.column())?));
        columns.push(TableColumn::new(added.data_type()));
    }
    let mut table = Table {
        keys: Interner::new(),
        texts: Interner::new(),
        columns,
    };
    let mut record = StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| csv_error(path, &error))?
    {
        let refuse = |reason: String| LoadError::Line {
            path: path.to_owned(),
            line: record.position().map_or(0, csv::Position::line),
            reason,
        };
        let key = record.get(key_place).unwrap_or_default();
        if key.is_empty() {
            return Err(refuse(format!("the key '{}' is empty", config.from.key)));
        }
        let rows = table.rows();
        table.keys.intern(key);
        if table.rows() == rows {
            return Err(refuse(format!(
                "the key '{key}' stands in an earlier row already"
            )));
        }
        for (column, (name, place)) in table.columns.iter_mut().zip(&places) {
            let cell = record.get(*place).unwrap_or_default();
            column.push(cell, &mut table.texts).map_err(|expected| {
                refuse(format!(
                    "column '{name}': expected a {expected}, found '{cell}'"
                ))
            })?;
        }
    }
    Ok(table)
}

fn csv_error(path: &str, error: &csv::Error) -> LoadError {
    let path = path.to_owned();
    let Some(position) = error.position() else {
        return LoadError::Read {
            path,
            reason: error.to_string(),
        };
    };
    let reason = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("expected {expected_len} columns, found {len}")
        }
        csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    LoadError::Line {
        path,
        line: position.line(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LookupConfig {
        serde_json::from_str(
            r#"{"lookup": "vehicles", "key": "vehicle", "from": {"csv": "v.csv", "key": "id"},
                "add": ["model", {"column": "kwh", "as": "battery", "type": "number"}]}"#,
        )
        .unwrap()
    }

    fn refused(text: &[u8]) -> String {
        read(&config(), "v.csv", text).unwrap_err().to_string()
    }

    #[test]
    fn reads_typed_columns_in_any_order() {
        let table = read(
            &config(),
            "v.csv",
            &b"kwh,id,x,model\n75.5,V1,,Orbitra\n,V2,,\n"[..],
        )
        .unwrap();
        assert_eq!(table.rows(), 2);
        assert_eq!(table.row("V2"), Some(1));
        assert_eq!(table.row("V3"), None);
        let TableColumn::Number(numbers) = &table.columns[1] else {
            panic!("no numbers")
        };
        assert_eq!(numbers[0], 75.5);
        assert!(numbers[1].is_nan());
    }

    #[test]
    fn says_where_a_file_is_broken() {
        assert_eq!(
            refused(b"id,kwh\nV1,1\n"),
            "v.csv: there is no column 'model'; the columns are id, kwh"
        );
        assert_eq!(
            refused(b"id,kwh,model\nV1,1\n"),
            "v.csv:2: expected 3 columns, found 2"
        );
        assert_eq!(
            refused(b"id,kwh,model\nV1,1,A\nV2,much,B\n"),
            "v.csv:3: column 'kwh': expected a number, found 'much'"
        );
        assert_eq!(
            refused(b"id,kwh,model\nV1,1,A\nV1,2,B\n"),
            "v.csv:3: the key 'V1' stands in an earlier row already"
        );
        assert_eq!(
            refused(b"id,kwh,model\n,1,A\n"),
            "v.csv:2: the key 'id' is empty"
        );
        assert_eq!(
            refused(b"id,kwh,model\nV1,1,\xff\n"),
            "v.csv:2: the text is not UTF-8"
        );
        assert_eq!(
            refused(b""),
            "v.csv: there is no column 'id'; the columns are "
        );
    }
}
