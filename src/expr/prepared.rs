//! Functions that work out their constant arguments when an expression is compiled: patterns, time
//! zones, formats, units.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use crate::model::Interner;

use super::node::Literal;
use super::vector::{Kernel, Vector};

/// A function with its constant arguments worked out; what is left is one argument that varies.
pub(super) trait Prepared: Debug + Send + Sync {
    /// As a [`Kernel`].
    fn compute(
        &self,
        interner: &mut Interner,
        arguments: &[Vector<'_>],
        rows: usize,
    ) -> Vector<'static>;
}

/// What computes the value of a node from those of its arguments.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// A kernel.
    Kernel(Kernel),
    /// A function with constants. It has no memory of rows, so that clones may share it.
    Prepared(Arc<dyn Prepared>),
}

impl Operation {
    /// Computes so many rows.
    pub(super) fn compute(
        &self,
        interner: &mut Interner,
        arguments: &[Vector<'_>],
        rows: usize,
    ) -> Vector<'static> {
        match self {
            Self::Kernel(kernel) => kernel(interner, arguments, rows),
            Self::Prepared(prepared) => prepared.compute(interner, arguments, rows),
        }
    }
}

impl From<Kernel> for Operation {
    fn from(kernel: Kernel) -> Self {
        Self::Kernel(kernel)
    }
}

/// What makes a [`Prepared`] of the constant arguments of a call.
pub(super) type Prepare = fn(&Constants<'_>) -> Result<Arc<dyn Prepared>, Fault>;

/// The constant arguments of a call, at their places. None of them is NULL.
#[derive(Debug)]
pub(super) struct Constants<'c>(pub(super) Vec<Option<&'c Literal>>);

impl<'c> Constants<'c> {
    /// A text; `None` where it is not given.
    pub(super) fn text(&self, index: usize) -> Option<&'c str> {
        match self.0.get(index) {
            Some(Some(Literal::Text(text))) => text.as_deref(),
            _ => None,
        }
    }

    /// A number; `None` where it is not given.
    pub(super) fn number(&self, index: usize) -> Option<f64> {
        match self.0.get(index) {
            Some(Some(Literal::Number(number))) => Some(*number),
            _ => None,
        }
    }
}

/// What is wrong with a constant argument.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Which argument.
    pub(super) argument: usize,
    /// Where in its text, bytes; the whole argument where there is no such place.
    pub(super) within: Option<Range<usize>>,
    /// For people.
    pub(super) message: String,
}

impl Fault {
    /// A fault of a whole argument.
    pub(super) fn new(argument: usize, message: String) -> Self {
        Self {
            argument,
            within: None,
            message,
        }
    }
}
