//! The formats of tables.

use std::io::{BufReader, Read};

use super::config::LookupConfig;
use super::error::LoadError;
use super::from::TableFormat;
use super::table::Table;
use super::{csv_table, geofence, json_table, ndjson_table};

/// Reads the table of a lookup. `path` names it in messages.
pub(super) fn read(
    config: &LookupConfig,
    path: &str,
    input: impl Read,
) -> Result<Table, LoadError> {
    match config.from.format().0 {
        TableFormat::Csv => csv_table::read(config, path, input),
        TableFormat::Json => json_table::read(config, path, BufReader::new(input)),
        TableFormat::Ndjson => ndjson_table::read(config, path, BufReader::new(input)),
        TableFormat::Geojson => geofence::read(config, path, input),
    }
}
