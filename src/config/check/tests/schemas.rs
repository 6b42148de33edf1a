//! Schemas as they are, without a type behind them.

use super::*;

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let schema =
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "anyOf": [{ "$ref": "#/$defs/a" }] } } });
    let mut problems = Problems::new("x.yaml", "a: 1");
    let document = Document::parse("a: 1", &variables, &mut problems).unwrap();
    assert_eq!(
        check(&document, &schema, &mut problems),
        Some(json!({ "a": 1 }))
    );
}

/// What a schema makes of a document of one scalar.
fn typed(schema: &Value, text: &str) -> Result<Value, String> {
    let mut problems = Problems::new("x.yaml", text);
    let document = Document::parse(text, &variables, &mut problems);
    document
        .and_then(|document| check(&document, schema, &mut problems))
        .ok_or(problems.to_string())
}

#[test]
fn null_is_a_text_only_where_it_is_listed() {
    let words = json!({ "type": "string", "enum": ["null", "drop"] });
    assert_eq!(typed(&words, "null"), Ok(json!("null")));
    assert_eq!(typed(&words, "'null'"), Ok(json!("null")));
    assert_eq!(
        typed(&words, "~"),
        Err("x.yaml:1:1: expected one of 'null' or 'drop', found nothing".to_owned())
    );
    assert_eq!(
        typed(&json!({ "type": "string" }), "null"),
        Err("x.yaml:1:1: expected text, found nothing".to_owned())
    );
}

#[test]
fn a_text_that_looks_like_a_number_stays_as_it_is_written_where_both_are_allowed() {
    let secret = json!({ "type": ["string", "number", "boolean"] });
    for (text, expected) in [
        ("5", json!(5)),
        ("0123", json!("0123")),
        ("1.50", json!("1.50")),
        ("+5", json!("+5")),
        ("1e3", json!("1e3")),
        (
            "123456789012345678901234",
            json!("123456789012345678901234"),
        ),
        ("True", json!("True")),
        ("true", json!(true)),
        ("'5'", json!("5")),
    ] {
        assert_eq!(typed(&secret, text), Ok(expected), "{text}");
    }
    assert_eq!(typed(&Value::Bool(true), "0123"), Ok(json!(123)));
    assert_eq!(typed(&Value::Bool(true), "0x"), Ok(json!("0x")));
}
