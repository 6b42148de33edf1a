//! The table of functions: a new one is a new row here.

use crate::model::DataType;

use super::vector::Kernel;
use super::{conditional, number, text};

/// A function of expressions.
#[derive(Debug)]
pub(super) struct Function {
    /// Its name, lowercase.
    pub(super) name: &'static str,
    /// How it is written, for messages.
    pub(super) usage: &'static str,
    /// What it takes and gives.
    pub(super) signature: Signature,
}

/// What a function takes and gives.
#[derive(Debug)]
pub(super) enum Signature {
    /// Arguments of these types, the last `optional` of which may be missing.
    Fixed {
        takes: &'static [DataType],
        optional: usize,
        gives: DataType,
        kernel: Kernel,
    },
    /// One or more arguments of a type, and a result of it.
    Many { of: DataType, kernel: Kernel },
    /// Arguments of any one type, and a result of it. A kernel each for numbers, truth values and
    /// texts.
    Same {
        least: usize,
        most: usize,
        kernels: [Kernel; 3],
    },
}

const NUMBER: &[DataType] = &[DataType::Number];
const NUMBERS: &[DataType] = &[DataType::Number, DataType::Number];
const TEXT: &[DataType] = &[DataType::Text];

/// All functions, in the order in which messages list them.
pub(super) const FUNCTIONS: &[Function] = &[
    numeric("abs", "abs(number)", NUMBER, 0, number::ABS),
    numeric("ceil", "ceil(number)", NUMBER, 0, number::CEIL),
    same(
        "coalesce",
        "coalesce(value, ...)",
        1,
        usize::MAX,
        conditional::COALESCE,
    ),
    many("concat", "concat(text, ...)", DataType::Text, text::CONCAT),
    numeric("exp", "exp(number)", NUMBER, 0, number::EXP),
    numeric("floor", "floor(number)", NUMBER, 0, number::FLOOR),
    many(
        "greatest",
        "greatest(number, ...)",
        DataType::Number,
        number::GREATEST,
    ),
    many(
        "least",
        "least(number, ...)",
        DataType::Number,
        number::LEAST,
    ),
    textual("length", "length(text)", DataType::Number, text::LENGTH),
    numeric("ln", "ln(number)", NUMBER, 0, number::LN),
    textual("lower", "lower(text)", DataType::Text, text::LOWER),
    numeric("mod", "mod(number, number)", NUMBERS, 0, number::MODULO),
    same("nullif", "nullif(value, value)", 2, 2, conditional::NULLIF),
    numeric("power", "power(number, number)", NUMBERS, 0, number::POWER),
    numeric(
        "round",
        "round(number[, digits])",
        NUMBERS,
        1,
        number::ROUND,
    ),
    numeric("sqrt", "sqrt(number)", NUMBER, 0, number::SQRT),
    textual("upper", "upper(text)", DataType::Text, text::UPPER),
];

/// The function of a name, which must be lowercase.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

const fn numeric(
    name: &'static str,
    usage: &'static str,
    takes: &'static [DataType],
    optional: usize,
    kernel: Kernel,
) -> Function {
    let gives = DataType::Number;
    Function {
        name,
        usage,
        signature: Signature::Fixed {
            takes,
            optional,
            gives,
            kernel,
        },
    }
}

const fn textual(
    name: &'static str,
    usage: &'static str,
    gives: DataType,
    kernel: Kernel,
) -> Function {
    Function {
        name,
        usage,
        signature: Signature::Fixed {
            takes: TEXT,
            optional: 0,
            gives,
            kernel,
        },
    }
}

const fn many(name: &'static str, usage: &'static str, of: DataType, kernel: Kernel) -> Function {
    Function {
        name,
        usage,
        signature: Signature::Many { of, kernel },
    }
}

const fn same(
    name: &'static str,
    usage: &'static str,
    least: usize,
    most: usize,
    kernels: [Kernel; 3],
) -> Function {
    Function {
        name,
        usage,
        signature: Signature::Same {
            least,
            most,
            kernels,
        },
    }
}
