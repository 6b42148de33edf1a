//! The whole table of functions.

use proptest::prelude::*;

use crate::expr::Program;
use crate::expr::function::Signature;
use crate::expr::table::FUNCTIONS;
use crate::model::{Column, DataType, Interner, Schema, Symbol, Trilean};

use super::show;

/// Constants that the functions that need one take; each function takes some of them.
const CONSTANTS: [&str; 11] = [
    "'(a)|b'",
    "'x\\1'",
    "1",
    "'i'",
    "'Europe/Berlin'",
    "'month'",
    "'hour'",
    "'%Y-%j %A'",
    "'km'",
    "'mi'",
    "'F'",
];

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => prop::sample::select(vec![
            f64::NAN,
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            63.0,
            64.0,
            90.0,
            9_007_199_254_740_992.0,
            -9_007_199_254_740_992.0,
            1.8e19,
            253_402_300_799_000.0,
            -377_705_116_800_000.0,
            1_730_621_745_000.0,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
        ]),
        1 => any::<f64>().prop_filter("inputs are finite or NULL", |x| !x.is_infinite()),
        1 => -100.0..100.0,
    ]
}

fn text() -> impl Strategy<Value = Option<String>> {
    let known = vec![
        "",
        " ",
        "a",
        "ab ba",
        "0xFF",
        "ffffffffffffffffff",
        "Zoë",
        "日本",
        "\0",
        "%",
    ];
    prop_oneof![
        1 => Just(None),
        4 => prop::sample::select(known).prop_map(|text| Some(text.to_owned())),
        1 => Just(Some("é".repeat(40_000))),
        2 => ".{0,12}".prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn no_function_panics_or_gives_an_infinity(
        numbers in prop::collection::vec(number(), 20),
        booleans in prop::collection::vec(0..3_usize, 20),
        texts in prop::collection::vec(text(), 20),
    ) {
        let rows = 5;
        let mut interner = Interner::new();
        let mut schema = Schema::new();
        let mut columns = Vec::new();
        for place in 0..4 {
            let at = place * rows..(place + 1) * rows;
            let truths = [Trilean::True, Trilean::False, Trilean::Null];
            let symbols: Vec<Symbol> = texts[at.clone()]
                .iter()
                .map(|text| text.as_ref().map_or(Symbol::NULL, |text| interner.intern(text)))
                .collect();
            for column in [
                Column::Number(numbers[at.clone()].to_vec()),
                Column::Boolean(booleans[at.clone()].iter().map(|truth| truths[*truth]).collect()),
                Column::Text(symbols),
            ] {
                schema.push(format!("{}{place}", column.data_type().name()), column.data_type());
                columns.push(column);
            }
        }
        for function in FUNCTIONS {
            let calls = calls(&function.signature, function.name, function.arity());
            let mut programs: Vec<Program> = calls
                .iter()
                .filter_map(|call| Program::compile(call, &schema).ok())
                .collect();
            prop_assert!(!programs.is_empty(), "{:?}", calls);
            for program in &mut programs {
                let result = program.evaluate(&columns, rows, &mut interner).into_owned();
                prop_assert_eq!(result.len(), rows);
                prop_assert_eq!(result.data_type(), program.data_type());
                prop_assert!(result.numbers().iter().all(|x| !x.is_infinite()), "{:?}", calls);
            }
        }
    }
}

/// Calls with all numbers of arguments, of which those with fields always compile.
fn calls(signature: &Signature, name: &str, (least, most): (usize, usize)) -> Vec<String> {
    let mut calls = Vec::new();
    let fields = |types: &[DataType]| -> Vec<String> {
        let field = |(place, data_type): (usize, &DataType)| format!("{}{place}", data_type.name());
        types.iter().enumerate().map(field).collect()
    };
    for count in least..=most.min(4) {
        match signature {
            Signature::Fixed { takes, .. } => {
                calls.push(format!("{name}({})", fields(&takes[..count]).join(", ")));
            }
            Signature::Many { of, .. } => {
                calls.push(format!("{name}({})", fields(&vec![*of; count]).join(", ")));
            }
            Signature::Same { .. } => {
                for of in [DataType::Number, DataType::Boolean, DataType::Text] {
                    calls.push(format!("{name}({})", fields(&vec![of; count]).join(", ")));
                }
            }
            Signature::Prepared { takes, varying, .. } => {
                let mut lists = vec![Vec::new()];
                for (place, field) in fields(&takes[..count]).into_iter().enumerate() {
                    let choices: Vec<String> = if place == *varying {
                        vec![field]
                    } else {
                        CONSTANTS.map(str::to_owned).to_vec()
                    };
                    lists = lists
                        .into_iter()
                        .flat_map(|list: Vec<String>| {
                            choices.iter().map(move |choice| {
                                let mut list = list.clone();
                                list.push(choice.clone());
                                list
                            })
                        })
                        .collect();
                }
                // Three constants would be very many calls.
                let step = if count > 3 { 37 } else { 1 };
                calls.extend(
                    lists
                        .iter()
                        .step_by(step)
                        .map(|list| format!("{name}({})", list.join(", "))),
                );
            }
        }
    }
    calls
}

#[test]
fn the_table_is_in_order_and_names_itself() {
    assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
    for function in FUNCTIONS {
        let (least, most) = function.arity();
        assert!(least <= most, "{}", function.name);
        assert!(function.usage.starts_with(&format!("{}(", function.name)));
    }
}

#[test]
fn constants_are_computed_when_compiled() {
    let schema = Schema::new();
    for text in [
        "regexp_replace('V12', '[0-9]+', 'x')",
        "convert(10, 'mi', 'km')",
        "pi() * 2",
        "substring('abc' FROM 2)",
        "date_trunc('hour', parse_time('2024-11-03T08:15:45Z'), 'Europe/Berlin')",
        "1 << 4 | 1",
    ] {
        let program = Program::compile(text, &schema).unwrap();
        let shown = format!("{program:?}");
        assert!(
            shown.contains("Literal(") && !shown.contains("Apply"),
            "{text}: {shown}"
        );
    }
}

#[test]
fn texts_are_made_once_for_each_different_text() {
    let mut schema = Schema::new();
    schema.push("s", DataType::Text);
    for text in [
        "regexp_replace(s, '([0-9])', '<\\1>', 'g')",
        "lpad(trim(s), 9, '*')",
        "concat_ws('/', s, split_part(s, '-', 2), 'x')",
        "length(replace(s, 'V', 'vehicle'))",
        "contains(s, '9') AND regexp_like(s, 'v', 'i')",
    ] {
        let program = Program::compile(text, &schema).unwrap();
        let shown = format!("{program:?}");
        assert!(
            shown.starts_with("Program { node: Memo("),
            "{text}: {shown}"
        );
    }

    let mut program = Program::compile("lpad(s, 9, '*')", &schema).unwrap();
    let mut interner = Interner::new();
    let texts: Vec<Symbol> = (0..1_000)
        .map(|row| interner.intern(&format!("V-{}", row % 10)))
        .collect();
    let columns = [Column::Text(texts)];
    let before = interner.len();
    program.evaluate(&columns, 1_000, &mut interner);
    // Ten results and the filling.
    assert_eq!(interner.len() - before, 11);
    program.evaluate(&columns, 1_000, &mut interner);
    assert_eq!(interner.len() - before, 11);
}

#[test]
fn no_text_outgrows_the_limit() {
    let mut schema = Schema::new();
    schema.push("s", DataType::Text);
    let mut interner = Interner::new();
    let long = interner.intern(&"a".repeat(40_000));
    let columns = [Column::Text(vec![long])];
    for text in [
        "s || s",
        "concat_ws('', s, s)",
        "replace(s, 'a', 'aa')",
        "regexp_replace(s, 'a', 'aa', 'g')",
        "lpad(s, 1e300)",
        "rpad('é', 40000, 'é')",
    ] {
        let mut program = Program::compile(text, &schema).unwrap();
        let result = program.evaluate(&columns, 1, &mut interner).into_owned();
        assert_eq!(show(&result, &interner), "null", "{text}");
    }
}

#[test]
fn days_begin_where_the_clocks_say() {
    let schema = Schema::new();
    let cases = [
        // The clocks of Havana go back from 1:00 to 0:00: the day begins with the first midnight.
        (
            "2024-11-03T04:30:00Z",
            "America/Havana",
            "day",
            "2024-11-03T04:00:00Z",
        ),
        (
            "2024-11-03T05:30:00Z",
            "America/Havana",
            "day",
            "2024-11-03T04:00:00Z",
        ),
        // Those of São Paulo skipped midnight.
        (
            "2018-11-04T12:00:00Z",
            "America/Sao_Paulo",
            "day",
            "2018-11-04T03:00:00Z",
        ),
        (
            "2024-03-31T12:00:00Z",
            "Europe/Berlin",
            "week",
            "2024-03-24T23:00:00Z",
        ),
        (
            "2024-04-01T12:00:00Z",
            "Europe/Berlin",
            "quarter",
            "2024-03-31T22:00:00Z",
        ),
        (
            "2024-06-01T12:00:00Z",
            "Asia/Kathmandu",
            "hour",
            "2024-06-01T11:15:00Z",
        ),
        (
            "2024-06-01T12:00:00Z",
            "UTC",
            "year",
            "2024-01-01T00:00:00Z",
        ),
    ];
    for (time, zone, unit, expected) in cases {
        let text = format!("format_time(date_trunc('{unit}', parse_time('{time}'), '{zone}'))");
        let mut program = Program::compile(&text, &schema).unwrap();
        let mut interner = Interner::new();
        let result = program.evaluate(&[], 1, &mut interner).into_owned();
        assert_eq!(show(&result, &interner), format!("'{expected}'"), "{text}");
    }
}
