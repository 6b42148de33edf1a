//! What stands at a path of a JSON object.

use sonic_rs::JsonValueTrait as _;

use super::super::events::Refusal;
use super::super::json::{first_line, refuse_depth};
use super::cannot;

/// Appends the content of the text at a path, or the object or array there as it is. Of a key that stands twice in
/// an object, the last one holds.
///
/// # Errors
/// It is not JSON, or nothing of this kind stands there.
pub(super) fn find(bytes: &[u8], keys: &[String], found: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|error| cannot("json", &error.to_string()))?;
    // The parser skips values by recursion without a limit of its own.
    refuse_depth(text).map_err(|_| cannot("json", "nested too deep"))?;
    descend(text, keys, 0, found)
}

/// Goes on in an object, at the key of this depth.
fn descend(
    object: &str,
    keys: &[String],
    depth: usize,
    found: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let mut last = None;
    for entry in sonic_rs::to_object_iter(object) {
        let (name, value) =
            entry.map_err(|error| cannot("json", &first_line(&error.to_string())))?;
        if keys.get(depth).is_some_and(|key| *name == **key) {
            last = Some(value);
        }
    }
    let path = || keys.get(..=depth).unwrap_or_default().join(".");
    let value = last.ok_or_else(|| cannot("json", &format!("nothing at {}", path())))?;
    if depth + 1 < keys.len() {
        return descend(value.as_raw_str(), keys, depth + 1, found);
    }
    if let Some(text) = value.as_str() {
        found.extend_from_slice(text.as_bytes());
    } else if value.is_object() || value.is_array() {
        found.extend_from_slice(value.as_raw_str().as_bytes());
    } else {
        let detail = format!("neither a text nor an object or array at {}", path());
        return Err(cannot("json", &detail));
    }
    Ok(())
}
