//! A table from JSON objects, one a line.

use std::io::BufRead;

use serde_json::Value;

use super::builder::{Numbering, Places};
use super::config::LookupConfig;
use super::error::LoadError;
use super::json_rows::JsonRows;
use super::table::Table;

/// Reads the table of a lookup. Empty lines are passed over. `path` names the table in messages.
pub(super) fn read(
    config: &LookupConfig,
    path: &str,
    mut input: impl BufRead,
) -> Result<Table, LoadError> {
    let places = Places {
        path,
        numbering: Numbering::Lines,
    };
    let mut rows = JsonRows::new(config, places);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = input
            .read_until(b'\n', &mut line)
            .map_err(|error| LoadError::read(path, &error))?;
        if length == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let row: Value = serde_json::from_slice(&line).map_err(|error| {
            places.refuse(number, format!("this is no JSON object: {}", cause(&error)))
        })?;
        rows.push(number, None, &row)?;
    }
    rows.finish()
}

/// What is wrong, with the column alone: the line is the file's.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let message = text.get(..end).unwrap_or_default();
    format!("{message} at column {}", error.column())
}

#[cfg(test)]
mod tests {
    use super::super::config::LookupConfig;
    use super::super::table::TableColumn;
    use super::super::testing::{self, table};

    fn config() -> LookupConfig {
        testing::config(
            r#"{"ndjson": "v.ndjson", "key": "id"}"#,
            r#"[{"column": "model.name", "as": "model"}, {"column": "kwh", "type": "number"}]"#,
        )
    }

    #[test]
    fn reads_objects_with_nested_columns_and_keys_of_numbers() {
        let text = r#"
            {"id": "V1", "model": {"name": "Helion", "year": 2024}, "kwh": 50}

            {"kwh": null, "id": 77}"#;
        let table = table(&config(), text.as_bytes()).unwrap();
        assert_eq!((table.rows_of("V1"), table.rows_of("77")), (0..1, 1..2));
        assert_eq!(
            table.count_by(&[0], None),
            [(vec![None], 1), (vec![Some("Helion")], 1)]
        );
        let TableColumn::Number(numbers) = &table.columns[1] else {
            panic!("no numbers")
        };
        assert!(numbers[0] == 50.0 && numbers[1].is_nan());
    }

    #[test]
    fn an_empty_file_is_an_empty_table() {
        assert_eq!(table(&config(), b"\n").unwrap().rows(), 0);
    }

    #[test]
    fn says_where_a_file_is_broken() {
        let good = r#"{"id": "V1", "model": {"name": "A"}, "kwh": 1}"#;
        for (line, message) in [
            (
                r#"{"id": "V2", }"#,
                "v.ndjson:2: this is no JSON object: trailing comma at column 14",
            ),
            ("[1]", "v.ndjson:2: expected an object, found [1]"),
            (
                r#"{"model": {"name": "A"}}"#,
                "v.ndjson:2: the key 'id' is missing or empty",
            ),
            (
                r#"{"id": true}"#,
                "v.ndjson:2: the key 'id': expected a text or a whole number, found true",
            ),
            (
                r#"{"id": "V1"}"#,
                "v.ndjson:2: the key 'V1' stands in an earlier row already",
            ),
            (
                r#"{"id": "V2", "kwh": "1"}"#,
                r#"v.ndjson:2: column 'kwh': expected a number, found "1""#,
            ),
            (
                r#"{"id": "V2", "model": {"name": ["A"]}}"#,
                r#"v.ndjson:2: column 'model.name': expected a text, found ["A"]"#,
            ),
        ] {
            let text = format!("{good}\n{line}\n");
            assert_eq!(testing::refused(&config(), text.as_bytes()), message);
        }
        assert_eq!(
            testing::refused(&config(), br#"{"id": "V1", "model": "A", "kwh": 1}"#),
            "v.ndjson: no row has 'model.name'"
        );
    }
}
