//! Holds a document against the JSON Schema of the type that it is to become, and converts it.
//!
//! All differences are reported at their places, not only the first. The schemas are those that
//! `schemars` derives, with one difference: where a mapping's keys are known, no others are taken,
//! whether or not the type says so, because a misspelt key must not be silent.

mod choice;
mod scalar;
mod shape;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::document::{Document, Entry, Kind, Node};
use super::report::{Place, Problems};
use choice::Choice;
use shape::{Others, Shape};

pub(crate) use crate::model::suggest;
pub(crate) use shape::list as quoted;

/// Checks a document against a JSON Schema and gives its value with every scalar typed as the
/// schema wants it. `None` where something was wrong, which has been reported.
pub(crate) fn check(document: &Document, schema: &Value, problems: &mut Problems) -> Option<Value> {
    let mut checker = Checker {
        root: schema,
        problems,
    };
    let root = document.root();
    checker.node(
        root,
        schema,
        Owner {
            name: None,
            place: &root.place,
        },
    )
}

/// Checks a document against the schema of a type and makes a value of it. `None` where something
/// was wrong, which has been reported. What the schema cannot say and only the type's
/// `Deserialize` refuses is reported at the document's beginning.
pub(crate) fn read_as<T: DeserializeOwned + JsonSchema>(
    document: &Document,
    problems: &mut Problems,
) -> Option<T> {
    let value = check(document, schemars::schema_for!(T).as_value(), problems)?;
    match serde_json::from_value(value) {
        Ok(value) => Some(value),
        Err(error) => {
            problems.add(document.root().place.clone(), error.to_string());
            None
        }
    }
}

/// The key that a value belongs to.
#[derive(Debug, Clone, Copy)]
struct Owner<'a> {
    name: Option<&'a str>,
    place: &'a Place,
}

impl Owner<'_> {
    /// ` in 'write'`, or nothing for the document itself.
    fn within(&self) -> String {
        self.name
            .map(|name| format!(" in '{name}'"))
            .unwrap_or_default()
    }
}

struct Checker<'a> {
    root: &'a Value,
    problems: &'a mut Problems,
}

impl Checker<'_> {
    fn node(&mut self, node: &Node, schema: &Value, owner: Owner<'_>) -> Option<Value> {
        let root = self.root;
        let shapes = shape::shapes(schema, root);
        match &node.kind {
            Kind::Unresolved => None,
            Kind::Scalar(scalar) => match scalar::convert(scalar, &shapes) {
                Ok(value) => Some(value),
                Err(message) => self.refuse(&node.place, message),
            },
            Kind::Sequence(items) => self.sequence(node, items, &shapes, owner),
            Kind::Mapping(entries) => self.mapping(node, entries, &shapes, owner),
        }
    }

    fn refuse<T>(&mut self, place: &Place, message: impl AsRef<str>) -> Option<T> {
        self.problems.add(place.clone(), message);
        None
    }

    fn sequence(
        &mut self,
        node: &Node,
        items: &[Node],
        shapes: &[Shape<'_>],
        owner: Owner<'_>,
    ) -> Option<Value> {
        let Some(shape) = shapes.iter().find(|shape| shape.allows("array")) else {
            let expected = shape::expected(shapes);
            return self.refuse(&node.place, format!("expected {expected}, found a list"));
        };
        if let Some(message) = shape.wrong_length(items.len()) {
            self.refuse::<()>(&node.place, message);
        }
        let mut values = Some(Vec::with_capacity(items.len()));
        for (index, item) in items.iter().enumerate() {
            let owner = Owner {
                name: owner.name,
                place: &item.place,
            };
            let value = self.node(item, shape.item(index), owner);
            values = values.zip(value).map(|(mut values, value)| {
                values.push(value);
                values
            });
        }
        if shape.wrong_length(items.len()).is_some() {
            return None;
        }
        values.map(Value::Array)
    }

    fn mapping(
        &mut self,
        node: &Node,
        entries: &[Entry],
        shapes: &[Shape<'_>],
        owner: Owner<'_>,
    ) -> Option<Value> {
        let candidates: Vec<_> = shapes
            .iter()
            .filter(|shape| shape.allows("object"))
            .collect();
        // A value from the command line has nothing to do with where its key stands in the file.
        let owner = match node.place {
            Place::Argument(_) => Owner {
                name: owner.name,
                place: &node.place,
            },
            Place::File { .. } => owner,
        };
        let shape = match choice::choose(&candidates, entries) {
            Choice::Shape(shape) => shape,
            Choice::None => {
                let expected = shape::expected(shapes);
                return self.refuse(&node.place, format!("expected {expected}, found a mapping"));
            }
            Choice::UnknownTag { place, message } => return self.refuse(place, message),
            Choice::Undecided { wanted, known } => {
                return self.undecided(entries, &wanted, &known, owner);
            }
        };
        let known: Vec<_> = shape.properties.keys().copied().collect();
        let mut values = Some(Map::new());
        let mut meant = Vec::new();
        for entry in entries {
            let key = entry.key.as_str();
            let schema = match (shape.properties.get(key).copied(), shape.others) {
                (Some(schema), _) | (None, Others::Schema(schema)) => Some(schema),
                (None, Others::Any) => Some(shape::ANY),
                (None, Others::None) => None,
            };
            let Some(schema) = schema else {
                values = None;
                let suggestion = suggest(key, known.iter().copied());
                meant.extend(suggestion);
                let message = match choice::excluded_by(key, shape, &candidates, entries) {
                    Some(other) => {
                        format!("'{key}' does not go with '{other}'; remove one of them")
                    }
                    None => unknown_key(key, suggestion, &known),
                };
                self.refuse::<()>(&entry.key_place, message);
                continue;
            };
            let owner = Owner {
                name: Some(key),
                place: &entry.key_place,
            };
            let value = self.node(&entry.value, schema, owner);
            values = values.zip(value).map(|(mut values, value)| {
                values.insert(key.to_owned(), value);
                values
            });
        }
        for key in &shape.required {
            if entries.iter().any(|entry| entry.key == *key) {
                continue;
            }
            values = None;
            // A misspelt key has been reported already.
            if !meant.contains(key) {
                self.refuse::<()>(
                    owner.place,
                    format!("missing key '{key}'{}", owner.within()),
                );
            }
        }
        values.map(Value::Object)
    }

    /// Reports a mapping that has none of the keys that would tell what it is.
    fn undecided(
        &mut self,
        entries: &[Entry],
        wanted: &[&str],
        known: &[&str],
        owner: Owner<'_>,
    ) -> Option<Value> {
        let mut misspelt = false;
        for entry in entries
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()))
        {
            let suggestion = suggest(&entry.key, known.iter().copied());
            misspelt |= suggestion.is_some_and(|key| wanted.contains(&key));
            self.refuse::<()>(&entry.key_place, unknown_key(&entry.key, suggestion, known));
        }
        if misspelt {
            return None;
        }
        let keys = shape::list(wanted.iter().copied(), "or");
        self.refuse(
            owner.place,
            format!("missing key{}: one of {keys}", owner.within()),
        )
    }
}

fn unknown_key(key: &str, suggestion: Option<&str>, known: &[&str]) -> String {
    let key = scalar::shorten(key);
    match suggestion {
        Some(suggestion) => format!("unknown key '{key}'; did you mean '{suggestion}'?"),
        None if known.is_empty() => format!("unknown key '{key}'; no keys are known here"),
        None => {
            let known = shape::list(known.iter().copied(), "and");
            format!("unknown key '{key}'; known keys are {known}")
        }
    }
}
