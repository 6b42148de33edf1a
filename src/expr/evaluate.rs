//! The walk over a typed tree: arguments first, then the kernel over all rows.

use std::borrow::Cow;

use crate::model::{Column, DataType, Interner, Symbol};

use super::node::{Literal, Node};
use super::vector::{Scalar, Values, Vector};

/// Evaluates a node over the first `rows` rows of the columns. A column that is missing, shorter or
/// of another type than the schema said reads as NULL.
pub(super) fn evaluate<'a>(
    node: &mut Node,
    columns: &'a [Column],
    rows: usize,
    interner: &mut Interner,
) -> Vector<'a> {
    match node {
        Node::Column { index, data_type } => {
            read(columns.get(*index), *data_type, rows).unwrap_or(Vector::null(*data_type))
        }
        Node::Literal(literal) => constant(literal, interner),
        Node::Apply {
            operation,
            arguments,
            ..
        } => {
            let arguments: Vec<_> = arguments
                .iter_mut()
                .map(|argument| evaluate(argument, columns, rows, interner))
                .collect();
            operation.compute(interner, &arguments, rows)
        }
        Node::Memo(memo) => memo.evaluate(columns, rows, interner),
    }
}

fn read(column: Option<&Column>, data_type: DataType, rows: usize) -> Option<Vector<'_>> {
    Some(match (column?, data_type) {
        (Column::Number(values), DataType::Number) => Vector::Number(first(values, rows)?),
        (Column::Boolean(values), DataType::Boolean) => Vector::Boolean(first(values, rows)?),
        (Column::Text(values), DataType::Text) => Vector::Text(first(values, rows)?),
        _ => return None,
    })
}

fn first<T: Scalar>(values: &[T], rows: usize) -> Option<Values<'_, T>> {
    values
        .get(..rows)
        .map(|values| Values::Rows(Cow::Borrowed(values)))
}

/// A text is looked up in each batch: that is one hash, and a program needs no state for it.
fn constant(literal: &Literal, interner: &mut Interner) -> Vector<'static> {
    match literal {
        Literal::Number(value) => Vector::Number(Values::Constant(*value)),
        Literal::Boolean(value) => Vector::Boolean(Values::Constant(*value)),
        Literal::Text(None) => Vector::Text(Values::Constant(Symbol::NULL)),
        Literal::Text(Some(text)) => Vector::Text(Values::Constant(interner.intern(text))),
    }
}
