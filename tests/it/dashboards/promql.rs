//! As much of PromQL as it takes to see which series an expression is about.

use std::collections::BTreeSet;

/// Words that are neither series nor functions.
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];
/// Words before a list of labels in parentheses.
const MODIFIERS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// The names of the series that an expression reads.
pub(super) fn series_names(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '{' || first == '[' || first == '"' {
            rest = after_enclosed(rest);
            continue;
        }
        // A number takes its unit along: the m of 5m is no name.
        if !is_word(first) {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest
            .find(|character| !is_word(character))
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after.trim_start();
        if MODIFIERS.contains(&word) {
            if rest.starts_with('(') {
                rest = after_enclosed(rest);
            }
            continue;
        }
        let is_aggregation = ["by ", "by(", "without ", "without("]
            .iter()
            .any(|modifier| rest.starts_with(modifier));
        let is_call = rest.starts_with('(') || is_aggregation;
        if !is_call && !first.is_ascii_digit() && !OPERATORS.contains(&word) {
            names.insert(word.to_owned());
        }
    }
    names
}

/// The labels that an expression groups by.
pub(super) fn grouping_labels(expression: &str) -> BTreeSet<&str> {
    let lists = expression
        .split(" by (")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    lists
        .flat_map(|(labels, _)| labels.split(','))
        .map(str::trim)
        .collect()
}

/// An alert's expression in two: what is measured, and the limit that it must be above.
pub(super) fn measured_and_limit(expression: &str) -> Option<(&str, f64)> {
    let (measured, limit) = expression.rsplit_once(" > ")?;
    Some((measured, limit.trim().parse().ok()?))
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == ':'
}

/// What follows the bracket, brace, parenthesis or quotation mark that `text` begins with, up to and
/// with its counterpart. Quoted text within may hold anything.
fn after_enclosed(text: &str) -> &str {
    let close = match text.chars().next() {
        Some('{') => '}',
        Some('[') => ']',
        Some('(') => ')',
        _ => '"',
    };
    let mut quoted = close == '"';
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == close && (!quoted || close == '"') {
            return &text[index + character.len_utf8()..];
        } else if character == '"' {
            quoted = !quoted;
        }
    }
    ""
}

#[test]
fn only_series_are_named() {
    let names = |expression| {
        series_names(expression)
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        names("sum by (region) (rate(a_total{b=\"c}d\\\"e\"}[5m])) / on (f) 1e3"),
        "a_total"
    );
    assert_eq!(
        names("1 - min(up) > 0 or vector(0) unless x:y offset 5m"),
        "up x:y"
    );
    assert_eq!(
        names("count without(a) (b) * on (c) group_left (d) e{}"),
        "b e"
    );
    assert_eq!(names("a == bool 0 and \"text\""), "a");
    assert_eq!(names("max_over_time(timestamp(a)[1h:15s])"), "a");
}

#[test]
fn labels_are_found_by_which_is_grouped() {
    let labels = grouping_labels("sum by (a, b) (x) / on (c) max by (d) (y{by=\"(e)\"})");
    assert_eq!(labels, BTreeSet::from(["a", "b", "d"]));
}

#[test]
fn the_limit_is_after_the_last_comparison() {
    assert_eq!(
        measured_and_limit("time() - (a > 0) > 60"),
        Some(("time() - (a > 0)", 60.0))
    );
    assert_eq!(measured_and_limit("a > b"), None);
    assert_eq!(measured_and_limit("a"), None);
}
