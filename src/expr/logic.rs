//! Three-valued logic and the tests with IS.

use crate::model::{DataType, Symbol, Trilean};

use super::vector::{Kernel, Scalar, Vector, reduce, unary};

/// `a AND ...`
pub(super) const AND: Kernel = |_, a, _| Vector::Boolean(reduce(a, and));
/// `a OR ...`
pub(super) const OR: Kernel = |_, a, _| Vector::Boolean(reduce(a, or));
/// `NOT a`
pub(super) const NOT: Kernel = |_, a, _| unary(a, not);
/// `a IS TRUE`
pub(super) const IS_TRUE: Kernel = |_, a, _| unary(a, |x: Trilean| Trilean::from(x.is_true()));
/// `a IS FALSE`
pub(super) const IS_FALSE: Kernel =
    |_, a, _| unary(a, |x: Trilean| Trilean::from(x == Trilean::False));

/// `a IS NULL`
pub(super) fn is_null(data_type: DataType) -> Kernel {
    fn test<T: Scalar>(arguments: &[Vector<'_>]) -> Vector<'static> {
        unary(arguments, |x: T| Trilean::from(x.is_null()))
    }
    match data_type {
        DataType::Number => |_, a, _| test::<f64>(a),
        DataType::Boolean => |_, a, _| test::<Trilean>(a),
        DataType::Text => |_, a, _| test::<Symbol>(a),
    }
}

fn and(x: Trilean, y: Trilean) -> Trilean {
    match (x, y) {
        (Trilean::False, _) | (_, Trilean::False) => Trilean::False,
        (Trilean::True, Trilean::True) => Trilean::True,
        _ => Trilean::Null,
    }
}

/// `x OR y`
pub(super) fn or(x: Trilean, y: Trilean) -> Trilean {
    match (x, y) {
        (Trilean::True, _) | (_, Trilean::True) => Trilean::True,
        (Trilean::False, Trilean::False) => Trilean::False,
        _ => Trilean::Null,
    }
}

fn not(x: Trilean) -> Trilean {
    match x {
        Trilean::False => Trilean::True,
        Trilean::True => Trilean::False,
        Trilean::Null => Trilean::Null,
    }
}
