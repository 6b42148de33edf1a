//! The schemas of Avro, as a list of nodes that name each other by number: a schema may hold itself.

use std::path::Path;
use std::sync::Arc;

use super::super::config::TimeUnit;
use super::super::explode::in_common;
use super::super::plan::place;
use super::super::purpose::{Purpose, ValueKind, fits};
use super::super::schema_file;
use super::parse::{SchemaError, SchemaParser};
use crate::model::suggest;

/// A schema that data was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvroSchema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// Bytes, so many of them where it is fixed, that are a whole number, and how many digits of it are
    /// behind the point.
    Decimal {
        size: Option<usize>,
        scale: u32,
    },
    /// 16 bytes.
    Uuid,
    /// Days since the epoch.
    Date,
    Timestamp(TimeUnit),
    Enum(Vec<Box<str>>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<RecordField>),
}

impl Node {
    /// What kind of value it is, where a field or a time can be taken of it.
    fn kind(&self) -> Option<ValueKind> {
        match self {
            Self::Boolean => Some(ValueKind::Boolean),
            Self::Int | Self::Long => Some(ValueKind::Integer),
            Self::Float | Self::Double | Self::Decimal { .. } => Some(ValueKind::Float),
            Self::Text | Self::Uuid | Self::Enum(_) => Some(ValueKind::Text),
            Self::Date | Self::Timestamp(_) => Some(ValueKind::IntegerInstant),
            Self::Null
            | Self::Bytes
            | Self::Fixed(_)
            | Self::Array(_)
            | Self::Map(_)
            | Self::Union(_)
            | Self::Record(_) => None,
        }
    }

    /// What its type is called.
    fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::Text => "string",
            Self::Fixed(_) => "fixed",
            Self::Decimal { .. } => "decimal",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Timestamp(TimeUnit::Us) => "timestamp-micros",
            Self::Timestamp(TimeUnit::Ns) => "timestamp-nanos",
            Self::Timestamp(_) => "timestamp-millis",
            Self::Enum(_) => "enum",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Record(_) => "record",
        }
    }
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordField {
    pub(super) name: Box<str>,
    pub(super) aliases: Vec<Box<str>>,
    pub(super) node: usize,
}

impl RecordField {
    pub(super) fn is_called(&self, name: &str) -> bool {
        *self.name == *name || self.aliases.iter().any(|alias| **alias == *name)
    }
}

/// Why a path leads nowhere in a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSuchField {
    /// A record has other fields.
    #[error("the schema has no field '{path}'; {hint}")]
    Unknown {
        /// The path up to the key that is not there.
        path: String,
        /// What would be right.
        hint: String,
    },
    /// What has no fields.
    #[error("'{path}' is a {type_name}, which has no fields")]
    Value {
        /// The path up to it.
        path: String,
        /// Its type.
        type_name: String,
    },
    /// What is no array.
    #[error("'{0}' is no array")]
    NoArray(String),
}

impl AvroSchema {
    /// Reads a schema in JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let mut parser = SchemaParser::default();
        let root = parser.add(text)?;
        Ok(parser.finish(root))
    }

    /// Reads the schema in a file, which is looked for in the working folder, or else in `folder`.
    ///
    /// # Errors
    /// It cannot be read, or is no schema.
    pub(in crate::decode) fn load(path: &str, folder: &Path) -> Result<Arc<Self>, String> {
        let path = schema_file::find(path, folder);
        let bytes = schema_file::read(&path)?;
        let shown = path.display();
        let text = std::str::from_utf8(&bytes).map_err(|error| format!("{shown}: {error}"))?;
        let schema = Self::parse(text).map_err(|error| format!("{shown}: no schema: {error}"))?;
        Ok(Arc::new(schema))
    }

    /// Checks that a path leads to something that can be taken for what the pipeline wants. `explode` is the
    /// path of an array of which each item is an event.
    ///
    /// # Errors
    /// Why it does not.
    pub(in crate::decode) fn check(
        &self,
        keys: &[String],
        explode: Option<&[String]>,
        purpose: Purpose,
    ) -> Result<(), String> {
        // What is wrong with the array is told where the array is named.
        let is_on_the_way = |path: &[String]| path.is_empty() || in_common(keys, path) > 0;
        if explode.is_some_and(|path| is_on_the_way(path) && self.items(path).is_err()) {
            return Ok(());
        }
        let nodes = self
            .find(keys, explode)
            .map_err(|error| error.to_string())?;
        let path = keys.join(".");
        let nodes = nodes.iter().filter_map(|node| self.nodes.get(*node));
        // What is always NULL is nothing wrong: the next version of the schema may have more.
        let nodes: Vec<_> = nodes.filter(|node| !matches!(node, Node::Null)).collect();
        let kinds: Vec<_> = nodes.iter().filter_map(|node| node.kind()).collect();
        if kinds.is_empty()
            && let Some(node) = nodes.first()
        {
            let name = node.name();
            return Err(match node {
                Node::Record(fields) => {
                    let names: Vec<_> = fields.iter().map(|field| &*field.name).collect();
                    let names = names.join(", ");
                    format!("'{path}' is a {name}; name a field of it: {names}")
                }
                Node::Map(_) => format!("'{path}' is a {name}; name a key of it: {path}.KEY"),
                Node::Array(_) => {
                    format!("'{path}' is an {name}; name the place of an item, from 0: {path}.0")
                }
                _ => format!("'{path}' is a {name}; no field takes it"),
            });
        }
        if nodes.is_empty() {
            return Ok(());
        }
        fits(&kinds, purpose).map_err(|wanted| {
            let mut names: Vec<_> = nodes.iter().map(|node| node.name()).collect();
            names.dedup();
            format!("'{path}' is a {}; {wanted}", names.join(" or "))
        })
    }

    /// Checks that a path leads to an array.
    ///
    /// # Errors
    /// Why it does not.
    pub(in crate::decode) fn check_array(&self, keys: &[String]) -> Result<(), String> {
        let items = self.items(keys);
        items.map(drop).map_err(|error| error.to_string())
    }

    /// The nodes that a path leads to. `explode` is the path of an array of which each item is an event.
    fn find(&self, keys: &[String], explode: Option<&[String]>) -> Result<Vec<usize>, NoSuchField> {
        let on_the_way = explode.map_or(0, |path| in_common(keys, path));
        let nodes = match explode {
            Some(path) if on_the_way == path.len() => self.branches(self.items(path)?),
            _ => self.along(keys.get(..on_the_way).unwrap_or_default())?,
        };
        self.follow(nodes, keys, on_the_way)
    }

    /// The nodes at hand behind the keys of a way, on which arrays are gone through.
    fn along(&self, way: &[String]) -> Result<Vec<usize>, NoSuchField> {
        let mut nodes = self.branches([self.root]);
        for behind in 0..way.len() {
            let keys = way.get(..=behind).unwrap_or_default();
            nodes = self.follow(nodes, keys, behind)?;
            while nodes.iter().any(|node| self.item_of(*node).is_some()) {
                let within = nodes
                    .iter()
                    .map(|node| self.item_of(*node).unwrap_or(*node));
                nodes = self.branches(within);
            }
        }
        Ok(nodes)
    }

    /// The items of the array that a path leads to.
    fn items(&self, path: &[String]) -> Result<Vec<usize>, NoSuchField> {
        let way = path.split_last().map_or(path, |(_, way)| way);
        let arrays = self.follow(self.along(way)?, path, way.len())?;
        let items = arrays.iter().filter_map(|node| self.item_of(*node));
        let items: Vec<_> = items.collect();
        match items.is_empty() {
            true if path.is_empty() => Err(NoSuchField::NoArray(".".to_owned())),
            true => Err(NoSuchField::NoArray(path.join("."))),
            false => Ok(items),
        }
    }

    fn item_of(&self, node: usize) -> Option<usize> {
        match self.nodes.get(node) {
            Some(Node::Array(item)) => Some(*item),
            _ => None,
        }
    }

    /// Nodes with the branches of unions in their place.
    fn branches(&self, nodes: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut found = Vec::new();
        for node in nodes {
            match self.nodes.get(node) {
                Some(Node::Union(branches)) => found.extend(branches),
                _ => found.push(node),
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The nodes behind the keys from `at` on.
    fn follow(
        &self,
        mut nodes: Vec<usize>,
        keys: &[String],
        at: usize,
    ) -> Result<Vec<usize>, NoSuchField> {
        for (index, key) in keys.iter().enumerate().skip(at) {
            let mut next = Vec::new();
            let mut names: Vec<&str> = Vec::new();
            let mut has_parts = false;
            for node in &nodes {
                match self.nodes.get(*node) {
                    Some(Node::Record(fields)) => {
                        has_parts = true;
                        names.extend(fields.iter().map(|field| &*field.name));
                        let called = fields.iter().filter(|field| field.is_called(key));
                        next.extend(called.map(|field| field.node));
                    }
                    Some(Node::Map(values)) => next.push(*values),
                    Some(Node::Array(item)) => {
                        has_parts = true;
                        next.extend(place(key).map(|_| *item));
                    }
                    _ => {}
                }
            }
            let up_to = |end: usize| keys.get(..end).unwrap_or_default().join(".");
            if next.is_empty() && !has_parts {
                let found = nodes.iter().filter_map(|node| self.nodes.get(*node));
                let found = found.filter(|node| nodes.len() == 1 || **node != Node::Null);
                let mut names: Vec<_> = found.map(Node::name).collect();
                names.dedup();
                return Err(NoSuchField::Value {
                    path: up_to(index),
                    type_name: names.join(" or "),
                });
            }
            if next.is_empty() {
                let hint = match suggest(key, names.iter().copied()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None if names.is_empty() => {
                        "items of an array are named by their place, from 0".to_owned()
                    }
                    None => format!("its fields are {}", names.join(", ")),
                };
                let path = up_to(index + 1);
                return Err(NoSuchField::Unknown { path, hint });
            }
            nodes = self.branches(next);
        }
        Ok(nodes)
    }
}
