//! One value of a row, before it has a column's type.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::table::TableColumn;
use crate::model::{DataType, Interner, Symbol, TimestampMs, Trilean};

/// How much of a wrong value is shown, in characters.
const SHOWN: usize = 60;

/// One value of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    /// A cell of a CSV row: text in which numbers and truth values are to be read.
    Csv(&'a str),
    /// A JSON value, which says itself what it is.
    Json(&'a Value),
}

impl<'a> Cell<'a> {
    /// An empty CSV cell, or JSON `null`.
    pub(super) fn is_null(self) -> bool {
        match self {
            Self::Csv(text) => text.is_empty(),
            Self::Json(value) => value.is_null() || value.as_str() == Some(""),
        }
    }

    /// The cell as it is written, where it is a text.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Csv(text) => Some(text),
            Self::Json(value) => value.as_str(),
        }
    }

    /// A whole number times a factor.
    pub(super) fn integer(self, factor: i64) -> Option<TimestampMs> {
        let value = match self {
            Self::Csv(text) => text.trim().parse().ok(),
            Self::Json(value) => value.as_i64(),
        };
        value.and_then(|value: i64| value.checked_mul(factor))
    }

    /// The cell as a key: a text or a whole number that is not empty.
    pub(super) fn key(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Csv(text) => Some(Cow::Borrowed(text)),
            Self::Json(Value::String(text)) => Some(Cow::Borrowed(text)),
            Self::Json(Value::Number(number)) if !number.is_f64() => {
                Some(Cow::Owned(number.to_string()))
            }
            Self::Json(_) => None,
        }
    }

    /// Adds the cell's value to a column; an empty CSV cell and JSON `null` are NULL. Gives what
    /// was expected where the cell is of another type.
    pub(super) fn push(
        self,
        column: &mut TableColumn,
        texts: &mut Interner,
    ) -> Result<(), &'static str> {
        match column {
            TableColumn::Text(values) => values.push(match self {
                Self::Csv("") | Self::Json(Value::Null) => Symbol::NULL,
                Self::Csv(text) => texts.intern(text),
                Self::Json(Value::String(text)) => texts.intern(text),
                Self::Json(Value::Number(number)) => texts.intern(&number.to_string()),
                Self::Json(_) => return Err(DataType::Text.name()),
            }),
            TableColumn::Number(values) => values.push(match self {
                Self::Csv("") | Self::Json(Value::Null) => f64::NAN,
                Self::Csv(text) => finite(text.trim().parse().ok())?,
                Self::Json(value) => finite(value.as_f64())?,
            }),
            TableColumn::Boolean(values) => values.push(match self {
                Self::Csv("") | Self::Json(Value::Null) => Trilean::Null,
                Self::Csv(text) => match text.trim() {
                    "true" | "TRUE" | "True" | "1" => Trilean::True,
                    "false" | "FALSE" | "False" | "0" => Trilean::False,
                    _ => return Err("boolean (true or false)"),
                },
                Self::Json(Value::Bool(value)) => (*value).into(),
                Self::Json(_) => return Err("boolean (true or false)"),
            }),
        }
        Ok(())
    }
}

fn finite(number: Option<f64>) -> Result<f64, &'static str> {
    match number {
        Some(number) if number.is_finite() => Ok(number),
        Some(_) => Err("finite number"),
        None => Err(DataType::Number.name()),
    }
}

impl fmt::Display for Cell<'_> {
    /// As it is shown in messages, shortened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Csv(text) => format!("'{text}'"),
            Self::Json(value) => value.to_string(),
        };
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{}…", text.get(..end).unwrap_or_default()),
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shortens_what_is_long() {
        assert_eq!(Cell::Csv("much").to_string(), "'much'");
        assert_eq!(Cell::Json(&json!({"a": [1]})).to_string(), r#"{"a":[1]}"#);
        let long = Cell::Csv(&"ä".repeat(100)).to_string();
        assert_eq!(long, format!("'{}…", "ä".repeat(59)));
    }

    #[test]
    fn gives_json_values_the_types_of_their_columns() {
        let mut texts = Interner::new();
        let mut text = TableColumn::new(DataType::Text);
        for value in [json!("A"), json!(2024), json!(1.5), json!(""), json!(null)] {
            assert_eq!(Cell::Json(&value).push(&mut text, &mut texts), Ok(()));
        }
        let TableColumn::Text(symbols) = &text else {
            panic!("no texts")
        };
        let read: Vec<_> = symbols.iter().map(|symbol| texts.text(*symbol)).collect();
        assert_eq!(read, ["A", "2024", "1.5", "", ""]);
        assert!(symbols[4].is_null() && !symbols[3].is_null());

        let mut push = |data_type, value: Value| {
            Cell::Json(&value).push(&mut TableColumn::new(data_type), &mut texts)
        };
        assert_eq!(push(DataType::Text, json!(true)), Err("text"));
        assert_eq!(push(DataType::Number, json!("1")), Err("number"));
        assert_eq!(
            push(DataType::Boolean, json!(1)),
            Err("boolean (true or false)")
        );
        assert_eq!(push(DataType::Boolean, json!(null)), Ok(()));
    }
}
