//! The `enrich` section of a pipeline file.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::from::TableSource;
use crate::model::DataType;

/// One lookup.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupConfig {
    /// The lookup's name in messages and metrics.
    pub lookup: String,
    /// The text field whose value is looked up.
    #[serde(default)]
    pub key: Option<String>,
    /// The fields of the position that is looked up in zones, instead of a key.
    #[serde(default)]
    pub position: Option<PositionFields>,
    /// Where the values come from.
    pub from: TableSource,
    /// How the lookup is made; what `from` says where it is left out.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// The columns that become fields of the event.
    pub add: Vec<AddedColumn>,
    /// What happens where the key is not in the table: `null` (the added fields are NULL), `drop`
    /// (the event is dropped and counted), or values by column.
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// The number fields of a position.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PositionFields {
    /// The field of the latitude in degrees.
    pub latitude: String,
    /// The field of the longitude in degrees.
    pub longitude: String,
}

/// How a lookup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The whole table is held in memory.
    Full,
    /// A service is asked for each key when it is needed.
    Partial,
    /// The lookup is not made, no table is read and no service asked: every event takes `otherwise`.
    None,
}

impl LookupConfig {
    /// The fields of the event that are looked up.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        let position = self.position.iter();
        let position = position.flat_map(|position| [&position.latitude, &position.longitude]);
        self.key.iter().chain(position).map(String::as_str)
    }

    /// Whether the values of `otherwise` fit the added columns.
    ///
    /// # Errors
    /// Which one does not, and why.
    pub fn check_otherwise(&self) -> Result<(), String> {
        super::fallback::fallbacks(&self.add, &self.otherwise).map(drop)
    }
}

/// A column of the table that becomes a field: its name alone, or with more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AddedColumn {
    /// A text column whose name is also the field's.
    Name(String),
    /// A column with another type or another field name.
    Detail(AddedDetail),
}

/// A column of the table that becomes a field.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddedDetail {
    /// The column's name in the table.
    pub column: String,
    /// The field's name; the column's where it is left out.
    #[serde(default, rename = "as")]
    pub field: Option<String>,
    /// The type.
    #[serde(default = "text", rename = "type")]
    pub data_type: DataType,
}

fn text() -> DataType {
    DataType::Text
}

impl AddedColumn {
    /// The column's name in the table.
    pub fn column(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Detail(detail) => &detail.column,
        }
    }

    /// The field's name.
    pub fn field(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Detail(detail) => detail.field.as_deref().unwrap_or(&detail.column),
        }
    }

    /// The type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Name(_) => DataType::Text,
            Self::Detail(detail) => detail.data_type,
        }
    }
}

/// What happens where a key is not in the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Otherwise {
    /// `drop` or `null`.
    Word(OtherwiseWord),
    /// Values by field; fields that are not named are NULL.
    Values(IndexMap<String, serde_json::Value>),
}

impl Default for Otherwise {
    fn default() -> Self {
        Self::Word(OtherwiseWord::Null)
    }
}

/// What happens where a key is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OtherwiseWord {
    /// The added fields are NULL.
    Null,
    /// The event is dropped and counted.
    Drop,
}
