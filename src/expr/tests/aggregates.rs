//! Expressions with aggregates.

use crate::expr::{AggregateCatalog, AggregateExpression, AggregateSignature};
use crate::model::aggregate::Argument;
use crate::model::{Column, DataType, Interner, Schema, Symbol};

use super::{columns, schema, show, show_error};

struct Catalog;

impl AggregateCatalog for Catalog {
    fn names(&self) -> &[&str] {
        &["count", "sum", "max", "share", "hashed"]
    }

    fn signature(
        &self,
        function: &str,
        _: bool,
        star: bool,
        arguments: &[Argument],
    ) -> Result<AggregateSignature, String> {
        let types: Vec<_> = arguments.iter().map(|known| known.data_type).collect();
        let constants: Vec<_> = arguments.iter().map(|known| known.constant).collect();
        let signature = |result, input| AggregateSignature {
            result,
            input,
            hashes_texts: function == "hashed",
        };
        match (function, star, types.as_slice()) {
            ("count", true, []) => Ok(signature(DataType::Number, None)),
            ("count" | "hashed", false, [_]) | ("sum", false, [DataType::Number]) => {
                Ok(signature(DataType::Number, Some(0)))
            }
            ("max", false, [data_type]) => Ok(signature(*data_type, Some(0))),
            ("share", false, [_, _]) if constants == [Some(-0.5), None] => {
                Ok(signature(DataType::Number, Some(1)))
            }
            _ => Err(format!("{function} takes one number")),
        }
    }
}

fn group_schema() -> Schema {
    let mut schema = Schema::new();
    schema.push("kind", DataType::Text);
    schema
}

fn aggregate(text: &str) -> Result<AggregateExpression, Vec<String>> {
    AggregateExpression::compile(text, &schema(), &group_schema(), &Catalog)
        .map_err(|errors| errors.iter().map(show_error).collect())
}

#[test]
fn aggregates_are_collected_once_and_finished() {
    let mut compiled =
        aggregate("SUM(a) / count(*) + sum( a ) * 2 + coalesce(length(kind), 100)").unwrap();
    assert_eq!(compiled.data_type(), DataType::Number);
    let names: Vec<&str> = compiled
        .calls
        .iter()
        .map(|call| call.function.as_str())
        .collect();
    assert_eq!(names, ["sum", "count"]);
    assert_eq!(compiled.calls[0].input.as_ref().unwrap().columns(), [0]);
    assert!(compiled.calls[1].input.is_none());

    let mut interner = Interner::new();
    let columns = [
        Column::Text(vec![interner.intern("EV"), Symbol::NULL]),
        Column::Number(vec![6.0, 8.0]),
        Column::Number(vec![3.0, 2.0]),
    ];
    let result = compiled.finish.evaluate(&columns, 2, &mut interner);
    assert_eq!(show(&result, &interner), "16 120");
}

#[test]
fn constants_are_told_apart_from_what_is_aggregated() {
    let compiled = aggregate("share(-1 / 2, b) + 1").unwrap();
    assert_eq!(compiled.calls[0].input.as_ref().unwrap().columns(), [1]);
    assert!(compiled.only_call().is_none());
    assert_eq!(
        aggregate("((sum(a)))")
            .unwrap()
            .only_call()
            .unwrap()
            .function,
        "sum"
    );
    assert!(aggregate("share(a, b)").is_err());
}

#[test]
fn texts_are_hashed_alike_by_every_interner() {
    let compiled = aggregate("hashed(kind)").unwrap();
    let hashes = |texts: &[&str]| {
        let mut interner = Interner::new();
        let mut symbols: Vec<_> = texts.iter().map(|text| interner.intern(text)).collect();
        symbols.push(Symbol::NULL);
        let mut columns = columns(&mut interner);
        columns[3] = Column::Text(symbols);
        let mut input = compiled.calls[0].input.clone().unwrap();
        let hashes = input.evaluate(&columns, texts.len() + 1, &mut interner);
        hashes.numbers().to_vec()
    };
    let (one, other) = (hashes(&["EV", "IC"]), hashes(&["IC", "EV"]));
    assert_eq!([one[0], one[1]], [other[1], other[0]]);
    assert_ne!(one[0], one[1]);
    assert_eq!(one[0], 8_358_265_772_130_749.0);
    assert!(one[2].is_nan());
}

#[test]
fn calls_keep_distinct_and_filter() {
    let compiled = aggregate(
        "count(DISTINCT kind) FILTER (WHERE a <> 0) - count(kind) FILTER (WHERE a <> 0) - count(kind)",
    )
    .unwrap();
    let parts: Vec<(bool, bool)> = compiled
        .calls
        .iter()
        .map(|call| (call.distinct, call.filter.is_some()))
        .collect();
    assert_eq!(parts, [(true, true), (false, true), (false, false)]);

    let mut interner = Interner::new();
    let columns = columns(&mut interner);
    let mut filter = compiled.calls[0].filter.clone().unwrap();
    let result = filter.evaluate(&columns, 4, &mut interner);
    assert_eq!(show(&result, &interner), "true true null null");
    assert_eq!(aggregate("max(kind)").unwrap().data_type(), DataType::Text);
}

#[test]
fn bad_aggregates_have_one_message() {
    let cases = [
        (
            "sum(a) + b",
            "9..10 field 'b' is used outside of an aggregate; put it inside of one, or group by it",
        ),
        (
            "sum(count(*))",
            "4..9 aggregate 'count' is inside of aggregate 'sum'; aggregates cannot be nested",
        ),
        (
            "count(*) FILTER (WHERE max(a) > 1)",
            "23..26 aggregate 'max' is inside of aggregate 'count'; aggregates cannot be nested",
        ),
        ("sum(kind)", "0..3 sum takes one number"),
        ("max(*)", "0..3 max takes one number"),
        (
            "summ(a)",
            "0..4 unknown function 'summ'; did you mean 'sum'?",
        ),
        (
            "sum(a) FILTER (WHERE a)",
            "21..22 FILTER (WHERE ...) needs a boolean, but 'a' is a number; write a comparison",
        ),
        (
            "max(kind) + 1",
            "0..9 '+' needs a number, but 'max(kind)' is a text; convert it by CAST(... AS number)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(aggregate(text).unwrap_err(), [expected], "{text}");
    }
}
