//! Tests over whole expressions.

mod aggregates;
mod faults;
mod functions;
mod oracle;
mod programs;
mod property;
mod values;

use crate::model::{Column, DataType, Interner, Schema, Symbol, Trilean};

use super::ExprError;

fn schema() -> Schema {
    let mut schema = Schema::new();
    schema.push("a", DataType::Number);
    schema.push("b", DataType::Number);
    schema.push("on", DataType::Boolean);
    schema.push("kind", DataType::Text);
    schema.push("other", DataType::Text);
    schema.push("a.b", DataType::Number);
    schema
}

/// Four rows: usual values, NULL on the right, NULL on the left, all NULL.
fn columns(interner: &mut Interner) -> Vec<Column> {
    let null = f64::NAN;
    let (ic, ev) = (interner.intern("IC_rpm"), interner.intern("EV"));
    vec![
        Column::Number(vec![7.0, -2.5, null, null]),
        Column::Number(vec![2.0, null, 0.0, null]),
        Column::Boolean(vec![
            Trilean::True,
            Trilean::False,
            Trilean::False,
            Trilean::Null,
        ]),
        Column::Text(vec![ic, ev, interner.intern(""), Symbol::NULL]),
        Column::Text(vec![ev, Symbol::NULL, ic, Symbol::NULL]),
        Column::Number(vec![1.0, 2.0, 3.0, null]),
    ]
}

fn show(column: &Column, interner: &Interner) -> String {
    let values: Vec<String> = match column {
        Column::Number(values) => values
            .iter()
            .map(|value| {
                if value.is_nan() {
                    "null".into()
                } else {
                    value.to_string()
                }
            })
            .collect(),
        Column::Boolean(values) => values
            .iter()
            .map(|value| format!("{value:?}").to_lowercase())
            .collect(),
        Column::Text(values) => values
            .iter()
            .map(|symbol| match symbol.is_null() {
                true => "null".into(),
                false => format!("'{}'", interner.text(*symbol)),
            })
            .collect(),
    };
    values.join(" ")
}

fn show_error(
    ExprError {
        message,
        start,
        end,
    }: &ExprError,
) -> String {
    format!("{start}..{end} {message}")
}
