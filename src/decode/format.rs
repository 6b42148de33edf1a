//! The formats of records: their options, and which reader is made of them.

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::avro::{AvroReader, AvroSchema};
use super::cbor::Cbor;
use super::cloudevents::CloudEventsReader;
use super::csv::CsvReader;
use super::events::{Events, Refusal};
use super::explode::Explode;
use super::influx::InfluxReader;
use super::json::Json;
use super::metrics::Reason;
use super::number::NumberReader;
use super::path::InvalidPath;
use super::plan::{ObjectPlan, Wanted};
use super::protobuf::{Described, MessageType, ProtobufReader};
use super::purpose::Purpose;
use super::registry::RegistryConfig;
use super::remote_write::RemoteWriteReader;
use super::senml::SenmlReader;
use super::sparkplug::SparkplugReader;
use super::tree::TreeReader;

/// How records are written: a format alone, or with its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DecodeConfig {
    /// The format, and nothing else to say of it.
    Format(Format),
    /// The format with its options.
    Options(FormatOptions),
}

impl Default for DecodeConfig {
    fn default() -> Self {
        Self::Format(Format::Json)
    }
}

/// How a record's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a record.
    Json,
    /// Rows of cells, of which the first says the names of the columns.
    Csv,
    /// One CBOR map a record.
    Cbor,
    /// Lines of InfluxDB's protocol.
    Influx,
    /// A SenML pack in JSON.
    SenmlJson,
    /// A SenML pack in CBOR.
    SenmlCbor,
    /// A CloudEvent in JSON, or an array of them.
    Cloudevents,
    /// A bare number, which is the field `value`.
    Number,
    /// A request of Prometheus Remote-Write 1.0, not compressed.
    RemoteWrite,
    /// Object container files of Avro.
    Avro,
    /// Messages of Sparkplug B.
    SparkplugB,
}

/// A format with its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "format", rename_all = "snake_case", deny_unknown_fields)]
pub enum FormatOptions {
    /// JSON.
    Json {
        /// The path of an array of which each item is an event; `.` where the record is the array.
        #[serde(default)]
        explode: Option<String>,
    },
    /// CSV.
    Csv {
        /// What stands between two cells: one character of ASCII.
        #[serde(default = "comma")]
        delimiter: String,
        /// What stands around a cell that holds a delimiter: one character of ASCII.
        #[serde(default = "quotation_mark")]
        quote: String,
        /// The names of the columns in their order; where it is left out, the first row of each record
        /// says them.
        #[serde(default)]
        columns: Option<Vec<String>>,
    },
    /// CBOR.
    Cbor {
        /// The path of an array of which each item is an event; `.` where the record is the array.
        #[serde(default)]
        explode: Option<String>,
    },
    /// Protocol buffers.
    Protobuf {
        /// The full name of the message that a record is: `fleet.v1.VehicleEvent`.
        message: String,
        /// The .proto files that describe it.
        #[serde(default)]
        files: Vec<String>,
        /// Folders in which those find what they import.
        #[serde(default)]
        include: Vec<String>,
        /// A compiled set of descriptors in place of the files.
        #[serde(default)]
        descriptor_set: Option<String>,
        /// The path of a repeated field of which each item is an event.
        #[serde(default)]
        explode: Option<String>,
        /// What the message consists of, once [`DecodeConfig::load`] has read it.
        #[serde(skip)]
        message_type: Option<Arc<MessageType>>,
    },
    /// The line protocol of InfluxDB.
    Influx {},
    /// SenML in JSON.
    SenmlJson {},
    /// SenML in CBOR.
    SenmlCbor {},
    /// CloudEvents in JSON.
    Cloudevents {},
    /// Bare numbers.
    Number {},
    /// Requests of Prometheus Remote-Write 1.0.
    RemoteWrite {},
    /// Sparkplug B.
    SparkplugB {},
    /// Avro: object container files, unless one of `schema` and `registry` is given.
    Avro {
        /// A file with the schema of all records; each of them is one datum of it and nothing else.
        #[serde(default)]
        schema: Option<String>,
        /// What that file says, once [`DecodeConfig::load`] has read it.
        #[serde(skip)]
        loaded: Option<Arc<AvroSchema>>,
        /// Where schemas are that records name by a number, as Confluent's serializers write it.
        #[serde(default)]
        registry: Option<Box<RegistryConfig>>,
        /// The path of an array of which each item is an event; `.` where the record is the array.
        #[serde(default)]
        explode: Option<String>,
    },
}

fn comma() -> String {
    ",".to_owned()
}

fn quotation_mark() -> String {
    "\"".to_owned()
}

impl DecodeConfig {
    /// The format with its options; those that are not given have their defaults.
    pub fn options(&self) -> FormatOptions {
        let format = match self {
            Self::Options(options) => return options.clone(),
            Self::Format(format) => format,
        };
        match format {
            Format::Json => FormatOptions::Json { explode: None },
            Format::Csv => FormatOptions::Csv {
                delimiter: comma(),
                quote: quotation_mark(),
                columns: None,
            },
            Format::Cbor => FormatOptions::Cbor { explode: None },
            Format::Influx => FormatOptions::Influx {},
            Format::SenmlJson => FormatOptions::SenmlJson {},
            Format::SenmlCbor => FormatOptions::SenmlCbor {},
            Format::Cloudevents => FormatOptions::Cloudevents {},
            Format::Number => FormatOptions::Number {},
            Format::RemoteWrite => FormatOptions::RemoteWrite {},
            Format::SparkplugB => FormatOptions::SparkplugB {},
            Format::Avro => FormatOptions::Avro {
                schema: None,
                loaded: None,
                registry: None,
                explode: None,
            },
        }
    }

    /// Reads the files that say what a record consists of, where the format has any. They are looked for in
    /// the working folder, or else in `folder`. Gives the path of a wrong value within `decode`, and what is
    /// wrong.
    pub fn load(&mut self, folder: &Path) -> Vec<(Vec<String>, String)> {
        let wrong = |key: &str, message| vec![(vec![key.to_owned()], message)];
        let checked = match self {
            Self::Options(FormatOptions::Protobuf {
                message,
                files,
                include,
                descriptor_set,
                explode,
                message_type,
            }) => {
                let described = Described {
                    message,
                    files,
                    include,
                    descriptor_set: descriptor_set.as_deref(),
                };
                let loaded = match MessageType::load(described, folder) {
                    Ok(loaded) => message_type.insert(loaded),
                    Err((key, message)) => return wrong(key, message),
                };
                array(explode).map(|keys| loaded.check_array(&keys))
            }
            Self::Options(FormatOptions::Avro {
                schema: Some(schema),
                loaded,
                explode,
                ..
            }) => {
                let loaded = match AvroSchema::load(schema, folder) {
                    Ok(schema) => loaded.insert(schema),
                    Err(message) => return wrong("schema", message),
                };
                array(explode).map(|keys| loaded.check_array(&keys))
            }
            _ => return Vec::new(),
        };
        match checked {
            Some(Err(message)) => wrong("explode", message),
            _ => Vec::new(),
        }
    }

    /// Checks that a path of the record can be taken for what the pipeline wants, where it is known what a record
    /// consists of.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check_path(&self, keys: &[String], purpose: Purpose) -> Result<(), String> {
        let Self::Options(
            FormatOptions::Protobuf { explode, .. } | FormatOptions::Avro { explode, .. },
        ) = self
        else {
            return Ok(());
        };
        let array = array(explode);
        if explode.is_some() && array.is_none() {
            return Ok(());
        }
        match self {
            Self::Options(FormatOptions::Protobuf {
                message_type: Some(message_type),
                ..
            }) => message_type.check(keys, array.as_deref(), purpose),
            Self::Options(FormatOptions::Avro {
                loaded: Some(schema),
                ..
            }) => schema.check(keys, array.as_deref(), purpose),
            _ => Ok(()),
        }
    }

    /// Checks what the types cannot: the path of a wrong value within `decode`, and what is wrong.
    pub fn validate(&self) -> Vec<(Vec<String>, String)> {
        let mut violations = Vec::new();
        let mut wrong = |key: &str, message: String| {
            violations.push((vec![key.to_owned()], message));
        };
        match self.options() {
            FormatOptions::Json { explode } | FormatOptions::Protobuf { explode, .. } => {
                if let Some(Err(error)) = explode.as_deref().map(Explode::keys_without_places) {
                    wrong("explode", error.to_string());
                }
            }
            // The keys of its maps may be numbers.
            FormatOptions::Cbor { explode } => {
                if let Some(Err(error)) = explode.as_deref().map(Explode::keys) {
                    wrong("explode", error.to_string());
                }
            }
            FormatOptions::Csv {
                delimiter,
                quote,
                columns,
            } => {
                for (key, text) in [("delimiter", &delimiter), ("quote", &quote)] {
                    if separator(text).is_none() {
                        let message =
                            format!("'{}' is not one character of ASCII", text.escape_debug());
                        wrong(key, message);
                    }
                }
                if delimiter == quote {
                    wrong("quote", "must differ from the delimiter".to_owned());
                }
                let columns = columns.as_deref();
                if columns.is_some_and(<[String]>::is_empty) {
                    wrong("columns", "must name at least one column".to_owned());
                }
                let columns = columns.unwrap_or_default();
                for (index, name) in columns.iter().enumerate() {
                    if columns.iter().take(index).any(|known| known == name) {
                        wrong("columns", format!("'{name}' stands there twice"));
                    }
                }
            }
            FormatOptions::Avro {
                schema,
                registry,
                explode,
                ..
            } => {
                if let Some(Err(error)) = explode.as_deref().map(Explode::keys_without_places) {
                    wrong("explode", error.to_string());
                }
                if schema.is_some() && registry.is_some() {
                    let message =
                        "'registry' does not go with 'schema'; remove one of them".to_owned();
                    wrong("registry", message);
                }
                for (path, message) in registry.iter().flat_map(|registry| registry.validate()) {
                    let path = ["registry"].into_iter().chain(path);
                    violations.push((path.map(str::to_owned).collect(), message));
                }
            }
            _ => {}
        }
        violations
    }

    /// Whether the topic of a record says a part of what it means.
    pub fn needs_topic(&self) -> bool {
        matches!(self.options(), FormatOptions::SparkplugB {})
    }

    /// Whether the first row of each record says what the others are, so that it needs several.
    pub fn has_named_rows(&self) -> bool {
        matches!(self.options(), FormatOptions::Csv { columns: None, .. })
    }

    /// Whether records are bytes that need not be text.
    pub fn is_binary(&self) -> bool {
        match self.options() {
            FormatOptions::Cbor { .. }
            | FormatOptions::Protobuf { .. }
            | FormatOptions::SenmlCbor {}
            | FormatOptions::RemoteWrite {}
            | FormatOptions::Avro { .. }
            | FormatOptions::SparkplugB {} => true,
            FormatOptions::Json { .. }
            | FormatOptions::Csv { .. }
            | FormatOptions::Influx {}
            | FormatOptions::SenmlJson {}
            | FormatOptions::Cloudevents {}
            | FormatOptions::Number {} => false,
        }
    }

    /// The registry that has the schemas of records, where there is one.
    pub fn registry(&self) -> Option<&RegistryConfig> {
        match self {
            Self::Options(FormatOptions::Avro { registry, .. }) => registry.as_deref(),
            _ => None,
        }
    }
}

/// The keys of the array whose items are events, where there is one. What is no path was told already.
fn array(explode: &Option<String>) -> Option<Vec<String>> {
    let keys = explode.as_deref().map(Explode::keys_without_places);
    keys.and_then(Result::ok)
}

/// A character of ASCII that can stand between cells.
fn separator(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
        _ => None,
    }
}

/// The bytes that a format reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload<'a> {
    pub(super) bytes: &'a [u8],
    /// The same as text, where that is known already.
    pub(super) text: Option<&'a str>,
    /// Where they begin in the buffer that the texts of the batch lie in.
    pub(super) start: u32,
}

impl<'a> Payload<'a> {
    /// The bytes as text.
    ///
    /// # Errors
    /// They are not UTF-8.
    #[inline]
    pub(super) fn text(&self) -> Result<&'a str, Refusal> {
        match self.text {
            Some(text) => Ok(text),
            None => std::str::from_utf8(self.bytes)
                .map_err(|error| (Reason::InvalidUtf8, error.to_string())),
        }
    }
}

/// Reads the records of one format.
#[derive(Debug)]
pub(super) enum Reader {
    Json(TreeReader),
    Csv(CsvReader),
    Cbor(TreeReader),
    Protobuf(ProtobufReader),
    Influx(InfluxReader),
    SenmlJson(SenmlReader),
    SenmlCbor(SenmlReader),
    CloudEvents(CloudEventsReader),
    Number(NumberReader),
    RemoteWrite(RemoteWriteReader),
    Avro(AvroReader),
    Sparkplug(SparkplugReader),
}

impl Reader {
    /// The reader of a format that finds the wanted values.
    ///
    /// # Errors
    /// A path in the options that cannot be read.
    pub(super) fn compile(config: &DecodeConfig, wanted: &[Wanted]) -> Result<Self, InvalidPath> {
        let keys = |explode: Option<String>| explode.as_deref().map(Explode::keys).transpose();
        Ok(match config.options() {
            FormatOptions::Json { explode } => Self::Json(TreeReader::new(wanted, keys(explode)?)),
            FormatOptions::Cbor { explode } => Self::Cbor(TreeReader::new(wanted, keys(explode)?)),
            FormatOptions::Csv {
                delimiter,
                quote,
                columns,
            } => {
                // What is no separator was refused when the file was read.
                let delimiter = separator(&delimiter).unwrap_or(b',');
                let quote = separator(&quote).unwrap_or(b'"');
                Self::Csv(CsvReader::new(wanted, delimiter, quote, columns))
            }
            FormatOptions::Protobuf {
                explode,
                message_type,
                ..
            } => {
                let unread = || InvalidPath::NotThere("the message was not looked up".to_owned());
                let message_type = message_type.ok_or_else(unread)?;
                let reader = ProtobufReader::new(&message_type, wanted, keys(explode)?);
                Self::Protobuf(reader.map_err(InvalidPath::NotThere)?)
            }
            FormatOptions::Influx {} => Self::Influx(InfluxReader::new(wanted)),
            FormatOptions::SenmlJson {} => Self::SenmlJson(SenmlReader::new(wanted, false)),
            FormatOptions::SenmlCbor {} => Self::SenmlCbor(SenmlReader::new(wanted, true)),
            FormatOptions::Cloudevents {} => Self::CloudEvents(CloudEventsReader::new(wanted)),
            FormatOptions::Number {} => Self::Number(NumberReader::new(wanted)),
            FormatOptions::RemoteWrite {} => Self::RemoteWrite(RemoteWriteReader::new(wanted)),
            FormatOptions::SparkplugB {} => Self::Sparkplug(SparkplugReader::new(wanted)),
            FormatOptions::Avro {
                schema,
                loaded,
                registry,
                explode,
            } => {
                let explode = keys(explode)?;
                Self::Avro(match (schema, registry) {
                    (Some(_), _) => {
                        let unread = || InvalidPath::NotThere("the schema was not read".to_owned());
                        AvroReader::bare(wanted, explode, &*loaded.ok_or_else(unread)?)
                    }
                    (None, Some(_)) => AvroReader::numbered(wanted, explode),
                    (None, None) => AvroReader::container(wanted, explode),
                })
            }
        })
    }

    /// Hands over the events of a record.
    ///
    /// # Errors
    /// The record is broken as a whole.
    pub(super) fn read(
        &mut self,
        payload: &Payload<'_>,
        events: &mut Events<'_>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Json(json) => json.read(&Json(payload.text()?), events),
            Self::Csv(csv) => csv.read(payload.text()?, events),
            Self::Cbor(cbor) => cbor.read(&Cbor(payload.bytes), events),
            Self::Protobuf(protobuf) => protobuf.read(payload, events),
            Self::Influx(influx) => influx.read(payload.text()?, events),
            Self::SenmlJson(senml) => senml.read(&Json(payload.text()?), events),
            Self::SenmlCbor(senml) => senml.read(&Cbor(payload.bytes), events),
            Self::CloudEvents(cloud) => cloud.read(payload.text()?, events),
            Self::Number(number) => number.read(payload.text()?, events),
            Self::RemoteWrite(requests) => requests.read(payload.bytes, events),
            Self::Avro(avro) => avro.read(payload.bytes, events),
            Self::Sparkplug(sparkplug) => sparkplug.read(payload.bytes, events),
        }
    }

    /// Whether records are text.
    pub(super) fn is_text(&self) -> bool {
        !matches!(
            self,
            Self::Cbor(_)
                | Self::SenmlCbor(_)
                | Self::Protobuf(_)
                | Self::RemoteWrite(_)
                | Self::Avro(_)
                | Self::Sparkplug(_)
        )
    }

    /// The plan by which ordinary records may take the fast way.
    pub(super) fn plain_plan(&self) -> Option<&ObjectPlan> {
        match self {
            Self::Json(json) => json.plan(),
            _ => None,
        }
    }
}
