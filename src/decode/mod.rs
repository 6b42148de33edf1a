//! Bytes to columns: records are decoded straight into typed columns, only the fields that the
//! pipeline names.

mod cells;
mod config;
mod decoder;
mod envelope;
mod json;
mod metrics;
mod path;
mod plain;
mod plan;
mod time;

pub use config::{EventConfig, FieldConfig, FieldDetail, Format, TimeField, TimeUnit};
pub use decoder::{Decoder, Rejected};
pub use metrics::{DecodeMetrics, Reason};
pub use path::{InvalidPath, Path};
pub use time::{EARLIEST_MS, LATEST_MS};
