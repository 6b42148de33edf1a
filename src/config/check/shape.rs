//! What a JSON Schema allows at one place, as plain alternatives.
//!
//! A schema nests `$ref`, `allOf`, `anyOf` and `oneOf`; a [`Shape`] is one way through them, with
//! everything that holds on that way in one place.

use indexmap::IndexMap;
use serde_json::Value;

/// Schemas refer to each other in circles, though never without a property between.
const MAX_DEPTH: usize = 32;

/// The schema that allows everything.
pub(super) const ANY: &Value = &Value::Bool(true);

/// One alternative of a schema.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape<'s> {
    /// The JSON types that are allowed; all where this is `None`.
    types: Option<Vec<&'s str>>,
    /// The only values that are allowed, where they are listed.
    pub(super) values: Option<Vec<&'s Value>>,
    /// The known keys.
    pub(super) properties: IndexMap<&'s str, &'s Value>,
    /// The keys that must be there.
    pub(super) required: Vec<&'s str>,
    /// What other keys may hold.
    pub(super) others: Others<'s>,
    /// The schemas of the first items, then of all further ones.
    first_items: Vec<&'s Value>,
    items: Option<&'s Value>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    pub(super) minimum: Option<&'s Value>,
    pub(super) maximum: Option<&'s Value>,
    pub(super) format: Option<&'s str>,
}

/// What keys that are not named may hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Others<'s> {
    /// Anything.
    #[default]
    Any,
    /// There may be none.
    None,
    /// What a schema allows.
    Schema(&'s Value),
}

/// The alternatives of a schema; `root` holds the definitions that it refers to.
pub(super) fn shapes<'s>(schema: &'s Value, root: &'s Value) -> Vec<Shape<'s>> {
    let mut shapes = expand(schema, root, 0);
    for shape in &mut shapes {
        if matches!(shape.others, Others::Any) && !shape.properties.is_empty() {
            shape.others = Others::None;
        }
    }
    shapes
}

fn expand<'s>(schema: &'s Value, root: &'s Value, depth: usize) -> Vec<Shape<'s>> {
    if schema == &Value::Bool(false) {
        return Vec::new();
    }
    if depth > MAX_DEPTH {
        return vec![Shape::default()];
    }
    let mut shapes = vec![Shape::of(schema)];
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer));
        shapes = product(&shapes, &expand(target.unwrap_or(ANY), root, depth + 1));
    }
    for part in array(schema, "allOf") {
        shapes = product(&shapes, &expand(part, root, depth + 1));
    }
    for keyword in ["anyOf", "oneOf"] {
        if schema.get(keyword).is_some() {
            let options: Vec<_> = array(schema, keyword)
                .flat_map(|option| expand(option, root, depth + 1))
                .collect();
            shapes = product(&shapes, &options);
        }
    }
    shapes
}

fn product<'s>(left: &[Shape<'s>], right: &[Shape<'s>]) -> Vec<Shape<'s>> {
    let pairs = left
        .iter()
        .flat_map(|left| right.iter().map(move |right| (left, right)));
    pairs.map(|(left, right)| left.and(right)).collect()
}

fn array<'s>(schema: &'s Value, keyword: &str) -> impl Iterator<Item = &'s Value> {
    schema
        .get(keyword)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

impl<'s> Shape<'s> {
    /// The keywords of a schema itself.
    fn of(schema: &'s Value) -> Self {
        let types = match schema.get("type") {
            Some(Value::String(name)) => Some(vec![name.as_str()]),
            Some(Value::Array(names)) => Some(names.iter().filter_map(Value::as_str).collect()),
            _ => None,
        };
        let values = match (schema.get("const"), schema.get("enum")) {
            (Some(value), _) => Some(vec![value]),
            (None, Some(Value::Array(values))) => Some(values.iter().collect()),
            _ => None,
        };
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        // A map with keys of a certain form: the form is the type's to check.
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let others = match schema
            .get("additionalProperties")
            .or(schema.get("unevaluatedProperties"))
        {
            Some(Value::Bool(false)) => match patterns.and_then(|map| map.values().next()) {
                Some(schema) => Others::Schema(schema),
                None => Others::None,
            },
            Some(schema @ Value::Object(_)) => Others::Schema(schema),
            _ => Others::Any,
        };
        Self {
            types,
            values,
            properties: properties
                .map(|(key, schema)| (key.as_str(), schema))
                .collect(),
            required: array(schema, "required")
                .filter_map(Value::as_str)
                .collect(),
            others,
            first_items: array(schema, "prefixItems").collect(),
            items: schema.get("items"),
            min_items: schema.get("minItems").and_then(Value::as_u64),
            max_items: schema.get("maxItems").and_then(Value::as_u64),
            minimum: schema.get("minimum"),
            maximum: schema.get("maximum"),
            format: schema.get("format").and_then(Value::as_str),
        }
    }

    /// Both at once. Keys add up, because the parts of a flattened type each know their own.
    fn and(&self, other: &Self) -> Self {
        let types = match (&self.types, &other.types) {
            (Some(left), Some(right)) => Some(
                left.iter()
                    .filter(|name| right.contains(name))
                    .copied()
                    .collect(),
            ),
            (left, right) => left.as_ref().or(right.as_ref()).cloned(),
        };
        let mut both = self.clone();
        both.types = types;
        both.values = other.values.clone().or(both.values);
        both.properties.extend(&other.properties);
        for key in &other.required {
            if !both.required.contains(key) {
                both.required.push(key);
            }
        }
        both.others = match (both.others, other.others) {
            (Others::Schema(schema), _) | (_, Others::Schema(schema)) => Others::Schema(schema),
            (Others::None, _) | (_, Others::None) => Others::None,
            (Others::Any, Others::Any) => Others::Any,
        };
        if both.first_items.is_empty() {
            both.first_items.clone_from(&other.first_items);
        }
        both.items = both.items.or(other.items);
        both.min_items = both.min_items.or(other.min_items);
        both.max_items = both.max_items.or(other.max_items);
        both.minimum = both.minimum.or(other.minimum);
        both.maximum = both.maximum.or(other.maximum);
        both.format = both.format.or(other.format);
        both
    }

    /// Whether values of a JSON type are allowed.
    pub(super) fn allows(&self, name: &str) -> bool {
        self.types
            .as_ref()
            .is_none_or(|types| types.contains(&name))
    }

    /// Whether every text is allowed, and not only because everything is.
    pub(super) fn takes_any_text(&self) -> bool {
        self.types.is_some() && self.allows("string") && self.values.is_none()
    }

    /// The schema of an item by its index.
    pub(super) fn item(&self, index: usize) -> &'s Value {
        self.first_items
            .get(index)
            .copied()
            .or(self.items)
            .unwrap_or(ANY)
    }

    /// What is wrong with the number of items.
    pub(super) fn wrong_length(&self, length: usize) -> Option<String> {
        let found = length as u64;
        if self.min_items.is_some_and(|least| found < least) {
            let least = self.min_items.unwrap_or_default();
            return Some(format!("expected at least {least} items, found {length}"));
        }
        let most = self.max_items.filter(|most| found > *most)?;
        Some(format!("expected at most {most} items, found {length}"))
    }

    /// The listed values that are texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'s str> {
        self.values
            .iter()
            .flatten()
            .filter_map(|value| value.as_str())
    }
}

/// What would be right, in words: `one of 'number' or 'text', or a mapping`.
pub(super) fn expected(shapes: &[Shape<'_>]) -> String {
    let mut words: Vec<String> = Vec::new();
    let texts: Vec<_> = shapes.iter().flat_map(Shape::texts).collect();
    if texts.len() > 1 {
        words.push(format!("one of {}", list(texts.iter().copied(), "or")));
    } else {
        words.extend(texts.iter().map(|text| format!("'{text}'")));
    }
    let scalars: [(&str, &str); 5] = [
        ("boolean", "true or false"),
        ("integer", "a whole number"),
        ("number", "a number"),
        ("string", "text"),
        ("array", "a list"),
    ];
    for (name, word) in scalars {
        let mut plain = shapes
            .iter()
            .filter(|shape| shape.values.is_none() && shape.allows(name));
        let Some(first) = plain.next() else { continue };
        if name == "string" && first.format == Some("duration") {
            words.push("a duration such as 250ms, 5s or 1m30s".to_owned());
        } else {
            words.push(word.to_owned());
        }
    }
    let mappings: Vec<_> = shapes
        .iter()
        .filter(|shape| shape.allows("object"))
        .collect();
    let mut keys: Vec<&str> = Vec::new();
    match mappings.as_slice() {
        [one] => keys.clone_from(&one.required),
        several => {
            for shape in several {
                // Mappings that are told apart by the value of a key all have it.
                keys.extend(shape.required.first().filter(|key| !keys.contains(key)));
            }
        }
    }
    match (mappings.is_empty(), keys.is_empty()) {
        (true, _) => {}
        (false, true) => words.push("a mapping".to_owned()),
        (false, false) if mappings.len() == 1 || keys.len() == 1 => {
            words.push(format!("a mapping with {}", list(keys, "and")));
        }
        (false, false) => words.push(format!("a mapping with one of {}", list(keys, "or"))),
    }
    if words.is_empty() {
        return "nothing".to_owned();
    }
    join(&words, if texts.len() > 1 { ", or " } else { " or " })
}

/// Names in quotes: `'a', 'b' and 'c'`.
pub(crate) fn list<'n>(names: impl IntoIterator<Item = &'n str>, last: &str) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("'{name}'")).collect();
    join(&names, &format!(" {last} "))
}

fn join(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{}{last}{end}", first.join(", ")),
    }
}
