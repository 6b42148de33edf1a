//! The `event` section of a pipeline file.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::DataType;

/// What an event consists of.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventConfig {
    /// Where the event's own time stands.
    pub time: TimeField,
    /// The fields that the pipeline uses, by the name that expressions know them by.
    pub fields: IndexMap<String, FieldConfig>,
}

/// The event time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeField {
    /// The path of the time within the record.
    pub from: String,
    /// How the time is written.
    #[serde(default)]
    pub unit: TimeUnit,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds since the epoch, with or without a fraction.
    S,
    /// Milliseconds since the epoch.
    #[default]
    Ms,
    /// Microseconds since the epoch.
    Us,
    /// Nanoseconds since the epoch.
    Ns,
    /// Text as in RFC 3339: `2024-11-03T08:15:49.000Z`.
    Rfc3339,
}

/// A field: its type alone, or with where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FieldConfig {
    /// The type; the field has the same name in the record.
    Type(DataType),
    /// The type and more.
    Detail(FieldDetail),
}

/// A field with where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldDetail {
    /// The path within the record (`engine.rpm`), or a part of its envelope: `@topic`, `@topic[1]`
    /// (a segment, from 0), `@key`, `@timestamp`. The field's own name where it is left out.
    #[serde(default)]
    pub from: Option<String>,
    /// The type.
    #[serde(rename = "type")]
    pub data_type: DataType,
    /// Drop events without this field, and count them, instead of taking it as NULL.
    #[serde(default)]
    pub required: bool,
}

impl FieldConfig {
    /// The type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Type(data_type) => *data_type,
            Self::Detail(detail) => detail.data_type,
        }
    }

    /// The path, where one is given.
    pub fn from(&self) -> Option<&str> {
        match self {
            Self::Type(_) => None,
            Self::Detail(detail) => detail.from.as_deref(),
        }
    }

    /// Whether events without the field are dropped.
    pub fn required(&self) -> bool {
        match self {
            Self::Type(_) => false,
            Self::Detail(detail) => detail.required,
        }
    }
}
