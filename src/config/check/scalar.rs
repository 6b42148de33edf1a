//! Scalars as the schema wants them.

use serde_json::{Number, Value};

use super::shape::{self, Shape};
use super::suggest;
use crate::config::document::{Kind, Node, Scalar, Style};
use crate::model::Duration;

/// A scalar as one of the alternatives that a schema allows. Where text is wanted, a scalar without
/// quotes is taken as its text whatever it looks like, except for `null` and its like, which must
/// be among the listed texts.
///
/// The error says what was expected.
pub(super) fn convert(scalar: &Scalar, shapes: &[Shape<'_>]) -> Result<Value, String> {
    let mut refusal = None;
    for reading in readings(scalar) {
        if loses_text(&reading, scalar) && shapes.iter().any(Shape::takes_any_text) {
            continue;
        }
        let only_listed = reading.is_string() && scalar.is_null() && !scalar.substituted;
        for shape in shapes
            .iter()
            .filter(|shape| !only_listed || shape.values.is_some())
        {
            match fit(&reading, shape) {
                Fit::Yes => return Ok(reading),
                Fit::No => {}
                Fit::Refused(message) => refusal = refusal.or(Some(message)),
            }
        }
    }
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let expected = shape::expected(shapes);
    Err(format!(
        "expected {expected}, found {}{}",
        found(scalar),
        hint(scalar, shapes)
    ))
}

/// What a node is, in words: `a mapping`, `the number 5`, `text 'abc'`.
pub(super) fn describe(node: &Node) -> String {
    match &node.kind {
        Kind::Mapping(_) => "a mapping".to_owned(),
        Kind::Sequence(_) => "a list".to_owned(),
        Kind::Scalar(scalar) => found(scalar),
        Kind::Unresolved => "a variable without a value".to_owned(),
    }
}

/// The beginning of a text, for a message of one line.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}…")
}

fn found(scalar: &Scalar) -> String {
    match readings(scalar).first() {
        Some(Value::Null) => "nothing".to_owned(),
        Some(Value::Bool(value)) => format!("the truth value {value}"),
        Some(Value::Number(_)) => format!("the number {}", shorten(&scalar.text)),
        _ => format!("text '{}'", shorten(&scalar.text)),
    }
}

/// What would help against misspelt names, quotes and forgotten brackets.
fn hint(scalar: &Scalar, shapes: &[Shape<'_>]) -> String {
    if let Some(name) = suggest(&scalar.text, shapes.iter().flat_map(Shape::texts)) {
        return format!("; did you mean '{name}'?");
    }
    let quoted = matches!(scalar.style, Style::SingleQuoted | Style::DoubleQuoted);
    if quoted && !scalar.substituted {
        let plain = Scalar {
            style: Style::Plain,
            ..scalar.clone()
        };
        let fits = readings(&plain).iter().any(|reading| {
            !reading.is_null()
                && shapes
                    .iter()
                    .any(|shape| matches!(fit(reading, shape), Fit::Yes))
        });
        return if fits { "; remove the quotes" } else { "" }.to_owned();
    }
    let only_lists = shapes
        .iter()
        .all(|shape| shape.allows("array") && !shape.allows("string"));
    if only_lists && !shapes.is_empty() && !scalar.is_null() && scalar.style == Style::Plain {
        return format!("; write [{}]", shorten(&scalar.text));
    }
    String::new()
}

/// What a scalar may stand for, the most specific first (YAML's core schema).
fn readings(scalar: &Scalar) -> Vec<Value> {
    let text = Value::String(scalar.text.clone());
    if !scalar.is_plain() {
        return vec![text];
    }
    if scalar.is_null() {
        return vec![Value::Null, text];
    }
    match scalar.text.as_str() {
        "true" | "True" | "TRUE" => vec![Value::Bool(true), text],
        "false" | "False" | "FALSE" => vec![Value::Bool(false), text],
        other => match number(other) {
            Some(number) => vec![Value::Number(number), text],
            None => vec![text],
        },
    }
}

/// Whether a number or truth value would not be printed as it is written: `0123`, `1.50`, `True`.
/// A password may look like that, and must stay as it is where text is allowed as well.
fn loses_text(reading: &Value, scalar: &Scalar) -> bool {
    let printed = reading.to_string();
    (reading.is_number() || reading.is_boolean()) && printed != scalar.text
}

fn number(text: &str) -> Option<Number> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text
            .strip_prefix(prefix)
            .filter(|digits| !digits.starts_with('+'))
        {
            return u64::from_str_radix(digits, radix).ok().map(Number::from);
        }
    }
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    if !text.chars().all(is_number) {
        return None;
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    Number::from_f64(text.parse().ok()?)
}

/// Whether an alternative takes a reading.
enum Fit {
    Yes,
    No,
    /// The type is right and the value is not.
    Refused(String),
}

fn fit(reading: &Value, shape: &Shape<'_>) -> Fit {
    let allowed = match reading {
        Value::Null => shape.allows("null"),
        Value::Bool(_) => shape.allows("boolean"),
        Value::Number(number) => {
            shape.allows("number") || (shape.allows("integer") && !number.is_f64())
        }
        _ => shape.allows("string"),
    };
    let listed = shape
        .values
        .as_ref()
        .is_none_or(|values| values.contains(&reading));
    if !allowed || !listed {
        return Fit::No;
    }
    match reading {
        Value::Number(number) => match out_of_range(number, shape) {
            Some(message) => Fit::Refused(message),
            None => Fit::Yes,
        },
        Value::String(text) if shape.format == Some("duration") => match text.parse::<Duration>() {
            Ok(_) => Fit::Yes,
            Err(error) => Fit::Refused(error.to_string()),
        },
        _ => Fit::Yes,
    }
}

fn out_of_range(number: &Number, shape: &Shape<'_>) -> Option<String> {
    let (least, most) = range_of(shape.format);
    let least = shape.minimum.and_then(Value::as_number).cloned().or(least);
    let most = shape.maximum.and_then(Value::as_number).cloned().or(most);
    if let Some(least) = least.filter(|least| is_less(number, least)) {
        return Some(format!(
            "expected a number of at least {least}, found {number}"
        ));
    }
    let most = most.filter(|most| is_less(most, number))?;
    Some(format!(
        "expected a number of at most {most}, found {number}"
    ))
}

/// The limits of Rust's types, which a schema gives as a format.
fn range_of(format: Option<&str>) -> (Option<Number>, Option<Number>) {
    match format {
        Some("int32") => (Some(i32::MIN.into()), Some(i32::MAX.into())),
        Some("int64" | "int") => (Some(i64::MIN.into()), Some(i64::MAX.into())),
        Some("uint32") => (Some(0.into()), Some(u32::MAX.into())),
        Some("uint64" | "uint") => (Some(0.into()), None),
        _ => (None, None),
    }
}

/// Compares whole numbers exactly.
fn is_less(left: &Number, right: &Number) -> bool {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => left < right,
        _ => left.as_f64() < right.as_f64(),
    }
}
