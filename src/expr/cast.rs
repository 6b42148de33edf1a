//! CAST: a kernel for each pair of types. What cannot be converted is NULL.

use crate::model::{DataType, Interner, Symbol, Trilean};

use super::number::finite;
use super::vector::{Kernel, Scalar, unary};

/// What converts between two types; `None` where they are the same.
pub(super) fn kernel(from: DataType, to: DataType) -> Option<Kernel> {
    match (from, to) {
        (DataType::Number, DataType::Boolean) => Some(|_, a, _| unary(a, number_to_boolean)),
        (DataType::Number, DataType::Text) => {
            Some(|interner, a, _| unary(a, |x| number_to_text(interner, x)))
        }
        (DataType::Boolean, DataType::Number) => Some(|_, a, _| unary(a, boolean_to_number)),
        (DataType::Boolean, DataType::Text) => {
            Some(|interner, a, _| unary(a, |x| boolean_to_text(interner, x)))
        }
        (DataType::Text, DataType::Number) => {
            Some(|interner, a, _| unary(a, |x| text_to_number(interner, x)))
        }
        (DataType::Text, DataType::Boolean) => {
            Some(|interner, a, _| unary(a, |x| text_to_boolean(interner, x)))
        }
        (DataType::Number, DataType::Number)
        | (DataType::Boolean, DataType::Boolean)
        | (DataType::Text, DataType::Text) => None,
    }
}

/// The type that a name in a CAST stands for.
pub(super) fn named(name: &str) -> Option<DataType> {
    match name.to_lowercase().as_str() {
        "number" | "double" | "double precision" => Some(DataType::Number),
        "boolean" | "bool" => Some(DataType::Boolean),
        "text" | "varchar" | "string" => Some(DataType::Text),
        _ => None,
    }
}

fn number_to_boolean(x: f64) -> Trilean {
    if x.is_nan() {
        Trilean::Null
    } else {
        (x != 0.0).into()
    }
}

fn number_to_text(interner: &mut Interner, x: f64) -> Symbol {
    // Adding zero makes the negative zero positive, which would print as `-0`.
    if x.is_nan() {
        Symbol::NULL
    } else {
        interner.intern(&(x + 0.0).to_string())
    }
}

fn boolean_to_number(x: Trilean) -> f64 {
    match x {
        Trilean::False => 0.0,
        Trilean::True => 1.0,
        Trilean::Null => f64::NULL,
    }
}

fn boolean_to_text(interner: &mut Interner, x: Trilean) -> Symbol {
    match x {
        Trilean::False => interner.intern("false"),
        Trilean::True => interner.intern("true"),
        Trilean::Null => Symbol::NULL,
    }
}

fn text_to_number(interner: &Interner, x: Symbol) -> f64 {
    // NULL has the empty text, which is no number either.
    interner.text(x).trim().parse().map_or(f64::NULL, finite)
}

fn text_to_boolean(interner: &Interner, x: Symbol) -> Trilean {
    let text = interner.text(x).trim();
    if text.eq_ignore_ascii_case("true") || text == "1" {
        Trilean::True
    } else if text.eq_ignore_ascii_case("false") || text == "0" {
        Trilean::False
    } else {
        Trilean::Null
    }
}
