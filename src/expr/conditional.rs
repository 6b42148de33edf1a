//! CASE, COALESCE and NULLIF: one kernel for each type of result.
//!
//! All branches are computed for all rows: no operation can fail, and a loop without jumps is
//! faster than a choice in each row.

use crate::model::{DataType, Symbol, Trilean};

use super::compare::equal;
use super::vector::{Kernel, Scalar, Values, Vector, View, argument, reduce};

/// `CASE WHEN condition THEN value ... ELSE value END`, the arguments in that order.
pub(super) fn searched_case(result: DataType) -> Kernel {
    fn run<T: Scalar>(arguments: &[Vector<'_>], rows: usize) -> Vector<'static> {
        choose::<T>(None, arguments, rows)
    }
    match result {
        DataType::Number => |_, a, rows| run::<f64>(a, rows),
        DataType::Boolean => |_, a, rows| run::<Trilean>(a, rows),
        DataType::Text => |_, a, rows| run::<Symbol>(a, rows),
    }
}

/// `CASE operand WHEN value THEN value ... ELSE value END`, the arguments in that order.
pub(super) fn simple_case(result: DataType) -> Kernel {
    fn run<T: Scalar>(arguments: &[Vector<'_>], rows: usize) -> Vector<'static> {
        match arguments.split_first() {
            Some((operand, rest)) => choose::<T>(Some(operand), rest, rows),
            None => T::wrap(Values::Constant(T::NULL)),
        }
    }
    match result {
        DataType::Number => |_, a, rows| run::<f64>(a, rows),
        DataType::Boolean => |_, a, rows| run::<Trilean>(a, rows),
        DataType::Text => |_, a, rows| run::<Symbol>(a, rows),
    }
}

/// Takes pairs of a condition and a value, then the value for no condition; with an operand, the
/// conditions are what it must equal. It works from the last pair to the first, so that the first
/// true condition has the last word.
fn choose<T: Scalar>(
    operand: Option<&Vector<'_>>,
    arguments: &[Vector<'_>],
    rows: usize,
) -> Vector<'static> {
    let Some((otherwise, pairs)) = arguments.split_last() else {
        return T::wrap(Values::Constant(T::NULL));
    };
    let mut result = T::view(otherwise).to_values();
    for pair in pairs.rchunks(2) {
        let [when, then] = pair else { continue };
        let compared = operand.map(|operand| equal(operand, when));
        let condition = compared
            .as_ref()
            .map_or_else(|| Trilean::view(when), Values::view);
        result = select(condition, T::view(then), result.view(), rows);
    }
    T::wrap(result)
}

fn select<T: Scalar>(
    condition: View<'_, Trilean>,
    then: View<'_, T>,
    otherwise: View<'_, T>,
    rows: usize,
) -> Values<'static, T> {
    if let View::Constant(condition) = condition {
        return if condition.is_true() {
            then.to_values()
        } else {
            otherwise.to_values()
        };
    }
    let choose = |row| {
        if condition.at(row).is_true() {
            then.at(row)
        } else {
            otherwise.at(row)
        }
    };
    Values::Rows((0..rows).map(choose).collect())
}

fn coalesce<T: Scalar>(arguments: &[Vector<'_>]) -> Vector<'static> {
    T::wrap(reduce(
        arguments,
        |x: T, y: T| if x.is_null() { y } else { x },
    ))
}

fn nullif<T: Scalar>(arguments: &[Vector<'_>], rows: usize) -> Vector<'static> {
    let [value, unwanted] = arguments else {
        return T::wrap(Values::Constant(T::NULL));
    };
    let is_unwanted = equal(value, unwanted);
    T::wrap(select(
        is_unwanted.view(),
        View::Constant(T::NULL),
        argument(arguments, 0),
        rows,
    ))
}

/// `coalesce(a, ...)`: the first that is not NULL.
pub(super) const COALESCE: [Kernel; 3] = [
    |_, a, _| coalesce::<f64>(a),
    |_, a, _| coalesce::<Trilean>(a),
    |_, a, _| coalesce::<Symbol>(a),
];

/// `nullif(a, b)`: NULL where they are equal, otherwise `a`.
pub(super) const NULLIF: [Kernel; 3] = [
    |_, a, rows| nullif::<f64>(a, rows),
    |_, a, rows| nullif::<Trilean>(a, rows),
    |_, a, rows| nullif::<Symbol>(a, rows),
];
