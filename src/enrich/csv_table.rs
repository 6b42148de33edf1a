//! A table from a CSV file.

use std::io::Read;

use csv::StringRecord;

use super::builder::{Numbering, Places, Row, TableBuilder};
use super::cell::Cell;
use super::config::LookupConfig;
use super::error::LoadError;
use super::table::Table;

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
    let key_name = config.from.key.as_deref().unwrap_or_default();
    let key_place = place(key_name)?;
    let mut columns = Vec::new();
    for added in &config.add {
        columns.push(place(added.column())?);
    }
    let valid = match &config.from.valid {
        Some(valid) => Some([place(&valid.from)?, place(&valid.to)?]),
        None => None,
    };
    let places = Places {
        path,
        numbering: Numbering::Lines,
    };
    let mut builder = TableBuilder::new(config, places);
    let mut record = StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| csv_error(path, &error))?
    {
        let number = record.position().map_or(0, csv::Position::line);
        let cell = |place: usize| Cell::Csv(record.get(place).unwrap_or_default());
        let key = record.get(key_place).unwrap_or_default();
        if key.is_empty() {
            return Err(places.refuse(number, format!("the key '{key_name}' is empty")));
        }
        builder.push(Row {
            number,
            key,
            cells: columns.iter().map(|place| cell(*place)),
            valid: valid.unwrap_or([usize::MAX; 2]).map(cell),
        })?;
    }
    builder.finish()
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
    LoadError::Row {
        place: format!("{path}:{}", position.line()),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::LookupConfig;
    use super::super::table::TableColumn;
    use super::super::testing;

    fn config() -> LookupConfig {
        testing::config(
            r#"{"csv": "v.csv", "key": "id"}"#,
            r#"["model", {"column": "kwh", "as": "battery", "type": "number"}]"#,
        )
    }

    fn refused(text: &[u8]) -> String {
        testing::refused(&config(), text)
    }

    #[test]
    fn reads_typed_columns_in_any_order() {
        let table =
            testing::table(&config(), b"kwh,id,x,model\n75.5,V1,,Orbitra\n,V2,,\n").unwrap();
        assert_eq!(table.rows(), 2);
        assert_eq!(table.rows_of("V2"), 1..2);
        assert_eq!(table.rows_of("V3"), 0..0);
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

    #[test]
    fn says_which_rows_are_valid_at_once() {
        let config = testing::config(
            r#"{"csv": "v.csv", "key": "id", "valid": {"from": "from", "to": "to", "unit": "date"}}"#,
            r#"["model"]"#,
        );
        let refused = |text: &str| testing::refused(&config, text.as_bytes());
        assert_eq!(
            refused("id,model,from,to\nV1,A,2024-02-01,\nV2,A,,\nV1,B,,2024-02-02\n"),
            "v.csv:4: the key 'V1' is valid until 2024-02-02T00:00:00Z, which overlaps line 2, \
             where it is valid from 2024-02-01T00:00:00Z"
        );
        assert_eq!(
            refused("id,model,from,to\nV1,A,,\nV1,A,,\n"),
            "v.csv:3: the key 'V1' is valid always, which overlaps line 2, where it is valid always"
        );
        assert_eq!(
            refused("id,model,from,to\nV1,A,2024-02-01,2024-02-01\n"),
            "v.csv:2: 'to' is '2024-02-01', which is not after 'from', '2024-02-01'"
        );
        assert_eq!(
            refused("id,model,from,to\nV1,A,soon,\n"),
            "v.csv:2: column 'from': expected a date such as 2024-11-03, found 'soon'"
        );
        assert_eq!(
            refused("id,model,from\nV1,A,\n"),
            "v.csv: there is no column 'to'; the columns are id, model, from"
        );
    }
}
