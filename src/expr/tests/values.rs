//! Expressions to their values.

use crate::expr::Program;
use crate::model::{DataType, Interner, Schema};

use super::{columns, schema, show};

fn evaluate(text: &str) -> String {
    let mut interner = Interner::new();
    let columns = columns(&mut interner);
    let mut program =
        Program::compile(text, &schema()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let result = program.evaluate(&columns, 4, &mut interner).into_owned();
    assert_eq!(result.len(), 4, "{text}");
    assert_eq!(result.data_type(), program.data_type(), "{text}");
    show(&result, &interner)
}

#[test]
fn expressions_have_values() {
    let cases = [
        ("a", "7 -2.5 null null"),
        ("1.5e3", "1500 1500 1500 1500"),
        ("'it''s'", "'it's' 'it's' 'it's' 'it's'"),
        ("NULL", "null null null null"),
        ("\"a.b\"", "1 2 3 null"),
        ("a + b", "9 null null null"),
        ("a - b * 2", "3 null null null"),
        ("a / b", "3.5 null null null"),
        ("1 / b", "0.5 null null null"),
        ("a % b", "1 null null null"),
        ("mod(-a, 4)", "-3 2.5 null null"),
        ("5 % 0", "null null null null"),
        ("-a", "-7 2.5 null null"),
        ("+a", "7 -2.5 null null"),
        ("1e308 * a", "null null null null"),
        ("a > b", "true null null null"),
        ("a = 7", "true false null null"),
        ("a == 7", "true false null null"),
        ("a <> 7", "false true null null"),
        ("a != NULL", "null null null null"),
        ("a <= -2.5", "false true null null"),
        ("b = -0", "false null true null"),
        ("kind = 'EV'", "false true false null"),
        ("kind <> other", "true null true null"),
        ("kind < 'EW'", "false true true null"),
        ("kind >= other", "true null false null"),
        ("on = TRUE", "true false false null"),
        ("on <> (a > 0)", "false false null null"),
        ("on AND a > 0", "true false false null"),
        ("on OR a > 0", "true false null null"),
        ("NOT on", "false true true null"),
        ("on AND NULL", "null false false null"),
        ("on OR NULL OR b = 0", "true null true null"),
        ("a IS NULL", "false false true true"),
        ("kind IS NOT NULL", "true true true false"),
        ("on IS TRUE", "true false false false"),
        ("on IS NOT TRUE", "false true true true"),
        ("on IS FALSE", "false true true false"),
        ("on IS NOT FALSE", "true false false true"),
        ("NULL IS NULL", "true true true true"),
        ("kind IN ('EV', 'X')", "false true false null"),
        ("kind NOT IN ('EV', 'X')", "true false true null"),
        ("kind IN ('EV', NULL)", "null true null null"),
        ("a NOT IN (7, NULL)", "false null null null"),
        ("a IN (1, b + 5, -2.5)", "true true null null"),
        ("7 IN (a, b)", "true null null null"),
        ("on IN (TRUE)", "true false false null"),
        ("b IN (-0.0)", "false null true null"),
        ("a BETWEEN b AND 7", "true null null null"),
        ("a NOT BETWEEN -3 AND 0", "true false null null"),
        ("b BETWEEN a AND -1", "false null false null"),
        ("kind BETWEEN 'E' AND 'F'", "false true false null"),
        ("kind LIKE 'I%r_m'", "true false false null"),
        ("kind NOT LIKE '%V'", "true false true null"),
        ("kind LIKE 'IC!_%' ESCAPE '!'", "true false false null"),
        ("kind LIKE other || '%'", "false null false null"),
        ("kind LIKE NULL", "null null null null"),
        (
            "CASE WHEN a > 0 THEN 'up' WHEN a < 0 THEN 'down' END",
            "'up' 'down' null null",
        ),
        (
            "CASE WHEN a > 0 THEN 1 WHEN a > 5 THEN 2 ELSE b END",
            "1 null 0 null",
        ),
        (
            "CASE kind WHEN 'EV' THEN 1 WHEN other THEN 2 ELSE 0 END",
            "0 1 0 0",
        ),
        (
            "CASE WHEN TRUE THEN on ELSE FALSE END",
            "true false false null",
        ),
        ("CASE a WHEN NULL THEN 1 ELSE 2 END", "2 2 2 2"),
        ("coalesce(a, b, 9)", "7 -2.5 0 9"),
        ("coalesce(NULL, kind, 'none')", "'IC_rpm' 'EV' '' 'none'"),
        ("coalesce(on, TRUE)", "true false false true"),
        ("nullif(a, 7)", "null -2.5 null null"),
        ("nullif(kind, '')", "'IC_rpm' 'EV' null null"),
        ("nullif(on, FALSE)", "true null null null"),
        ("abs(a)", "7 2.5 null null"),
        ("floor(a)", "7 -3 null null"),
        ("ceil(a)", "7 -2 null null"),
        ("round(a)", "7 -3 null null"),
        ("round(a / 3, 2)", "2.33 -0.83 null null"),
        ("round(1234, -2)", "1200 1200 1200 1200"),
        ("round(a, 400)", "7 -2.5 null null"),
        ("round(a, -400)", "0 0 null null"),
        ("sqrt(a + 2)", "3 null null null"),
        ("ln(b)", "0.6931471805599453 null null null"),
        ("exp(b)", "7.38905609893065 null 1 null"),
        ("exp(1000)", "null null null null"),
        ("power(a, 2)", "49 6.25 null null"),
        ("power(1, b)", "1 null 1 null"),
        ("power(b, 0)", "1 null 1 null"),
        ("power(b, -1)", "0.5 null null null"),
        ("least(a, b)", "2 null null null"),
        ("greatest(a, 3, \"a.b\")", "7 3 null null"),
        ("lower(kind)", "'ic_rpm' 'ev' '' null"),
        ("UPPER(kind)", "'IC_RPM' 'EV' '' null"),
        ("length(kind || 'ü')", "7 3 1 null"),
        ("kind || '/' || other", "'IC_rpm/EV' null '/IC_rpm' null"),
        ("concat(kind, '!')", "'IC_rpm!' 'EV!' '!' null"),
        ("CAST(a AS text)", "'7' '-2.5' null null"),
        ("CAST(-0.0 AS text)", "'0' '0' '0' '0'"),
        ("CAST(a AS double)", "7 -2.5 null null"),
        ("CAST(b AS boolean)", "true null false null"),
        ("CAST(on AS number)", "1 0 0 null"),
        ("CAST(on AS text)", "'true' 'false' 'false' null"),
        ("CAST(' 1e2 ' AS number)", "100 100 100 100"),
        ("CAST(kind AS number)", "null null null null"),
        ("CAST('inf' AS number)", "null null null null"),
        ("CAST('TRUE' AS boolean)", "true true true true"),
        ("CAST(kind AS boolean)", "null null null null"),
        ("length(lower(kind)) * 2 + 1 -- a comment", "13 5 1 null"),
    ];
    for (text, expected) in cases {
        assert_eq!(evaluate(text), expected, "{text}");
    }
}

#[test]
fn keywords_of_other_statements_are_names() {
    let names = [
        "time",
        "timestamp",
        "date",
        "value",
        "position",
        "type",
        "user",
        "status",
        "left",
    ];
    let mut schema = Schema::new();
    for name in names {
        schema.push(name, DataType::Number);
    }
    for (index, name) in names.iter().enumerate() {
        let program = Program::compile(&format!("{name} + 1"), &schema).unwrap();
        assert_eq!(program.columns(), [index], "{name}");
    }
}
