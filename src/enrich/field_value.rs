//! The value of an added field, in the field's type.

use serde_json::Value;

use crate::model::{DataType, Trilean};

/// The value of an added field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FieldValue {
    /// NaN is NULL.
    Number(f64),
    Boolean(Trilean),
    Text(Option<Box<str>>),
}

impl FieldValue {
    /// A JSON value in the type of its field. A number where a text is wanted is the number as it is
    /// written; any other value of another type is none.
    pub(super) fn from_json(data_type: DataType, value: &Value) -> Option<Self> {
        Some(match (data_type, value) {
            (DataType::Number, Value::Null) => Self::Number(f64::NAN),
            (DataType::Number, Value::Number(number)) => {
                Self::Number(number.as_f64().unwrap_or(f64::NAN))
            }
            (DataType::Boolean, Value::Null) => Self::Boolean(Trilean::Null),
            (DataType::Boolean, Value::Bool(value)) => Self::Boolean((*value).into()),
            (DataType::Text, Value::Null) => Self::Text(None),
            (DataType::Text, Value::String(text)) => Self::Text(Some(text.as_str().into())),
            (DataType::Text, Value::Number(number)) => Self::Text(Some(number.to_string().into())),
            (DataType::Number | DataType::Boolean | DataType::Text, _) => return None,
        })
    }
}
