//! Which alternative of a schema a mapping is meant to be.

use serde_json::Value;

use super::scalar;
use super::shape::{self, Others, Shape};
use crate::config::document::Entry;
use crate::config::report::Place;

/// What was chosen.
#[derive(Debug)]
pub(super) enum Choice<'c> {
    /// This alternative.
    Shape(&'c Shape<'c>),
    /// No mapping is allowed here.
    None,
    /// The key that names the alternative has a value that none has.
    UnknownTag { place: &'c Place, message: String },
    /// No key tells which alternative is meant: one of the `wanted` would. `known` are the keys of
    /// all alternatives.
    Undecided {
        wanted: Vec<&'c str>,
        known: Vec<&'c str>,
    },
}

/// Chooses by the value of the key that names the alternative (`type: fixed`), or else by the keys
/// that not all alternatives have; of several that fit equally well the first.
pub(super) fn choose<'c>(shapes: &[&'c Shape<'c>], entries: &'c [Entry]) -> Choice<'c> {
    let Some((first, rest)) = shapes.split_first() else {
        return Choice::None;
    };
    if rest.is_empty() {
        return Choice::Shape(first);
    }
    if let Some(tag) = first
        .properties
        .keys()
        .find(|key| shapes.iter().all(|s| is_tag(s, key)))
        && let Some(entry) = entries.iter().find(|entry| entry.key == *tag)
    {
        return by_tag(shapes, tag, entry);
    }
    let telling = |shape: &Shape<'_>| {
        let keys = entries
            .iter()
            .filter(|entry| shape.properties.contains_key(&*entry.key));
        keys.filter(|entry| is_telling(&entry.key, shapes)).count()
    };
    let complete = |shape: &Shape<'_>| {
        shape
            .required
            .iter()
            .all(|key| entries.iter().any(|entry| entry.key == *key))
    };
    let mut best = *first;
    for shape in rest {
        if (telling(shape), complete(shape)) > (telling(best), complete(best)) {
            best = *shape;
        }
    }
    if telling(best) > 0 || complete(best) {
        return Choice::Shape(best);
    }
    if let Some(map) = shapes
        .iter()
        .find(|shape| !matches!(shape.others, Others::None))
    {
        return Choice::Shape(map);
    }
    let mut wanted = Vec::new();
    let mut known = Vec::new();
    for shape in shapes {
        let required = shape.required.iter().find(|key| is_telling(key, shapes));
        wanted.extend(
            required
                .or(shape.required.first())
                .filter(|key| !wanted.contains(*key)),
        );
        for key in shape
            .properties
            .keys()
            .filter(|key| !known.contains(*key))
            .collect::<Vec<_>>()
        {
            known.push(*key);
        }
    }
    Choice::Undecided { wanted, known }
}

/// Where a key belongs to another alternative than the chosen one: the key that it excludes.
pub(super) fn excluded_by<'e>(
    key: &str,
    chosen: &Shape<'_>,
    shapes: &[&Shape<'_>],
    entries: &'e [Entry],
) -> Option<&'e str> {
    if !shapes
        .iter()
        .any(|shape| shape.properties.contains_key(key))
    {
        return None;
    }
    let mut names = entries.iter().map(|entry| entry.key.as_str());
    names.find(|name| chosen.properties.contains_key(name) && is_telling(name, shapes))
}

/// Whether a key tells alternatives apart.
fn is_telling(key: &str, shapes: &[&Shape<'_>]) -> bool {
    !shapes
        .iter()
        .all(|shape| shape.properties.contains_key(key))
}

fn is_tag(shape: &Shape<'_>, key: &str) -> bool {
    tag_value(shape, key).is_some()
}

fn tag_value<'s>(shape: &Shape<'s>, key: &str) -> Option<&'s str> {
    shape
        .properties
        .get(key)?
        .get("const")
        .and_then(Value::as_str)
}

fn by_tag<'c>(shapes: &[&'c Shape<'c>], tag: &str, entry: &'c Entry) -> Choice<'c> {
    let found = entry.value.as_scalar().map(|scalar| scalar.text.as_str());
    let chosen = shapes
        .iter()
        .find(|shape| tag_value(shape, tag) == found && found.is_some());
    if let Some(shape) = chosen {
        return Choice::Shape(shape);
    }
    let values = shapes.iter().filter_map(|shape| tag_value(shape, tag));
    let values = shape::list(values, "or");
    let hint = found.and_then(|found| {
        super::suggest(
            found,
            shapes.iter().filter_map(|shape| tag_value(shape, tag)),
        )
    });
    let hint = hint
        .map(|value| format!("; did you mean '{value}'?"))
        .unwrap_or_default();
    let found = scalar::describe(&entry.value);
    let message = format!("expected one of {values}, found {found}{hint}");
    Choice::UnknownTag {
        place: &entry.value.place,
        message,
    }
}
