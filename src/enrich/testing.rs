//! What the tests of this module share.

use super::config::LookupConfig;
use super::error::LoadError;
use super::format;
use super::table::Table;

/// A lookup by the field `vehicle`.
pub(super) fn config(from: &str, add: &str) -> LookupConfig {
    let json = format!(r#"{{"lookup": "v", "key": "vehicle", "from": {from}, "add": {add}}}"#);
    serde_json::from_str(&json).unwrap()
}

/// The table in some bytes, which are named as the configuration does.
pub(super) fn table(config: &LookupConfig, bytes: &[u8]) -> Result<Table, LoadError> {
    let (_, path) = config.from.format();
    format::read(config, path, bytes)
}

/// The words of the error in some bytes.
pub(super) fn refused(config: &LookupConfig, bytes: &[u8]) -> String {
    match table(config, bytes) {
        Ok(table) => format!("accepted with {} rows", table.rows()),
        Err(error) => error.to_string(),
    }
}
