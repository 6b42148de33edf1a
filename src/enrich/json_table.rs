//! A table from one JSON array of objects, or from an object of objects by their keys.

use std::fmt;
use std::io::Read;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::builder::{Numbering, Places};
use super::config::LookupConfig;
use super::error::LoadError;
use super::json_rows::JsonRows;
use super::table::Table;

/// Reads the table of a lookup, row by row: the file is never in memory as a whole. `path` names
/// the table in messages.
pub(super) fn read(
    config: &LookupConfig,
    path: &str,
    input: impl Read,
) -> Result<Table, LoadError> {
    let places = Places {
        path,
        numbering: Numbering::Items,
    };
    let mut rows = JsonRows::new(config, places);
    let mut refused = None;
    let mut reader = serde_json::Deserializer::from_reader(input);
    let visitor = RowsVisitor {
        rows: &mut rows,
        refused: &mut refused,
    };
    let read = reader.deserialize_any(visitor).and_then(|()| reader.end());
    // A refused row has stopped the reader, whose own words say nothing then.
    match (refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) if error.is_io() => Err(LoadError::Read {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
        (None, Err(error)) => Err(LoadError::Row {
            place: format!("{path}:{}:{}", error.line(), error.column()),
            reason: cause(&error),
        }),
        (None, Ok(())) => rows.finish(),
    }
}

/// The error without its place.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

struct RowsVisitor<'r, 'a> {
    rows: &'r mut JsonRows<'a>,
    refused: &'r mut Option<LoadError>,
}

impl RowsVisitor<'_, '_> {
    fn push<E: Error>(&mut self, number: u64, member: Option<&str>, row: &Value) -> Result<(), E> {
        self.rows.push(number, member, row).map_err(|error| {
            *self.refused = Some(error);
            E::custom("a row is refused")
        })
    }
}

impl<'de> Visitor<'de> for RowsVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects, or an object of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut number = 1;
        while let Some(row) = items.next_element::<Value>()? {
            self.push(number, None, &row)?;
            number += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut number = 1;
        while let Some(member) = members.next_key::<String>()? {
            let rows = members.next_value_seed(Member)?;
            for row in &rows {
                self.push(number, Some(&member), row)?;
            }
            number += 1;
        }
        Ok(())
    }
}

/// The rows of a member: one object, or an array of them where a key has several.
struct Member;

impl<'de> DeserializeSeed<'de> for Member {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Value>, D::Error> {
        let value: Value = serde::Deserialize::deserialize(deserializer)?;
        Ok(match value {
            Value::Array(rows) => rows,
            row => vec![row],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::LookupConfig;
    use super::super::testing::{self, refused, table};

    const ADD: &str = r#"["model", {"column": "kwh", "type": "number"}]"#;

    fn config(from: &str) -> LookupConfig {
        testing::config(from, ADD)
    }

    fn by_id() -> LookupConfig {
        config(r#"{"json": "v.json", "key": "id"}"#)
    }

    #[test]
    fn reads_an_array_and_an_object_of_objects() {
        let array = r#"[{"id": "V1", "model": "A", "kwh": 1}, {"id": "V2", "model": "B"}]"#;
        let array = table(&by_id(), array.as_bytes()).unwrap();
        let members = r#"{"V1": {"model": "A", "kwh": 1}, "V2": {"model": "B"}}"#;
        let members = table(&config(r#"{"json": "v.json"}"#), members.as_bytes()).unwrap();
        for table in [array, members] {
            assert_eq!((table.rows_of("V1"), table.rows_of("V2")), (0..1, 1..2));
            assert_eq!(
                table.count_by(&[0], None),
                [(vec![Some("A")], 1), (vec![Some("B")], 1)]
            );
        }
        // A key that is named counts, whatever the members are called.
        let named = r#"{"first": {"id": "V1", "model": "A", "kwh": 1}}"#;
        let named = table(&by_id(), named.as_bytes()).unwrap();
        assert_eq!(named.rows_of("V1"), 0..1);
    }

    #[test]
    fn a_member_may_hold_several_dated_rows() {
        let config =
            config(r#"{"json": "v.json", "valid": {"from": "since", "to": "until", "unit": "s"}}"#);
        let text =
            r#"{"V1": [{"model": "A", "kwh": 1, "until": 10}, {"model": "B", "since": 10}]}"#;
        let table = table(&config, text.as_bytes()).unwrap();
        assert_eq!(table.count_by(&[0], Some(9_999)), [(vec![Some("A")], 1)]);
        assert_eq!(table.count_by(&[0], Some(10_000)), [(vec![Some("B")], 1)]);
        assert_eq!(
            refused(&config, br#"[{"model": "A"}]"#),
            "v.json: item 1: an array's rows need a key column; name it as 'key' in 'from'"
        );
        assert_eq!(
            refused(
                &config,
                br#"{"V1": [{"until": 2, "model": "A", "kwh": 1}, {"since": 1}]}"#
            ),
            "v.json: item 1: the key 'V1' is valid from 1970-01-01T00:00:01Z, which overlaps \
             item 1, where it is valid until 1970-01-01T00:00:02Z"
        );
    }

    #[test]
    fn says_where_a_file_is_broken() {
        for (text, message) in [
            (
                r#"[{"id": "V1", "model": "A", "kwh": 1}, {"id": "V2", "kwh": true}]"#,
                "v.json: item 2: column 'kwh': expected a number, found true",
            ),
            (
                r#"[{"id": "V1"}, {"id": "V1"}]"#,
                "v.json: item 2: the key 'V1' stands in an earlier row already",
            ),
            ("[{}]", "v.json: item 1: the key 'id' is missing or empty"),
            ("[1]", "v.json: item 1: expected an object, found 1"),
            (r#"[{"id": "V1", "kwh": 1}]"#, "v.json: no row has 'model'"),
            (
                "[{\"id\": \"V1\"},\n {]",
                "v.json:2:3: key must be a string",
            ),
            (
                "7",
                "v.json:1:1: invalid type: integer `7`, expected an array of objects, or an \
                 object of objects",
            ),
            ("[]]", "v.json:1:3: trailing characters"),
            ("", "v.json:1:0: EOF while parsing a value"),
        ] {
            assert_eq!(refused(&by_id(), text.as_bytes()), message, "{text}");
        }
        assert_eq!(table(&by_id(), b"[]").unwrap().rows(), 0);
    }
}
