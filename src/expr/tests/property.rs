//! Vectorised evaluation against the naive evaluator, over generated trees.

use proptest::prelude::*;

use crate::expr::Program;
use crate::model::{Column, DataType, Interner, Schema, Symbol, Trilean};

use super::oracle::Value::{self, Boolean, Null, Number, Text};
use super::oracle::{BOOLEANS, NUMBERS, Row, TEXTS, Tree};

fn number_value() -> impl Strategy<Value = f64> + Clone {
    prop::sample::select(vec![0.0, 1.0, 2.0, -1.0, 0.5, -3.5, 7.0, 1e200])
}

fn text_value() -> impl Strategy<Value = String> + Clone {
    prop::sample::select(vec!["", "a", "A", "ab", "Ba", "ü", "a%", "_b"]).prop_map(str::to_owned)
}

fn leaf(data_type: DataType) -> BoxedStrategy<Tree> {
    let null = Just(Tree::Constant(Null));
    let value = match data_type {
        DataType::Number => number_value().prop_map(Number).boxed(),
        DataType::Boolean => any::<bool>().prop_map(Boolean).boxed(),
        DataType::Text => text_value().prop_map(Text).boxed(),
    };
    let fields = match data_type {
        DataType::Number => NUMBERS,
        DataType::Boolean => BOOLEANS,
        DataType::Text => TEXTS,
    };
    let field = prop::sample::select(fields.to_vec()).prop_map(Tree::Field);
    prop_oneof![6 => field, 3 => value.prop_map(Tree::Constant), 1 => null].boxed()
}

fn tree(data_type: DataType, depth: u32) -> BoxedStrategy<Tree> {
    if depth == 0 {
        return leaf(data_type);
    }
    let of = |data_type| tree(data_type, depth - 1);
    let own = match data_type {
        DataType::Number => number_tree(depth),
        DataType::Boolean => boolean_tree(depth),
        DataType::Text => text_tree(depth),
    };
    let condition = || of(DataType::Boolean);
    let case = (
        prop::collection::vec((condition(), of(data_type)), 1..3),
        of(data_type),
    )
        .prop_map(|(pairs, otherwise)| Tree::Case(pairs, Box::new(otherwise)));
    let switch = any_type().prop_flat_map(move |operand| {
        let pair = (tree(operand, depth - 1), tree(data_type, depth - 1));
        (tree(operand, depth - 1), prop::collection::vec(pair, 1..3))
            .prop_map(|(operand, pairs)| Tree::Switch(Box::new(operand), pairs))
    });
    let coalesce = prop::collection::vec(of(data_type), 1..4)
        .prop_map(|arguments| Tree::Call("coalesce", arguments));
    let nullif =
        [of(data_type), of(data_type)].prop_map(|arguments| Tree::Call("nullif", arguments.into()));
    prop_oneof![2 => leaf(data_type), 6 => own, 1 => case, 1 => switch, 1 => coalesce, 1 => nullif]
        .boxed()
}

fn any_type() -> impl Strategy<Value = DataType> {
    prop::sample::select(vec![DataType::Number, DataType::Boolean, DataType::Text])
}

fn two(names: &'static [&'static str], of: BoxedStrategy<Tree>) -> BoxedStrategy<Tree> {
    (prop::sample::select(names), of.clone(), of)
        .prop_map(|(name, x, y)| Tree::Binary(name, Box::new(x), Box::new(y)))
        .boxed()
}

fn calls(
    names: &'static [&'static str],
    of: BoxedStrategy<Tree>,
    count: usize,
) -> BoxedStrategy<Tree> {
    (
        prop::sample::select(names),
        prop::collection::vec(of, count),
    )
        .prop_map(|(name, arguments)| Tree::Call(name, arguments))
        .boxed()
}

/// Calls with a text and so many numbers.
fn mixed(
    names: &'static [&'static str],
    text: BoxedStrategy<Tree>,
    number: BoxedStrategy<Tree>,
    count: usize,
) -> BoxedStrategy<Tree> {
    (
        prop::sample::select(names),
        text,
        prop::collection::vec(number, count),
    )
        .prop_map(|(name, text, numbers)| {
            Tree::Call(name, std::iter::once(text).chain(numbers).collect())
        })
        .boxed()
}

fn number_tree(depth: u32) -> BoxedStrategy<Tree> {
    let of = || tree(DataType::Number, depth - 1);
    prop_oneof![
        two(&["+", "-", "*", "/", "%"], of()),
        of().prop_map(|x| Tree::Unary("-", Box::new(x))),
        calls(
            &["abs", "floor", "ceil", "sqrt", "ln", "exp", "sign", "trunc"],
            of(),
            1
        ),
        calls(&["power", "mod", "least", "greatest"], of(), 2),
        calls(&["clamp"], of(), 3),
        two(&["&", "|", "<<", ">>"], of()),
        calls(&["bit_xor", "bit_and"], of(), 2),
        calls(&["length"], tree(DataType::Text, depth - 1), 1),
        calls(&["strpos"], tree(DataType::Text, depth - 1), 2),
    ]
    .boxed()
}

fn text_tree(depth: u32) -> BoxedStrategy<Tree> {
    let of = || tree(DataType::Text, depth - 1);
    let of_number = || tree(DataType::Number, depth - 1);
    prop_oneof![
        two(&["||"], of()),
        calls(&["lower", "upper", "reverse", "trim"], of(), 1),
        calls(&["concat", "replace"], of(), 3),
        calls(&["trim"], of(), 2),
        mixed(
            &["left", "right", "substring", "lpad", "rpad"],
            of(),
            of_number(),
            1
        ),
        mixed(&["substring"], of(), of_number(), 2),
    ]
    .boxed()
}

fn boolean_tree(depth: u32) -> BoxedStrategy<Tree> {
    let boolean = || tree(DataType::Boolean, depth - 1);
    let tests = prop::sample::select(vec!["IS TRUE", "IS NOT FALSE"]);
    prop_oneof![
        two(
            &["=", "<>", "<", "<=", ">", ">="],
            tree(DataType::Number, depth - 1)
        ),
        two(
            &["=", "<>", "<", "<=", ">", ">=", "LIKE"],
            tree(DataType::Text, depth - 1)
        ),
        calls(
            &["starts_with", "ends_with", "contains"],
            tree(DataType::Text, depth - 1),
            2
        ),
        calls(&["bit_test"], tree(DataType::Number, depth - 1), 2),
        two(&["=", "<>", "AND", "OR"], boolean()),
        boolean().prop_map(|x| Tree::Unary("NOT", Box::new(x))),
        (boolean(), tests).prop_map(|(x, test)| Tree::Test(Box::new(x), test)),
        null_test(depth),
        membership(depth),
        range(DataType::Number, depth),
        range(DataType::Text, depth),
    ]
    .boxed()
}

fn null_test(depth: u32) -> BoxedStrategy<Tree> {
    let tests = prop::sample::select(vec!["IS NULL", "IS NOT NULL"]);
    any_type()
        .prop_flat_map(move |data_type| tree(data_type, depth - 1))
        .prop_flat_map(move |x| {
            tests
                .clone()
                .prop_map(move |test| Tree::Test(x.clone().into(), test))
        })
        .boxed()
}

fn membership(depth: u32) -> BoxedStrategy<Tree> {
    any_type()
        .prop_flat_map(move |data_type| {
            let item = prop_oneof![2 => leaf(data_type), 1 => tree(data_type, depth - 1)];
            (
                tree(data_type, depth - 1),
                prop::collection::vec(item, 1..5),
            )
        })
        .prop_map(|(x, list)| Tree::In(Box::new(x), list))
        .boxed()
}

fn range(data_type: DataType, depth: u32) -> BoxedStrategy<Tree> {
    let of = || tree(data_type, depth - 1);
    [of(), of(), of()]
        .prop_map(|[x, low, high]| Tree::Between(Box::new(x), Box::new(low), Box::new(high)))
        .boxed()
}

fn field(
    name: &'static str,
    value: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<(&'static str, Value)> {
    prop_oneof![1 => Just(Null), 4 => value]
        .prop_map(move |value| (name, value))
        .boxed()
}

fn row() -> impl Strategy<Value = Row> {
    let fields: Vec<_> = NUMBERS
        .map(|name| field(name, number_value().prop_map(Number)))
        .into_iter()
        .chain(BOOLEANS.map(|name| field(name, any::<bool>().prop_map(Boolean))))
        .chain(TEXTS.map(|name| field(name, text_value().prop_map(Text))))
        .collect();
    fields
}

fn to_columns(rows: &[Row], interner: &mut Interner) -> (Schema, Vec<Column>) {
    let mut schema = Schema::new();
    let mut columns = Vec::new();
    for name in NUMBERS.iter().chain(&BOOLEANS).chain(&TEXTS) {
        let values = || {
            rows.iter()
                .map(|row| &row.iter().find(|(field, _)| field == name).unwrap().1)
        };
        let column = if NUMBERS.contains(name) {
            Column::Number(
                values()
                    .map(|value| if let Number(x) = value { *x } else { f64::NAN })
                    .collect(),
            )
        } else if BOOLEANS.contains(name) {
            let boolean = |value: &Value| match value {
                Boolean(x) => Trilean::from(*x),
                _ => Trilean::Null,
            };
            Column::Boolean(values().map(boolean).collect())
        } else {
            let mut text = |value: &Value| match value {
                Text(x) => interner.intern(x),
                _ => Symbol::NULL,
            };
            Column::Text(values().map(&mut text).collect())
        };
        schema.push(*name, column.data_type());
        columns.push(column);
    }
    (schema, columns)
}

fn value_at(column: &Column, row: usize, interner: &Interner) -> Value {
    match column {
        Column::Number(values) if values[row].is_nan() => Null,
        Column::Number(values) => Number(values[row]),
        Column::Boolean(values) => match values[row] {
            Trilean::Null => Null,
            value => Boolean(value.is_true()),
        },
        Column::Text(values) if values[row].is_null() => Null,
        Column::Text(values) => Text(interner.text(values[row]).to_owned()),
    }
}

/// What expressions are made of, for texts that are almost right.
const WORDS: [&str; 44] = [
    "n",
    "s",
    "p",
    "ü",
    "1",
    "'x'",
    "\"s\"",
    "NULL",
    "(",
    ")",
    "+",
    "-",
    "||",
    "=",
    "<",
    "AND",
    "NOT",
    "IS",
    "IN",
    "(1,",
    "LIKE",
    "ESCAPE",
    "BETWEEN",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "CAST(",
    "AS text)",
    "lower(",
    "floor(",
    "count(",
    "*",
    "\n",
    ",",
    "FILTER (WHERE",
    "substring(",
    "FROM",
    "TRIM(BOTH",
    "EXTRACT(hour",
    "regexp_like(",
    "'('",
    "&",
    "AT TIME ZONE",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn columns_and_rows_agree(
        tree in any_type().prop_flat_map(|data_type| tree(data_type, 3)),
        batches in prop::collection::vec(prop::collection::vec(row(), 0..6), 1..3),
    ) {
        let text = tree.to_string();
        let mut interner = Interner::new();
        let (schema, _) = to_columns(&[], &mut interner);
        let mut program = Program::compile(&text, &schema)
            .map_err(|errors| TestCaseError::fail(format!("{text}: {errors:?}")))?;
        for rows in batches {
            let (_, columns) = to_columns(&rows, &mut interner);
            let result = program.evaluate(&columns, rows.len(), &mut interner).into_owned();
            prop_assert_eq!(result.len(), rows.len());
            for (index, row) in rows.iter().enumerate() {
                let found = value_at(&result, index, &interner);
                prop_assert_eq!(found, tree.evaluate(row), "{} row {}", &text, index);
            }
        }
    }

    #[test]
    fn any_text_gives_a_program_or_errors_within_the_text(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..12),
        noise in ".{0,6}",
    ) {
        let text = format!("{}{noise}", words.join(" "));
        let mut interner = Interner::new();
        let (schema, columns) = to_columns(&[], &mut interner);
        match Program::compile(&text, &schema) {
            Ok(mut program) => {
                prop_assert_eq!(program.evaluate(&columns, 0, &mut interner).len(), 0);
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(text.get(error.start..error.end).is_some(), "{text:?} {error:?}");
                }
            }
        }
    }
}
