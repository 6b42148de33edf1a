//! Comparison: a kernel for each operator and type.

use std::cmp::Ordering;

use crate::model::{DataType, Interner, Symbol, Trilean};

use super::vector::{Kernel, Scalar, Values, Vector, View, argument, binary, map1, map2};

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// What compares values of a type; truth values have no order.
    pub(super) fn kernel(self, data_type: DataType) -> Option<Kernel> {
        match data_type {
            DataType::Number => Some(self.of_numbers()),
            DataType::Text => Some(self.of_texts()),
            DataType::Boolean => match self {
                Self::Equal => Some(|_, a, _| known(a, |x: Trilean, y| x == y)),
                Self::NotEqual => Some(|_, a, _| known(a, |x: Trilean, y| x != y)),
                _ => None,
            },
        }
    }

    fn of_numbers(self) -> Kernel {
        match self {
            Self::Equal => |_, a, _| known(a, |x: f64, y| x == y),
            Self::NotEqual => |_, a, _| known(a, |x: f64, y| x != y),
            Self::Less => |_, a, _| known(a, |x: f64, y| x < y),
            Self::LessOrEqual => |_, a, _| known(a, |x: f64, y| x <= y),
            Self::Greater => |_, a, _| known(a, |x: f64, y| x > y),
            Self::GreaterOrEqual => |_, a, _| known(a, |x: f64, y| x >= y),
        }
    }

    fn of_texts(self) -> Kernel {
        match self {
            // An interner has each text once, so that symbols are equal where texts are.
            Self::Equal => |_, a, _| known(a, |x: Symbol, y| x == y),
            Self::NotEqual => |_, a, _| known(a, |x: Symbol, y| x != y),
            Self::Less => |interner, a, _| by_bytes(interner, a, Ordering::is_lt),
            Self::LessOrEqual => |interner, a, _| by_bytes(interner, a, Ordering::is_le),
            Self::Greater => |interner, a, _| by_bytes(interner, a, Ordering::is_gt),
            Self::GreaterOrEqual => |interner, a, _| by_bytes(interner, a, Ordering::is_ge),
        }
    }
}

/// A comparison that is NULL where either side is.
fn known<T: Scalar>(arguments: &[Vector<'_>], f: impl Fn(T, T) -> bool) -> Vector<'static> {
    binary(arguments, |x: T, y: T| known_pair(x, y, &f))
}

fn known_pair<T: Scalar>(x: T, y: T, f: impl Fn(T, T) -> bool) -> Trilean {
    if x.is_null() | y.is_null() {
        Trilean::Null
    } else {
        f(x, y).into()
    }
}

fn by_bytes(
    interner: &Interner,
    arguments: &[Vector<'_>],
    accept: fn(Ordering) -> bool,
) -> Vector<'static> {
    known(arguments, |x: Symbol, y| {
        accept(interner.text(x).cmp(interner.text(y)))
    })
}

/// `a = b` for two vectors of one type.
pub(super) fn equal(a: &Vector<'_>, b: &Vector<'_>) -> Values<'static, Trilean> {
    fn of<T: Scalar>(a: &Vector<'_>, b: &Vector<'_>) -> Values<'static, Trilean> {
        map2(T::view(a), T::view(b), |x, y| {
            known_pair(x, y, |x, y| x == y)
        })
    }
    match a {
        Vector::Number(_) => of::<f64>(a, b),
        Vector::Boolean(_) => of::<Trilean>(a, b),
        Vector::Text(_) => of::<Symbol>(a, b),
    }
}

/// `value BETWEEN low AND high`, the arguments being low, value, high; truth values have no order.
pub(super) fn between(data_type: DataType) -> Option<Kernel> {
    match data_type {
        DataType::Number => {
            Some(|interner, a, rows| within(interner, a, rows, Comparison::of_numbers))
        }
        DataType::Text => Some(|interner, a, rows| within(interner, a, rows, Comparison::of_texts)),
        DataType::Boolean => None,
    }
}

fn within(
    interner: &mut Interner,
    arguments: &[Vector<'_>],
    rows: usize,
    kernel: fn(Comparison) -> Kernel,
) -> Vector<'static> {
    let at_most = kernel(Comparison::LessOrEqual);
    let sides: Vec<_> = arguments
        .windows(2)
        .map(|side| at_most(interner, side, rows))
        .collect();
    super::logic::AND(interner, &sides, rows)
}

/// `value IN (item, ...)`, the arguments being the value and the items.
pub(super) fn in_list(data_type: DataType) -> Kernel {
    match data_type {
        // No NULL gets there, so that all numbers are ordered.
        DataType::Number => |_, a, _| {
            is_among(a, |x: f64, y: f64| {
                x.partial_cmp(&y).unwrap_or(Ordering::Equal)
            })
        },
        DataType::Boolean => |_, a, _| is_among(a, |x: Trilean, y| (x as u8).cmp(&(y as u8))),
        DataType::Text => |_, a, _| is_among(a, |x: Symbol, y| x.cmp(&y)),
    }
}

fn is_among<T: Scalar>(
    arguments: &[Vector<'_>],
    order: impl Fn(T, T) -> Ordering,
) -> Vector<'static> {
    let value: View<'_, T> = argument(arguments, 0);
    let mut constants = Vec::new();
    let mut varying = Vec::new();
    let mut absent = Trilean::False;
    for item in arguments.iter().skip(1).map(T::view) {
        match item {
            View::Constant(item) if item.is_null() => absent = Trilean::Null,
            View::Constant(item) => constants.push(item),
            View::Rows(_) => varying.push(item),
        }
    }
    constants.sort_unstable_by(|x, y| order(*x, *y));

    let mut result = map1(value, |value| {
        if value.is_null() {
            Trilean::Null
        } else if constants
            .binary_search_by(|item| order(*item, value))
            .is_ok()
        {
            Trilean::True
        } else {
            absent
        }
    });
    for item in varying {
        let equal = map2(value, item, |x, y| known_pair(x, y, |x, y| x == y));
        result = map2(result.view(), equal.view(), super::logic::or);
    }
    Vector::Boolean(result)
}
