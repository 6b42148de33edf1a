//! A naive evaluator of one row at a time, with a tree of its own.

use std::cmp::Ordering;
use std::fmt;

/// A value of one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Number(f64),
    Boolean(bool),
    Text(String),
}

use Value::{Boolean, Null, Number, Text};

/// A well-typed tree with its SQL.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    Field(&'static str),
    Constant(Value),
    Binary(&'static str, Box<Tree>, Box<Tree>),
    Unary(&'static str, Box<Tree>),
    Test(Box<Tree>, &'static str),
    In(Box<Tree>, Vec<Tree>),
    Between(Box<Tree>, Box<Tree>, Box<Tree>),
    Case(Vec<(Tree, Tree)>, Box<Tree>),
    Switch(Box<Tree>, Vec<(Tree, Tree)>),
    Call(&'static str, Vec<Tree>),
}

pub(super) const NUMBERS: [&str; 2] = ["n", "m"];
pub(super) const BOOLEANS: [&str; 2] = ["p", "q"];
pub(super) const TEXTS: [&str; 2] = ["s", "t"];

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => f.write_str(name),
            Self::Constant(Null) => f.write_str("NULL"),
            Self::Constant(Number(value)) => write!(f, "{value}"),
            Self::Constant(Boolean(value)) => write!(f, "{value}"),
            Self::Constant(Text(value)) => write!(f, "'{value}'"),
            Self::Binary(operator, x, y) => write!(f, "({x} {operator} {y})"),
            Self::Unary(operator, x) => write!(f, "({operator} {x})"),
            Self::Test(x, test) => write!(f, "({x} {test})"),
            Self::In(x, list) => write!(f, "({x} IN ({}))", join(list)),
            Self::Between(x, low, high) => write!(f, "({x} BETWEEN {low} AND {high})"),
            Self::Case(pairs, otherwise) => {
                f.write_str("CASE")?;
                for (when, then) in pairs {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                write!(f, " ELSE {otherwise} END")
            }
            Self::Switch(operand, pairs) => {
                write!(f, "CASE {operand}")?;
                for (when, then) in pairs {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                f.write_str(" END")
            }
            Self::Call(name, arguments) => write!(f, "{name}({})", join(arguments)),
        }
    }
}

fn join(trees: &[Tree]) -> String {
    trees
        .iter()
        .map(Tree::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// One row: the values of all fields by name.
pub(super) type Row = Vec<(&'static str, Value)>;

impl Tree {
    /// The value for one row; a text that is too long is NULL.
    pub(super) fn evaluate(&self, row: &Row) -> Value {
        match self.value(row) {
            Text(text) if text.len() > 65_536 => Null,
            value => value,
        }
    }

    fn value(&self, row: &Row) -> Value {
        match self {
            Self::Field(name) => row
                .iter()
                .find(|(field, _)| field == name)
                .unwrap()
                .1
                .clone(),
            Self::Constant(value) => value.clone(),
            Self::Binary("AND", x, y) => and(x.evaluate(row), y.evaluate(row)),
            Self::Binary("OR", x, y) => not(and(not(x.evaluate(row)), not(y.evaluate(row)))),
            Self::Binary(operator, x, y) => binary(operator, x.evaluate(row), y.evaluate(row)),
            Self::Unary("NOT", x) => not(x.evaluate(row)),
            Self::Unary(_, x) => match x.evaluate(row) {
                Number(x) => Number(-x),
                other => other,
            },
            Self::Test(x, test) => {
                let x = x.evaluate(row);
                Boolean(match *test {
                    "IS NULL" => x == Null,
                    "IS NOT NULL" => x != Null,
                    "IS TRUE" => x == Boolean(true),
                    _ => x != Boolean(false),
                })
            }
            Self::In(x, list) => {
                let x = x.evaluate(row);
                list.iter().fold(Boolean(false), |found, item| {
                    let equal = binary("=", x.clone(), item.evaluate(row));
                    not(and(not(found), not(equal)))
                })
            }
            Self::Between(x, low, high) => {
                let x = x.evaluate(row);
                let above = binary(">=", x.clone(), low.evaluate(row));
                and(above, binary("<=", x, high.evaluate(row)))
            }
            Self::Case(pairs, otherwise) => pairs
                .iter()
                .find(|(when, _)| when.evaluate(row) == Boolean(true))
                .map_or(otherwise.as_ref(), |(_, then)| then)
                .evaluate(row),
            Self::Switch(operand, pairs) => {
                let operand = operand.evaluate(row);
                let found = pairs.iter().find(|(when, _)| {
                    binary("=", operand.clone(), when.evaluate(row)) == Boolean(true)
                });
                found.map_or(Null, |(_, then)| then.evaluate(row))
            }
            Self::Call(name, arguments) => call(
                name,
                arguments
                    .iter()
                    .map(|argument| argument.evaluate(row))
                    .collect(),
            ),
        }
    }
}

fn and(x: Value, y: Value) -> Value {
    if x == Boolean(false) || y == Boolean(false) {
        Boolean(false)
    } else if x == Null || y == Null {
        Null
    } else {
        Boolean(true)
    }
}

fn not(x: Value) -> Value {
    match x {
        Boolean(x) => Boolean(!x),
        other => other,
    }
}

fn finite(value: f64) -> Value {
    if value.is_finite() {
        Number(value)
    } else {
        Null
    }
}

fn binary(operator: &str, x: Value, y: Value) -> Value {
    let order = match (&x, &y) {
        (Null, _) | (_, Null) => return Null,
        (Number(x), Number(y)) => match operator {
            "+" => return finite(x + y),
            "-" => return finite(x - y),
            "*" => return finite(x * y),
            "/" => return finite(x / y),
            "%" => return finite(x % y),
            "&" | "|" | "<<" | ">>" => return bits(operator, *x, *y),
            _ => x.partial_cmp(y).unwrap(),
        },
        (Boolean(x), Boolean(y)) => x.cmp(y),
        (Text(x), Text(y)) if operator == "||" => return Text(format!("{x}{y}")),
        (Text(x), Text(y)) if operator == "LIKE" => return Boolean(like(x, y)),
        (Text(x), Text(y)) => x.as_bytes().cmp(y.as_bytes()),
        _ => unreachable!("{x:?} {operator} {y:?}"),
    };
    Boolean(match operator {
        "=" => order == Ordering::Equal,
        "<>" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}

fn like(text: &str, pattern: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return text.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    let mut letters = text.chars();
    match first {
        '%' => {
            let mut ends = text.char_indices().map(|(end, _)| end).chain([text.len()]);
            ends.any(|end| like(&text[end..], rest))
        }
        '_' => letters.next().is_some() && like(letters.as_str(), rest),
        _ => letters.next() == Some(first) && like(letters.as_str(), rest),
    }
}

fn call(name: &str, arguments: Vec<Value>) -> Value {
    match name {
        "coalesce" => arguments
            .into_iter()
            .find(|value| *value != Null)
            .unwrap_or(Null),
        "nullif" => {
            let equal = binary("=", arguments[0].clone(), arguments[1].clone());
            if equal == Boolean(true) {
                Null
            } else {
                arguments[0].clone()
            }
        }
        _ if arguments.contains(&Null) => Null,
        _ => match (name, arguments.as_slice()) {
            ("abs", [Number(x)]) => Number(x.abs()),
            ("floor", [Number(x)]) => Number(x.floor()),
            ("ceil", [Number(x)]) => Number(x.ceil()),
            ("sqrt", [Number(x)]) => finite(x.sqrt()),
            ("ln", [Number(x)]) => finite(x.ln()),
            ("exp", [Number(x)]) => finite(x.exp()),
            ("power", [Number(x), Number(y)]) => finite(x.powf(*y)),
            ("mod", [Number(x), Number(y)]) => finite(x % y),
            ("least", [Number(x), Number(y)]) => Number(x.min(*y)),
            ("greatest", [Number(x), Number(y)]) => Number(x.max(*y)),
            ("length", [Text(x)]) => Number(x.chars().count() as f64),
            ("lower", [Text(x)]) => Text(x.to_lowercase()),
            ("upper", [Text(x)]) => Text(x.to_uppercase()),
            ("sign", [Number(x)]) => Number(f64::from(i8::from(*x > 0.0) - i8::from(*x < 0.0))),
            ("trunc", [Number(x)]) => Number(x.trunc()),
            ("clamp", [Number(x), Number(low), Number(high)]) if low <= high => {
                Number(if x < low {
                    *low
                } else if x > high {
                    *high
                } else {
                    *x
                })
            }
            ("clamp", _) => Null,
            ("bit_xor" | "bit_and" | "bit_test", [Number(x), Number(y)]) => bits(name, *x, *y),
            ("reverse", [Text(x)]) => Text(x.chars().rev().collect()),
            ("starts_with", [Text(x), Text(y)]) => Boolean(x.as_bytes().starts_with(y.as_bytes())),
            ("ends_with", [Text(x), Text(y)]) => Boolean(x.as_bytes().ends_with(y.as_bytes())),
            ("contains", [Text(x), Text(y)]) => Boolean(place(x, y).is_some()),
            ("strpos", [Text(x), Text(y)]) => Number(place(x, y).map_or(0.0, |at| at as f64 + 1.0)),
            ("trim", [Text(x)]) => Text(trim(x, " ")),
            ("trim", [Text(x), Text(y)]) => Text(trim(x, y)),
            ("replace", [Text(x), Text(y), Text(z)]) => Text(replace(x, y, z)),
            ("left" | "right" | "substring" | "lpad" | "rpad", [Text(x), Number(y)]) => {
                let letters: Vec<char> = x.chars().collect();
                cut(name, &letters, y.trunc(), f64::INFINITY)
            }
            ("substring", [Text(x), Number(y), Number(z)]) => {
                let letters: Vec<char> = x.chars().collect();
                cut(name, &letters, y.trunc(), z.trunc())
            }
            ("concat", [Text(x), Text(y), Text(z)]) => Text(format!("{x}{y}{z}")),
            _ => unreachable!("{name} {arguments:?}"),
        },
    }
}

/// Operations on bits, a bit at a time.
fn bits(operator: &str, x: f64, y: f64) -> Value {
    let largest = 2_f64.powi(53);
    if [x, y].iter().any(|x| x.fract() != 0.0 || x.abs() > largest) {
        return Null;
    }
    let (x, y) = (x as i128, y as i128);
    if matches!(operator, "<<" | ">>" | "bit_test") && !(0..64).contains(&y) {
        return Null;
    }
    let bit = |x: i128, place: u32| x.div_euclid(1 << place).rem_euclid(2) == 1;
    let result = match operator {
        "bit_test" => return Boolean(bit(x, y as u32)),
        "<<" => x * 2_i128.pow(y as u32),
        ">>" => x.div_euclid(2_i128.pow(y as u32)),
        _ => {
            let combine = |x, y| match operator {
                "&" | "bit_and" => x && y,
                "|" => x || y,
                _ => x != y,
            };
            let of = |place| i128::from(combine(bit(x, place), bit(y, place)));
            (0..63).map(|place| of(place) << place).sum::<i128>() - (of(63) << 63)
        }
    };
    if result.abs() as f64 > largest {
        return Null;
    }
    Number(result as f64)
}

/// The place of a part, characters.
fn place(text: &str, part: &str) -> Option<usize> {
    let [text, part] = [text, part].map(|text| text.chars().collect::<Vec<_>>());
    (0..=text.len()).find(|at| text[*at..].starts_with(&part))
}

fn trim(text: &str, unwanted: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    while letters.last().is_some_and(|last| unwanted.contains(*last)) {
        letters.pop();
    }
    while letters
        .first()
        .is_some_and(|first| unwanted.contains(*first))
    {
        letters.remove(0);
    }
    letters.into_iter().collect()
}

fn replace(text: &str, from: &str, to: &str) -> String {
    let Some(at) = text.find(from).filter(|_| !from.is_empty()) else {
        return text.to_owned();
    };
    format!(
        "{}{to}{}",
        &text[..at],
        replace(&text[at + from.len()..], from, to)
    )
}

/// Characters by their numbers, each alone.
fn cut(name: &str, letters: &[char], count: f64, length: f64) -> Value {
    if length < 0.0 || (name.ends_with("pad") && count > 65_536.0) {
        return Null;
    }
    let total = letters.len() as f64;
    let keep = |number: f64| match name {
        "left" if count >= 0.0 => number <= count,
        "left" => number <= total + count,
        "right" if count >= 0.0 => number > total - count,
        "right" => number > -count,
        "substring" => number >= count && number < count + length,
        _ => number <= count,
    };
    let numbered = letters.iter().zip(1..);
    let kept: String = numbered
        .filter(|(_, at)| keep(f64::from(*at)))
        .map(|(l, _)| *l)
        .collect();
    let missing = match name {
        "lpad" | "rpad" => " ".repeat((count - total).max(0.0) as usize),
        _ => String::new(),
    };
    Text(match name {
        "lpad" => format!("{missing}{kept}"),
        "rpad" => format!("{kept}{missing}"),
        _ => kept,
    })
}
