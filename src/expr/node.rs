//! The typed tree.

use crate::model::{DataType, Interner, Trilean};

use super::evaluate::evaluate;
use super::memo::Memo;
use super::prepared::Operation;
use super::vector::{Scalar, Vector};

/// A typed expression.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A column of the schema.
    Column { index: usize, data_type: DataType },
    /// A constant.
    Literal(Literal),
    /// An operator or a function.
    Apply {
        operation: Operation,
        arguments: Vec<Node>,
        data_type: DataType,
    },
    /// An expression of one text column, computed once for each symbol.
    Memo(Memo),
}

/// A constant.
#[derive(Debug, Clone)]
pub(super) enum Literal {
    /// A number; NaN is NULL.
    Number(f64),
    /// A truth value.
    Boolean(Trilean),
    /// A text or NULL.
    Text(Option<Box<str>>),
}

impl Node {
    /// NULL of a type.
    pub(super) fn null(data_type: DataType) -> Self {
        Self::Literal(match data_type {
            DataType::Number => Literal::Number(f64::NULL),
            DataType::Boolean => Literal::Boolean(Trilean::NULL),
            DataType::Text => Literal::Text(None),
        })
    }

    /// An operator or function over arguments, computed at once where they are all constant.
    pub(super) fn apply(
        operation: impl Into<Operation>,
        arguments: Vec<Self>,
        data_type: DataType,
    ) -> Self {
        let constant = arguments
            .iter()
            .all(|argument| matches!(argument, Self::Literal(_)));
        let mut node = Self::Apply {
            operation: operation.into(),
            arguments,
            data_type,
        };
        if !constant {
            return node;
        }
        let mut interner = Interner::new();
        let value = match evaluate(&mut node, &[], 1, &mut interner) {
            Vector::Number(values) => Literal::Number(values.view().at(0)),
            Vector::Boolean(values) => Literal::Boolean(values.view().at(0)),
            Vector::Text(values) => {
                let symbol = values.view().at(0);
                Literal::Text((!symbol.is_null()).then(|| interner.text(symbol).into()))
            }
        };
        Self::Literal(value)
    }

    /// The type.
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Column { data_type, .. } | Self::Apply { data_type, .. } => *data_type,
            Self::Literal(Literal::Number(_)) => DataType::Number,
            Self::Literal(Literal::Boolean(_)) => DataType::Boolean,
            Self::Literal(Literal::Text(_)) => DataType::Text,
            Self::Memo(memo) => memo.data_type(),
        }
    }

    /// Forgets what is known of symbols.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Column { .. } | Self::Literal(_) => {}
            Self::Apply { arguments, .. } => arguments.iter_mut().for_each(Self::forget),
            Self::Memo(memo) => memo.forget(),
        }
    }

    /// Adds the indices of all columns that are read.
    pub(super) fn collect_columns(&self, columns: &mut Vec<usize>) {
        match self {
            Self::Column { index, .. } => columns.push(*index),
            Self::Literal(_) => {}
            Self::Apply { arguments, .. } => {
                for argument in arguments {
                    argument.collect_columns(columns);
                }
            }
            Self::Memo(memo) => columns.push(memo.column()),
        }
    }
}
