//! Arbitrary text as an expression: it is refused at a place within the text, or gives a value of
//! its type for every row, the same one each time, and never an infinity.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::expr::{
    AggregateCatalog, AggregateExpression, AggregateSignature, ExprError, Program,
};
use weir::model::aggregate::Argument;
use weir::model::{Column, DataType, Interner, Schema, Symbol, Trilean};
use weir::window::aggregate::{AggregateKind, NAMES};

const ROWS: usize = 5;

struct Catalog;

impl AggregateCatalog for Catalog {
    fn names(&self) -> &[&str] {
        &NAMES
    }

    fn signature(
        &self,
        function: &str,
        distinct: bool,
        star: bool,
        arguments: &[Argument],
    ) -> Result<AggregateSignature, String> {
        let kind = AggregateKind::of_call(function, distinct, star, arguments)?;
        Ok(AggregateSignature {
            result: kind.result_type(),
            input: kind.input(),
            hashes_texts: kind.hashes_texts(),
        })
    }
}

fn schema() -> Schema {
    let mut schema = Schema::new();
    schema.push("a", DataType::Number);
    schema.push("b", DataType::Number);
    schema.push("on", DataType::Boolean);
    schema.push("kind", DataType::Text);
    schema.push("other", DataType::Text);
    schema
}

fn columns(interner: &mut Interner) -> Vec<Column> {
    let null = f64::NAN;
    let mut texts = |texts: [Option<&str>; ROWS]| {
        texts
            .map(|text| text.map_or(Symbol::NULL, |text| interner.intern(text)))
            .to_vec()
    };
    let on = [
        Trilean::True,
        Trilean::False,
        Trilean::Null,
        Trilean::True,
        Trilean::Null,
    ];
    vec![
        Column::Number(vec![7.0, -2.5, null, f64::MAX, 0.0]),
        Column::Number(vec![2.0, null, -0.0, f64::MIN_POSITIVE, 1e15]),
        Column::Boolean(on.to_vec()),
        Column::Text(texts([
            Some("IC_rpm"),
            Some("EV"),
            Some(""),
            None,
            Some("日本é"),
        ])),
        Column::Text(texts([
            Some("12"),
            None,
            Some("-1e3"),
            Some("true"),
            Some("a%_\\"),
        ])),
    ]
}

fn check_errors(errors: &[ExprError], text: &str) {
    assert!(!errors.is_empty(), "refused without a reason");
    for error in errors {
        assert!(!error.message.is_empty());
        assert!(
            text.get(error.start..error.end).is_some(),
            "{error:?} is not within the text"
        );
    }
}

/// NaN is NULL, so columns are compared by what they print.
fn shown(column: &Column, interner: &Interner) -> String {
    match column {
        Column::Text(symbols) => {
            let text = |symbol: &Symbol| (!symbol.is_null()).then(|| interner.text(*symbol));
            format!("{:?}", symbols.iter().map(text).collect::<Vec<_>>())
        }
        column => format!("{column:?}"),
    }
}

fn check_program(mut program: Program) {
    let mut interner = Interner::new();
    let columns = columns(&mut interner);
    let first = program.evaluate(&columns, ROWS, &mut interner).into_owned();
    assert_eq!(first.data_type(), program.data_type());
    assert_eq!(first.len(), ROWS);
    assert!(
        first.numbers().iter().all(|value| !value.is_infinite()),
        "{first:?}"
    );
    let first_shown = shown(&first, &interner);
    let again = program.evaluate(&columns, ROWS, &mut interner).into_owned();
    assert_eq!(
        first_shown,
        shown(&again, &interner),
        "the memory changes no result"
    );
    let mut clone = program.clone();
    let cloned = clone.evaluate(&columns, ROWS, &mut interner).into_owned();
    assert_eq!(
        first_shown,
        shown(&cloned, &interner),
        "a clone gives the same"
    );
    assert_eq!(program.evaluate(&columns, 0, &mut interner).len(), 0);
    assert!(
        program
            .columns()
            .iter()
            .all(|column| *column < columns.len())
    );
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let schema = schema();
    match Program::compile(text, &schema) {
        Ok(program) => check_program(program),
        Err(errors) => check_errors(&errors, text),
    }
    let mut groups = Schema::new();
    groups.push("kind", DataType::Text);
    match AggregateExpression::compile(text, &schema, &groups, &Catalog) {
        Err(errors) => check_errors(&errors, text),
        Ok(expression) => {
            for call in expression.calls {
                call.input
                    .into_iter()
                    .chain(call.filter)
                    .for_each(check_program);
            }
        }
    }
});
