//! What the added fields are where a key is not in the table.

use super::config::{AddedColumn, Otherwise};
use crate::model::{DataType, Trilean};

/// The value of an added field where the key is not in the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fallback {
    Number(f64),
    Boolean(Trilean),
    Text(Option<String>),
}

/// The fallback of each added field.
///
/// # Errors
/// A value for a field that is not added, or of another type.
pub(super) fn fallbacks(
    add: &[AddedColumn],
    otherwise: &Otherwise,
) -> Result<Vec<Fallback>, String> {
    let values = match otherwise {
        Otherwise::Word(_) => None,
        Otherwise::Values(values) => Some(values),
    };
    if let Some(name) = values.and_then(|values| {
        values
            .keys()
            .find(|name| add.iter().all(|added| added.field() != *name))
    }) {
        let fields: Vec<_> = add.iter().map(AddedColumn::field).collect();
        return Err(format!(
            "'{name}' is not added by this lookup; it adds {}",
            fields.join(", ")
        ));
    }
    add.iter()
        .map(|added| {
            let value = values
                .and_then(|values| values.get(added.field()))
                .unwrap_or(&serde_json::Value::Null);
            fallback(added, value)
        })
        .collect()
}

fn fallback(added: &AddedColumn, value: &serde_json::Value) -> Result<Fallback, String> {
    use serde_json::Value;
    match (added.data_type(), value) {
        (DataType::Number, Value::Null) => Ok(Fallback::Number(f64::NAN)),
        (DataType::Number, Value::Number(number)) => {
            Ok(Fallback::Number(number.as_f64().unwrap_or(f64::NAN)))
        }
        (DataType::Boolean, Value::Null) => Ok(Fallback::Boolean(Trilean::Null)),
        (DataType::Boolean, Value::Bool(value)) => Ok(Fallback::Boolean((*value).into())),
        (DataType::Text, Value::Null) => Ok(Fallback::Text(None)),
        (DataType::Text, Value::String(text)) => Ok(Fallback::Text(Some(text.clone()))),
        (DataType::Text, Value::Number(number)) => Ok(Fallback::Text(Some(number.to_string()))),
        (expected, found) => Err(format!(
            "'{}' is a {}, found {found}",
            added.field(),
            expected.name()
        )),
    }
}
