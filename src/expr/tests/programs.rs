//! Programs over batches: borrowing, memory, limits.

use crate::expr::{AggregateExpression, Program};
use crate::model::{
    Column, DataType, HoldsSymbols, Interner, LiveSymbols, Schema, Symbol, Trilean,
};

use super::{columns, schema, show};

#[test]
fn long_lists_and_chains_are_fine() {
    let mut interner = Interner::new();
    let columns = columns(&mut interner);
    let list: Vec<String> = (0..5_000).map(|number| format!("'V{number}'")).collect();
    let chain = vec!["kind = 'EV'"; 300].join(" OR ");
    for text in [format!("kind IN ({}, 'EV')", list.join(",")), chain] {
        let mut program = Program::compile(&text, &schema()).unwrap();
        let result = program.evaluate(&columns, 4, &mut interner);
        assert_eq!(show(&result, &interner), "false true false null");
    }
}

#[test]
fn a_bare_column_is_borrowed_and_a_wrong_one_is_null() {
    let mut interner = Interner::new();
    let columns = columns(&mut interner);
    let mut program = Program::compile("kind", &schema()).unwrap();
    let result = program.evaluate(&columns, 4, &mut interner);
    assert!(std::ptr::eq(result.as_ref(), &columns[3]));
    let missing = program.evaluate(&columns[..1], 2, &mut interner);
    assert_eq!(missing.as_ref(), &Column::Text(vec![Symbol::NULL; 2]));
    let mut predicate = Program::compile("kind = 'EV'", &schema()).unwrap();
    let short = predicate.evaluate(&columns, 5, &mut interner);
    assert_eq!(short.as_ref(), &Column::Boolean(vec![Trilean::Null; 5]));
    assert_eq!(predicate.columns(), [3]);
}

#[test]
fn a_memo_follows_a_growing_interner_and_is_not_cloned() {
    let mut schema = Schema::new();
    schema.push("kind", DataType::Text);
    let mut program = Program::compile("lower(kind) || '!'", &schema).unwrap();
    let mut flag = Program::compile("kind LIKE 'A%' OR kind IS NULL", &schema).unwrap();
    let mut interner = Interner::new();
    for batch in [["A", "B"], ["B", "AC"], ["AC", "A"], ["a!", "D"]] {
        let symbols = batch.map(|text| interner.intern(text));
        let columns = [Column::Text(vec![symbols[0], symbols[1], Symbol::NULL])];
        let result = program.evaluate(&columns, 3, &mut interner);
        let [x, y] = batch.map(|text| format!("'{}!'", text.to_lowercase()));
        assert_eq!(show(&result, &interner), format!("{x} {y} null"));
        let result = flag.evaluate(&columns, 3, &mut interner);
        let [x, y] = batch.map(|text| text.starts_with('A'));
        assert_eq!(show(&result, &interner), format!("{x} {y} true"));
    }

    // Only "AC" is kept, under the number that "A" had.
    let mut live = LiveSymbols::new(interner.len());
    live.mark(interner.find("AC").unwrap());
    let numbers = interner.compact(&live);
    program.renumber(&numbers);
    flag.renumber(&numbers);
    let symbols = ["AC", "B"].map(|text| interner.intern(text));
    assert_eq!(symbols, [Symbol(1), Symbol(2)]);
    let columns = [Column::Text(symbols.into())];
    let result = program.evaluate(&columns, 2, &mut interner);
    assert_eq!(show(&result, &interner), "'ac!' 'b!'");
    let result = flag.evaluate(&columns, 2, &mut interner);
    assert_eq!(show(&result, &interner), "true false");

    let mut elsewhere = Interner::new();
    let columns = [Column::Text(vec![elsewhere.intern("ZZ")])];
    let result = program
        .clone()
        .evaluate(&columns, 1, &mut elsewhere)
        .into_owned();
    assert_eq!(show(&result, &elsewhere), "'zz!'");
}

#[test]
fn a_program_can_go_to_another_thread() {
    fn check<T: Send + Clone + std::fmt::Debug>() {}
    check::<Program>();
    check::<AggregateExpression>();
}
