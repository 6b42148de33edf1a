//! What a service says about a key.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::cell::Cell;
use super::super::config::AddedColumn;
use super::super::field_value::FieldValue;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// Its values, in the order in which the lookup adds them.
    Found(Arc<[FieldValue]>),
    /// The service does not know it.
    Missing,
    /// The service has not said anything, for as often as it was asked.
    Failed,
}

/// Why a request gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct RequestError {
    pub(super) message: String,
    /// Whether another attempt may help.
    pub(super) is_repeatable: bool,
    /// After how long the service asks to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl RequestError {
    pub(super) fn repeatable(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_repeatable: true,
            retry_after: None,
        }
    }

    pub(super) fn fatal(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_repeatable: false,
            retry_after: None,
        }
    }
}

/// Takes the columns of a lookup from an answer. A value of another type than its column makes the
/// whole answer a wrong one.
pub(super) fn field_values(
    add: &[AddedColumn],
    mut value_of: impl FnMut(&str) -> Value,
) -> Result<Arc<[FieldValue]>, RequestError> {
    let values: Result<Vec<_>, _> = add
        .iter()
        .map(|added| field_value(added, &value_of(added.column())))
        .collect();
    Ok(values?.into())
}

fn field_value(added: &AddedColumn, value: &Value) -> Result<FieldValue, RequestError> {
    FieldValue::from_json(added.data_type(), value).ok_or_else(|| {
        RequestError::fatal(format!(
            "column '{}': expected a {}, found {}",
            added.column(),
            added.data_type().name(),
            Cell::Json(value)
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Trilean;

    fn added(json: Value) -> Vec<AddedColumn> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn values_have_the_types_of_their_columns() {
        let add = added(json!([
            "model",
            { "column": "kwh", "type": "number" },
            { "column": "electric", "type": "boolean" }
        ]));
        let answer = json!({ "model": 7, "kwh": 60.5, "electric": true });
        let found = field_values(&add, |column| answer[column].clone()).unwrap();
        let expected = [
            FieldValue::Text(Some("7".into())),
            FieldValue::Number(60.5),
            FieldValue::Boolean(Trilean::True),
        ];
        assert_eq!(*found, expected);
        let nothing = field_values(&add, |_| Value::Null).unwrap();
        let [
            FieldValue::Text(None),
            FieldValue::Number(number),
            FieldValue::Boolean(Trilean::Null),
        ] = &*nothing
        else {
            panic!("{nothing:?}")
        };
        assert!(number.is_nan());
    }

    #[test]
    fn a_value_of_another_type_is_no_answer() {
        let add = added(json!([{ "column": "kwh", "type": "number" }]));
        let error = field_values(&add, |_| json!("much")).unwrap_err();
        let expected = "column 'kwh': expected a number, found \"much\"";
        assert_eq!(
            (error.message.as_str(), error.is_repeatable),
            (expected, false)
        );
    }
}
