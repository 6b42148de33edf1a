//! Bytes to columns: records are decoded straight into typed columns, only the fields that the
//! pipeline names.

mod avro;
mod base64;
mod cbor;
mod cells;
mod cloudevents;
mod config;
mod csv;
mod decoder;
mod envelope;
mod events;
mod explode;
mod format;
mod influx;
mod json;
mod json_items;
mod metrics;
mod number;
mod path;
mod plain;
mod plan;
mod protobuf;
mod purpose;
mod recent;
mod registry;
mod remote_write;
mod schema_file;
mod senml;
mod sparkplug;
mod time;
mod tree;
mod unwrap;

#[cfg(test)]
mod tests;

pub use avro::{AvroSchema, SchemaAnswer, SchemaError, SchemaParser, SchemaQuestion, SchemaSource};
pub use config::{EventConfig, FieldConfig, FieldDetail, TimeField, TimeUnit};
pub use decoder::{Decoder, Rejected};
pub use format::{DecodeConfig, Format, FormatOptions};
pub use metrics::{DecodeMetrics, Reason};
pub use path::{InvalidPath, Path};
pub use protobuf::MessageType;
pub use purpose::Purpose;
pub use registry::{RegistryConfig, SchemaRegistry};
pub use sparkplug::{Births, SparkplugState};
pub use time::{EARLIEST_MS, LATEST_MS};
pub use unwrap::{MAX_UNWRAP_STEPS, UnwrapStep};
