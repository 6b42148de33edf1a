//! Schemas in JSON (<https://avro.apache.org/docs/1.12.0/specification/>).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::config::TimeUnit;
use super::schema::{AvroSchema, Node, RecordField};

/// How many types a schema may have: more is a mistake or an attack.
const MAX_NODES: usize = 50_000;

/// The greatest scale of a decimal that a number can tell from 0.
const MAX_SCALE: u64 = 400;

/// Why a text is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is not JSON.
    #[error("line {line}, column {column}: {message}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// It is JSON, but no schema.
    #[error("{at}: {message}")]
    Invalid {
        /// The type or field.
        at: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Reads schemas that name each other's types: those that are referred to come first.
#[derive(Debug, Default)]
pub struct SchemaParser {
    nodes: Vec<Node>,
    /// Types by their full names.
    names: BTreeMap<String, usize>,
    /// The names and fields around what is read, outermost first.
    within: Vec<String>,
}

impl SchemaParser {
    /// Reads one more schema, and gives its number.
    ///
    /// # Errors
    /// It is none, or names a type that is not there.
    pub fn add(&mut self, text: &str) -> Result<usize, SchemaError> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            let (message, _) = message.rsplit_once(" at line ").unwrap_or((&message, ""));
            SchemaError::Json {
                line: error.line(),
                column: error.column(),
                message: message.to_owned(),
            }
        })?;
        self.within.clear();
        self.node(&value, "")
    }

    /// The schema of a number that [`add`](Self::add) gave.
    pub fn finish(self, root: usize) -> AvroSchema {
        AvroSchema {
            nodes: self.nodes,
            root,
        }
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, SchemaError> {
        let at = match self.within.as_slice() {
            [] => "the schema".to_owned(),
            names => names.join("."),
        };
        Err(SchemaError::Invalid {
            at,
            message: message.into(),
        })
    }

    fn push(&mut self, node: Node) -> Result<usize, SchemaError> {
        if self.nodes.len() == MAX_NODES {
            return self.wrong(format!("more than {MAX_NODES} types"));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn node(&mut self, value: &Value, namespace: &str) -> Result<usize, SchemaError> {
        match value {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                if branches.is_empty() {
                    return self.wrong("a union without types");
                }
                let union = self.push(Node::Union(Vec::new()))?;
                let mut nodes = Vec::with_capacity(branches.len());
                for branch in branches {
                    if branch.is_array() {
                        return self.wrong("a union within a union");
                    }
                    nodes.push(self.node(branch, namespace)?);
                }
                self.set(union, Node::Union(nodes));
                Ok(union)
            }
            Value::Object(object) => self.object(object, namespace),
            _ => self.wrong("expected a name, a list of types or a mapping"),
        }
    }

    fn set(&mut self, index: usize, node: Node) {
        if let Some(place) = self.nodes.get_mut(index) {
            *place = node;
        }
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<usize, SchemaError> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::Text,
            _ => {
                let known = self.names.get(&full_name(name, namespace));
                // Not so in the specification, but so in Java.
                return match known.or_else(|| self.names.get(name)) {
                    Some(node) => Ok(*node),
                    None => self.wrong(format!("unknown type '{name}'")),
                };
            }
        };
        self.push(node)
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<usize, SchemaError> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested) => return self.node(nested, namespace),
            None => return self.wrong("a mapping without 'type'"),
        };
        match kind {
            "record" | "error" => self.record(object, namespace),
            "enum" => {
                let (name, _) = self.define_name(object, namespace)?;
                let symbols = match object.get("symbols") {
                    Some(Value::Array(symbols)) => symbols.iter().map(Value::as_str),
                    _ => return self.wrong(format!("the enum {name} has no list of symbols")),
                };
                if symbols.len() > MAX_NODES {
                    let message = format!("the enum {name} has more than {MAX_NODES} symbols");
                    return self.wrong(message);
                }
                let symbols: Option<Vec<Box<str>>> =
                    symbols.map(|symbol| symbol.map(Box::from)).collect();
                match symbols {
                    Some(symbols) => self.define(name, Node::Enum(symbols)),
                    None => self.wrong(format!("the symbols of the enum {name} are no texts")),
                }
            }
            "fixed" => {
                let (name, _) = self.define_name(object, namespace)?;
                let size = object.get("size").and_then(Value::as_u64);
                let Some(size) = size.and_then(|size| u32::try_from(size).ok()) else {
                    return self.wrong(format!("the fixed {name} has no size"));
                };
                let size = size as usize;
                let node = match object.get("logicalType").and_then(Value::as_str) {
                    Some("decimal") => decimal(object, Some(size)),
                    Some("uuid") if size == 16 => Some(Node::Uuid),
                    _ => None,
                };
                self.define(name, node.unwrap_or(Node::Fixed(size)))
            }
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                let Some(inner) = object.get(key) else {
                    return self.wrong(format!("{kind} without '{key}'"));
                };
                let index = self.push(Node::Null)?;
                let inner = self.node(inner, namespace)?;
                let node = match kind {
                    "array" => Node::Array(inner),
                    _ => Node::Map(inner),
                };
                self.set(index, node);
                Ok(index)
            }
            _ => {
                let logical = object.get("logicalType").and_then(Value::as_str);
                // What is unknown, or does not fit, is as if it were not there.
                let node = match (kind, logical) {
                    ("bytes", Some("decimal")) => decimal(object, None),
                    ("int", Some("date")) => Some(Node::Date),
                    ("long", Some("timestamp-millis")) => Some(Node::Timestamp(TimeUnit::Ms)),
                    ("long", Some("timestamp-micros")) => Some(Node::Timestamp(TimeUnit::Us)),
                    ("long", Some("timestamp-nanos")) => Some(Node::Timestamp(TimeUnit::Ns)),
                    _ => None,
                };
                match node {
                    Some(node) => self.push(node),
                    None => self.named(kind, namespace),
                }
            }
        }
    }

    fn record(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<usize, SchemaError> {
        let (name, namespace) = self.define_name(object, namespace)?;
        let short = name.rsplit('.').next().unwrap_or_default().to_owned();
        let Some(Value::Array(fields)) = object.get("fields") else {
            return self.wrong(format!("the record {name} has no list of fields"));
        };
        // It is known before its fields are: they may be of it.
        let record = self.define(name, Node::Null)?;
        let is_outermost = self.within.is_empty();
        if is_outermost {
            self.within.push(short);
        }
        let mut found: Vec<RecordField> = Vec::with_capacity(fields.len());
        let mut known = std::collections::BTreeSet::new();
        for field in fields {
            let Some(name) = field.get("name").and_then(Value::as_str) else {
                return self.wrong("a field without a name");
            };
            self.within.push(name.to_owned());
            if !known.insert(name) {
                return self.wrong("there are two fields of this name");
            }
            let Some(kind) = field.get("type") else {
                return self.wrong("a field without a type");
            };
            let node = self.node(kind, &namespace)?;
            self.within.pop();
            let aliases = field.get("aliases").and_then(Value::as_array);
            let aliases = aliases.into_iter().flatten().filter_map(Value::as_str);
            found.push(RecordField {
                name: name.into(),
                aliases: aliases.map(Box::from).collect(),
                node,
            });
        }
        if is_outermost {
            self.within.pop();
        }
        self.set(record, Node::Record(found));
        Ok(record)
    }

    /// The full name of a type that is defined here, and its namespace.
    fn define_name(
        &self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<(String, String), SchemaError> {
        let Some(name) = object.get("name").and_then(Value::as_str) else {
            return self.wrong("a type without a name");
        };
        let own = object.get("namespace").and_then(Value::as_str);
        let name = full_name(name, own.unwrap_or(namespace));
        let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let namespace = namespace.to_owned();
        Ok((name, namespace))
    }

    fn define(&mut self, name: String, node: Node) -> Result<usize, SchemaError> {
        let index = self.push(node)?;
        if self.names.contains_key(&name) {
            return self.wrong(format!("the type {name} is defined twice"));
        }
        self.names.insert(name, index);
        Ok(index)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        return name.trim_start_matches('.').to_owned();
    }
    format!("{namespace}.{name}")
}

/// A decimal, where it is a valid one: of a precision that is not 0, at least the scale, and no more digits than
/// its bytes hold. Anything else is nothing but the bytes.
fn decimal(object: &Map<String, Value>, size: Option<usize>) -> Option<Node> {
    let precision = object.get("precision").and_then(Value::as_u64)?;
    let scale = object.get("scale").map_or(Some(0), Value::as_u64)?;
    if precision == 0 || scale > precision.min(MAX_SCALE) {
        return None;
    }
    // Of n bytes, one bit is the sign.
    let bits = size.map(|size| (size * 8).saturating_sub(1));
    if bits.is_some_and(|bits| precision as f64 > (bits as f64 * std::f64::consts::LOG10_2).floor())
    {
        return None;
    }
    let scale = u32::try_from(scale).ok()?;
    Some(Node::Decimal { size, scale })
}
