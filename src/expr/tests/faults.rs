//! Bad expressions to their messages.

use crate::expr::Program;

use super::{schema, show_error};

fn faults(text: &str) -> Vec<String> {
    let errors = Program::compile(text, &schema()).err().unwrap_or_default();
    errors.iter().map(show_error).collect()
}

#[test]
fn bad_expressions_have_one_message() {
    let cases = [
        ("", "0..0 expected an expression, found the end"),
        ("a +", "3..3 expected an expression, found the end"),
        ("a + )", "4..5 expected an expression, found ')'"),
        ("a b", "2..3 expected an operator or the end, found 'b'"),
        ("(a", "2..2 expected ), found the end"),
        ("a = 'x", "4..6 unterminated string literal"),
        (
            "ö",
            "0..2 unknown field 'ö'; known fields are a, b, on, kind, other, a.b",
        ),
        (
            "kid = 'EV'",
            "0..3 unknown field 'kid'; did you mean 'kind'?",
        ),
        (
            "'ü' <> \n Kind",
            "10..14 unknown field 'Kind'; did you mean 'kind'?",
        ),
        (
            "a.b + 1",
            "0..3 unknown field 'a.b'; a name with a dot is written \"a.b\"",
        ),
        (
            "kind = \"EVERY\"",
            "7..14 unknown field 'EVERY'; known fields are a, b, on, kind, other, a.b; a text is \
             written in single quotes",
        ),
        (
            "1 + kind",
            "4..8 '+' needs a number, but 'kind' is a text; convert it by CAST(... AS number)",
        ),
        (
            "kind || 1",
            "8..9 '||' needs a text, but '1' is a number; convert it by CAST(... AS text)",
        ),
        (
            "NOT a",
            "4..5 NOT needs a boolean, but 'a' is a number; write a comparison",
        ),
        (
            "on AND a",
            "7..8 AND needs a boolean, but 'a' is a number; write a comparison",
        ),
        (
            "a IS TRUE",
            "0..1 IS TRUE needs a boolean, but 'a' is a number; write a comparison",
        ),
        (
            "a = 'x'",
            "4..7 '=' needs values of one type, but 'a' is a number and `'x'` is a text",
        ),
        (
            "on < TRUE",
            "0..2 '<' needs numbers or texts, but 'on' is a boolean; use = or <>",
        ),
        (
            "a IN (1, kind)",
            "9..13 IN needs values of one type, but 'a' is a number and 'kind' is a text",
        ),
        (
            "CASE WHEN on THEN 1 ELSE kind END",
            "25..29 CASE needs values of one type, but '1' is a number and 'kind' is a text",
        ),
        (
            "CASE WHEN a THEN 1 END",
            "10..11 WHEN needs a boolean, but 'a' is a number; write a comparison",
        ),
        (
            "kind LIKE 'x!' ESCAPE '!'",
            "10..14 the pattern 'x!' has an escape character '!' that does not precede '%', '_' or '!'",
        ),
        (
            "kind LIKE 'x' ESCAPE ''",
            "21..23 ESCAPE needs one character such as '!', but found `''`",
        ),
        (
            "CAST(a AS date)",
            "5..6 unknown type 'date'; known are number, boolean and text",
        ),
        (
            "lowr(kind)",
            "0..4 unknown function 'lowr'; did you mean 'lower'?",
        ),
        (
            "xyzzy(a)",
            "0..5 unknown function 'xyzzy'; known functions are abs, acos, asin, atan, atan2, bit_and, \
             bit_count, bit_not, bit_or, bit_test, bit_xor, bits, cbrt, ceil, clamp, coalesce, \
             concat, concat_ws, contains, convert, cos, date_trunc, day, day_of_week and 52 more",
        ),
        (
            "round(a, 1, 2)",
            "0..5 round has 3 arguments here; it is written round(number[, digits])",
        ),
        (
            "coalesce()",
            "0..8 coalesce has 0 arguments here; it is written coalesce(value, ...)",
        ),
        (
            "floor(a, 2)",
            "6..7 floor takes one argument: floor(number)",
        ),
        (
            "sum(a)",
            "0..3 'sum' is an aggregate; this expression is computed for each row alone",
        ),
        (
            "xyz(DISTINCT a)",
            "0..3 'xyz' is an aggregate; this expression is computed for each row alone",
        ),
        (
            "lower(DISTINCT kind)",
            "0..5 'lower' is not an aggregate; *, DISTINCT and FILTER need one",
        ),
        (
            "abs(a) OVER ()",
            "0..3 the call of 'abs' has a part that is not supported; supported are arguments, \
             DISTINCT and FILTER (WHERE ...)",
        ),
        (
            "a ^ 2",
            "4..5 operator '^' is not supported; supported are + - * / % || & | << >> = <> < <= > >= AND OR NOT",
        ),
        (
            "a IS DISTINCT FROM b",
            "0..20 'a IS DISTINCT FROM b' is of a kind that is not supported; supported are fields, \
             literals, operators, IS, IN, BETWEEN, LIKE, CASE, CAST and functions",
        ),
        (
            "1e999",
            "0..5 1e999 is not a number below 1.7976931348623157e308",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

#[test]
fn faults_of_constants_are_found_at_their_place() {
    let cases = [
        (
            "regexp_like(kind, other)",
            "18..23 regexp_like needs a constant text here, but found 'other'",
        ),
        (
            "regexp_like(kind, NULL)",
            "18..22 regexp_like needs a constant text here, but found 'NULL'",
        ),
        (
            "regexp_like(kind, 'it''s (a')",
            "25..26 the pattern is not a regular expression: unclosed group",
        ),
        (
            "regexp_like(kind, '(' || 'a')",
            "18..28 the pattern is not a regular expression: unclosed group",
        ),
        (
            "regexp_like(kind, '[[:word:]]{1000}{1000}')",
            "18..42 the pattern is not a regular expression: it takes more than 4194304 bytes",
        ),
        (
            "regexp_like(kind, 'a', 'iq')",
            "25..26 unknown flag 'q'; known flags are i, m, s, x",
        ),
        (
            "regexp_extract(kind, '(a)', 2)",
            "28..29 there is no group 2: the last one of the pattern is 1",
        ),
        (
            "regexp_replace(kind, 'a', 'b\\1')",
            "28..30 there is no group 1: the last one of the pattern is 0",
        ),
        (
            "regexp_like(a, 'x')",
            "12..13 regexp_like needs a text, but 'a' is a number; convert it by CAST(... AS text)",
        ),
        (
            "hour(a, 'Europe/Berln')",
            "8..22 unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?",
        ),
        (
            "date_trunc('huor', a)",
            "11..17 unknown unit 'huor'; did you mean 'hour'?",
        ),
        (
            "convert(a, 'mi', 'kmh')",
            "17..22 unknown unit 'kmh'; did you mean 'km'?",
        ),
        (
            "convert(a, 'mi', 'kg')",
            "17..21 'kg' is a unit of mass, but 'mi' is one of length; its units are m, km, cm, mm, \
             mi, nmi, yd, ft, in",
        ),
        (
            "EXTRACT(dow FROM a)",
            "0..19 extract has no field dow; it has year, month, day, hour, minute, second, week, \
             isodow (1 is Monday) and doy",
        ),
        (
            "NOT SUBSTRING(kind FROM 2)",
            "4..26 NOT needs a boolean, but 'SUBSTRING(kind FROM 2)' is a text; write a comparison",
        ),
        (
            "kind & 1",
            "0..4 '&' needs a number, but 'kind' is a text; convert it by CAST(... AS number)",
        ),
        (
            "TRIM(BOTH 1 FROM kind)",
            "10..11 trim needs a text, but '1' is a number; convert it by CAST(... AS text)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(faults(text), [expected], "{text}");
    }
    let [fault] = faults("format_time(a, '%!')").try_into().unwrap();
    assert!(fault.starts_with("15..19 '%!' is no format: "), "{fault}");
}

#[test]
fn all_faults_are_found_at_once_in_the_order_of_the_text() {
    let found = faults("CASE WHEN x > 1 THEN kind + 1 ELSE abs('q') END = foo(y)");
    let starts: Vec<&str> = found
        .iter()
        .filter_map(|fault| fault.split(' ').next())
        .collect();
    assert_eq!(starts, ["10..11", "21..25", "39..42", "50..53", "54..55"]);
}

#[test]
fn pathological_texts_are_errors() {
    let schema = schema();
    let texts = [
        "(".repeat(10_000) + "1" + &")".repeat(10_000),
        "(".repeat(60) + "1" + &")".repeat(60),
        "NOT ".repeat(900) + "on",
        "- ".repeat(900) + "1",
        "1".to_owned() + &" + 1".repeat(600),
        "1".to_owned() + &" IS NULL".repeat(590),
        "kind".to_owned() + &"::text".repeat(290),
        "abs(".to_owned() + &vec!["on"; 590].join(" AND ") + ")",
        "a".to_owned() + &".a".repeat(900),
        "CASE ".repeat(900),
        "x".repeat(70_000),
    ];
    for text in texts {
        let errors = Program::compile(&text, &schema).unwrap_err();
        assert_eq!(errors.len(), 1, "{}", &text[..20]);
    }
}
