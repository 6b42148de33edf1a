//! Reference data: tables that are looked up by a field and kept up to date while events flow.
//!
//! A `Refresher` fetches a table (`fetch/`: from a file, over HTTP, from S3), reads it (`format`) and
//! puts it in use for all workers (`SharedTable`); each worker has a `Lookup` with what it has taken
//! over so far, or a `Geofence` where the table is of zones (`geofence/`).
//! `partial/` asks a service for each key instead. `EventLookup` is any of them, on one worker.

mod builder;
mod cell;
mod config;
mod csv_table;
mod dated;
mod error;
mod event_lookup;
mod fallback;
mod fetch;
mod field_value;
mod format;
mod from;
mod geofence;
mod http_client;
mod json_path;
mod json_rows;
mod json_table;
mod location;
mod lookup;
#[cfg(test)]
mod lookup_tests;
mod metrics;
mod ndjson_table;
mod partial;
mod plain;
mod refresh;
#[cfg(test)]
mod refresh_tests;
mod shared;
mod table;
#[cfg(test)]
mod testing;
mod unmade;
mod validity;
mod values;

pub use config::{
    AddedColumn, AddedDetail, LookupConfig, Mode, Otherwise, OtherwiseWord, PositionFields,
};
pub use error::LoadError;
pub use event_lookup::{EventLookup, Looked, LookupInput, Reference};
pub use from::{Problem, S3Config, TableSource, ValidConfig, ValidUnit};
pub use geofence::Geofence;
pub use lookup::Lookup;
pub use metrics::LookupMetrics;
pub use partial::{
    CacheConfig, DynamoDbService, HttpService, PartialLookup, PartialService, PostgresService,
    PostgresTls, RetryConfig, Waiting,
};
pub use refresh::{Refresher, RefresherThread};
pub use shared::SharedTable;
pub use table::{Counts, Table};
pub use unmade::UnmadeLookup;
