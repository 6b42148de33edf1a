//! What a function is: its name, how it is written, what it takes and gives.

use crate::model::DataType;

use super::prepared::Prepare;
use super::table::FUNCTIONS;
use super::vector::Kernel;

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
    /// So many arguments of a type or more, and a result of it.
    Many {
        least: usize,
        of: DataType,
        kernel: Kernel,
    },
    /// Arguments of any one type, and a result of it. A kernel each for numbers, truth values and
    /// texts.
    Same {
        least: usize,
        most: usize,
        kernels: [Kernel; 3],
    },
    /// As `Fixed`, but all arguments except one must be constant.
    Prepared {
        takes: &'static [DataType],
        optional: usize,
        varying: usize,
        gives: DataType,
        prepare: Prepare,
    },
}

impl Function {
    /// How many arguments it takes: at least, at most.
    pub(super) fn arity(&self) -> (usize, usize) {
        match self.signature {
            Signature::Fixed {
                takes, optional, ..
            }
            | Signature::Prepared {
                takes, optional, ..
            } => (takes.len().saturating_sub(optional), takes.len()),
            Signature::Many { least, .. } => (least, usize::MAX),
            Signature::Same { least, most, .. } => (least, most),
        }
    }
}

/// The function of a name, which must be lowercase.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// The names of all functions, in alphabetical order.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}
