//! What the added fields are where a key is not in the table.

use super::config::{AddedColumn, Otherwise};
use super::field_value::FieldValue;

/// The fallback of each added field.
///
/// # Errors
/// A value for a field that is not added, or of another type.
pub(super) fn fallbacks(
    add: &[AddedColumn],
    otherwise: &Otherwise,
) -> Result<Vec<FieldValue>, String> {
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

fn fallback(added: &AddedColumn, value: &serde_json::Value) -> Result<FieldValue, String> {
    FieldValue::from_json(added.data_type(), value).ok_or_else(|| {
        let expected = added.data_type().name();
        format!("'{}' is a {expected}, found {value}", added.field())
    })
}
